"""A folder with a user's own environments, and the command line run in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENTS = '''
"""Environments of somebody's own."""
import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Vector(gym.Env):
    """No documentation to speak of."""

    def __init__(self, width=24, dense=True):
        self.width, self.dense = width, dense
        self.observation_space = spaces.Box(-np.inf, np.inf, (width,), np.float64)
        self.action_space = spaces.Box(-2.0, 2.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.normal(size=2)
        self.v, self.t = np.zeros(2), 0
        return self.seen(), {}

    def seen(self):
        out = np.zeros(self.width)
        out[:2], out[2:4] = self.x, self.v
        out[4], out[5] = np.cos(self.x[0]), np.sin(self.x[0])
        out[6] = 7.0
        out[8:] = np.arange(self.width - 8) * self.x[1]
        return out

    def step(self, action):
        self.v = 0.9 * self.v + 0.1 * np.asarray(action, float)
        self.x = self.x + 0.05 * self.v
        self.t += 1
        far = float(np.abs(self.x).max())
        reward = -far if self.dense else 0.0
        return self.seen(), reward, far > 6, False, {"speed": float(np.abs(self.v).sum())}


class Nested(gym.Env):
    """Pick the ripe one.

    ## Description
    A picker moves along a row of plants.

    ## Action Space
    - 0: stay
    - 1: to the left
    - 2: to the right
    """

    observation_space = spaces.Dict(
        {
            "robot": spaces.Dict(
                {"place": spaces.Discrete(9), "arm": spaces.Box(-1, 1, (3,), np.float32)}
            ),
            "row": spaces.Tuple((spaces.MultiBinary(9), spaces.MultiDiscrete([4, 4]))),
            "camera": spaces.Box(0, 255, (8, 8, 3), np.uint8),
            "order": spaces.Text(20),
        }
    )
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.ripe = 4, int(self.np_random.integers(9))
        return self.seen(), {}

    def seen(self):
        flags = np.zeros(9, np.int8)
        flags[self.ripe] = 1
        robot = {"place": self.at, "arm": np.full(3, self.at / 8, np.float32)}
        return {
            "robot": robot,
            "row": (flags, np.array([self.at % 4, 0])),
            "camera": np.zeros((8, 8, 3), np.uint8),
            "order": "ripe",
        }

    def step(self, action):
        self.at = int(np.clip(self.at + (0, -1, 1)[int(action)], 0, 8))
        done = self.at == self.ripe
        return self.seen(), float(done), done, False, {"is_success": done}


ARM = spaces.Tuple((spaces.MultiDiscrete([3, 3]), spaces.MultiBinary(2)))
MIXED = spaces.Dict({"grip": spaces.Discrete(2), "arm": ARM})
PIXELS = spaces.Box(0, 255, (64, 64, 3), np.uint8)


class MixedActions(Vector):
    action_space = property(lambda self: MIXED, lambda self, value: None)

    def step(self, action):
        assert set(action) == {"grip", "arm"} and action["arm"][0].shape == (2,)
        return super().step(action["arm"][0] - 1)


class Broken(Vector):
    def step(self, action):
        raise RuntimeError("the arm is off")


class Old(Vector):
    def step(self, action):
        return super().step(action)[:4]


class Pixels(Vector):
    observation_space = property(lambda self: PIXELS, lambda self, value: None)


class TwoRewards(Vector):
    def step(self, action):
        seen, reward, *rest = super().step(action)
        return seen, np.array([reward, 0.0]), *rest


class NoReward(Vector):
    def step(self, action):
        seen, reward, *rest = super().step(action)
        return seen, float("nan"), *rest


def nothing():
    return 3
'''


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(ENVIRONMENTS)
    return tmp_path


@pytest.fixture
def command(here: Path):
    """command("envs", "new", ...) -> the finished process, in that folder."""

    def run(
        *words: str, env: dict[str, str] | None = None, said: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        surrounding = {
            **os.environ,
            "AUTOREWARD_CACHE": str(here / "cache"),
            "AUTOREWARD_MODEL": "",
            **(env or {}),
        }
        return subprocess.run(
            [sys.executable, "-m", "autoreward", *words],
            cwd=here,
            env=surrounding,
            capture_output=True,
            text=True,
            timeout=200,
            input=said,
        )

    return run
