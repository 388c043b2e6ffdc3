"""A study: a training of your own drives the loop by ask and tell, in an ordinary run directory."""

import asyncio
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import autoreward
from autoreward import Evidence, Study, UserError
from autoreward.store.run import Run

ROOT = Path(__file__).parents[2]
SMALL = {"model": "offline/search", "iterations": 2, "candidates": 2}


@pytest.fixture(autouse=True)
def _here(tmp_path_factory, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOREWARD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("AUTOREWARD_MODEL", raising=False)


# A model that keeps each prompt, and answers with the number of prompts so far as a factor.
WRITER = '''import pathlib
import sys

n = len(list(pathlib.Path(".").glob("prompt-*")))
pathlib.Path(f"prompt-{n}").write_text(sys.stdin.read())
print(f"""```python
import numpy as np


def reward(prev, action, curr, memory):
    return {{"nearer": {n + 1}.0 * (curr.cell - prev.cell)}}
```""")
'''


def handle_puller(seen) -> int:
    """The corridor's solution."""
    return int(seen[2])


def test_ask_and_tell_to_the_end_with_another_process_in_between():
    study = Study("corridor", run="runs/mine", **SMALL)
    first, second = study.ask(), study.ask()
    assert (first.id, second.id) == ("1a", "1b") and "def reward" in first.program
    with pytest.raises(UserError, match=r"the outcome of 1a, 1b"):
        study.ask()
    result = study.tell(second, study.evaluate(handle_puller, episodes=10, steps=100))
    assert result.success == 1.0 and result.steps == (100,)
    with pytest.raises(UserError, match="already has its evidence"):
        study.tell(second, Evidence(successes=1, episodes=2))
    # As after a kill: evidence is kept, and a pending candidate is returned again.
    again = Study(run="runs/mine")
    assert again.ask().id == "1a"
    again.tell(
        "1a",
        [
            {
                "seed": 0,
                "successes": 1,
                "episodes": 10,
                "terms": {"progress": 2.0},
                "curve": [(50, 0.0, 100.0), (100, None, None)],
            },
            {"seed": 1, "outcomes": [False] * 10},
        ],
    )
    folder = Run(Path("runs/mine")).candidate(1, "a")
    assert len(folder.trainings()) == 2 and folder.evaluation.success == 0.05
    third = again.ask()
    assert third.id == "2a"
    feedback = Run(Path("runs/mine")).feedback(1)
    assert [f"{o.iteration}{o.candidate}" for o in feedback.outcomes] == ["1b", "1a"]
    assert feedback.outcomes[1].terms[0].name == "progress" and feedback.outcomes[1].curve == (
        (50, 0.0, 100.0),
        (100, None, None),
    )
    assert feedback.outcomes[0].analysis.successes.episodes == 10 and again.best == second.program
    again.tell(third, {"failure": "the network diverged"})
    again.tell(again.ask(), {"outcomes": [True, False]})
    assert again.ask() is None and again.ask() is None
    assert again.final.winner == "1b" and "not confirmed" in again.final.why
    said = subprocess.run(
        [sys.executable, "-m", "autoreward", "runs", "show", "mine", "--json"],
        capture_output=True,
        text=True,
    )
    told = json.loads(said.stdout)
    assert [c["state"] for c in told["candidates"]] == [
        "evaluated",
        "evaluated",
        "failed",
        "evaluated",
    ] and "diverged" in told["candidates"][2]["why"]
    assert (Path("runs/mine") / "report.html").is_file()


@pytest.mark.parametrize(
    ("evidence", "word"),
    [
        ({}, "or `failure`"),
        ({"successes": 5}, "how many episodes"),
        ({"successes": 5, "episodes": 3}, "how many episodes"),
        ({"outcomes": [True], "successes": 1}, "not both"),
        ({"successes": -1, "episodes": 3}, "successes: Input should be greater"),
        ({"episodes": 3}, "defines success"),
        ({"sucesses": 1, "episodes": 3}, "sucesses: Extra inputs"),
        ({"outcomes": [True], "metrics": {"height": float("nan")}}, "metrics.height is not finite"),
        ([], "empty"),
        ([{"outcomes": [True]}, {"outcomes": [False]}], "share the seed 0"),
        (
            Evidence(
                outcomes=(True,),
                trajectories=(
                    autoreward.Episode(np.zeros((3, 2)), np.zeros(2), True, False, True),
                ),
            ),
            r"fields of shape \(3, 2\), not \(3, 3\)",
        ),
    ],
)
def test_wrong_evidence_is_one_sentence_and_nothing_is_written(evidence, word):
    study = Study("corridor", run="runs/mine", **SMALL)
    candidate = study.ask()
    with pytest.raises(UserError, match=word):
        study.tell(candidate, evidence)
    assert Run(Path("runs/mine")).candidate(1, "a").evaluation is None


def test_arrays_wrapped_environments_and_vectors_give_the_same_rewards():
    study = Study("corridor", run="runs/mine", **SMALL)
    candidate = study.ask()
    env, venv = candidate.wrap(study.make()), candidate.vector(study.make, 2)
    venv.seed(4)
    before, _ = venv.reset().copy(), env.reset(seed=4)
    first = np.ones(2, bool)
    for _ in range(30):
        actions = before[:, 2].astype(int)
        after, rewards, dones, infos = venv.step(actions)
        current = np.stack(
            [info.get("terminal_observation", row) for info, row in zip(infos, after, strict=True)]
        )
        named = [
            dict(zip(("cell", "exit", "handle"), rows.T, strict=True)) for rows in (before, current)
        ]
        direct, terms = candidate.rewards(
            named[0],
            actions,
            named[1],
            first=first,
            terminated=dones,
            task_reward=[i["autoreward"]["task_reward"] for i in infos],
        )
        assert (direct.astype(np.float32) == rewards).all() and set(terms) == set(
            infos[0]["autoreward"]["terms"]
        )
        _, reward, *_ = env.step(actions[0])
        assert np.float32(reward) == rewards[0]
        before, first = after.copy(), dones
    candidate.close()
    with pytest.raises(UserError, match="'exit' is missing"):
        candidate.rewards({"cell": [1.0]}, [0], {"cell": [1.0]}, first=[True], terminated=[False])


def test_the_designer_reads_the_evidence(tmp_path):
    (tmp_path / "model.py").write_text(WRITER)
    settings = {"critic": "off", "analyzer": "off"}
    study = Study(
        "corridor",
        run="runs/mine",
        model=f"cmd:{sys.executable} {tmp_path}/model.py",
        iterations=2,
        candidates=1,
        settings=settings,
    )
    for number, candidate in enumerate(study):
        assert f"{number + 1}.0 * (curr.cell" in candidate.program
        study.tell(
            candidate,
            Evidence(
                successes=3,
                episodes=10,
                steps=777,
                terms={"nearer": 12.5},
                curve=((777, 0.3, 91.0),),
            ),
        )
    prompt = (tmp_path / "prompt-1").read_text()
    assert (
        "success 0.30" in prompt
        and "trained 777" in prompt
        and "nearer 12.5" in prompt
        and "| 777 | 0.3 | 91 |" in prompt
    )


def test_a_study_works_inside_an_event_loop_and_touches_no_signal_handler():
    import signal

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    async def cell() -> str:
        study = Study("corridor", run="runs/mine", **{**SMALL, "iterations": 1, "candidates": 1})
        for candidate in study:
            study.tell(candidate, study.evaluate(handle_puller, episodes=4))
        return study.final.winner

    assert (
        asyncio.run(cell()) == "1a"
        and (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    )


def test_a_study_and_a_run_are_not_confused():
    Study("corridor", run="runs/mine", **SMALL)
    said = subprocess.run(
        [sys.executable, "-m", "autoreward", "resume", "mine"], capture_output=True, text=True
    )
    assert said.returncode == 2 and "trained elsewhere" in said.stderr
    with pytest.raises(UserError, match="trains its own agents"):
        Study(run=ROOT / "runs" / "example")
    with pytest.raises(UserError, match="a study of corridor, not of swingup"):
        Study("swingup", run="runs/mine")
    with pytest.raises(UserError, match="needs a task"):
        Study()
    with pytest.raises(UserError, match="unknown option 'iteratons'"):
        Study("corridor", iteratons=3)


@pytest.mark.parametrize("script", ["study_numpy", "study_sb3"])
def test_the_scripts_of_the_docs_run(script, capsys):
    runpy.run_path(str(ROOT / "docs" / f"{script}.py"))["main"](f"runs/{script}")
    final = Run(Path("runs") / script).final
    assert (
        final.arms["winner"].success >= 0.8
        and f"the best is {final.winner}" in capsys.readouterr().out
    )


def test_check_and_train_take_text_or_a_path(tmp_path):
    human = ROOT / "envs" / "classic" / "corridor.human.py"
    assert (
        autoreward.check(human, "corridor").ok
        and autoreward.check(human.read_text(), "corridor").ok
    )
    refused = autoreward.check("import os\n", "corridor")
    assert not refused.ok and any(v.kind == "import" for v in refused.verdicts)
    with pytest.raises(UserError, match="cannot be read"):
        autoreward.check("nothing.py", "corridor")
    result = autoreward.train(human, "corridor", seeds=1, steps=512, out=tmp_path / "out")
    assert result.scores[0].episodes == 50 and (tmp_path / "out" / "program.py").is_file()


def test_importing_loads_nothing_heavy():
    heavy = {"numpy", "torch", "pydantic", "gymnasium", "litellm"}
    code = f"import autoreward, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
    assert set(autoreward.__all__) <= set(dir(autoreward)) and all(
        getattr(autoreward, name) for name in autoreward.__all__
    )


def test_an_earlier_public_name_still_works():
    assert autoreward.ProgramRefused is autoreward.ProgramRejected
