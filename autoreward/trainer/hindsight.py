"""Hindsight experience replay: stored transitions, judged again as if a goal that was reached
later had been wanted.

Andrychowicz et al. 2017, arXiv 1707.01495, strategy `future`, as in stable-baselines3's
HerReplayBuffer (the step's own end counts as later). Ours works on the card's raw fields: the
goal's columns are replaced at both ends of a step, and everything that follows from them is
computed anew: success by the card, the program's terms in one question to the reward worker for the
whole batch, their composition, the ending, and what the policy sees.

A step gives goals to earlier steps of its own episode alone, as soon as it is stored; overwriting
the oldest steps takes no goal away. What needs more than one step is refused: programs with MEMORY,
transforms with state (`Composition.require`).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from autoreward.rewards.composition import Columns, Composer, Composition, UnsuitableComposition
from autoreward.sandbox.outside.worker import ProgramRefused, Worker
from autoreward.state import Array
from autoreward.store.episodes import columns
from autoreward.store.records import Verdict
from autoreward.tasks.card import TaskCard
from autoreward.tasks.find import LocatedCard
from autoreward.trainer.environment import trusted_task
from autoreward.trainer.policy import PolicyView
from autoreward.trainer.rewards import RewardVecEnv

# the end of an episode that has not ended
GOING_ON = -1


@dataclass
class Lived:
    """One vector step on raw fields: prev, curr (n, D) of all the card's fields, curr never the
    next episode's; action (n, *row) as the environment got it; own (n,): the environment ended
    the episode, for another reason than success.
    """

    prev: Array
    action: Array
    curr: Array
    own: Array


class RawVec(VecEnvWrapper):
    """The innermost wrapper: changes nothing, and keeps the last step for the buffer."""

    def __init__(self, venv: VecEnv, card: TaskCard) -> None:
        super().__init__(venv)
        self.width = card.layout.width
        self.ends = bool(card.success and card.success.ends_episode)
        self.before = np.zeros((venv.num_envs, self.width))
        self.actions = np.zeros(0)
        self.lived: Lived | None = None

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
        current, own = after, np.zeros(self.num_envs, bool)
        if dones.any():
            current = after.copy()
            for i in np.flatnonzero(dones):
                current[i] = infos[i]["terminal_observation"][: self.width]
                own[i] = not infos[i].get("TimeLimit.truncated", False) and not (
                    self.ends and infos[i]["success"]
                )
        self.lived = Lived(self.before, self.actions, current, own)
        self.before = after
        return vectors, rewards, dones, infos


class Judge:
    """What a step is worth under a goal.

    Raises ProgramRefused where the program or its composition needs more than the step.
    """

    def __init__(
        self,
        card: LocatedCard,
        code: ModuleType | None,
        worker: Worker | None,
        composition: Composition,
    ) -> None:
        assert card.card.goal is not None and card.card.success is not None
        self.card, self.layout, self.worker, self.composition = (
            card.card,
            card.card.layout,
            worker,
            composition,
        )
        self.achieved, self.desired = (
            slice(*self.layout.slices[name][:2])
            for name in (card.card.goal.achieved, card.card.goal.desired)
        )
        self.picked = columns(card.card.layout, card.card.reward_layout)
        self.success = card.card.success
        self.task = trusted_task(card, code)
        # once the program has named its terms
        self.composer: Composer | None = None
        if worker is not None:
            try:
                composition.require(card.card, worker.memory)
            except UnsuitableComposition as error:
                raise _refused(error) from None

    def wanted(self, states: Array, goals: Array) -> Array:
        """A copy of states (n, D) in which `goals` (n, g) are desired."""
        states = states.copy()
        states[:, self.desired] = goals
        return states

    def succeeds(self, states: Array) -> Array:
        """Evaluate the card's own success on states (n, D): (n,) of bool."""
        return self.task.succeeds(states)

    def rewards(
        self, prev: Array, action: Array, curr: Array, own: Array, truncated: Array, paid: Array
    ) -> tuple[Array, Array]:
        """(reward (n,) float32, terminated (n,) of bool) of n single steps; prev, curr (n, D) with
        the goals that count.

        own, truncated (n,): the environment ended the episode for a reason of its own; time was up.
        paid (n,): the episode had succeeded before. The worker is asked once.
        """
        now = self.succeeds(curr)
        terminated = own | now if self.success.ends_episode else own
        task = (now & ~paid).astype(np.float64)
        if self.worker is None:
            return (self.composition.task_reward * task).astype(np.float32), terminated
        first = np.ones(len(prev), bool)
        answer = self.worker.ask(
            prev[None][..., self.picked], action[None], curr[None][..., self.picked], first[None]
        )
        done = terminated | truncated
        try:
            self.composer = self.composer or Composer(
                self.composition,
                Columns(self.worker.terms, self.worker.potentials, self.worker.sparse),
                self.card.training.gamma,
            )
            reward, _ = self.composer.step(
                answer.terms[0],
                answer.before[0],
                answer.after[0],
                task,
                first,
                terminated,
                done,
                done & now,
            )
        except UnsuitableComposition as error:
            raise _refused(error) from None
        return reward.astype(np.float32), terminated


def _refused(error: UnsuitableComposition) -> ProgramRefused:
    return ProgramRefused(
        Verdict(kind=error.kind, stage="training", message=error.message, hint=error.hint)
    )


