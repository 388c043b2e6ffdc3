"""A replay buffer for signals that learn: it keeps what a transition's reward is made of, and
computes the reward when a batch is sampled.

As in LaRe's released SAC. A reward stored with its transition would be what the signal said when it
knew nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from autoreward.rewards.signals import Signal
from autoreward.sandbox.outside.worker import ProgramRefused
from autoreward.state import Array
from autoreward.store.records import Verdict
from autoreward.trainer.rewards import RewardVecEnv

# draws for a transition whose episode is over, where its return is needed
TRIES = 20


class RecomputedReplay(ReplayBuffer):
    """What the signal keeps (size, n, m) and, once its episode is over, the return (size, n) of
    every transition; no rewards.

    `source` answers for the last step that was taken. The signal may learn before each batch.
    """

    def __init__(self, *arguments: Any, source: RewardVecEnv, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.source = source
        self.kept: Array | None = None
        self.returns = np.full((self.buffer_size, self.n_envs), np.nan)
        self.weights: Array = np.zeros(0)

    def _signal(self) -> Signal:
        signal = self.source.signal
        # else a stored task reward would be lost
        assert signal is not None and signal.replaces_task
        if self.kept is None:
            self.kept = np.zeros((self.buffer_size, *signal.latest.shape))
            weights = self.source.composition.weights_by_name()
            if weights is None:
                kinds = ", ".join(t.kind for t in self.source.composition.transforms)
                message = f"the composition {kinds} cannot be computed for single transitions, and this learner draws them from a buffer"
                raise ProgramRefused(
                    Verdict(
                        kind="composition",
                        stage="training",
                        message=message,
                        hint="weights alone, or a card that trains with PPO",
                    )
                )
            self.weights = np.array(
                [
                    weights.get(name, 1.0)
                    for name in signal.columns(
                        signal.making.terms, signal.making.potentials, signal.making.sparse
                    ).terms
                ]
            )
        return signal

    def add(
        self,
        obs: Array,
        next_obs: Array,
        action: Array,
        reward: Array,
        done: Array,
        infos: list[dict[str, Any]],
    ) -> None:
        """One vector step; `reward` is not kept."""
        signal, row = self._signal(), self.pos
        super().add(obs, next_obs, action, np.zeros_like(reward), done, infos)
        assert self.kept is not None
        self.kept[row], self.returns[row] = signal.latest, np.nan
        for i, (length, total) in signal.ended.items():
            self.returns[(row - np.arange(min(length, self.buffer_size))) % self.buffer_size, i] = (
                total
            )

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """A batch, drawn evenly, with what its transitions are worth now."""
        signal = self._signal()
        signal.sampled()
        rows, columns = self._draw(batch_size)
        if signal.needs_returns:
            for _ in range(TRIES):
                if not (open_ends := np.isnan(self.returns[rows, columns])).any():
                    break
                rows[open_ends], columns[open_ends] = self._draw(int(open_ends.sum()))
        assert self.kept is not None
        worth = signal.worth(self.kept[rows, columns], self.returns[rows, columns]) @ self.weights
        ended = self.dones[rows, columns] * (1 - self.timeouts[rows, columns])
        data = (
            self.observations[rows, columns],
            self.actions[rows, columns],
            self.next_observations[rows, columns],
            ended[:, None],
            worth.astype(np.float32)[:, None],
        )
        return ReplayBufferSamples(*(self.to_torch(part) for part in data))

    def _draw(self, count: int) -> tuple[Array, Array]:
        return np.random.randint(0, self.size(), count), np.random.randint(0, self.n_envs, count)
