"""`--from`: a reward of one's own is candidate 1a: as it is, called row by row, or ported and held
against the original.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autoreward import Evidence, Study, UserError
from autoreward.loop.wrapped_function import NotConvertible, wrap
from autoreward.store.io import read
from autoreward.store.records import Origin
from autoreward.tasks.find import load

ROOT = Path(__file__).parents[2]
SMALL = {"model": "offline/search", "iterations": 1, "candidates": 2}
PLAIN = '''
"""My reward."""
import math

SCALE = 0.05


def distance(obs):
    return obs[1] - obs[0]


def reward(obs, action, next_obs):
    reward = SCALE * (distance(obs) - distance(next_obs)) - 0.001 * action
    if math.fabs(distance(next_obs)) < 38:
        reward += 0.5
    return reward
'''
PORT = """
import numpy as np


def reward(prev, action, curr, memory):
    before, after = prev.exit - prev.cell, curr.exit - curr.cell
    bonus = 0.5 * (np.abs(after) < 38)
    return {"nearer": SCALE * (before - after), "bonus": bonus, "effort": -0.001 * action}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path_factory, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOREWARD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("AUTOREWARD_MODEL", raising=False)


def transitions(n: int = 200):
    random = np.random.default_rng(0)
    before = np.stack(
        [random.integers(0, 30, n), random.integers(37, 41, n), random.integers(0, 4, n)], 1
    ).astype(float)
    after = before + np.stack([random.integers(-1, 2, n), np.zeros(n), np.zeros(n)], 1)
    return before, random.integers(0, 4, n), after


def test_a_plain_function_is_called_row_by_row_and_the_winner_is_shown_against_it(tmp_path):
    Path("mine.py").write_text(PLAIN)
    study = Study("corridor", run="runs/one", origin="mine.py", **SMALL)
    first = study.ask()
    known: dict = {}
    exec(PLAIN, known)
    before, actions, after = transitions()
    rewards, terms = first.rewards(
        before, actions, after, first=np.ones(200, bool), terminated=np.zeros(200, bool)
    )
    expected = [known["reward"](b, a, c) for b, a, c in zip(before, actions, after, strict=True)]
    assert (
        list(terms) == ["reward"]
        and np.abs(rewards - expected).max() < 1e-12
        and np.std(expected) > 0.1
    )
    second = study.ask()
    study.tell(first, Evidence(successes=10, episodes=50))
    study.tell(second, Evidence(successes=45, episodes=50))
    assert study.ask() is None and study.final.winner == "1b"
    shown = subprocess.run(
        [sys.executable, "-m", "autoreward", "runs", "show", "one"], capture_output=True, text=True
    ).stdout
    assert (
        "started from mine.py: called row by row" in shown
        and "score of 1a, the original: 20%" in shown
        and "score of 1b, the best: 90%" in shown
    )
    assert "--- 1a (mine.py)" in shown and "-SCALE = 0.05" in shown and "+MEMORY = " in shown
    assert "Starting point" in Path("runs/one/report.html").read_text()


def test_a_program_of_our_contract_is_taken_as_it_is():
    human = (ROOT / "envs" / "classic" / "corridor.human.py").read_text()
    Path("mine.py").write_text(human)
    study = Study("corridor", run="runs/one", origin="mine.py", **SMALL)
    assert study.ask().program == human and study.ask().program != human
    assert read(Path("runs/one/origin/origin.json"), Origin).kind == "program"


def model(tmp_path: Path, *answers: str) -> str:
    """A model that gives these programs one after another, and keeps its prompts."""
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    (tmp_path / "model.py").write_text(
        "import json, pathlib, sys\n"
        f"place = pathlib.Path({str(tmp_path)!r})\n"
        "n = len(list(place.glob('prompt-*')))\n"
        "(place / f'prompt-{n}').write_text(sys.stdin.read())\n"
        "print('```python\\n' + json.loads((place / 'answers.json').read_text())[n] + '\\n```')\n"
    )
    return f"cmd:{sys.executable} {tmp_path}/model.py"


