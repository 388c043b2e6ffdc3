"""Switching the critic or the analyzer off: calls, records, and what the next designer sees."""

import json
import sys
from pathlib import Path

import pytest

from autoreward.methods import find_method
from autoreward.store.run import Run

sys.path.insert(0, str(Path(__file__).parents[1]))
from server import GOOD

QUICK = (
    "--iterations",
    "1",
    "--candidates",
    "1",
    "--final-seeds",
    "1",
    "--steps",
    "1024",
    "--name",
    "run",
)


MODEL = """
import sys

prompt = sys.stdin.read()
answers = {answers!r}
if "You review reward" in prompt:
    print(answers["critic"])
elif "You explain why" in prompt:
    print(answers["analyzer"])
else:
    print(answers["designer"])
"""


def designed(command, tmp_path: Path, *words: str) -> Run:
    """A run whose model would answer as designer, critic and analyzer."""
    (tmp_path / "model.py").write_text(MODEL.format(answers=GOOD))
    done = command(
        "design", "corridor", *QUICK, "--model", f"cmd:{sys.executable} model.py", *words
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Run(tmp_path / "runs" / "run")


def asked(run: Run) -> set[str]:
    return {p.name.split("-")[1] for p in run.path.glob("calls/*/*.json")}


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=pytest.mark.long) for m in ("auto-mc-reward", "eureka")]
)
def test_switched_off_neither_is_asked_and_every_place_says_why(command, tmp_path, method):
    run = designed(
        command, tmp_path, "--method", method, "--set", "critic=off", "--set", "analyzer=off"
    )
    candidate = run.candidates()[0]
    assert asked(run) == {"designer"}
    analysis = json.loads((candidate.path / "7-analyzer.json").read_text())
    why = {
        "auto-mc-reward": ("--set critic=off", "--set analyzer=off"),
        "eureka": ("the method eureka has no critic", "the method eureka has no analyzer"),
    }[method]
    assert (
        candidate.review.by,
        candidate.review.model_skipped_because,
        candidate.review.opinion,
    ) == (
        "lint",
        why[0],
        "",
    )
    assert (
        analysis["by"],
        analysis["model_skipped_because"],
        analysis["shown_to_designer"],
        analysis["causes"],
    ) == (
        "code",
        why[1],
        False,
        [],
    )
    assert run.feedback(1).outcomes[0].analysis is None
    for told in (command("runs", "show", "last").stdout, (run.path / "report.html").read_text()):
        assert f"linter only: {why[0]}" in told and f"code only: {why[1]}" in told
    data = json.loads(command("runs", "show", "last", "--json").stdout)
    assert (
        data["alone"].keys() == {"critic", "analyzer"}
        and data["candidates"][0]["analysis_told"] is False
    )


@pytest.mark.long
def test_by_code_the_designer_still_reads_the_findings_and_the_critic_is_asked(command, tmp_path):
    run = designed(command, tmp_path, "--set", "analyzer=code")
    analysis = run.feedback(1).outcomes[0].analysis
    assert (
        asked(run) == {"designer", "critic"}
        and run.candidates()[0].review.model_skipped_because == ""
    )
    assert (
        analysis is not None
        and (analysis.by, analysis.model_skipped_because, analysis.shown_to_designer)
        == ("code", "--set analyzer=code", True)
        and analysis.endings
    )
    shown = command("runs", "show", "last").stdout
    assert (
        "code only: --set analyzer=code" in shown
        and "no designer was told" not in shown
        and "linter only" not in shown
    )


def test_findings_are_shown_unless_the_analyzer_is_off_or_missing():
    method = find_method("auto-mc-reward")
    assert (
        method.off("critic", {}) == ""
        and method.shows_findings({})
        and method.shows_findings({"analyzer": "code"})
        and not method.shows_findings({"analyzer": "off"})
    )
    assert not find_method("eureka").shows_findings({})
