"""Deferred rewards: the reward worker computes a step's reward while the learner takes the next
step.

On-policy learners need their rewards only at the end of a rollout, so waiting for each one would
leave both processes idle in turn. The numbers are those of a training without deferral.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer
from torch import Tensor

from autoreward.rewards.signals import StepBatch
from autoreward.state import Array


class StepInFlight(NamedTuple):
    """A step whose answer the worker still owes.

    endings: the info of every row whose episode ended with this step.
    """

    batch: StepBatch
    endings: dict[int, dict[str, Any]]


class DeferredRewards:
    """Brings each reward to the buffer row of its step, whichever of the two comes first.

    One step after the other goes through these states:

              start                          take, deliver
        idle --------> in flight ------------------------------> computed
                           |                                        |
                           | attach_buffer_row         row attached | row not attached yet
                           v                                        |
                      pending_row is set      added to pending_row <-+-> unclaimed_reward is set
                                                      |                      |
                                                    idle        attach_buffer_row adds it: idle

    The usual order is start, attach_buffer_row, then (at the next step, or at the end of the
    rollout) take and deliver. A callback that asks for up-to-date figures between the environment's
    step and the buffer's `add` makes the reward come first: it waits as `unclaimed_reward`.
    """

    def __init__(self) -> None:
        self.in_flight: StepInFlight | None = None
        self.pending_row: Array | None = None
        self.unclaimed_reward: Array | None = None
        # The row of the last step whose reward was delivered: compositions that look one step ahead
        # (`delta`) add to it.
        self.delivered_row: Array | None = None

    def start(self, step: StepInFlight) -> None:
        """The worker has been asked about this step; the answer to the last one is in."""
        assert self.in_flight is None
        self.in_flight = step

    def take(self) -> StepInFlight | None:
        """Return the step in flight, if any, for the caller to receive its answer."""
        step, self.in_flight = self.in_flight, None
        return step

    def deliver(self, reward: Array, late: Array | None = None) -> None:
        """Add `reward` (n,) float32 of the step just taken to its row, or keep it for that row.

        late (n,): what has to be added to the row of the step before. In the first step of a
        rollout that row belongs to the rollout before, which is over: see `leave_open_ends_out`.
        """
        if late is not None and self.delivered_row is not None:
            self.delivered_row += late.astype(np.float32)
        if self.pending_row is None:
            self.unclaimed_reward = reward
            return
        self.pending_row += reward
        self.delivered_row = self.pending_row
        self.pending_row = None

    def attach_buffer_row(self, row: Array) -> None:
        """Name the buffer's row (n,) float32 that holds the last step: its reward is added there,
        now or once it is computed.
        """
        if self.unclaimed_reward is None:
            self.pending_row = row
        else:
            row += self.unclaimed_reward
            self.delivered_row = row
            self.unclaimed_reward = None


class RewardCollector(Protocol):
    """What a rollout buffer needs of the environment (`rewards.RewardVecEnv`)."""

    deferred: DeferredRewards | None

    @property
    def needs_future(self) -> bool:
        """Whether a part of each reward is known one step later."""
        ...

    def collect_reward(self) -> None:
        """Receive and deliver the reward in flight, if any."""
        ...


class DeferredRolloutBuffer(RolloutBuffer):
    """A rollout buffer whose rewards arrive one step late."""

    source: RewardCollector | None = None

    def add(self, *arguments: Any, **named: Any) -> None:
        """Store a step with the reward 0 (or the value bootstrapped at a timeout) for now."""
        row = self.pos
        super().add(*arguments, **named)
        if self.source is not None and self.source.deferred is not None:
            self.source.deferred.attach_buffer_row(self.rewards[row])

    def compute_returns_and_advantage(self, last_values: Tensor, dones: Array) -> None:
        """Collect the last reward of the rollout first.

        last_values (n, 1), dones (n,): the critic's values after the rollout, and the episodes that
        ended with its last step.
        """
        if self.source is not None:
            self.source.collect_reward()
            if self.source.needs_future:
                self._leave_open_ends_out(last_values, dones)
        super().compute_returns_and_advantage(last_values, dones)

    def _leave_open_ends_out(self, last_values: Tensor, dones: Array) -> None:
        """Make the last row of a rollout say nothing, unless its episode ended with it.

        A part of its reward is known only after the next step, which belongs to the next rollout.
        With the reward V(s) - gamma * V(s') its temporal difference is 0: it has no advantage of
        its own, and the rows before it see the critic's value, as if the rollout ended there.
        """
        following = last_values.detach().cpu().numpy().reshape(-1)
        open_rows = ~np.asarray(dones, bool)
        neutral = self.values[self.pos - 1] - self.gamma * following
        self.rewards[self.pos - 1][open_rows] = neutral[open_rows]
