"""CartPole swing-up: the pole starts hanging, rotates freely, and must be held upright for 100 steps.

Dynamics: Barto, Sutton, Anderson 1983, with the constants of gymnasium's CartPole.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

GRAVITY, CART, POLE, HALF_LENGTH, STEP, FORCE = 9.8, 1.0, 0.1, 0.5, 0.02, 10.0
TRACK, UPRIGHT = 2.4, 0.2


class SwingUp(gym.Env):
    observation_space = spaces.Box(-np.inf, np.inf, (7,), np.float64)
    action_space = spaces.Discrete(2)

    def _observation(self) -> np.ndarray:
        x, speed, angle, spin = self.state
        return np.array([x, speed, angle, spin, math.sin(angle), math.cos(angle), self.upright])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        u = self.np_random.uniform(-0.05, 0.05, 4)
        self.state = (u[0], u[1], _wrap(math.pi + u[2]), u[3])
        self.upright = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        x, speed, angle, spin = self.state
        force = FORCE if int(action) == 1 else -FORCE
        cosine, sine, total = math.cos(angle), math.sin(angle), CART + POLE
        push = (force + POLE * HALF_LENGTH * spin * spin * sine) / total
        turn = (GRAVITY * sine - cosine * push) / (HALF_LENGTH * (4.0 / 3.0 - POLE * cosine * cosine / total))
        pull = push - POLE * HALF_LENGTH * turn * cosine / total
        self.state = (x + STEP * speed, speed + STEP * pull, _wrap(angle + STEP * spin), spin + STEP * turn)
        self.upright = self.upright + 1 if abs(self.state[2]) < UPRIGHT else 0
        return self._observation(), 0.0, abs(self.state[0]) > TRACK, False, {}


def _wrap(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi


def features(state: Any) -> np.ndarray:
    """(n, 6): what the policy sees, scaled to about 1; the wrapped angle is left out."""
    return np.stack([state.cart_x / 2.4, state.cart_velocity / 3, state.pole_sin, state.pole_cos, state.pole_velocity / 8, state.upright_steps / 100], -1)
