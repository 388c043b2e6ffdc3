"""A study without stable-baselines3: Q-learning in a table of 16 numbers.

`python docs/study_numpy.py`. Seconds, no key.
"""

import sys

import numpy as np

import autoreward

Curve = list[tuple[int, float, float]]


def choose(values: np.ndarray, random: np.random.Generator) -> int:
    """The best action, or in one of ten steps a random one."""
    if random.random() > 0.1:
        return int(values.argmax())
    return int(random.integers(len(values)))


def q_learning(env, episodes: int, seed: int) -> tuple[np.ndarray, Curve]:
    """Learn a table (handle, action) of discounted returns.

    The curve has (steps, success rate, mean length) for every ten episodes.
    """
    random = np.random.default_rng(seed)
    table = np.zeros((4, 4))
    curve: Curve = []
    ended: list[tuple[bool, int]] = []
    steps = 0
    for episode in range(episodes):
        (_, _, handle), _ = env.reset(seed=episode)
        done = False
        length = 0
        while not done:
            action = choose(table[int(handle)], random)
            (_, _, following), reward, terminated, truncated, info = env.step(action)
            target = reward
            if not terminated:
                target += 0.9 * table[int(following)].max()
            table[int(handle), action] += 0.1 * (target - table[int(handle), action])
            handle = following
            done = terminated or truncated
            length += 1
        steps += length
        ended.append((info["autoreward"]["success"], length))
        if len(ended) == 10:
            rate, mean_length = np.mean(ended, axis=0)
            curve.append((steps, float(rate), float(mean_length)))
            ended = []
    return table, curve


def main(folder: str = "runs/own-numpy") -> None:
    study = autoreward.Study(
        "corridor", model="offline/search", iterations=2, candidates=2, run=folder
    )
    while (candidate := study.ask()) is not None:
        table, curve = q_learning(candidate.wrap(study.make()), episodes=60, seed=0)
        evidence = study.evaluate(
            lambda seen, table=table: int(table[int(seen[2])].argmax()),
            steps=curve[-1][0],
            curve=curve,
        )
        result = study.tell(candidate, evidence)
        interval = f"95% interval {result.low:.0%} to {result.high:.0%}"
        print(f"{candidate.id}: success {result.success:.0%} ({interval})")
    print(f"the best is {study.final.winner}; look: autoreward runs show {study.path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
