"""Measure what relabelling costs, against stable-baselines3's own buffer and a gradient step.

    python benchmarks/hindsight.py [TASK]

Times one batch of the hindsight buffer with the sparse and with the human reward, one batch of
stable-baselines3's ReplayBuffer, and one gradient step of SAC, in turns.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from autoreward.rewards.composition import Composition
from autoreward.rewards.signals import PLAIN, SignalContext, find_signal
from autoreward.sandbox.outside.worker import Worker
from autoreward.tasks.find import LocatedCard, find
from autoreward.trainer import hindsight, policy
from autoreward.trainer.environment import trusted_code
from autoreward.trainer.reward_env import RewardVecEnv
from autoreward.trainer.train import environments

STEPS, ROUNDS = 200, 300
GRADIENT_STEP = "one gradient step, sampling included"


def main(task: str) -> None:
    torch.set_num_threads(1)
    located = find(task)
    card = located.card
    assert located.human is not None and card.training.her
    program = located.human.read_text()
    with Worker(program, card.reward_layout, card.action, same_cpu=True) as worker:
        sparse = agent_with_data(located, None)
        dense = agent_with_data(located, worker)
        size = dense.batch_size
        seconds = time_in_turns(
            {
                "stable-baselines3's ReplayBuffer": lambda: plain_batch(sparse, size),
                "hindsight, sparse": lambda: sparse.replay_buffer.sample(size),
                "hindsight, the card's human program": lambda: dense.replay_buffer.sample(size),
                GRADIENT_STEP: lambda: dense.train(1, size),
            }
        )
    for name, median in seconds.items():
        share = median / seconds[GRADIENT_STEP]
        microseconds = 1e6 * median
        print(
            f"{name:<40} {microseconds:7.0f} us a batch of {size}, {share:.0%} of a gradient step"
        )


def agent_with_data(located: LocatedCard, worker: Worker | None) -> BaseAlgorithm:
    """Return an agent that has filled its hindsight buffer and learned nothing yet."""
    card = located.card
    code = trusted_code(located)
    n = card.training.n_envs
    rewards = RewardVecEnv(
        hindsight.with_recorder(environments(located, code, n), card),
        SignalContext(card, ()),
        worker,
        Composition(),
        find_signal(PLAIN),
    )
    view = policy.PolicyView(rewards, located, code, training=True)
    buffer = hindsight.replay_buffer(located, code, rewards, view)
    agent = policy.build(card, view, 0, "cpu", replay=buffer)
    agent.learning_starts = 10**9
    agent.learn(STEPS * n)
    return agent


def plain_batch(agent: BaseAlgorithm, size: int) -> object:
    """Draw a batch as stable-baselines3's ReplayBuffer does, without relabelling."""
    drawn = np.random.randint(0, STEPS, size)
    return super(hindsight.HindsightBuffer, agent.replay_buffer)._get_samples(drawn)


def time_in_turns(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median seconds of each call over ROUNDS rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(found) for name, found in seconds.items()}


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "fetchreach")
