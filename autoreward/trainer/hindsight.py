"""Hindsight experience replay: stored transitions get the reward they would have had, had a goal
that was reached later been the desired one.

Andrychowicz et al. 2017, arXiv 1707.01495, strategy `future`, as in stable-baselines3's
HerReplayBuffer (the step's own end counts as later). Ours works on the card's raw fields: the
goal's columns are replaced at both ends of a step, and everything that follows from them is
computed again: success by the card, the program's terms in one question to the reward worker for
the whole batch, their composition, the ending, and what the policy sees.

A step gives goals only to earlier steps of its own episode, as soon as it is stored; overwriting
the oldest steps takes no goal away. Whatever needs more than one step is rejected: programs with
MEMORY, transforms with state (`Composition.require`).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from autoreward.rewards.composition import Composition, UnsuitableComposition
from autoreward.rewards.reward import ProgramReward, refusal, sparse_reward
from autoreward.rewards.signals import SignalContext, StepBatch
from autoreward.rewards.signals.plain import Plain
from autoreward.sandbox.outside.worker import Worker
from autoreward.state import Array
from autoreward.store.episodes import columns
from autoreward.tasks.card import TaskCard
from autoreward.tasks.find import LocatedCard
from autoreward.trainer.environment import trusted_task
from autoreward.trainer.policy import PolicyView
from autoreward.trainer.reward_env import RewardVecEnv

# the end of an episode that is still running
RUNNING = -1


@dataclass
class RawStep:
    """One vector step on raw fields.

    Attributes:
        prev, curr: (n, D) of all the card's fields; curr is never the next episode's first state.
        action: (n, *row), as the environment got it.
        failed: (n,) of bool, the environment ended the episode for another reason than success.
    """

    prev: Array
    action: Array
    curr: Array
    failed: Array


class RawStepRecorder(VecEnvWrapper):
    """The innermost wrapper: changes nothing, and keeps the last step for the buffer."""

    def __init__(self, venv: VecEnv, card: TaskCard) -> None:
        super().__init__(venv)
        self.width = card.layout.width
        self.success_ends_episode = bool(card.success and card.success.ends_episode)
        self.before = np.zeros((venv.num_envs, self.width))
        self.actions = np.zeros(0)
        self.last_step: RawStep | None = None

    def reset(self) -> Array:
        vectors = np.asarray(self.venv.reset())
        self.before = vectors[:, : self.width].copy()
        return vectors

    def step_async(self, actions: Array) -> None:
        self.actions = np.array(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        vectors, rewards, dones, infos = self.venv.step_wait()
        after = np.asarray(vectors)[:, : self.width].copy()
        current = after
        failed = np.zeros(self.num_envs, bool)
        if dones.any():
            current = after.copy()
            for i in np.flatnonzero(dones):
                current[i] = infos[i]["terminal_observation"][: self.width]
                failed[i] = self._failed(infos[i])
        self.last_step = RawStep(self.before, self.actions, current, failed)
        self.before = after
        return vectors, rewards, dones, infos

    def _failed(self, info: dict[str, Any]) -> bool:
        truncated = info.get("TimeLimit.truncated", False)
        ended_by_success = self.success_ends_episode and info["success"]
        return not truncated and not ended_by_success


class GoalRewards:
    """Computes what a stored step is worth under another goal.

    Raises ProgramRejected if the program or its composition needs more than a single step.
    """

    def __init__(
        self,
        card: LocatedCard,
        code: ModuleType | None,
        worker: Worker | None,
        composition: Composition,
    ) -> None:
        goal = card.card.goal
        success = card.card.success
        assert goal is not None and success is not None
        self.card = card.card
        self.layout = card.card.layout
        self.worker = worker
        self.composition = composition
        self.success = success
        self.achieved = slice(*self.layout.slices[goal.achieved][:2])
        self.desired = slice(*self.layout.slices[goal.desired][:2])
        self.picked = columns(self.layout, self.card.reward_layout)
        self.task = trusted_task(card, code)
        # built once the program has named its terms
        self.reward: ProgramReward | None = None
        if worker is not None:
            try:
                composition.require(self.card, worker.memory)
            except UnsuitableComposition as error:
                raise refusal(error) from None

    def with_goals(self, states: Array, goals: Array) -> Array:
        """Return a copy of states (n, D) with `goals` (n, g) as the desired ones."""
        states = states.copy()
        states[:, self.desired] = goals
        return states

    def succeeds(self, states: Array) -> Array:
        """Return (n,) of bool: the card's own success on states (n, D)."""
        return self.task.succeeds(states)

    def rewards(
        self,
        prev: Array,
        action: Array,
        curr: Array,
        failed: Array,
        truncated: Array,
        already_paid: Array,
    ) -> tuple[Array, Array]:
        """Return (reward (n,) float32, terminated (n,) of bool) of n single steps.

        prev, curr (n, D): with the goals that count. failed, truncated (n,): the environment ended
        the episode by itself; time was up. already_paid (n,): the episode had succeeded before.
        The worker is asked once.
        """
        succeeds = self.succeeds(curr)
        terminated = failed | succeeds if self.success.ends_episode else failed
        task = (succeeds & ~already_paid).astype(np.float64)
        if self.worker is None:
            return sparse_reward(self.composition, task).astype(np.float32), terminated

        done = terminated | truncated
        batch = StepBatch(
            prev=prev[:, self.picked],
            action=action,
            curr=curr[:, self.picked],
            first=np.ones(len(prev), bool),
            terminated=terminated,
            done=done,
            success=done & succeeds,
            task=task,
        )
        answer = self.worker.ask(
            batch.prev[None], batch.action[None], batch.curr[None], batch.first[None]
        )
        program_reward = self.reward or self._begin(self.worker)
        reward, _ = program_reward.step(answer.terms[0], answer.before[0], answer.after[0], batch)
        return reward.astype(np.float32), terminated

    def _begin(self, worker: Worker) -> ProgramReward:
        """Build signal and composition, now that the program has named its terms.

        Methods with another signal than the plain one refuse cards with hindsight
        (`Method.require`).
        """
        context = SignalContext(self.card, worker.terms, worker.potentials, worker.sparse)
        self.reward = ProgramReward(Plain, self.composition, context)
        return self.reward


