"""File names of a run are spelled in the store only, so that each has one owner."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "autoreward"
NAMES = (
    "run.yaml",
    "events.jsonl",
    "probes.npz",
    "probes.json",
    "given.py",
    "origin.json",
    "feedback.json",
    "leaders.json",
    "final.json",
    "report.html",
    "composition.yaml",
    "1-designer.py",
    "1-composition.json",
    "2-critic.json",
    "3-check.json",
    "4-screening.json",
    "5-training",
    "6-evaluation.json",
    "6-episodes.npz",
    "7-analyzer.json",
    "annotation.json",
    "job.json",
    "curve.npz",
    "policy.safetensors",
    "composition.json",
    "signal.json",
    "signal.safetensors",
    "labels.jsonl",
    "rewards.npz",
    "done.json",
    "score.json",
)
# A name as the whole of a string literal, or as the end of a path or pattern in one.
LITERAL = re.compile(r"[\"'](?:[^\"'\s]*/)?(" + "|".join(map(re.escape, NAMES)) + r")[\"']")
# Files of that name outside of a run: a temporary folder's.
ELSEWHERE = {("cli/envs_check.py", "probes.npz")}


def spelled(source: str) -> list[str]:
    return LITERAL.findall(source)


def test_the_pattern_finds_names_in_paths_and_patterns() -> None:
    source = 'a = run / "final.json"; b = folder.glob("seed-*/curve.npz"); c = "see final.json"'
    assert spelled(source) == ["final.json", "curve.npz"]


@pytest.mark.parametrize(
    "module",
    [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name != "store"
    ],
)
def test_no_other_module_spells_a_file_name(module: str) -> None:
    names = spelled((PACKAGE / module).read_text(encoding="utf-8"))
    assert [name for name in names if (module, name) not in ELSEWHERE] == []
