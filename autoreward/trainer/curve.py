"""The curve of a training: figures for each window of steps, progress lines, and when to stop."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from autoreward.state import Array
from autoreward.store.io import write_arrays
from autoreward.store.records import TermCurve
from autoreward.tasks.card import TaskCard
from autoreward.trainer.reward_env import RECENT_EPISODES, FinishedEpisode, RewardVecEnv

# rows of the curve over the whole budget
WINDOWS = 50
# windows in a row at the card's `solved` rate that end a training
SOLVED_WINDOWS = 2
# share of the budget after which a training without a single success may be stopped
HOPELESS_AFTER = 0.8
# share of the returns' range by which they must still rise
LEAST_RISE = 0.02
PROGRESS_SECONDS = 1.0


class Window(NamedTuple):
    """One row of the curve: means over the episodes that finished in it, NaN if none did."""

    steps: int
    success: float
    length: float
    reward: float
    metric: float
    terms: Array


class Curve(BaseCallback):
    """Keeps the curve, reports progress, and stops a training that is solved or hopeless.

    Takes no random numbers and evaluates nothing, so it changes no training.
    """

    def __init__(
        self, rewards: RewardVecEnv, budget: int, card: TaskCard, may_give_up: bool
    ) -> None:
        super().__init__()
        self.rewards = rewards
        self.budget = budget
        self.metric = card.metric
        self.solved = card.training.solved if card.success else None
        self.may_give_up = may_give_up and self.solved is not None
        self.windows: list[Window] = []
        self.next_window = budget / WINDOWS
        self.solved_windows = 0
        self.stopped = "budget"
        self.first_sums: Array | None = None
        self.steps_to_80: int | None = None
        self.any_success = False
        self.reported_at = 0.0

    @property
    def rate(self) -> float | None:
        """Success rate of the last RECENT_EPISODES; None while there are fewer, or no success."""
        episodes = self.rewards.recent_episodes
        if len(episodes) < RECENT_EPISODES or self.solved is None:
            return None
        return float(np.mean([e.success for e in episodes]))

    def _on_step(self) -> bool:
        if self.num_timesteps < self.next_window and self.num_timesteps < self.budget:
            return True
        while self.next_window <= self.num_timesteps:
            self.next_window += self.budget / WINDOWS
        return self.close_window()

    def _on_rollout_end(self) -> None:
        self.rewards.rollout_ended()

    def close_window(self) -> bool:
        """Add a row to the curve; return whether the training should go on."""
        self.rewards.collect_reward()
        episodes = self.rewards.new_episodes
        self.rewards.new_episodes = []
        window = self._window(episodes)
        self.windows.append(window)
        if self.first_sums is None and episodes and self.rewards.names:
            self.first_sums = window.terms
        self.any_success = self.any_success or any(e.success for e in episodes)

        rate = self.rate
        self._log(window)
        self._report(rate, window)
        if self.steps_to_80 is None and rate is not None and rate >= 0.8:
            self.steps_to_80 = self.num_timesteps
        self.solved_windows = self.solved_windows + 1 if self._is_solved() else 0
        if self.solved_windows >= SOLVED_WINDOWS:
            self.stopped = "solved"
        elif self._is_hopeless():
            self.stopped = "hopeless"
        return self.stopped == "budget"

    def _window(self, episodes: list[FinishedEpisode]) -> Window:
        nothing = np.full(len(self.rewards.names), np.nan)
        sums = [e.terms for e in episodes if len(e.terms) == len(nothing)]
        success = length = reward = metric = float("nan")
        if episodes:
            length = float(np.mean([e.length for e in episodes]))
            reward = float(np.mean([e.reward for e in episodes]))
        if episodes and self.solved is not None:
            success = float(np.mean([e.success for e in episodes]))
        if episodes and self.metric:
            metric = float(np.mean([e.metric for e in episodes]))
        return Window(
            steps=self.num_timesteps,
            success=success,
            length=length,
            reward=reward,
            metric=metric,
            terms=np.mean(sums or [nothing], axis=0),
        )

    def _log(self, window: Window) -> None:
        for name, value in zip(self.rewards.names, window.terms, strict=True):
            self.logger.record(f"terms/{name}", float(value))
        self.logger.record("rollout/success", window.success)
        if self.metric:
            self.logger.record(f"rollout/{self.metric.name}", window.metric)

    def _report(self, rate: float | None, window: Window) -> None:
        """Print a progress line for the orchestrator, at most one a second."""
        if time.monotonic() - self.reported_at < PROGRESS_SECONDS:
            return
        self.reported_at = time.monotonic()
        progress = {"steps": self.num_timesteps, "success": rate, "length": None}
        if not np.isnan(window.length):
            progress["length"] = window.length
        if not np.isnan(window.metric):
            progress["metric"] = window.metric
        print(json.dumps(progress), flush=True)

    def _is_solved(self) -> bool:
        """Whether success is at the rate that counts as solved or, on a card without a success,
        the metric has reached its goal.
        """
        if self.solved is not None:
            rate = self.rate
            return rate is not None and rate >= self.solved
        episodes = self.rewards.recent_episodes
        if self.metric is None or len(episodes) < RECENT_EPISODES:
            return False
        return self.metric.reached(float(np.mean([e.metric for e in episodes])))

    def _is_hopeless(self) -> bool:
        late = self.num_timesteps >= HOPELESS_AFTER * self.budget
        return self.may_give_up and late and not self.any_success and not self._is_rising()

    def _is_rising(self) -> bool:
        """Whether the mean return still rises, from the last fifth but one to the last fifth of
        the windows.
        """
        returns = np.array([window.reward for window in self.windows])
        fifth = WINDOWS // 5
        last = returns[-fifth:]
        before = returns[-2 * fifth : -fifth]
        if not (np.isfinite(last).any() and np.isfinite(before).any()):
            return True
        spread = np.nanmax(returns) - np.nanmin(returns)
        return bool(np.nanmean(last) > np.nanmean(before) + LEAST_RISE * spread)

    def save(self, path: Path) -> None:
        """Write the windows as one npz file, a column each; `terms` is (windows, terms)."""
        names = self.rewards.names
        terms = np.full((len(self.windows), len(names)), np.nan)
        for row, window in zip(terms, self.windows, strict=True):
            if len(window.terms) == len(names):
                row[:] = window.terms
        columns = ["steps", "success", "length", "reward"]
        if self.metric:
            columns.append("metric")
        arrays = {
            name: np.array([getattr(window, name) for window in self.windows], np.float64)
            for name in columns
        }
        arrays["terms"] = terms
        arrays["names"] = np.array(names, str)
        write_arrays(path, arrays)

    def term_curves(self) -> tuple[TermCurve, ...]:
        """Return each term's mean over the last episodes; its share is of all terms' sizes."""
        names = self.rewards.names
        sums = [e.terms for e in self.rewards.recent_episodes if len(e.terms) == len(names)]
        if not sums or not names:
            return ()
        means = np.mean(sums, axis=0)
        sizes = np.abs(sums).mean(0)
        total = float(sizes.sum()) or 1.0
        first = self.first_sums if self.first_sums is not None else np.zeros(len(means))
        return tuple(
            TermCurve(
                name=name,
                episode_sum=float(means[k]),
                share=float(sizes[k] / total),
                first_window_sum=float(first[k]),
            )
            for k, name in enumerate(names)
        )
