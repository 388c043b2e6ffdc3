"""kill -9 of the command or of a trainer: nothing is left running after 5 s, and no file on disk
is half of one.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

WORDS = [
    "design",
    "corridor",
    "--iterations",
    "1",
    "--candidates",
    "2",
    "--final-seeds",
    "1",
    "--jobs",
    "2",
    "--model",
    "offline/search",
    "--name",
    "run",
]


@pytest.fixture
def design(tmp_path: Path):
    """A design that has just begun, in a folder of its own."""
    environment = {
        **os.environ,
        "AUTOREWARD_CACHE": str(tmp_path / "cache"),
        "AUTOREWARD_MODEL": "",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "autoreward", *WORDS],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def descendants(process: subprocess.Popen) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def workers(trainer: psutil.Process) -> list[psutil.Process]:
    return [p for p in trainer.children() if "autoreward.sandbox.inside" in " ".join(p.cmdline())]


def a_trainer_with_a_worker(design: subprocess.Popen) -> psutil.Process:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and design.poll() is None:
        for process in descendants(design):
            try:
                if "autoreward.trainer" in process.cmdline() and workers(process):
                    return process
            except psutil.Error:
                continue
        time.sleep(0.02)
    raise AssertionError("no trainer ever started a worker")


def left(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run 5 s after now; a zombie that waits for its parent runs no more."""
    _, alive = psutil.wait_procs(processes, timeout=5)
    return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def whole_files(run: Path) -> int:
    """How many files lie there; each of them is read to its end."""
    paths = [p for p in run.rglob("*") if p.is_file() and not p.name.startswith(".")]
    for path in paths:
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as data:
                assert all(data[k].size >= 0 for k in data.files)
        elif path.suffix == ".safetensors":
            assert load_file(path)
        elif path.suffix == ".py":
            compile(path.read_text(), path.name, "exec")
    return len(paths)


@pytest.mark.parametrize(
    "moment", ["training", "any", pytest.param("any later", marks=pytest.mark.long)]
)
def test_kill_9_of_the_command_leaves_no_process(design, tmp_path: Path, moment: str):
    if moment == "training":
        a_trainer_with_a_worker(design)
    else:
        seconds = random.SystemRandom().uniform(0.5, 4) * (1 if moment == "any" else 3)
        print(f"killed after {seconds:.2f} s")
        time.sleep(seconds)
    before = descendants(design)
    design.send_signal(signal.SIGKILL)
    assert not left(before)
    assert moment != "training" or len(before) >= 2
    assert whole_files(tmp_path) or moment != "training"


@pytest.mark.long
def test_kill_9_of_a_trainer_leaves_no_worker_and_the_design_goes_on(design, tmp_path: Path):
    trainer = a_trainer_with_a_worker(design)
    inside = [trainer, *workers(trainer)]
    trainer.kill()
    assert not left(inside)
    _, errors = design.communicate(timeout=200)
    assert design.returncode == 0, errors[-2000:]
    assert json.loads((tmp_path / "runs" / "run" / "final.json").read_text())["winner"]
    assert whole_files(tmp_path / "runs") > 20