def test_a_port_must_give_the_numbers_of_the_original(tmp_path):
    lasting = PLAIN.replace("SCALE = 0.05", "SCALE = 0.05\nSEEN = []").replace(
        "    if math", "    SEEN.append(1)\n    if math"
    )
    Path("mine.py").write_text(lasting)
    wrong, right = PORT.replace("SCALE", "0.06"), PORT.replace("SCALE", "0.05")
    settings = {"critic": "off", "analyzer": "off"}
    study = Study(
        "corridor",
        run="runs/one",
        origin="mine.py",
        model=model(tmp_path, wrong, right),
        iterations=1,
        candidates=1,
        settings=settings,
    )
    assert study.ask().program.strip() == right.strip()
    first, repair = (tmp_path / "prompt-0").read_text(), (tmp_path / "prompt-1").read_text()
    assert "SEEN.append(1)" in first and "global-state" in first and "Port it" in first
    assert "port-differs" in repair and "recorded transitions the port's sum differs" in repair
    origin = read(Path("runs/one/origin/origin.json"), Origin)
    assert (
        origin.kind == "port"
        and origin.compared >= 1000
        and origin.difference < 1e-9
        and origin.largest > 0.4
    )
    shown = subprocess.run(
        [sys.executable, "-m", "autoreward", "runs", "show", "one"], capture_output=True, text=True
    ).stdout
    assert "ported by the designer" in shown and "the port differs by at most" in shown


def test_a_port_of_what_does_not_run_in_the_sandbox_says_that_it_was_not_compared(tmp_path):
    Path("mine.py").write_text("import scipy.stats\n" + PLAIN)
    study = Study(
        "corridor",
        run="runs/one",
        origin="mine.py",
        model=model(tmp_path, PORT.replace("SCALE", "0.05")),
        iterations=1,
        candidates=1,
        settings={"critic": "off"},
    )
    assert study.ask() is not None
    origin = read(Path("runs/one/origin/origin.json"), Origin)
    assert (
        origin.kind == "port"
        and "scipy" in origin.why
        and origin.difference is None
        and "fails in the sandbox" in origin.uncompared
    )


def test_without_a_language_model_what_does_not_fit_is_a_sentence():
    Path("mine.py").write_text("def reward(obs, action, next_obs, goal):\n    return 0.0\n")
    with pytest.raises(UserError, match=r"takes 'goal'.*") as caught:
        Study("corridor", run="runs/one", origin="mine.py", **SMALL).ask()
    assert caught.value.code == 1 and "--model" in caught.value.hint
    for content, word in (
        (None, "file not found"),
        ("def (", "cannot be read as Python"),
        ("x = 1", "no function"),
    ):
        if content is None:
            Path("mine.py").unlink()
        else:
            Path("mine.py").write_text(content)
        said = subprocess.run(
            [sys.executable, "-m", "autoreward", "design", "corridor", "--from", "mine.py"],
            capture_output=True,
            text=True,
        )
        assert (
            said.returncode in (1, 2) and word in said.stderr and not Path("runs/corridor").exists()
        )


def test_what_a_function_takes_is_read_from_its_names():
    card = load(ROOT / "envs" / "classic" / "corridor.yaml").card
    assert (
        "compute_reward(action[k], after[k])"
        in wrap("def compute_reward(action, obs):\n    return 0.0", card, 3).text
    )
    assert (
        "get_reward(before[k], after[k])"
        in wrap("def get_reward(state, next_state, scale=2.0):\n    return 0.0", card, 3).text
    )
    renamed = wrap("def potential(next_obs):\n    return float(next_obs[0])\n", card, 3)
    assert (
        "def given_potential(next_obs)" in renamed.text
        and "given_potential(after[k])" in renamed.text
    )
    for code, width, word in (
        ("def reward(obs, action, next_obs):\n    return obs[-1]", 5, "first 3 of its 5 columns"),
        ("def reward(obs, action, next_obs):\n    return 0.0", None, "not a plain vector"),
        ("class A:\n    def reward(self, obs):\n        return 0", 3, "at its top level"),
        ("def one(obs): return 0\ndef two(obs): return 0", 3, "none of its functions"),
        ("def reward(obs, state):\n    return 0", 3, "not a function of observation"),
    ):
        with pytest.raises(NotConvertible, match=word):
            wrap(code, card, width)


def test_a_dict_observation_is_put_together_by_its_keys():
    card = load(ROOT / "envs" / "classic" / "corridor.yaml").card
    fields = tuple(f.model_copy(update={"source": f"obs.{f.name}"}) for f in card.fields)
    made = wrap(
        "def reward(obs, action, next_obs):\n    return next_obs['cell'] - obs['cell']\n",
        card.model_copy(update={"fields": fields}),
        None,
    )
    namespace: dict = {}
    exec(made.text, namespace)
    state = type(
        "S",
        (),
        {
            "cell": np.array([1.0, 2.0]),
            "exit": np.ones(2),
            "handle": np.ones(2),
            "__len__": lambda self: 2,
        },
    )
    later = type(
        "S",
        (),
        {
            "cell": np.array([3.0, 2.5]),
            "exit": np.ones(2),
            "handle": np.ones(2),
            "__len__": lambda self: 2,
        },
    )
    assert namespace["reward"](state(), np.zeros(2), later(), {})["reward"].tolist() == [2.0, 0.5]
