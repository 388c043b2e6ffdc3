"""Measure where a training's time goes, as shares of its wall-clock time.

    python benchmarks/training_time.py [TASK ...] [--steps 30000]

Trains each task's human program in this process and times the calls that training makes:
environments, reward worker, composition, policy and gradient steps. The share of the reward worker
is what the trainer spends on sending questions and waiting for answers: PPO and A2C collect an
answer one step later, so the worker's own time is mostly hidden behind the environments. A faster
device saves at most the shares of policy and gradient steps.
"""

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy

from autoreward.rewards.composition import Composer
from autoreward.sandbox.outside.worker import Worker
from autoreward.store.jobs import TrainJob
from autoreward.tasks.find import find
from autoreward.trainer.environment import CardEnvironment
from autoreward.trainer.train import train

PARTS: dict[str, list[tuple[type, str]]] = {
    "environments": [(CardEnvironment, "step"), (CardEnvironment, "reset")],
    "reward worker": [(Worker, "send"), (Worker, "receive"), (Worker, "ask")],
    "composition": [(Composer, "step")],
    "policy": [(ActorCriticPolicy, "forward"), (BasePolicy, "predict")],
    "gradient steps": [(kind, "train") for kind in (A2C, DQN, PPO, SAC, TD3)],
}


class Clock:
    """Seconds by part. A call inside another one (hindsight asks the worker while it draws a batch)
    counts for the inner part only.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.open_calls: list[float] = []

    def timed(self, call: Callable[..., Any], part: str) -> Callable[..., Any]:
        """Wrap a method so that its time is added to its part."""

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            self.open_calls.append(0.0)
            try:
                return call(*args, **kwargs)
            finally:
                spent = time.perf_counter() - started
                self.seconds[part] += spent - self.open_calls.pop()
                if self.open_calls:
                    self.open_calls[-1] += spent

        return wrapper


def main(tasks: list[str], steps: int) -> None:
    clock = Clock()
    for part, calls in PARTS.items():
        for owner, method in calls:
            setattr(owner, method, clock.timed(getattr(owner, method), part))
    for task in tasks:
        clock.seconds = dict.fromkeys(PARTS, 0.0)
        whole = train_once(task, steps)
        shares = {part: spent / whole for part, spent in clock.seconds.items()}
        shares["other"] = 1 - sum(shares.values())
        line = ", ".join(f"{part} {share:.1%}" for part, share in shares.items())
        print(
            f"{task:<14} {line}; {steps / whole:.0f} steps/s, {torch.get_num_threads()} thread(s)"
        )


def train_once(task: str, steps: int) -> float:
    """Train the task's human program and return the seconds that it took."""
    card = find(task)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        job = TrainJob(
            card=str(card.path), program=str(card.human), seed=0, out=folder, steps=steps
        )
        started = time.perf_counter()
        train(job)
        return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", nargs="*", default=["doorkey16", "hopper3m", "mountaincar"])
    parser.add_argument("--steps", type=int, default=30_000)
    options = parser.parse_args()
    main(options.tasks, options.steps)
