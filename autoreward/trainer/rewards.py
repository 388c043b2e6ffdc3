"""The reward of training: asks the reward worker once per vector step, and composes. Innermost of the wrappers, on raw fields.

Auto-reset: stable-baselines3 returns the next episode's first observation at a done; `curr` takes the true last state from
`terminal_observation`, and memory rows are reset before the next step. `terminated` is a done that is no truncation.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from autoreward.composition import Columns, Composer, Composition, Unfit
from autoreward.records import Verdict
from autoreward.sandbox import ProgramRefused, Worker
from autoreward.state import Array
from autoreward.task import TaskCard
from autoreward.transitions import columns


@dataclass(frozen=True)
class Finished:
    """One finished training episode: undiscounted sums."""

    success: bool
    length: int
    reward: float
    terms: Array
    metric: float | None = None


@dataclass
class Recording:
    """Raw material and rewards of the first vector steps, (T, n, ...): what a replay must reproduce bit for bit."""

    limit: int
    steps: list[dict[str, Array]] = field(default_factory=list)

    def arrays(self) -> dict[str, Array]:
        return {k: np.stack([s[k] for s in self.steps]) for k in self.steps[0]} if self.steps else {}


class RewardVec(VecEnvWrapper):
    """Replaces the task reward by the composed one. `worker` None: the sparse task reward alone.

    Raises ProgramRefused (the candidate's fault, a composition that does not fit it among them) or MachineFault out of `step`.
    """

    def __init__(self, venv: VecEnv, card: TaskCard, worker: Worker | None, composition: Composition, record: int = 0) -> None:
        super().__init__(venv)
        self.worker, self.composition, self.gamma = worker, composition, card.training.gamma
        self.metric = card.metric.name if card.metric else None
        self.picked = columns(card.layout, card.reward_layout)
        self.composer: Composer | None = None  # once the program has named its terms
        self.names: tuple[str, ...] = ()
        self.finished: deque[Finished] = deque(maxlen=100)
        self.ended = 0
        self.fresh: list[Finished] = []  # ended since the last window
        self.recording = Recording(record)
        self.none = np.zeros(venv.num_envs, bool)
        self.ticks = 0  # vector steps so far
        n = venv.num_envs
        self.previous, self.first = np.zeros((n, len(self.picked))), np.ones(n, bool)
        self.sums: Array = np.zeros((n, 0))
        self.rewards, self.actions = np.zeros(n), np.zeros(0)

    def _composer(self, worker: Worker) -> Composer:
        made = Composer(self.composition, Columns(worker.terms, worker.potentials, worker.sparse), self.gamma)
        self.names = made.names
        self.sums = np.zeros((self.num_envs, len(self.names)))
        return made

    def rollout_ended(self) -> None:
        """Between two rollouts of the learner: what a composition has learned takes effect."""
        if self.composer is not None:
            self.composer.update()
            if self.recording.steps and self.ticks == len(self.recording.steps):
                self.recording.steps[-1]["updated"] = np.array(True)

    def reset(self) -> Array:
        vectors = np.asarray(self.venv.reset(), np.float64)
        self.previous, self.first = vectors[:, self.picked], np.ones(self.num_envs, bool)
        self.rewards[:] = 0
        self.sums[:] = 0
        return vectors

    def step_async(self, actions: Array) -> None:
        self.actions = np.asarray(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        vectors, task, dones, infos = self.venv.step_wait()
        vectors = np.asarray(vectors, np.float64)
        current, terminated = vectors[:, self.picked], dones.copy()
        if dones.any():
            current = current.copy()
            for i in np.flatnonzero(dones):
                current[i] = infos[i]["terminal_observation"][self.picked]
                terminated[i] = not infos[i].get("TimeLimit.truncated", False)
        task = np.asarray(task, np.float64)
        if self.worker is None:
            reward, shaped = self.composition.task_reward * task, np.zeros((len(task), 0))
        else:
            answer = self.worker.ask(self.previous[None], self.actions[None], current[None], self.first[None])
            success = self.none if not dones.any() else np.array([bool(d and i["success"]) for d, i in zip(dones, infos, strict=True)])
            try:
                self.composer = self.composer or self._composer(self.worker)
                reward, shaped = self.composer.step(answer.terms[0], answer.before[0], answer.after[0], task, self.first, terminated, dones, success)
            except Unfit as error:
                raise ProgramRefused(Verdict(kind=error.kind, stage="training", message=error.message, hint=error.hint)) from None
        self.ticks += 1
        if len(self.recording.steps) < self.recording.limit:
            self.recording.steps.append(
                {
                    "prev": self.previous.copy(),
                    "action": self.actions.copy(),
                    "curr": current.copy(),
                    "first": self.first.copy(),
                    "terminated": terminated.copy(),
                    "done": dones.copy(),
                    "task": task.copy(),
                    "success": np.array([bool(d and i["success"]) for d, i in zip(dones, infos, strict=True)]),
                    "updated": np.array(False),
                    "reward": reward.astype(np.float32),
                }
            )
        self.sums = self.sums + shaped
        self.rewards += reward
        for i in np.flatnonzero(dones):
            metric = infos[i]["metrics"][self.metric] if self.metric else None
            episode = Finished(bool(infos[i]["success"]), int(infos[i]["length"]), float(self.rewards[i]), self.sums[i].copy(), metric)
            self.finished.append(episode)
            self.fresh.append(episode)
            self.ended += 1
            self.sums[i] = 0
            self.rewards[i] = 0
        self.previous, self.first = vectors[:, self.picked], dones.copy()
        return vectors, reward.astype(np.float32), dones, infos
