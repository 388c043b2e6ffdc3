"""A replay buffer for learned signals: it stores what a transition's reward is computed from, and
computes the reward when a batch is sampled, as in LaRe's released SAC.

A reward stored with its transition would be what the signal said before it had learned anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from autoreward.rewards.reward import ProgramReward
from autoreward.state import Array
from autoreward.trainer.reward_env import RewardVecEnv

# draws for a transition whose episode is over, if its return is needed
MAX_DRAWS = 20


class RecomputedReplay(ReplayBuffer):
    """Stores the signal's inputs (size, n, m) and, once its episode is over, the return (size, n)
    of every transition; no rewards.

    `source` gives the inputs of the last step taken. The signal may learn before each batch.
    """

    def __init__(self, *arguments: Any, source: RewardVecEnv, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.source = source
        self.inputs: Array | None = None
        self.returns = np.full((self.buffer_size, self.n_envs), np.nan)

    def _begin(self) -> ProgramReward:
        """The reward at work; the first time, make room for its inputs.

        Raises ProgramRejected if the composition cannot be computed for single transitions.
        """
        reward = self.source.reward
        # a task reward beside the terms would be lost: it is not stored
        assert reward is not None and reward.signal.replaces_task
        if self.inputs is None:
            reward.require_recomputable()
            self.inputs = np.zeros((self.buffer_size, *reward.signal.stored_inputs.shape))
        return reward

    def add(
        self,
        obs: Array,
        next_obs: Array,
        action: Array,
        reward: Array,
        done: Array,
        infos: list[dict[str, Any]],
    ) -> None:
        """Store one vector step; `reward` is not stored."""
        signal = self._begin().signal
        row = self.pos
        super().add(obs, next_obs, action, np.zeros_like(reward), done, infos)
        assert self.inputs is not None
        self.inputs[row] = signal.stored_inputs
        self.returns[row] = np.nan
        for i, (length, episode_return) in signal.finished_episodes.items():
            steps_back = np.arange(min(length, self.buffer_size))
            self.returns[(row - steps_back) % self.buffer_size, i] = episode_return

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Sample a batch uniformly, with the rewards that its transitions have now."""
        reward = self._begin()
        reward.signal.before_sampling()
        rows, envs = self._draw(batch_size)
        if reward.signal.needs_returns:
            self._replace_running(rows, envs)
        assert self.inputs is not None
        rewards = reward.recompute(self.inputs[rows, envs], self.returns[rows, envs])
        terminated = self.dones[rows, envs] * (1 - self.timeouts[rows, envs])
        data = (
            self.observations[rows, envs],
            self.actions[rows, envs],
            self.next_observations[rows, envs],
            terminated[:, None],
            rewards.astype(np.float32)[:, None],
        )
        return ReplayBufferSamples(*(self.to_torch(part) for part in data))

    def _replace_running(self, rows: Array, envs: Array) -> None:
        """Draw again, in place, for transitions whose episode is still running."""
        for _ in range(MAX_DRAWS):
            running = np.isnan(self.returns[rows, envs])
            if not running.any():
                return
            rows[running], envs[running] = self._draw(int(running.sum()))

    def _draw(self, count: int) -> tuple[Array, Array]:
        rows = np.random.randint(0, self.size(), count)
        envs = np.random.randint(0, self.n_envs, count)
        return rows, envs
