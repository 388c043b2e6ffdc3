"""Trained policies on fresh seeds, no program anywhere near; the same number of episodes from
every environment.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper

from autoreward.seeds import AGENT_PLACE, stream_seed
from autoreward.state import Array
from autoreward.store.episodes import Episode, Trajectories
from autoreward.store.files import write
from autoreward.store.jobs import EvaluateJob
from autoreward.store.records import Score
from autoreward.store.training import episodes_beside
from autoreward.tasks.find import LocatedCard, load
from autoreward.trainer import policy
from autoreward.trainer.environment import CardEnvironment, trusted_code


class Recorder(VecEnvWrapper):
    """Keeps fields and actions of `keep` episodes, the same number from every environment, so that
    short ones are not favoured.
    """

    def __init__(self, venv: VecEnv, keep: int, width: int) -> None:
        super().__init__(venv)
        self.width = width
        self.quota = [
            keep // venv.num_envs + (i < keep % venv.num_envs) for i in range(venv.num_envs)
        ]
        self.kept: list[list[Episode]] = [[] for _ in range(venv.num_envs)]
        self.fields: list[list[Array]] = [[] for _ in range(venv.num_envs)]
        self.taken: list[list[Array]] = [[] for _ in range(venv.num_envs)]

    def reset(self) -> Array:
        vectors = np.asarray(self.venv.reset())
        self.fields = [[v[: self.width].copy()] for v in vectors]
        return vectors

    def step_async(self, actions: Array) -> None:
        self.actions = np.asarray(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        vectors, rewards, dones, infos = self.venv.step_wait()
        for i in range(self.num_envs):
            if len(self.kept[i]) >= self.quota[i]:
                continue
            last = np.asarray(infos[i]["terminal_observation"] if dones[i] else vectors[i])  # type: ignore[index]
            self.fields[i].append(last[: self.width].copy())
            self.taken[i].append(np.array(self.actions[i]))
            if dones[i]:
                cut = bool(infos[i].get("TimeLimit.truncated", False))
                self.kept[i].append(
                    Episode(
                        np.stack(self.fields[i]),
                        np.stack(self.taken[i]),
                        not cut,
                        cut,
                        bool(infos[i]["success"]),
                    )
                )
                self.fields[i], self.taken[i] = [np.asarray(vectors[i])[: self.width].copy()], []  # type: ignore[index]
        return vectors, rewards, dones, infos

    def episodes(self) -> tuple[Episode, ...]:
        """Every environment's first, then every environment's second, and so on."""
        rounds = max(self.quota, default=0)
        return tuple(kept[k] for k in range(rounds) for kept in self.kept if k < len(kept))


def evaluate(job: EvaluateJob) -> None:
    """One Score per policy at its `out`; recorded episodes beside it."""
    torch.set_num_threads(job.threads)
    card = load(Path(job.card))
    code = trusted_code(card)
    for weights, out, seed in zip(job.policies, job.outs, job.seeds, strict=True):
        score, episodes = _score(job, card, code, Path(weights), seed)
        if job.record:
            episodes.save(episodes_beside(Path(out)))
        write(Path(out), score)
        print(
            json.dumps(
                {
                    "steps": score.episodes,
                    "success": score.successes / score.episodes
                    if score.successes is not None
                    else None,
                    "length": score.mean_length,
                }
            ),
            flush=True,
        )


def _score(
    job: EvaluateJob, card: LocatedCard, code: ModuleType | None, weights: Path, seed: int
) -> tuple[Score, Trajectories]:
    mode = card.card.evaluation
    episodes = job.episodes or mode.episodes
    n = min(mode.envs, episodes)
    quota = np.array([episodes // n + (i < episodes % n) for i in range(n)])
    venv = Recorder(
        DummyVecEnv([lambda: CardEnvironment(card, code)] * n), job.record, card.card.layout.width
    )
    view = policy.PolicyView(venv, card, code, training=False)
    agent = policy.build(card.card, view, 0, job.device, for_evaluation=True)
    policy.load(agent, view, weights)
    agent.policy.set_training_mode(False)
    # the policy's own draws
    set_random_seed(stream_seed(job.purpose, seed, AGENT_PLACE))
    view.seed(stream_seed(job.purpose, seed))
    taken = np.zeros(n, int)
    successes, ended, lengths, truncations, failures = 0, 0, 0, 0, 0
    metrics: dict[str, float] = {}
    values: list[float] = []
    seen = view.reset()
    while (taken < quota).any() or any(
        len(k) < q for k, q in zip(venv.kept, venv.quota, strict=True)
    ):
        actions, _ = agent.policy.predict(seen, deterministic=mode.mode == "deterministic")
        counted = taken < quota
        seen, _, dones, infos = view.step(actions)  # type: ignore[assignment]
        for i in np.flatnonzero(dones & counted):
            taken[i] += 1
            ended += 1
            won, cut = bool(infos[i]["success"]), bool(infos[i].get("TimeLimit.truncated", False))
            successes += won
            lengths += int(infos[i]["length"])
            truncations += cut
            failures += not cut and not won
            for name, value in infos[i]["metrics"].items():
                metrics[name] = metrics.get(name, 0.0) + value / episodes
            if card.card.metric:
                values.append(infos[i]["metrics"][card.card.metric.name])
    venv.close()
    score = Score(
        seed=seed,
        episodes=ended,
        successes=successes if card.card.success else None,
        metrics=metrics,
        values=tuple(values),
        mean_length=lengths / ended,
        terminated_failures=failures,
        truncations=truncations,
    )
    return score, Trajectories(card.card.layout, venv.episodes())
