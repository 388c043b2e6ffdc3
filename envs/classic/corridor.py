"""A corridor that a random walk does not get through: the smallest sparse task, for first tries and for tests."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

HANDLES = (2, 0, 3, 1)


class Corridor(gym.Env):
    action_space = spaces.Discrete(4)
    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)

    def __init__(self, length: int) -> None:
        self.length = length

    def _observation(self) -> np.ndarray:
        return np.array([self.cell, self.exit, HANDLES[self.cell % len(HANDLES)]], np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.cell, self.exit = int(self.np_random.integers(0, 4)), int(self.length - self.np_random.integers(0, 4))
        return self._observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.cell = max(0, self.cell + (1 if int(action) == HANDLES[self.cell % len(HANDLES)] else -1))
        return self._observation(), 0.0, False, False, {}


def features(state: Any) -> np.ndarray:
    """(n, 4): the door's handle, one-hot. No position: a value function that slopes by chance would pull a sparse agent along."""
    return np.eye(4)[state.handle.astype(int)]
