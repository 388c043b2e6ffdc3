"""Evaluate trained policies on new seeds, with no reward program involved.

Every environment contributes the same number of episodes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
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
from autoreward.store.io import write
from autoreward.store.jobs import EvaluateJob
from autoreward.store.records import Score
from autoreward.store.training import episodes_beside
from autoreward.tasks.card import TaskCard
from autoreward.tasks.find import LocatedCard, load
from autoreward.trainer import policy
from autoreward.trainer.environment import CardEnvironment, trusted_code


def shares(total: int, n: int) -> list[int]:
    """Split a number of episodes over n environments as evenly as possible."""
    each, rest = divmod(total, n)
    return [each + 1 if i < rest else each for i in range(n)]


class Recorder(VecEnvWrapper):
    """Keeps the fields and actions of `keep` episodes.

    Every environment contributes the same number, so that short episodes are not favoured.
    """

    def __init__(self, venv: VecEnv, keep: int, width: int) -> None:
        super().__init__(venv)
        self.width = width
        self.quota = shares(keep, venv.num_envs)
        self.kept: list[list[Episode]] = [[] for _ in range(venv.num_envs)]
        self.fields: list[list[Array]] = [[] for _ in range(venv.num_envs)]
        self.taken: list[list[Array]] = [[] for _ in range(venv.num_envs)]

    @property
    def complete(self) -> bool:
        """True once every environment has contributed its episodes."""
        pairs = zip(self.kept, self.quota, strict=True)
        return all(len(kept) >= quota for kept, quota in pairs)

    def reset(self) -> Array:
        vectors = np.asarray(self.venv.reset())
        self.fields = [[v[: self.width].copy()] for v in vectors]
        return vectors

    def step_async(self, actions: Array) -> None:
        self.actions = np.asarray(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        vectors, rewards, dones, infos = self.venv.step_wait()
        following = np.asarray(vectors)
        for i in range(self.num_envs):
            if len(self.kept[i]) >= self.quota[i]:
                continue
            last = infos[i]["terminal_observation"] if dones[i] else following[i]
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
                self.fields[i] = [following[i][: self.width].copy()]
                self.taken[i] = []
        return vectors, rewards, dones, infos

    def episodes(self) -> tuple[Episode, ...]:
        """Return every environment's first episode, then every second one, and so on."""
        rounds = max(self.quota, default=0)
        return tuple(kept[k] for k in range(rounds) for kept in self.kept if k < len(kept))


def evaluate(job: EvaluateJob) -> None:
    """Write one Score per policy to its `out`, and recorded episodes beside it."""
    torch.set_num_threads(job.threads)
    card = load(Path(job.card))
    code = trusted_code(card)
    for weights, out, seed in zip(job.policies, job.outs, job.seeds, strict=True):
        score, episodes = _score(job, card, code, Path(weights), seed)
        if job.record:
            episodes.save(episodes_beside(Path(out)))
        write(Path(out), score)
        success = None
        if score.successes is not None:
            success = score.successes / score.episodes
        progress = {"steps": score.episodes, "success": success, "length": score.mean_length}
        print(json.dumps(progress), flush=True)


@dataclass
class Tally:
    """Sums over the episodes that count."""

    episodes: int = 0
    successes: int = 0
    truncations: int = 0
    # ended neither by success nor by a time limit
    failures: int = 0
    steps: int = 0
    # sums of every metric, divided by the number of episodes that will be counted
    metrics: dict[str, float] = field(default_factory=dict)
    # the card's own metric, per episode
    values: list[float] = field(default_factory=list)

    def add(self, info: dict[str, Any], metric: str | None, share: int) -> None:
        """Count one episode by its last info; every metric is divided by `share`."""
        success = bool(info["success"])
        truncated = bool(info.get("TimeLimit.truncated", False))
        self.episodes += 1
        self.successes += success
        self.truncations += truncated
        self.failures += not truncated and not success
        self.steps += int(info["length"])
        for name, value in info["metrics"].items():
            self.metrics[name] = self.metrics.get(name, 0.0) + value / share
        if metric is not None:
            self.values.append(info["metrics"][metric])

    def score(self, card: TaskCard, seed: int) -> Score:
        """Return the sums as a Score."""
        return Score(
            seed=seed,
            episodes=self.episodes,
            successes=self.successes if card.success else None,
            metrics=self.metrics,
            values=tuple(self.values),
            mean_length=self.steps / self.episodes,
            terminated_failures=self.failures,
            truncations=self.truncations,
        )


def _score(
    job: EvaluateJob, card: LocatedCard, code: ModuleType | None, weights: Path, seed: int
) -> tuple[Score, Trajectories]:
    """Play one policy until every environment has contributed its episodes."""
    mode = card.card.evaluation
    episodes = job.episodes or mode.episodes
    n = min(mode.envs, episodes)
    quota = np.array(shares(episodes, n))
    made = DummyVecEnv([lambda: CardEnvironment(card, code)] * n)
    venv = Recorder(made, job.record, card.card.layout.width)
    view = policy.PolicyView(venv, card, code, training=False)
    agent = policy.build(card.card, view, 0, job.device, for_evaluation=True)
    policy.load(agent, view, weights)
    agent.policy.set_training_mode(False)
    # the policy samples from its own stream
    set_random_seed(stream_seed(job.purpose, seed, AGENT_PLACE))
    view.seed(stream_seed(job.purpose, seed))

    metric = card.card.metric.name if card.card.metric else None
    deterministic = mode.mode == "deterministic"
    tally = Tally()
    played = np.zeros(n, int)
    seen: Any = view.reset()
    while (played < quota).any() or not venv.complete:
        actions, _ = agent.policy.predict(seen, deterministic=deterministic)
        counted = played < quota
        seen, _, dones, infos = view.step(actions)
        for i in np.flatnonzero(dones & counted):
            played[i] += 1
            tally.add(infos[i], metric, episodes)
    venv.close()
    score = tally.score(card.card, seed)
    return score, Trajectories(card.card.layout, venv.episodes())
