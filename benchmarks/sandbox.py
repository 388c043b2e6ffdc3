"""Measure what the sandbox costs, as ratios within one run on one machine.

    python benchmarks/sandbox.py [TASK ...] [--rounds 5] [--steps 30000]

Throughput: the same training with the program in its sandbox and in the trainer's own process, in
turns (nothing but this file can do the latter). Check: milliseconds for 1,000 probe transitions,
with a warm template. Start-up: a worker from a template, cold, and in bubblewrap, relative to
`python -c "import numpy"`.
"""

import argparse
import contextlib
import io
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from autoreward.loop.engine import Engine
from autoreward.loop.stages.check import check
from autoreward.sandbox.inside.load import LoadedProgram
from autoreward.sandbox.outside.worker import Answer, Template, Worker
from autoreward.state import Array
from autoreward.store.jobs import ProbeJob, TrainJob
from autoreward.tasks.find import LocatedCard, find
from autoreward.trainer import train as training


class InProcess:
    """A worker without a process, which the sandbox is compared with."""

    def __init__(self, program: str, layout, action, **_: object) -> None:
        self.program = LoadedProgram(program, layout)
        self.terms: tuple[str, ...] = ()
        self.potentials: tuple[str, ...] = ()
        self.sparse = frozenset(self.program.sparse)

    def ask(self, prev: Array, action: Array, curr: Array, first: Array) -> Answer:
        answers = []
        for step in zip(prev, action, curr, first, strict=True):
            before, taken, after, starts = step
            answers.append(self.program.step(before.copy(), taken, after.copy(), starts))
        self.terms = tuple(self.program.terms or ())
        self.potentials = tuple(self.program.potentials or ())
        return Answer(*(np.stack(part) for part in zip(*answers, strict=True)))

    def send(self, *arrays: Array) -> None:
        self.question = arrays

    def receive(self) -> Answer:
        return self.ask(*self.question)

    def close(self) -> None:
        pass

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


WORKERS: dict[str, type] = {"in process": InProcess, "in the sandbox": Worker}


def throughput(card: LocatedCard, rounds: int, steps: int) -> None:
    """Compare steps per second, counted from the first question on.

    Start-up is left out: it is measured apart and does not grow with a training.
    """
    rates: dict[str, list[float]] = {name: [] for name in WORKERS}
    for k in range(rounds + 1):
        names = list(WORKERS)
        # in turns, so that neither is always second
        for name in names if k % 2 else reversed(names):
            rate = steps_per_second(card, WORKERS[name], steps)
            # the first round warms up
            if k:
                rates[name].append(rate)
    n = card.card.training.n_envs
    for name, found in rates.items():
        median = statistics.median(found)
        print(f"training {card.card.name}, {name:<14} {median:8.0f} steps/s, {n} environments")
    ratios = [b / a for a, b in zip(*rates.values(), strict=True)]
    best = max(rates["in the sandbox"]) / max(rates["in process"])
    print(
        f"throughput in the sandbox / in process: {statistics.median(ratios):.3f} "
        f"(median of {rounds} pairs, {min(ratios):.3f} to {max(ratios):.3f}; "
        f"best against best {best:.3f})"
    )


def steps_per_second(card: LocatedCard, worker: type, steps: int) -> float:
    """Train the card's human program with this class of worker."""
    timed_worker = timed_from_first_question(worker)
    training.Worker = timed_worker  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        job = TrainJob(
            card=str(card.path), program=str(card.human), seed=0, out=folder, steps=steps
        )
        training.train(job)
        return steps / (time.perf_counter() - timed_worker.started)


def timed_from_first_question(worker: type) -> type:
    class Timed(worker):  # type: ignore[misc]
        started = 0.0

        def send(self, *arrays: Array) -> None:
            Timed.started = Timed.started or time.perf_counter()
            super().send(*arrays)

    return Timed


def latency(card: LocatedCard, rounds: int) -> None:
    """Time a check of the card's human program on its probes."""
    assert card.human is not None
    text = card.human.read_text()
    with tempfile.TemporaryDirectory() as folder, Template() as template:
        probes = Path(folder) / "probes.npz"
        Engine(1).run([("probes", ProbeJob(card=str(card.path), seed=0, out=str(probes)))])
        assert check(text, card.card, probes, "default", template).ok
        seconds = timed(lambda: check(text, card.card, probes, "default", template), 10 * rounds)
    median, best = 1000 * statistics.median(seconds), 1000 * min(seconds)
    print(f"check of 1,000 transitions: median {median:.1f} ms, best {best:.1f} ms")


def start_up(card: LocatedCard, rounds: int) -> None:
    """Time the start of a worker, relative to a Python process that imports numpy."""
    assert card.human is not None
    text = card.human.read_text()
    layout, action = card.card.reward_layout, card.card.action
    bare = [sys.executable, "-I", "-c", "import numpy"]
    reference = statistics.median(timed(lambda: subprocess.run(bare, check=True), rounds))
    print(f"python that imports numpy: {1000 * reference:.0f} ms")

    with Template() as template:
        ways: dict[str, dict] = {"from a template": {"template": template}, "cold": {}}
        if shutil.which("bwrap"):
            ways["in bubblewrap"] = {"profile": "bwrap"}
        for name, options in ways.items():

            def start(options: dict = options) -> None:
                Worker(text, layout, action, **options).close()

            # the first one warms up
            start()
            median = statistics.median(timed(start, 3 * rounds))
            share = median / reference
            print(f"a worker, {name:<16} {1000 * median:6.1f} ms, {share:.2f} of that")


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Return the seconds of each of several calls."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", nargs="*", default=["doorkey16", "mountaincar"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30_000)
    options = parser.parse_args()
    cards = [find(task) for task in options.tasks]
    start_up(cards[0], options.rounds)
    latency(cards[0], options.rounds)
    for card in cards:
        throughput(card, options.rounds, options.steps)
