"""A study without stable-baselines3: Q-learning in a table of 16 numbers.

`python docs/study_numpy.py`. Seconds, no key.
"""

import sys

import numpy as np

import autoreward

# Rows of (steps, success rate, mean length).
Curve = list[tuple[int, float, float]]
EPISODES_PER_ROW = 10


class Table:
    """Discounted returns by handle and action: all that this agent learns."""

    def __init__(self, seed: int) -> None:
        self.values = np.zeros((4, 4))
        self.random = np.random.default_rng(seed)

    def best(self, observation: np.ndarray) -> int:
        handle = int(observation[2])
        return int(self.values[handle].argmax())

    def explore(self, observation: np.ndarray) -> int:
        """The best action, or in one of ten steps a random one."""
        if self.random.random() > 0.1:
            return self.best(observation)
        return int(self.random.integers(4))

    def learn(self, before, action: int, reward: float, after, terminated: bool) -> None:
        target = reward
        if not terminated:
            target += 0.9 * self.values[int(after[2])].max()
        cell = (int(before[2]), action)
        self.values[cell] += 0.1 * (target - self.values[cell])


def play(env, table: Table, seed: int) -> tuple[bool, int]:
    """Learn from one episode; return whether it succeeded, and its length."""
    observation, _ = env.reset(seed=seed)
    length = 0
    done = False
    while not done:
        action = table.explore(observation)
        following, reward, terminated, truncated, info = env.step(action)
        table.learn(observation, action, reward, following, terminated)
        observation = following
        done = terminated or truncated
        length += 1
    return info["autoreward"]["success"], length


def q_learning(env, episodes: int, seed: int) -> tuple[Table, Curve]:
    """Learn a table; the curve has a row for every ten episodes."""
    table = Table(seed)
    curve: Curve = []
    steps = 0
    for first in range(0, episodes, EPISODES_PER_ROW):
        ended = [play(env, table, first + k) for k in range(EPISODES_PER_ROW)]
        rate, mean_length = np.mean(ended, axis=0)
        steps += sum(length for _, length in ended)
        curve.append((steps, float(rate), float(mean_length)))
    return table, curve


def main(folder: str = "runs/own-numpy") -> None:
    study = autoreward.Study(
        "corridor", model="offline/search", iterations=2, candidates=2, run=folder
    )
    while (candidate := study.ask()) is not None:
        env = candidate.wrap(study.make())
        table, curve = q_learning(env, episodes=60, seed=0)
        steps = curve[-1][0]
        evidence = study.evaluate(table.best, steps=steps, curve=curve)
        result = study.tell(candidate, evidence)
        interval = f"95% interval {result.low:.0%} to {result.high:.0%}"
        print(f"{candidate.id}: success {result.success:.0%} ({interval})")
    print(f"the best is {study.final.winner}; look: autoreward runs show {study.path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
