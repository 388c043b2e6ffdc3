"""The VecEnv wrapper that replaces the task reward with the program's.

It asks the reward worker once per vector step; `rewards/reward.py` computes the reward from the
answer. This is the innermost wrapper, so it sees raw fields.

Auto-reset: stable-baselines3 returns the next episode's first observation at a done. `curr` takes
the true last state from `terminal_observation` instead, and the program's memory of that row is
reset before the next step. `terminated` is a done that is no truncation.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from autoreward.rewards.composition import Composer, Composition
from autoreward.rewards.reward import ProgramReward, sparse_reward
from autoreward.rewards.signals import Signal, SignalContext, StepBatch
from autoreward.sandbox.outside.worker import Worker
from autoreward.state import Array
from autoreward.store.episodes import columns
from autoreward.trainer.deferred import DeferredRewards, StepInFlight

# finished episodes that success rates and means are taken over
RECENT_EPISODES = 100


@dataclass(frozen=True)
class FinishedEpisode:
    """One finished training episode; reward and terms are undiscounted sums."""

    success: bool
    length: int
    reward: float
    terms: Array
    metric: float | None = None


@dataclass
class Recording:
    """Inputs and rewards of the first `limit` vector steps: what a replay must reproduce bit for
    bit.
    """

    limit: int
    steps: list[dict[str, Array]] = field(default_factory=list)

    def add(self, batch: StepBatch, reward: Array) -> None:
        """Record one vector step, unless there are enough."""
        if len(self.steps) >= self.limit:
            return
        step = {"updated": np.array(False), "reward": reward.astype(np.float64)}
        for attribute in fields(batch):
            part = getattr(batch, attribute.name)
            if part is not None:
                step[attribute.name] = part.copy()
        self.steps.append(step)

    def add_late(self, late: Array) -> None:
        """Add what belongs to the reward (n,) of the last recorded step."""
        self.steps[-1]["reward"] += late

    def arrays(self) -> dict[str, Array]:
        """Return the steps by name, (T, n, ...)."""
        if not self.steps:
            return {}
        arrays = {name: np.stack([step[name] for step in self.steps]) for name in self.steps[0]}
        # as the learner gets them
        arrays["reward"] = arrays["reward"].astype(np.float32)
        return arrays


class RewardVecEnv(VecEnvWrapper):
    """Replaces the task reward by the program's.

    `worker` None means the sparse task reward only. `signal_class` stands between the program's
    answers and its terms. With `deferred` a step returns zeros, and its reward reaches the
    learner's buffer one step later (trainer/deferred.py).

    Raises ProgramRejected (also for a composition that does not fit the program) or MachineFault
    out of `step`.
    """

    def __init__(
        self,
        venv: VecEnv,
        context: SignalContext,
        worker: Worker | None,
        composition: Composition,
        signal_class: type[Signal],
        record: int = 0,
    ) -> None:
        super().__init__(venv)
        card = context.card
        self.worker = worker
        self.composition = composition
        self.context = context
        self.signal_class = signal_class
        self.metric = card.metric.name if card.metric else None
        self.picked = columns(card.layout, card.reward_layout)
        self.deferred: DeferredRewards | None = None
        # built once the program has named its terms
        self.reward: ProgramReward | None = None
        # whether the signal was ready while the last rollout was scored
        self.signal_ready = True

        self.recent_episodes: deque[FinishedEpisode] = deque(maxlen=RECENT_EPISODES)
        # finished since the last window of the curve
        self.new_episodes: list[FinishedEpisode] = []
        self.episode_count = 0
        self.vector_steps = 0
        self.recording = Recording(record)

        n = venv.num_envs
        self.previous = np.zeros((n, len(self.picked)))
        self.first = np.ones(n, bool)
        self.actions = np.zeros(0)
        self.no_success = np.zeros(n, bool)
        # sums over each row's episode so far
        self.term_sums: Array = np.zeros((n, 0))
        self.reward_sums = np.zeros(n)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the shaped terms; () until the program has named them."""
        return self.reward.names if self.reward else ()

    @property
    def signal(self) -> Signal | None:
        """The signal at work; None until the program has named its terms."""
        return self.reward.signal if self.reward else None

    @property
    def composer(self) -> Composer | None:
        """The composition at work; None until the program has named its terms."""
        return self.reward.composer if self.reward else None

    @property
    def needs_future(self) -> bool:
        """Whether a part of each reward is known one step later."""
        return self.reward is not None and self.reward.needs_future

    def rollout_ended(self) -> None:
        """Apply what signal and composition have learned, between two rollouts of the learner."""
        self.collect_reward()
        if self.reward is None:
            return
        self.signal_ready = self.reward.signal.ready
        self.reward.update()
        if self.recording.steps and self.vector_steps == len(self.recording.steps):
            self.recording.steps[-1]["updated"] = np.array(True)

    def reset(self) -> Array:
        self.collect_reward()
        vectors = np.asarray(self.venv.reset(), np.float64)
        self.previous = vectors[:, self.picked]
        self.first = np.ones(self.num_envs, bool)
        self.reward_sums[:] = 0
        self.term_sums[:] = 0
        return vectors

    def step_async(self, actions: Array) -> None:
        self.actions = np.asarray(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        vectors, task, dones, infos = self.venv.step_wait()
        vectors = np.asarray(vectors, np.float64)
        batch = self._batch(vectors, task, dones, infos)
        endings = {int(i): infos[i] for i in np.flatnonzero(dones)}
        self.previous = vectors[:, self.picked]
        self.first = dones.copy()

        if self.worker is None:
            reward = sparse_reward(self.composition, batch.task)
            return vectors, self._account(batch, endings, reward), dones, infos

        step = StepInFlight(batch, endings)
        if self.deferred is None:
            self._ask(self.worker, batch)
            return vectors, self._receive(self.worker, step), dones, infos

        self.collect_reward()
        self._ask(self.worker, batch)
        self.deferred.start(step)
        return vectors, np.zeros(len(dones), np.float32), dones, infos

    def collect_reward(self) -> None:
        """Receive the reward in flight, if any, and deliver it to the row of its step."""
        if self.deferred is None or self.worker is None:
            return
        step = self.deferred.take()
        if step is not None:
            reward = self._receive(self.worker, step)
            self.deferred.deliver(reward, self.reward.late if self.reward else None)

    def _batch(self, vectors: Array, task: Array, dones: Array, infos: Any) -> StepBatch:
        """The step just taken, with the true last state of every episode that ended."""
        current = vectors[:, self.picked]
        terminated = dones.copy()
        success = self.no_success
        if dones.any():
            current = current.copy()
            success = np.zeros(len(dones), bool)
            for i in np.flatnonzero(dones):
                current[i] = infos[i]["terminal_observation"][self.picked]
                terminated[i] = not infos[i].get("TimeLimit.truncated", False)
                success[i] = bool(infos[i]["success"])
        dense = None
        if self.context.card.episodic_return:
            dense = np.array([info["dense"] for info in infos])
        return StepBatch(
            prev=self.previous,
            action=self.actions,
            curr=current,
            first=self.first,
            terminated=terminated,
            done=dones,
            success=success,
            task=np.asarray(task, np.float64),
            dense=dense,
        )

    @staticmethod
    def _ask(worker: Worker, batch: StepBatch) -> None:
        worker.send(batch.prev[None], batch.action[None], batch.curr[None], batch.first[None])

    def _receive(self, worker: Worker, step: StepInFlight) -> Array:
        """The reward (n,) float32 of a step that the worker was asked about."""
        answer = worker.receive()
        program_reward = self.reward or self._begin(worker)
        reward, shaped = program_reward.step(
            answer.terms[0], answer.before[0], answer.after[0], step.batch
        )
        return self._account(step.batch, step.endings, reward, shaped, program_reward.late)

    def _begin(self, worker: Worker) -> ProgramReward:
        """Build signal and composition, now that the program has named its terms."""
        named = replace(
            self.context,
            terms=worker.terms,
            potentials=worker.potentials,
            sparse=worker.sparse,
            rows=self.num_envs,
        )
        self.reward = ProgramReward(self.signal_class, self.composition, named)
        self.term_sums = np.zeros((self.num_envs, len(self.reward.names)))
        return self.reward

    def _account(
        self,
        batch: StepBatch,
        endings: dict[int, dict[str, Any]],
        reward: Array,
        shaped: Array | None = None,
        late: Array | None = None,
    ) -> Array:
        """Add a step to the sums of its episodes; return its reward as float32.

        late (n,): what it adds to the reward of the step before, in the same episodes.
        """
        self.vector_steps += 1
        if late is not None:
            self.reward_sums += late
            if 0 < len(self.recording.steps) == self.vector_steps - 1:
                self.recording.add_late(late)
        self.recording.add(batch, reward)
        self.reward_sums += reward
        if shaped is not None:
            self.term_sums = self.term_sums + shaped
        for i, info in endings.items():
            self._finish_episode(i, info)
        return reward.astype(np.float32)

    def _finish_episode(self, row: int, info: dict[str, Any]) -> None:
        episode = FinishedEpisode(
            success=bool(info["success"]),
            length=int(info["length"]),
            reward=float(self.reward_sums[row]),
            terms=self.term_sums[row].copy(),
            metric=info["metrics"][self.metric] if self.metric else None,
        )
        self.recent_episodes.append(episode)
        self.new_episodes.append(episode)
        self.episode_count += 1
        self.term_sums[row] = 0
        self.reward_sums[row] = 0
