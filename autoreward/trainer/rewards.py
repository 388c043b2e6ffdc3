"""The reward of training: asks the reward worker once per vector step, and composes. Innermost of the wrappers, on raw fields.

Auto-reset: stable-baselines3 returns the next episode's first observation at a done; `curr` takes the true last state from
`terminal_observation`, and memory rows are reset before the next step. `terminated` is a done that is no truncation.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer
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


@dataclass
class Asked:
    """One vector step that the worker was asked about. Arrays (n, ...); `ended`: the infos of the rows whose episode ended."""

    prev: Array
    action: Array
    curr: Array
    first: Array
    terminated: Array
    dones: Array
    task: Array
    ended: dict[int, dict[str, Any]]


class RewardVec(VecEnvWrapper):
    """Replaces the task reward by the composed one. `worker` None: the sparse task reward alone.

    With `late` a step returns zeros, and its reward is added to the learner's buffer (`LateRollout`) one step later: the worker then
    works while the trainer does.

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
        self.late = False
        self.asked: Asked | None = None
        self.row: Array | None = None
        self.early: Array | None = None

    def _composer(self, worker: Worker) -> Composer:
        made = Composer(self.composition, Columns(worker.terms, worker.potentials, worker.sparse), self.gamma)
        self.names = made.names
        self.sums = np.zeros((self.num_envs, len(self.names)))
        return made

    def rollout_ended(self) -> None:
        """Between two rollouts of the learner: what a composition has learned takes effect."""
        self.settle()
        if self.composer is not None:
            self.composer.update()
            if self.recording.steps and self.ticks == len(self.recording.steps):
                self.recording.steps[-1]["updated"] = np.array(True)

    def reset(self) -> Array:
        self.settle()
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
        asked = Asked(self.previous, self.actions, current, self.first, terminated, dones, np.asarray(task, np.float64), {int(i): infos[i] for i in np.flatnonzero(dones)})
        self.previous, self.first = vectors[:, self.picked], dones.copy()
        if self.worker is None:
            reward = self._account(asked, self.composition.task_reward * asked.task, np.zeros((len(dones), 0)))
        else:
            self.settle()
            self.worker.send(asked.prev[None], asked.action[None], asked.curr[None], asked.first[None])
            self.asked = asked
            reward = np.zeros(len(dones), np.float32) if self.late else self.settle()
        return vectors, reward, dones, infos

    def settle(self) -> Array:
        """Take the answer that is still out, if any: compose, account, and put the reward where its step was stored. (n,) float32."""
        asked, self.asked = self.asked, None
        if asked is None or self.worker is None:
            return np.zeros(self.num_envs, np.float32)
        answer = self.worker.receive()
        success = np.array([bool(asked.dones[i] and asked.ended[i]["success"]) for i in range(len(asked.dones))]) if asked.ended else self.none
        try:
            self.composer = self.composer or self._composer(self.worker)
            reward, shaped = self.composer.step(answer.terms[0], answer.before[0], answer.after[0], asked.task, asked.first, asked.terminated, asked.dones, success)
        except Unfit as error:
            raise ProgramRefused(Verdict(kind=error.kind, stage="training", message=error.message, hint=error.hint)) from None
        told = self._account(asked, reward, shaped)
        if self.late and self.row is not None:
            self.row += told
            self.row = None
        elif self.late:
            self.early = told
        return told

    def belongs_to(self, row: Array) -> None:
        """`row` (n,) float32 of the learner's buffer holds the step before: its reward is added there, now or once it is answered."""
        if self.early is not None:
            row += self.early
            self.early = None
        else:
            self.row = row

    def _account(self, asked: Asked, reward: Array, shaped: Array) -> Array:
        self.ticks += 1
        if len(self.recording.steps) < self.recording.limit:
            self.recording.steps.append(
                {
                    "prev": asked.prev.copy(),
                    "action": asked.action.copy(),
                    "curr": asked.curr.copy(),
                    "first": asked.first.copy(),
                    "terminated": asked.terminated.copy(),
                    "done": asked.dones.copy(),
                    "task": asked.task.copy(),
                    "success": np.array([i in asked.ended and bool(asked.ended[i]["success"]) for i in range(len(asked.dones))]),
                    "updated": np.array(False),
                    "reward": reward.astype(np.float32),
                }
            )
        self.sums = self.sums + shaped
        self.rewards += reward
        for i, info in asked.ended.items():
            metric = info["metrics"][self.metric] if self.metric else None
            episode = Finished(bool(info["success"]), int(info["length"]), float(self.rewards[i]), self.sums[i].copy(), metric)
            self.finished.append(episode)
            self.fresh.append(episode)
            self.ended += 1
            self.sums[i] = 0
            self.rewards[i] = 0
        told: Array = reward.astype(np.float32)
        return told


class LateRollout(RolloutBuffer):
    """A rollout whose rewards come one step late: the worker answers while the next step is taken. The numbers are the same."""

    source: RewardVec | None = None

    def add(self, *arguments: Any, **named: Any) -> None:
        row = self.pos
        super().add(*arguments, **named)
        if self.source is not None:
            self.source.belongs_to(self.rewards[row])

    def compute_returns_and_advantage(self, *arguments: Any, **named: Any) -> None:
        if self.source is not None:
            self.source.settle()
        super().compute_returns_and_advantage(*arguments, **named)
