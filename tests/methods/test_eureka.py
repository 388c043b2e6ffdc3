"""Eureka from the command line.

One call per sample, failed samples are dropped, and the best program is shown with its own curves.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autoreward.store.run import Run

OPTIONS = [
    "--method",
    "eureka",
    "--iterations",
    "2",
    "--candidates",
    "2",
    "--final-seeds",
    "1",
    "--jobs",
    "2",
]
DESIGNER = '''
import sys

PROGRAM = """```python
def reward(prev, action, curr, memory):
    return {'way_NUMBER': 0.NUMBER * (curr.cell - prev.cell)}
```"""
number = sys.stdin.read().partition("yours is number ")[2][:1]
print("I cannot." if number == "2" else PROGRAM.replace("NUMBER", number))
'''


@pytest.fixture(scope="module")
def whole(tmp_path_factory, shared_cache) -> Path:
    """A whole run of the offline designer."""
    place = tmp_path_factory.mktemp("eureka")
    env = {**os.environ, "AUTOREWARD_CACHE": str(shared_cache), "AUTOREWARD_MODEL": ""}
    done = subprocess.run(
        [sys.executable, "-m", "autoreward", "design", "corridor", *OPTIONS, "--name", "whole"],
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return place / "runs" / "whole"


@pytest.mark.long
def test_a_whole_run_solves_the_corridor_with_one_call_a_sample(whole):
    run = Run(whole)
    assert (
        run.final
        and run.final.winner
        and (run.final.arms["winner"].success or 0) >= 0.8 > (run.final.arms["sparse"].success or 0)
    )
    assert (
        sorted(p.name for p in whole.glob("calls/*/*.json"))
        == ["a-designer-0.json"] * 2 + ["b-designer-0.json"] * 2
    )
    assert len({c.program for c in run.candidates()}) == 4, "nothing is tried twice"


@pytest.mark.long
def test_the_second_round_is_shown_the_best_of_the_first_by_fresh_episodes_and_its_term_curves(
    whole,
):
    feedback = Run(whole).feedback(1)
    best = feedback.best
    shown = "\n".join(
        m["content"]
        for m in json.loads((whole / "calls/iteration-2/a-designer-0.json").read_text())["messages"]
    )
    assert (
        f"The best program so far: {best.iteration}{best.candidate}" in shown
        and best.program.strip() in shown
    )
    other = next(o for o in feedback.outcomes if o.candidate != best.candidate)
    assert other.program.strip() not in shown
    assert all(
        len(w) == len(best.curve) for w in best.windows.values()
    ) and best.windows.keys() == {t.name for t in best.terms}
    assert all(f"- {t.name}: " in shown for t in best.terms) and "findings" not in shown.lower()


@pytest.mark.long
def test_records_summary_and_report_say_what_ran_without_a_model(whole, command):
    for candidate in Run(whole).candidates():
        assert (
            candidate.review.model_skipped_because == "the method eureka has no critic"
            and candidate.review.by == "lint"
        )
        analysis = json.loads((candidate.path / "7-analyzer.json").read_text())
        assert (
            analysis["model_skipped_because"] == "the method eureka has no analyzer"
            and analysis["shown_to_designer"] is False
            and analysis["endings"]
        )
    assert all(o.analysis is None for o in Run(whole).feedback(2).outcomes)
    shown = command("runs", "show", str(whole)).stdout
    assert (
        "critic   linter only: the method eureka has no critic" in shown
        and "no designer was told them" in shown
    )
    assert "the method eureka has no analyzer" in (whole / "report.html").read_text()


@pytest.mark.long
def test_a_replay_gives_the_same_programs(whole, command, tmp_path):
    done = command(
        "design",
        "corridor",
        *OPTIONS[:2],
        "--iterations",
        "1",
        "--candidates",
        "1",
        "--final-seeds",
        "1",
        "--steps",
        "1024",
        "--model",
        f"replay/{whole}",
        "--name",
        "again",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (
        Run(tmp_path / "runs" / "again").candidates()[0].program
        == Run(whole).candidates()[0].program
    )


@pytest.mark.long
def test_a_sample_that_does_not_parse_is_dropped_and_the_third_keeps_its_own_numbers(
    command, tmp_path
):
    (tmp_path / "designer.py").write_text(DESIGNER)
    words = [
        "--method",
        "eureka",
        "--model",
        f"cmd:{sys.executable} designer.py",
        "--iterations",
        "1",
        "--candidates",
        "3",
        "--final-seeds",
        "1",
        "--steps",
        "1024",
        "--jobs",
        "2",
    ]
    done = command("design", "corridor", *words, "--name", "three")
    assert done.returncode == 0, done.stderr[-3000:]
    run = Run(tmp_path / "runs" / "three")
    outcomes = {o.candidate: o for o in run.feedback(1).outcomes}
    assert {k: o.status for k, o in outcomes.items()} == {
        "a": "evaluated",
        "b": "rejected",
        "c": "evaluated",
    }
    dropped = run.candidates()[1]
    assert [r.verdicts[0].kind for r in dropped.rejected_drafts()] == ["no-program"] and len(
        list(run.path.glob("calls/iteration-1/b-*.json"))
    ) == 1
    for letter, term in (("a", "way_1"), ("c", "way_3")):
        done_ = run.candidate(1, letter).trainings()[0]
        assert (
            [t.name for t in done_.terms] == [term]
            and outcomes[letter].terms == done_.terms
            and list(outcomes[letter].windows) == [term]
        )


@pytest.mark.long
def test_killed_in_the_second_round_it_ends_as_if_it_had_not_been(whole, tmp_path, shared_cache):
    env = {**os.environ, "AUTOREWARD_CACHE": str(shared_cache), "AUTOREWARD_MODEL": ""}
    words = [sys.executable, "-m", "autoreward", "design", "corridor", *OPTIONS, "--name", "whole"]
    process = subprocess.Popen(
        words, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    run, deadline = tmp_path / "runs" / "whole", time.monotonic() + 200
    while not list(run.glob("iteration-2/*/5-training/*/job.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (run / "iteration-1" / "feedback.json").is_file() and not (
        run / "iteration-2" / "feedback.json"
    ).exists()
    done = subprocess.run(
        [sys.executable, "-m", "autoreward", "resume", "runs/whole"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (run / "final.json").read_bytes() == (whole / "final.json").read_bytes()
    for iteration in (1, 2):
        assert Run(run).feedback(iteration) == Run(whole).feedback(iteration)
