"""Your own stable-baselines3 training in a study: `python docs/study_sb3.py`.

Half a minute, no key.
"""

import sys

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO

import autoreward


class Handle(gym.ObservationWrapper):
    """What this agent sees: the handle of its door, one-hot."""

    observation_space = gym.spaces.Box(0, 1, (4,), np.float32)

    def observation(self, seen):
        handle = int(seen[2])
        return np.eye(4, dtype=np.float32)[handle]


def main(folder: str = "runs/own-sb3") -> None:
    # A small network is fastest on one thread.
    torch.set_num_threads(1)
    study = autoreward.Study(
        "corridor", model="offline/search", iterations=2, candidates=1, run=folder, tell=print
    )
    for candidate in study:
        venv = candidate.vector(study.make, 8, view=Handle)
        agent = PPO(
            "MlpPolicy",
            venv,
            n_steps=64,
            batch_size=256,
            n_epochs=5,
            learning_rate=0.003,
            ent_coef=0.01,
            seed=0,
        )
        try:
            agent.learn(10_000)
        except autoreward.ProgramRejected as rejected:
            # The program failed on a state that no check had met.
            evidence = autoreward.Evidence(failure=str(rejected))
            study.tell(candidate, evidence)
            continue
        evidence = study.evaluate(
            lambda seen, agent=agent: agent.predict(seen)[0],
            view=Handle,
            episodes=40,
            steps=agent.num_timesteps,
        )
        study.tell(candidate, evidence)
        succeeded = f"{evidence.won} of {evidence.count} episodes succeed"
        print(f"{candidate.id}: {succeeded} after {evidence.steps} steps")
    final = study.final
    winner = final.arms["winner"]
    print(f"the best is {final.winner}, success {winner.success:.0%}")
    print(final.program)


if __name__ == "__main__":
    main(*sys.argv[1:])
