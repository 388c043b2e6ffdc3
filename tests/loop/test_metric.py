"""A card without a success: a metric and a constraint rank planted programs, end training, and are
told with intervals.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from autoreward.store.io import read_arrays

CARD = """
format: 1
name: cart
title: A cart with three gears
description: A cart moves at the speed of its gear for 20 steps.
code: cart.py
environment: {factory: here:Cart, limit: 20}
action: {type: discrete, n: 3, meaning: "the gear: 0, 1, 2"}
fields:
  speed: {source: "0", unit: m/s, range: "0 .. 1", meaning: "how fast it goes"}
  power: {source: state.power, unit: W, range: "0 .. 1", meaning: "what it draws", policy: false}
task_reward: environment
metric: {name: mean_speed, of: field.speed, reduce: mean, range: [0, 1], goal: 0.97}
constraints:
  - {metric: {name: mean_power, of: field.power, reduce: mean, range: [0, 1]}, at_most: 0.5}
evaluation: {episodes: 20, envs: 5}
training:
  algorithm: PPO
  steps: 8000
  n_envs: 4
  net: [16]
  hyperparameters: {n_steps: 64, batch_size: 128, learning_rate: 0.01, ent_coef: 0.0}
"""
CODE = """
import gymnasium as gym
import numpy as np


class Cart(gym.Env):
    observation_space = gym.spaces.Box(0, 1, (1,))
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.speed = 0.0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.speed = action / 2
        return np.full(1, self.speed, np.float32), 0.0, False, False, {}


def power(env):
    return env.speed**2
"""
PLANTED = {
    "a": "return {'fast': 0.1 * curr.speed}",
    "b": "return {'fast': 0.1 * (curr.speed - 0.8 * curr.power)}",
    "c": "return {'slow': -0.1 * curr.speed}",
}


def replies() -> str:
    told = []
    for name, body in PLANTED.items():
        head = "import numpy as np\n\n\ndef reward(prev, action, curr, memory):\n"
        program = f"```python\n{head}    {body}\n```"
        for agent, text in (
            ("designer", program),
            ("critic", '{"ok": true, "problems": []}'),
            ("analyzer", '{"causes": [], "suggestions": [], "citations": [], "summary": "-"}'),
        ):
            told.append(
                {
                    "agent": agent,
                    "iteration": 1,
                    "candidate": name,
                    "attempt": 0,
                    "model": "planted",
                    "reply": {"text": text},
                }
            )
    return "\n".join(map(json.dumps, told))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A design over the three planted programs: fastest, a compromise that keeps the constraint,
    standing still.
    """
    place = tmp_path_factory.mktemp("metric")
    (place / "envs").mkdir()
    (place / "envs" / "cart.yaml").write_text(CARD)
    (place / "envs" / "cart.py").write_text(CODE)
    (place / "planted.jsonl").write_text(replies())
    words = [
        "design",
        "cart",
        "--model",
        "replay/planted.jsonl",
        "--iterations",
        "1",
        "--candidates",
        "3",
        "--final-seeds",
        "2",
        "--jobs",
        "2",
        "--name",
        "cart",
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "autoreward", *words],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return place / "runs" / "cart"


def evaluation(run: Path, name: str) -> dict:
    return json.loads((run / "iteration-1" / f"candidate-{name}" / "6-evaluation.json").read_text())


@pytest.mark.long
def test_the_constraint_comes_first_then_the_metric(run: Path):
    fastest, compromise, still = (evaluation(run, name) for name in "abc")
    assert fastest["metric"] > compromise["metric"] > still["metric"]
    assert fastest["broken"] and not compromise["broken"] and not still["broken"]
    final = json.loads((run / "final.json").read_text())
    assert final["winner"] == "1b"
    winner = final["arms"]["winner"]
    assert (
        winner["success"] is None
        and 0 <= winner["metric_low"] <= winner["metric"] <= winner["metric_high"] <= 1
        and len(winner["scores"]) == 2
    )


@pytest.mark.long
def test_training_ends_early_at_the_goal(run: Path):
    done = json.loads(
        next(
            (run / "iteration-1" / "candidate-a" / "5-training").glob("seed-*/done.json")
        ).read_text()
    )
    assert done["stopped"] == "solved" and done["steps"] < done["budget"]
    curve = read_arrays(
        next((run / "iteration-1" / "candidate-a" / "5-training").glob("seed-*/curve.npz"))
    )
    assert curve["metric"][-1] > 0.9 and curve["metric"][0] < 0.9
    done = json.loads(
        next(
            (run / "iteration-1" / "candidate-b" / "5-training").glob("seed-*/done.json")
        ).read_text()
    )
    assert done["stopped"] == "budget"


@pytest.mark.long
def test_report_and_show_tell_metric_and_constraint(run: Path):
    page = (run / "report.html").read_text()
    assert (
        "mean_speed" in page
        and "mean_power" in page
        and "<polyline" in page
        and "Success:" not in page
    )
    shown = subprocess.run(
        [sys.executable, "-m", "autoreward", "runs", "show", str(run)],
        cwd=run.parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (
        "breaks mean_power at most 0.5" in shown.stdout
        and "metric 0." in shown.stdout
        and "winner 1b" in shown.stdout
    )


@pytest.mark.long
def test_the_designer_is_told_both(run: Path):
    call = (run / "calls" / "iteration-1" / "a-designer-0.json").read_text()
    assert "mean_power at most 0.5" in call and "mean of field.speed over an episode" in call
