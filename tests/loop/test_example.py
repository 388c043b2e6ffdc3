"""runs/example, a real language model's conversation: it can be looked into, and played again with
the same programs and scores.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from autoreward.loop.header import versions
from autoreward.store.run import Run

EXAMPLE = Path(__file__).parents[2] / "runs" / "example"


def test_the_example_can_be_looked_into(command):
    told = json.loads(command("runs", "show", str(EXAMPLE), "--json").stdout)
    assert (
        told["state"] == "done"
        and told["usage"]["calls"] == 12
        and told["final"]["arms"]["winner"]["success"] >= 0.9
    )
    assert [c["state"] for c in told["candidates"]] == ["evaluated"] * 4 and any(
        c["causes"] for c in told["candidates"]
    )
    assert (
        "Excerpts of recorded episodes"
        in command(
            "prompts", "render", "analyzer", "--task", "corridor", "--run", str(EXAMPLE)
        ).stdout
    )


@pytest.mark.long
def test_a_replay_gives_the_same_programs_and_the_same_scores(command, tmp_path):
    done = command(
        "design",
        "corridor",
        "--model",
        f"replay/{EXAMPLE}",
        "--candidates",
        "2",
        "--final-seeds",
        "1",
        "--name",
        "again",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = Run(tmp_path / "runs" / "again"), Run(EXAMPLE)
    assert [c.program for c in ours.candidates()] == [c.program for c in theirs.candidates()]
    # numbers are promised for the same versions only
    if versions() != theirs.header.versions:
        return
    for mine, recorded in zip(ours.candidates(), theirs.candidates(), strict=True):
        assert mine.evaluation == recorded.evaluation and mine.trainings() == recorded.trainings()
        with (
            np.load(mine.path / "5-training/seed-0/curve.npz") as a,
            np.load(recorded.path / "5-training/seed-0/curve.npz") as b,
        ):
            assert all(
                np.array_equal(a[k], b[k], equal_nan=a[k].dtype.kind == "f") for k in a.files
            )
    assert (ours.final and ours.final.winner) == (theirs.final and theirs.final.winner)


def test_a_run_that_was_carried_here_goes_on(command, tmp_path):
    """Its card's path is another machine's; the card is found by name, and must be the same."""
    run = tmp_path / "runs" / "carried"
    shutil.copytree(EXAMPLE, run)
    (run / "final.json").unlink()
    text = (run / "run.yaml").read_text()
    (run / "run.yaml").write_text(text.replace("card_path: envs/", "card_path: /elsewhere/envs/"))
    done = command("resume", "runs/carried", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = Run(run).final, Run(EXAMPLE).final
    assert (
        ours
        and theirs
        and (ours.arms["winner"] == theirs.arms["winner"] or versions() != Run(run).header.versions)
    )
