"""Programs that were really written, by models and by people, are accepted on their cards with
transitions of the real environments.
"""

import functools
import re
from pathlib import Path

import pytest

from autoreward.loop.engine import Engine
from autoreward.loop.stages.check import check
from autoreward.models.replies import program_of
from autoreward.rewards.linter import lint
from autoreward.store.jobs import ProbeJob
from autoreward.tasks.find import find

ROOT = Path(__file__).parents[2]
# cards whose environments start in seconds
QUICK = {"corridor", "mountaincar", "swingup"}


def programs() -> dict[str, tuple[str, str]]:
    """name -> (card, program)."""
    found = {
        p.stem.split(".")[0]: (
            re.sub(r"^(bare|full)_", "", p.name.split(".")[0]),
            program_of(p.read_text())[0],
        )
        for p in sorted((ROOT / "tests" / "recorded").glob("*.reply.txt"))
    }
    found |= {
        f"{p.name.split('.')[0]} by a person": (p.name.split(".")[0], p.read_text())
        for p in sorted((ROOT / "envs").glob("*/*.human.py"))
    }
    return found | {
        f"example {p.parent.parent.name} {p.stem} {k}": ("corridor", p.read_text())
        for k, p in enumerate(sorted((ROOT / "runs" / "example").rglob("*.py")))
        if "def " in p.read_text()
    }


PROGRAMS = programs()


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    @functools.cache
    def probes(card: str) -> Path:
        out = tmp_path_factory.mktemp("recorded") / f"{card}.npz"
        Engine(1).run([("probes", ProbeJob(card=str(find(card).path), seed=0, out=str(out)))])
        return out

    return probes


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[] if c in QUICK else pytest.mark.long)
        for n, (c, _) in PROGRAMS.items()
    ],
)
def test_a_program_that_was_really_written_is_accepted(recorded, template, name):
    card, text = PROGRAMS[name]
    found = find(card)
    refused = [v for v in lint(text, found.card.reward_layout) if v.severity == "refuse"]
    refused += [
        v
        for v in check(text, found.card, recorded(card), "default", template).verdicts
        if v.severity == "refuse"
    ]
    assert [(v.kind, v.line, v.message) for v in refused] == []


def test_there_are_programs_of_all_kinds():
    assert len(PROGRAMS) > 25 and {c for c, _ in PROGRAMS.values()} >= QUICK
