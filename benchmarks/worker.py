"""What the jail costs: one vector step through the reward worker against the same program in process, as a share of training.

    .venv/bin/python benchmarks/worker.py [TASK]

Prints microseconds per vector step (the best of several rounds, interleaved) and the share of a training's vector step.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from autoreward.cards import find
from autoreward.records import TrainJob
from autoreward.sandbox import Worker
from autoreward.worker.load import Program

ROUNDS, CALLS = 7, 400


def main(task: str) -> None:
    card = find(task)
    text = card.human.read_text() if card.human else ""
    layout, n = card.card.reward_layout, card.card.training.n_envs
    random = np.random.default_rng(0)
    prev, curr = (random.integers(1, 5, (1, n, layout.width)).astype(float) for _ in range(2))
    action = np.zeros((1, n, *card.card.action.row), np.int64 if card.card.action.integer else np.float64)
    first = np.zeros((1, n), bool)
    inside, best = Program(text, layout), {"in process": 1e9, "reward worker": 1e9}
    with Worker(text, layout, card.card.action) as worker:
        worker.ask(prev, action, curr, np.ones((1, n), bool))
        inside.step(prev[0], action[0], curr[0], np.ones(n, bool))
        for _ in range(ROUNDS):
            for name, call in (("in process", lambda: inside.step(prev[0], action[0], curr[0], first[0])), ("reward worker", lambda: worker.ask(prev, action, curr, first))):
                began = time.perf_counter()
                for _ in range(CALLS):
                    call()
                best[name] = min(best[name], (time.perf_counter() - began) / CALLS)
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        steps = 30_000
        job.write_text(TrainJob(card=str(card.path), program=None, seed=0, out=folder, steps=steps).model_dump_json())
        began = time.perf_counter()
        trainer = subprocess.Popen([sys.executable, "-m", "autoreward.trainer", str(job)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        trainer.wait()  # its standard input stays open: a trainer ends with its parent
        training = (time.perf_counter() - began) / json.loads((Path(folder) / "done.json").read_text())["steps"] * n
    for name, seconds in best.items():
        print(f"{name:<14} {seconds * 1e6:7.1f} us per vector step of {n} environments")
    print(f"{'training':<14} {training * 1e6:7.1f} us per vector step")
    print(f"the jail costs {(best['reward worker'] - best['in process']) / training:.2%} of training on {task}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "doorkey16")
