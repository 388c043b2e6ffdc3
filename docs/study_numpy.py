"""A study without stable-baselines3: Q-learning in a table of 16 numbers.

`python docs/study_numpy.py`. Seconds, no key.
"""

import sys

import numpy as np

import autoreward


def q_learning(env, episodes: int, seed: int) -> tuple[np.ndarray, list[tuple[int, float, float]]]:
    """A table (handle, action) of discounted returns, and the curve: (steps, success rate, mean
    length) per ten episodes.
    """
    random, table, curve, ended, steps = np.random.default_rng(seed), np.zeros((4, 4)), [], [], 0
    for k in range(episodes):
        (_, _, handle), _ = env.reset(seed=k)
        done, length = False, 0
        while not done:
            action = (
                int(table[int(handle)].argmax())
                if random.random() > 0.1
                else int(random.integers(4))
            )
            (_, _, following), reward, terminated, truncated, info = env.step(action)
            target = reward + 0.9 * (0 if terminated else table[int(following)].max())
            table[int(handle), action] += 0.1 * (target - table[int(handle), action])
            handle, done, length = following, terminated or truncated, length + 1
        steps += length
        ended.append((info["autoreward"]["success"], length))
        if len(ended) == 10:
            curve.append((steps, *(float(x) for x in np.mean(ended, 0))))
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
        print(
            f"{candidate.id}: success {result.success:.0%} (95% interval {result.low:.0%} to {result.high:.0%}) after {curve[-1][0]} steps"
        )
    print(f"the best is {study.final.winner}; look: autoreward runs show {study.path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