class HindsightBuffer(ReplayBuffer):
    """A replay buffer that keeps raw fields, and gives `her` of every `her + 1` transitions it
    samples a goal that was reached later.

    Random draws come from numpy's global stream, which the agent seeds, as in stable-baselines3's
    buffers. Steps are counted from the first one ever stored: step t lies in row t modulo the size,
    so one number says where it is and what came before and after.
    """

    def __init__(
        self,
        *arguments: Any,
        recorder: RawStepRecorder,
        goal_rewards: GoalRewards,
        view: PolicyView,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self.recorder = recorder
        self.goal_rewards = goal_rewards
        self.view = view
        self.her = goal_rewards.card.training.her
        rows = (self.buffer_size, self.n_envs)
        action = goal_rewards.card.action
        self.prev = np.zeros((*rows, recorder.width))
        self.curr = np.zeros((*rows, recorder.width))
        self.raw_actions = np.zeros((*rows, *action.row), np.int64 if action.integer else float)
        self.failed = np.zeros(rows, bool)
        # of each step's episode: its first step, and the one after its last
        self.episode_start = np.zeros(rows, np.int64)
        self.episode_end = np.zeros(rows, np.int64)
        # first step of the running episode, by environment
        self.running_since = np.zeros(self.n_envs, np.int64)
        self.steps = 0

    def add(
        self,
        obs: Array,
        next_obs: Array,
        action: Array,
        reward: Array,
        done: Array,
        infos: list[dict[str, Any]],
    ) -> None:
        """Store one vector step, with the raw fields that the recorder has kept of it."""
        row = self.pos
        step = self.recorder.last_step
        assert step is not None
        super().add(obs, next_obs, action, reward, done, infos)
        self.prev[row] = step.prev
        self.raw_actions[row] = step.action
        self.curr[row] = step.curr
        self.failed[row] = step.failed
        self.episode_start[row] = self.running_since
        self.episode_end[row] = RUNNING
        self.steps += 1
        for i in np.flatnonzero(done):
            episode = np.arange(max(self.running_since[i], self.oldest_step), self.steps)
            self.episode_end[episode % self.buffer_size, i] = self.steps
            self.running_since[i] = self.steps

    @property
    def oldest_step(self) -> int:
        """The oldest step that is still stored."""
        return max(0, self.steps - self.buffer_size)

    def goals(self, steps: Array, envs: Array) -> tuple[Array, Array]:
        """Return (goals (m, g), the steps (m,) whose end reached them) for m stored steps.

        Drawn evenly from the step's own end to the last known one of its episode.
        """
        end = self.episode_end[steps % self.buffer_size, envs]
        later = np.random.randint(steps, np.where(end == RUNNING, self.steps, end))
        reached = self.curr[later % self.buffer_size, envs]
        return reached[:, self.goal_rewards.achieved], later

    def _get_samples(self, batch_inds: Array, env: Any = None) -> ReplayBufferSamples:
        rows = np.asarray(batch_inds)
        envs = np.random.randint(0, self.n_envs, len(batch_inds))
        count = len(rows) * self.her // (self.her + 1)
        # success pays once an episode, so all of it before a step must still be stored
        if not self.goal_rewards.success.ends_episode:
            whole = self.episode_start[rows, envs] >= self.oldest_step
            order = np.argsort(~whole, kind="stable")
            rows = rows[order]
            envs = envs[order]
            count = min(count, int(whole.sum()))

        prev = self.prev[rows, envs]
        curr = self.curr[rows, envs]
        rewards = self.rewards[rows, envs]
        truncated = self.timeouts[rows, envs] > 0
        dones = self.dones[rows, envs] * ~truncated
        if count:
            relabelled = self._relabel(
                rows[:count], envs[:count], prev[:count], curr[:count], truncated[:count]
            )
            prev[:count], curr[:count], rewards[:count], dones[:count] = relabelled
        seen = self.view.seen(np.concatenate([prev, curr]))
        data = (
            seen[: len(rows)],
            self.actions[rows, envs],
            seen[len(rows) :],
            dones.reshape(-1, 1),
            rewards.reshape(-1, 1),
        )
        return ReplayBufferSamples(*map(self.to_torch, data))

    def _relabel(
        self, rows: Array, envs: Array, prev: Array, curr: Array, truncated: Array
    ) -> tuple[Array, Array, Array, Array]:
        """(prev, curr (m, D), rewards (m,), terminated (m,)) of m steps under new goals."""
        steps = self.steps - 1 - (self.pos - 1 - rows) % self.buffer_size
        goals, _ = self.goals(steps, envs)
        prev = self.goal_rewards.with_goals(prev, goals)
        curr = self.goal_rewards.with_goals(curr, goals)
        rewards, terminated = self.goal_rewards.rewards(
            prev,
            self.raw_actions[rows, envs],
            curr,
            self.failed[rows, envs],
            truncated,
            self._already_paid(steps, envs, goals),
        )
        return prev, curr, rewards, terminated

    def _already_paid(self, steps: Array, envs: Array, goals: Array) -> Array:
        """(m,) of bool: whether the episode had succeeded before each step, had its goal been the
        desired one from the start. Never, if success ends the episode.
        """
        if self.goal_rewards.success.ends_episode:
            return np.zeros(len(steps), bool)
        start = self.episode_start[steps % self.buffer_size, envs]
        count = steps - start
        # one row for every earlier step of every step's episode, in order
        row = np.repeat(np.arange(len(steps)), count)
        first_row = np.cumsum(count) - count
        earlier = start[row] + np.arange(len(row)) - first_row[row]
        states = self.curr[earlier % self.buffer_size, envs[row]]
        succeeded = self.goal_rewards.succeeds(self.goal_rewards.with_goals(states, goals[row]))
        return np.bincount(row, succeeded, len(steps)) > 0


def with_recorder(venv: VecEnv, card: TaskCard) -> VecEnv:
    """Wrap the environments in what the buffer needs, if the card trains with hindsight."""
    return RawStepRecorder(venv, card) if card.training.her else venv


def replay_buffer(
    card: LocatedCard, code: ModuleType | None, rewards: RewardVecEnv, view: PolicyView
) -> tuple[type, dict[str, Any]] | None:
    """Return the buffer's class and arguments for `policy.build`, or None for a card without
    hindsight.

    Raises ProgramRejected as `GoalRewards` does.
    """
    if not isinstance(rewards.venv, RawStepRecorder):
        return None
    return HindsightBuffer, {
        "recorder": rewards.venv,
        "view": view,
        "goal_rewards": GoalRewards(card, code, rewards.worker, rewards.composition),
    }
