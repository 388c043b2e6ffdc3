"""What the sandbox costs, as ratios in one run on one machine.

    .venv/bin/python benchmarks/sandbox.py [TASK ...] [--rounds N]

Throughput: the same training with the program in its jail and with the program in the trainer's own
process (only here: nothing but this file can do that), in turns. Check: milliseconds for 1,000
probe transitions, with a warm template. Start-up: a worker from a template, cold, and in
bubblewrap, against a bare `python -c "import numpy"`.
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

STEPS = 30_000


class InProcess:
    """A worker without a process: what the jail is compared with."""

    def __init__(self, program: str, layout, action, **_: object) -> None:
        self.program = LoadedProgram(program, layout)
        self.terms: tuple[str, ...] = ()
        self.potentials: tuple[str, ...] = ()
        self.sparse = frozenset(self.program.sparse)

    def ask(self, prev: Array, action: Array, curr: Array, first: Array) -> Answer:
        answers = [
            self.program.step(p.copy(), a, c.copy(), f)
            for p, a, c, f in zip(prev, action, curr, first, strict=True)
        ]
        self.terms, self.potentials = (
            tuple(self.program.terms or ()),
            tuple(self.program.potentials or ()),
        )
        return Answer(*(np.stack(part) for part in zip(*answers, strict=True)))

    def send(self, *arrays: Array) -> None:
        self.asked = arrays

    def receive(self) -> Answer:
        return self.ask(*self.asked)

    def close(self) -> None:
        pass


def throughput(card: LocatedCard, rounds: int) -> None:
    """Steps a second from the first question on: start-up is a line of its own, and does not grow
    with a training.
    """
    assert card.human is not None
    rates: dict[str, list[float]] = {"in process": [], "in the jail": []}
    kinds: dict[str, type] = {"in process": InProcess, "in the jail": Worker}
    for k in range(rounds + 1):
        for name in list(kinds)[:: 1 if k % 2 else -1]:
            training.Worker = timed_from_first(kinds[name])  # type: ignore[misc]
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                training.train(
                    TrainJob(
                        card=str(card.path),
                        program=str(card.human),
                        seed=0,
                        out=folder,
                        steps=STEPS,
                    )
                )
                # the first round warms up
                if k:
                    rates[name].append(STEPS / (time.perf_counter() - training.Worker.began))
    n = card.card.training.n_envs
    for name, found in rates.items():
        print(
            f"training {card.card.name}, {name:<12} {statistics.median(found):8.0f} steps a second, {n} environments"
        )
    pairs = [b / a for a, b in zip(*rates.values(), strict=True)]
    best = max(rates["in the jail"]) / max(rates["in process"])
    print(
        f"throughput in the jail / in process: {statistics.median(pairs):.3f} (median of {rounds} pairs, {min(pairs):.3f} to {max(pairs):.3f}; best against best {best:.3f})"
    )


def timed_from_first(kind: type) -> type:
    class Timed(kind):  # type: ignore[misc]
        began = 0.0

        def send(self, *arrays: Array) -> None:
            Timed.began = Timed.began or time.perf_counter()
            super().send(*arrays)

    return Timed


def latency(card: LocatedCard, rounds: int) -> None:
    assert card.human is not None
    text = card.human.read_text()
    with tempfile.TemporaryDirectory() as folder, Template() as template:
        probes = Path(folder) / "probes.npz"
        Engine(1).run([("probes", ProbeJob(card=str(card.path), seed=0, out=str(probes)))])
        assert check(text, card.card, probes, "default", template).ok
        times = timed(lambda: check(text, card.card, probes, "default", template), 10 * rounds)
        print(
            f"check of 1,000 transitions: {1000 * statistics.median(times):.1f} ms at the median, {1000 * min(times):.1f} at best"
        )


def start_up(card: LocatedCard, rounds: int) -> None:
    assert card.human is not None
    text, layout, action = card.human.read_text(), card.card.reward_layout, card.card.action
    bare = statistics.median(
        timed(
            lambda: subprocess.run([sys.executable, "-I", "-c", "import numpy"], check=True), rounds
        )
    )
    print(f"python that imports numpy: {1000 * bare:.0f} ms")
    with Template() as template:
        ways: dict[str, dict] = {"from a template": {"template": template}, "cold": {}}
        if shutil.which("bwrap"):
            ways["in bubblewrap"] = {"profile": "bwrap"}
        for name, options in ways.items():
            Worker(text, layout, action, **options).close()
            spent = statistics.median(
                timed(
                    lambda options=options: Worker(text, layout, action, **options).close(),
                    3 * rounds,
                )
            )
            print(f"a worker, {name:<16} {1000 * spent:6.1f} ms, {spent / bare:.2f} of that")


def timed(call: Callable[[], object], times: int) -> list[float]:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", nargs="*", default=["doorkey16", "mountaincar"])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    cards = [find(task) for task in given.tasks]
    start_up(cards[0], given.rounds)
    latency(cards[0], given.rounds)
    for card in cards:
        throughput(card, given.rounds)
