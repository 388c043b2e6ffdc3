"""Where a training's time goes: environments, reward worker, policy, gradient steps.

What a faster device could save is the last two.

.venv/bin/python benchmarks/where.py [TASK ...]
"""

import contextlib
import io
import sys
import tempfile
import time

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy

from autoreward.sandbox.outside.worker import Worker
from autoreward.store.jobs import TrainJob
from autoreward.tasks.find import find
from autoreward.trainer.environment import CardEnvironment
from autoreward.trainer.train import train

STEPS = 30_000
PARTS = {
    "environments": (CardEnvironment, "step"),
    "reward worker": (Worker, "ask"),
    "policy": (ActorCriticPolicy, "forward"),
    "gradient steps": (PPO, "train"),
}


def main(tasks: list[str]) -> None:
    spent = dict.fromkeys(PARTS, 0.0)
    for name, (kind, method) in PARTS.items():
        inner = getattr(kind, method)

        def timed(*arguments, inner=inner, name=name, **named):
            began = time.perf_counter()
            try:
                return inner(*arguments, **named)
            finally:
                spent[name] += time.perf_counter() - began

        setattr(kind, method, timed)
    for task in tasks:
        card = find(task)
        spent.update(dict.fromkeys(PARTS, 0.0))
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            began = time.perf_counter()
            train(
                TrainJob(
                    card=str(card.path), program=str(card.human), seed=0, out=folder, steps=STEPS
                )
            )
            whole = time.perf_counter() - began
        told = ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in spent.items())
        print(
            f"{task:<14} {told}, the rest {1 - sum(spent.values()) / whole:.0%} ({torch.get_num_threads()} thread)"
        )


if __name__ == "__main__":
    main(sys.argv[1:] or ["doorkey16", "hopper3m", "mountaincar"])
