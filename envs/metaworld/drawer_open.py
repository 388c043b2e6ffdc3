"""Meta-World drawer-open-v3 with a compact observation and a fresh drawer position in every episode."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces
from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE as ENVIRONMENTS


class DrawerOpen(gym.Env):
    observation_space = spaces.Box(-np.inf, np.inf, (10,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (4,), np.float32)

    metadata = {"render_modes": ["rgb_array"], "render_fps": 80}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.inner = ENVIRONMENTS["drawer-open-v3-goal-observable"](seed=0, render_mode=render_mode)
        self.inner._freeze_rand_vec = False

    def _observation(self, seen: np.ndarray) -> np.ndarray:
        return np.concatenate([seen[:3], seen[3:4], seen[4:7], self.inner._target_pos])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.inner.seed(seed)
            self.inner.seeded_rand_vec = True
        self.inner.reset()
        mujoco.mj_forward(self.inner.model, self.inner.data)  # else the first observation shows the previous episode's drawer
        return self._observation(self.inner._get_obs()), {}

    def render(self) -> Any:
        return self.inner.render()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        seen, *_ = self.inner.step(np.asarray(action, np.float64))
        self.inner.curr_path_length = 0  # the card's limit counts; theirs raises
        return self._observation(seen), 0.0, False, False, {}


def drawer_open(render_mode: str | None = None) -> gym.Env:
    return DrawerOpen(render_mode)
