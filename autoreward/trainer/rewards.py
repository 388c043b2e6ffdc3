"""The reward of training: asks the reward worker once per vector step, and composes.

Innermost of the wrappers, on raw fields.

Auto-reset: stable-baselines3 returns the next episode's first observation at a done; `curr` takes
the true last state from `terminal_observation`, and memory rows are reset before the next step.
`terminated` is a done that is no truncation.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from autoreward.rewards.composition import Composer, Composition, UnsuitableComposition
from autoreward.rewards.signals import Signal, SignalContext, StepBatch
from autoreward.sandbox.outside.worker import ProgramRefused, Worker
from autoreward.state import Array
from autoreward.store.episodes import columns
from autoreward.store.records import Verdict


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
    """Raw material and rewards of the first vector steps, (T, n, ...): what a replay must
    reproduce bit for bit.
    """

    limit: int
    steps: list[dict[str, Array]] = field(default_factory=list)

    def arrays(self) -> dict[str, Array]:
        return (
            {k: np.stack([s[k] for s in self.steps]) for k in self.steps[0]} if self.steps else {}
        )


class RewardVecEnv(VecEnvWrapper):
    """Replaces the task reward by the composed one.

    `worker` None: the sparse task reward alone; `kind`: the signal between answers and terms.

    With `late` a step returns zeros, and its reward is added to the learner's buffer
    (`LateRollout`) one step later: the worker then works while the trainer does.

    Raises ProgramRefused (the candidate's fault, a composition that does not fit it among them) or
    MachineFault out of `step`.
    """

    def __init__(
        self,
        venv: VecEnv,
        making: SignalContext,
        worker: Worker | None,
        composition: Composition,
        kind: type[Signal],
        record: int = 0,
    ) -> None:
        super().__init__(venv)
        card = making.card
        self.worker, self.composition, self.gamma = worker, composition, card.training.gamma
        self.kind, self.making = kind, making
        self.metric = card.metric.name if card.metric else None
        self.picked = columns(card.layout, card.reward_layout)
        # this and the composer: once the program has named its terms
        self.signal: Signal | None = None
        self.composer: Composer | None = None
        self.names: tuple[str, ...] = ()
        self.finished: deque[Finished] = deque(maxlen=100)
        self.ended = 0
        # ended since the last window
        self.fresh: list[Finished] = []
        self.recording = Recording(record)
        self.none = np.zeros(venv.num_envs, bool)
        # vector steps so far
        self.ticks = 0
        n = venv.num_envs
        self.previous, self.first = np.zeros((n, len(self.picked))), np.ones(n, bool)
        self.sums: Array = np.zeros((n, 0))
        self.rewards, self.actions = np.zeros(n), np.zeros(0)
        self.late = False
        # the signal knew something while the last rollout was scored
        self.taught = True
        # a step that the worker was asked about, and the infos of the rows whose episode ended
        self.asked: tuple[StepBatch, dict[int, dict[str, Any]]] | None = None
        self.row: Array | None = None
        self.early: Array | None = None

    def _begin(self, worker: Worker) -> tuple[Signal, Composer]:
        signal = self.kind(
            replace(
                self.making,
                terms=worker.terms,
                potentials=worker.potentials,
                sparse=worker.sparse,
                rows=self.num_envs,
            )
        )
        composer = Composer(
            self.composition,
            self.kind.columns(worker.terms, worker.potentials, worker.sparse),
            self.gamma,
        )
        self.names = composer.names
        self.sums = np.zeros((self.num_envs, len(self.names)))
        self.signal, self.composer = signal, composer
        return signal, composer

    def rollout_ended(self) -> None:
        """Between two rollouts of the learner: what signal and composition have learned takes
        effect.
        """
        self.settle()
        if self.signal is not None and self.composer is not None:
            self.taught = self.signal.knows
            self.signal.update()
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
        ended = {int(i): infos[i] for i in np.flatnonzero(dones)}
        success = (
            np.array([i in ended and bool(ended[i]["success"]) for i in range(len(dones))])
            if ended
            else self.none
        )
        facts = StepBatch(
            self.previous,
            self.actions,
            current,
            self.first,
            terminated,
            dones,
            success,
            np.asarray(task, np.float64),
            self._dense(infos),
        )
        self.previous, self.first = vectors[:, self.picked], dones.copy()
        if self.worker is None:
            reward = self._account(
                facts, ended, self.composition.task_reward * facts.task, np.zeros((len(dones), 0))
            )
        else:
            self.settle()
            self.worker.send(
                facts.prev[None], facts.action[None], facts.curr[None], facts.first[None]
            )
            self.asked = facts, ended
            reward = np.zeros(len(dones), np.float32) if self.late else self.settle()
        return vectors, reward, dones, infos

    def _dense(self, infos: Any) -> Array | None:
        return (
            np.array([info["dense"] for info in infos])
            if self.making.card.episodic_return
            else None
        )

    def settle(self) -> Array:
        """Take the answer that is still out, if any: compose, account, and put the reward where
        its step was stored. (n,) float32.
        """
        asked, self.asked = self.asked, None
        if asked is None or self.worker is None:
            return np.zeros(self.num_envs, np.float32)
        facts, ended = asked
        answer = self.worker.receive()
        try:
            signal, composer = (
                (self.signal, self.composer)
                if self.signal and self.composer
                else self._begin(self.worker)
            )
            terms, before, after = signal.step(
                answer.terms[0], answer.before[0], answer.after[0], facts
            )
            task = np.zeros_like(facts.task) if signal.replaces_task else facts.task
            reward, shaped = composer.step(
                terms, before, after, task, facts.first, facts.terminated, facts.done, facts.success
            )
        except UnsuitableComposition as error:
            raise ProgramRefused(
                Verdict(kind=error.kind, stage="training", message=error.message, hint=error.hint)
            ) from None
        told = self._account(facts, ended, reward, shaped)
        if self.late and self.row is not None:
            self.row += told
            self.row = None
        elif self.late:
            self.early = told
        return told

    def belongs_to(self, row: Array) -> None:
        """`row` (n,) float32 of the learner's buffer holds the step before: its reward is added
        there, now or once it is answered.
        """
        if self.early is not None:
            row += self.early
            self.early = None
        else:
            self.row = row

    def _account(
        self, facts: StepBatch, ended: dict[int, dict[str, Any]], reward: Array, shaped: Array
    ) -> Array:
        self.ticks += 1
        if len(self.recording.steps) < self.recording.limit:
            kept = {
                f.name: part.copy()
                for f in fields(facts)
                if (part := getattr(facts, f.name)) is not None
            }
            self.recording.steps.append(
                {**kept, "updated": np.array(False), "reward": reward.astype(np.float32)}
            )
        self.sums = self.sums + shaped
        self.rewards += reward
        for i, info in ended.items():
            metric = info["metrics"][self.metric] if self.metric else None
            episode = Finished(
                bool(info["success"]),
                int(info["length"]),
                float(self.rewards[i]),
                self.sums[i].copy(),
                metric,
            )
            self.finished.append(episode)
            self.fresh.append(episode)
            self.ended += 1
            self.sums[i] = 0
            self.rewards[i] = 0
        told: Array = reward.astype(np.float32)
        return told


class LateRollout(RolloutBuffer):
    """A rollout whose rewards come one step late: the worker answers while the next step is taken.

    The numbers are the same.
    """

    source: RewardVecEnv | None = None

    def add(self, *arguments: Any, **named: Any) -> None:
        row = self.pos
        super().add(*arguments, **named)
        if self.source is not None:
            self.source.belongs_to(self.rewards[row])

    def compute_returns_and_advantage(self, *arguments: Any, **named: Any) -> None:
        if self.source is not None:
            self.source.settle()
        super().compute_returns_and_advantage(*arguments, **named)
