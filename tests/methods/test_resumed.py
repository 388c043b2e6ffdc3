"""Killed and resumed: methods that learn, judge or prepare end as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autoreward.store.run import Run

SMALL = (
    "--iterations",
    "1",
    "--candidates",
    "1",
    "--final-seeds",
    "1",
    "--jobs",
    "1",
    "--name",
    "r",
)
RUNS = {
    "calm": ("corridor", "--method", "calm", "--steps", "4000"),
    "calm, judged": (
        "mountaincar",
        "--method",
        "calm",
        "--set",
        "judge=model",
        "--set",
        "subgoals=card",
        "--set",
        "annotator=simulated/p=0.8",
        "--steps",
        "6000",
    ),
    "lare": (
        "pendulum",
        "--method",
        "lare",
        "--episodic-return",
        "--set",
        "samples=2",
        "--steps",
        "4000",
    ),
}


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "AUTOREWARD_CACHE": str(folder / "cache"), "AUTOREWARD_MODEL": ""}


@pytest.mark.long
@pytest.mark.parametrize("name", RUNS)
def test_killed_in_training_it_ends_as_if_it_had_not_been(name, tmp_path):
    words = [sys.executable, "-m", "autoreward", "design", *RUNS[name], *SMALL]
    (whole := tmp_path / "whole").mkdir()
    done = subprocess.run(
        words, cwd=whole, env=environment(whole), capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (killed := tmp_path / "killed").mkdir()
    process = subprocess.Popen(
        words,
        cwd=killed,
        env=environment(killed),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    run, deadline = killed / "runs" / "r", time.monotonic() + 300
    while not list(run.glob("iteration-1/*/5-training/*/job.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    # the trainer is under way
    time.sleep(4.0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "final.json").exists()
    done = subprocess.run(
        [sys.executable, "-m", "autoreward", "resume", "runs/r"],
        cwd=killed,
        env=environment(killed),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (run / "final.json").read_bytes() == (whole / "runs" / "r" / "final.json").read_bytes()
    assert Run(run).feedback(1) == Run(whole / "runs" / "r").feedback(1)
    for path in (whole / "runs" / "r").rglob("*.safetensors"):
        assert (run / path.relative_to(whole / "runs" / "r")).read_bytes() == path.read_bytes(), (
            path
        )
