"""A two-second environment with every ending: success, failure, truncation; Box actions or
Discrete ones.
"""

import textwrap
from pathlib import Path

import pytest
import yaml

CODE = '''
import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Walk(gym.Env):
    """Random walk on a line: success at 3, failure at -3, noise in the second field."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def __init__(self, continuous):
        self.continuous = continuous
        box = spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = box if continuous else spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.normal() * 0.5
        return np.array([self.x, self.np_random.normal()]), {}

    def step(self, action):
        number = float(np.asarray(action).ravel()[0])
        push = number if self.continuous else 2.0 * number - 1.0
        self.x += 0.5 * push + 0.5 * self.np_random.normal()
        return np.array([self.x, self.np_random.normal()]), 0.0, self.x < -3, False, {}
'''
PROGRAM = """
import numpy as np

MEMORY = {"best": np.inf, "steps": 0.0}


def gap(s):
    return np.abs(3.0 - s.x)


def reward(prev, action, curr, memory):
    before = np.minimum(memory["best"], gap(prev))
    memory["best"] = np.minimum(before, gap(curr))
    memory["steps"] = memory["steps"] + 1
    effort = np.square(np.reshape(action, (len(curr), -1))).sum(-1)
    late = -0.001 * memory["steps"] * curr.noise
    return {"progress": before - memory["best"], "effort": -0.01 * effort, "late": late}


def potential(s):
    return {"near": -gap(s)}
"""


@pytest.fixture
def make_card(tmp_path: Path):
    """make_card(algorithm, hyperparameters, continuous) -> the card's path; program.py lies beside
    it.
    """

    def make(
        algorithm: str = "PPO",
        hyperparameters: dict | None = None,
        continuous: bool = False,
        **changes,
    ) -> Path:
        (tmp_path / "walk.py").write_text(textwrap.dedent(CODE))
        (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
        card = {
            "name": "walk",
            "title": "A walk",
            "description": "A walk on a line.",
            "code": "walk.py",
            "environment": {
                "factory": "here:Walk",
                "kwargs": {"continuous": continuous},
                "limit": 12,
            },
            "action": {"type": "box", "shape": [1], "meaning": "push"}
            if continuous
            else {"type": "discrete", "n": 2, "meaning": "left, right"},
            "fields": {"x": "0", "noise": "1"},
            "policy": {"input": "fields", "normalize": True},
            "success": {"when": [{"field": "x", "op": ">=", "value": 3}]},
            "evaluation": {"episodes": 20, "envs": 6},
            "training": {
                "algorithm": algorithm,
                "steps": 600,
                "n_envs": 4,
                "net": [8],
                "hyperparameters": hyperparameters or {},
            },
            "hints": [{"near": {"a": "x", "b": 3.0}}],
        } | changes
        path = tmp_path / "walk.yaml"
        path.write_text(yaml.safe_dump(card, sort_keys=False))
        return path

    return make


PAID = """
import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Walk(gym.Env):
    \"\"\"A walk on a line, paid by where it is and for its push; it ends below -2.\"\"\"

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.normal() * 0.5
        return np.array([self.x]), {}

    def step(self, action):
        self.x += 0.5 * float(action[0]) + 0.7 * self.np_random.normal()
        return np.array([self.x]), 0.1 + self.x, self.x < -2, False, {}
"""


@pytest.fixture
def paid(make_card):
    """paid(algorithm, hyperparameters, **changes) -> the path of a card whose reward is the
    environment's own, of every step.
    """

    def make(algorithm: str = "PPO", hyperparameters: dict | None = None, **changes) -> Path:
        path = make_card(
            algorithm, hyperparameters or {"n_steps": 32, "batch_size": 64, "n_epochs": 1}, True
        )
        (path.parent / "walk.py").write_text(PAID)
        metric = {"name": "paid", "of": "return", "range": [-50, 50]}
        card = {
            **yaml.safe_load(path.read_text()),
            "environment": {"factory": "here:Walk", "limit": 12},
            "fields": {"x": "0"},
            "task_reward": "environment",
            "metric": metric,
        }
        card = {**card, "hints": [{"raise": "x"}], **changes}
        del card["success"]
        path.write_text(yaml.safe_dump(card, sort_keys=False))
        return path

    return make