class HindsightBuffer(ReplayBuffer):
    """A replay buffer that keeps raw fields, and of every batch gives `her` of `her + 1`
    transitions with a goal that was reached later.

    Random draws come from numpy's own stream, which the agent seeds, as in stable-baselines3's
    buffers. Steps are counted from the first one ever stored: step t lies in row t modulo the size,
    so one number says where it is and what came before and after.
    """

    def __init__(
        self, *arguments: Any, raw: RawVec, judge: Judge, view: PolicyView, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self.raw, self.judge, self.view, self.her = raw, judge, view, judge.card.training.her
        rows, action = (self.buffer_size, self.n_envs), judge.card.action
        self.prev, self.curr = np.zeros((*rows, raw.width)), np.zeros((*rows, raw.width))
        self.taken = np.zeros((*rows, *action.row), np.int64 if action.integer else np.float64)
        self.own = np.zeros(rows, bool)
        # of the step's episode: first step, and the one after its last
        self.start, self.end = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        self.begun, self.steps = np.zeros(self.n_envs, np.int64), 0

    def add(
        self,
        obs: Array,
        next_obs: Array,
        action: Array,
        reward: Array,
        done: Array,
        infos: list[dict[str, Any]],
    ) -> None:
        """Store one vector step, with the raw fields that `raw` has kept of it."""
        row, lived = self.pos, self.raw.lived
        assert lived is not None
        super().add(obs, next_obs, action, reward, done, infos)
        self.prev[row], self.taken[row], self.curr[row], self.own[row] = (
            lived.prev,
            lived.action,
            lived.curr,
            lived.own,
        )
        self.start[row], self.end[row] = self.begun, GOING_ON
        self.steps += 1
        for i in np.flatnonzero(done):
            self.end[
                np.arange(max(self.begun[i], self.oldest), self.steps) % self.buffer_size, i
            ] = self.steps
            self.begun[i] = self.steps

    @property
    def oldest(self) -> int:
        """The oldest step that is still here."""
        return max(0, self.steps - self.buffer_size)

    def goals(self, steps: Array, envs: Array) -> tuple[Array, Array]:
        """(goals (m, g), the steps (m,) whose end reached them): of each step's own episode,
        evenly from its own end to the last one known.
        """
        end = self.end[steps % self.buffer_size, envs]
        later = np.random.randint(steps, np.where(end == GOING_ON, self.steps, end))
        return self.curr[later % self.buffer_size, envs][:, self.judge.achieved], later

    def _get_samples(self, batch_inds: Array, env: Any = None) -> ReplayBufferSamples:
        rows, envs = np.asarray(batch_inds), np.random.randint(0, self.n_envs, len(batch_inds))
        m = len(rows) * self.her // (self.her + 1)
        # success pays once an episode, so all of it before a step must still be here
        if not self.judge.success.ends_episode:
            whole = self.start[rows, envs] >= self.oldest
            order = np.argsort(~whole, kind="stable")
            rows, envs, m = rows[order], envs[order], min(m, int(whole.sum()))
        prev, curr = self.prev[rows, envs], self.curr[rows, envs]
        rewards, truncated = self.rewards[rows, envs], self.timeouts[rows, envs] > 0
        dones = self.dones[rows, envs] * ~truncated
        if m:
            top, at = slice(0, m), (rows[:m], envs[:m])
            steps = self.steps - 1 - (self.pos - 1 - rows[top]) % self.buffer_size
            goals, _ = self.goals(steps, envs[top])
            prev[top], curr[top] = (
                self.judge.wanted(prev[top], goals),
                self.judge.wanted(curr[top], goals),
            )
            rewards[top], dones[top] = self.judge.rewards(
                prev[top],
                self.taken[at],
                curr[top],
                self.own[at],
                truncated[top],
                self._paid(steps, envs[top], goals),
            )
        seen = self.view.seen(np.concatenate([prev, curr]))
        data = (
            seen[: len(rows)],
            self.actions[rows, envs],
            seen[len(rows) :],
            dones.reshape(-1, 1),
            rewards.reshape(-1, 1),
        )
        return ReplayBufferSamples(*map(self.to_torch, data))

    def _paid(self, steps: Array, envs: Array, goals: Array) -> Array:
        """(m,) of bool: whether the episode had succeeded before each step, had its goal been
        wanted from the start. Never, where success ends it.
        """
        if self.judge.success.ends_episode:
            return np.zeros(len(steps), bool)
        start = self.start[steps % self.buffer_size, envs]
        count = steps - start
        row = np.repeat(np.arange(len(steps)), count)
        earlier = start[row] + np.arange(len(row)) - (np.cumsum(count) - count)[row]
        held = self.judge.succeeds(
            self.judge.wanted(self.curr[earlier % self.buffer_size, envs[row]], goals[row])
        )
        return np.bincount(row, held, len(steps)) > 0


def kept(venv: VecEnv, card: TaskCard) -> VecEnv:
    """The environments, and around them what the buffer needs where the card trains with
    hindsight.
    """
    return RawVec(venv, card) if card.training.her else venv


def buffer(
    card: LocatedCard, code: ModuleType | None, rewards: RewardVecEnv, view: PolicyView
) -> tuple[type, dict[str, Any]] | None:
    """The buffer's class and arguments for `policy.build`; None where the card trains without
    hindsight. ProgramRefused as `Judge`.
    """
    if not isinstance(rewards.venv, RawVec):
        return None
    return HindsightBuffer, {
        "raw": rewards.venv,
        "view": view,
        "judge": Judge(card, code, rewards.worker, rewards.composition),
    }
