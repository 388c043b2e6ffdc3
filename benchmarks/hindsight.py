"""What relabelling costs: one batch of the hindsight buffer against one of stable-baselines3's
own, and against one gradient step of SAC.

.venv/bin/python benchmarks/hindsight.py [TASK]
"""

import statistics
import sys
import time

import numpy as np
import torch

from autoreward.rewards.composition import Composition
from autoreward.rewards.signals import PLAIN, SignalContext, find_signal
from autoreward.sandbox.outside.worker import Worker
from autoreward.tasks.find import find
from autoreward.trainer import hindsight, policy
from autoreward.trainer.environment import trusted_code
from autoreward.trainer.rewards import RewardVecEnv
from autoreward.trainer.train import environments

STEPS, ROUNDS = 200, 300


def main(task: str) -> None:
    torch.set_num_threads(1)
    card = find(task)
    code, training = trusted_code(card), card.card.training
    assert card.human is not None and training.her
    times: dict[str, list[float]] = {}
    with Worker(
        card.human.read_text(), card.card.reward_layout, card.card.action, same_cpu=True
    ) as worker:
        made = {}
        for name, asked in (("sparse", None), ("program", worker)):
            rewards = RewardVecEnv(
                hindsight.with_recorder(environments(card, code, training.n_envs), card.card),
                SignalContext(card.card, ()),
                asked,
                Composition(),
                find_signal(PLAIN),
            )
            view = policy.PolicyView(rewards, card, code, training=True)
            agent = policy.build(
                card.card, view, 0, "cpu", replay=hindsight.replay_buffer(card, code, rewards, view)
            )
            agent.learning_starts = 10**9
            agent.learn(STEPS * training.n_envs)
            made[name] = agent
        size = made["program"].batch_size
        buffers = {name: agent.replay_buffer for name, agent in made.items()}
        calls = {
            "stable-baselines3's ReplayBuffer": lambda: super(
                hindsight.HindsightBuffer, buffers["sparse"]
            )._get_samples(np.random.randint(0, STEPS, size)),
            "hindsight, sparse": lambda: buffers["sparse"].sample(size),
            "hindsight, the card's human program": lambda: buffers["program"].sample(size),
            "one gradient step, sampling included": lambda: made["program"].train(1, size),
        }
        for _ in range(ROUNDS):
            for name, call in calls.items():
                began = time.perf_counter()
                call()
                times.setdefault(name, []).append(time.perf_counter() - began)
    whole = statistics.median(times["one gradient step, sampling included"])
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        print(
            f"{name:<40} {1e6 * middle:7.0f} us a batch of {size}, {middle / whole:.0%} of a gradient step"
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "fetchreach")
