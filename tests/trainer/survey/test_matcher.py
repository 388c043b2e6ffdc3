"""Columns matched to a simulation built here, so that the truth is known; and gymnasium's own."""

import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

mujoco = pytest.importorskip("mujoco")

from autoreward.trainer.survey.matcher import match  # noqa: E402

XML = """<mujoco><option timestep="0.01"/><worldbody>
<body name="cart"><joint name="rail" type="slide" axis="1 0 0" range="-1 1"/>
  <geom size=".1" mass="1"/>
  <body name="pole" pos="0 0 .1"><joint name="pin" type="hinge" axis="0 1 0"/>
    <geom type="capsule" fromto="0 0 0 .1 0 .5" size=".03" mass=".1"/>
    <site name="tip" pos=".1 .02 .5"/></body></body>
<body name="twin"><joint name="one" type="slide" axis="0 1 0"/><geom size=".1" mass="1"/>
  <body name="shell"><geom size=".05" mass=".1"/></body></body>
<body name="ball" pos="1 1 1"><freejoint name="loose"/><geom size=".1" mass="1"/></body>
</worldbody><actuator><motor name="engine" joint="rail" gear="5"/>
  <motor name="other" joint="one" gear="5"/></actuator>
<sensor><velocimeter name="speedometer" site="tip"/></sensor></mujoco>"""


class Bench(gym.Env):
    """Seventeen columns, each of known origin."""

    observation_space = spaces.Box(-np.inf, np.inf, (17,), np.float64)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_string(XML)
        self.data = mujoco.MjData(self.model)
        self.goal = np.zeros(3)
        self.hidden = 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:3] = self.np_random.normal(0, 0.3, 3)
        self.data.qvel[:] = self.np_random.normal(0, 1, self.model.nv)
        mujoco.mj_forward(self.model, self.data)
        self.goal = self.np_random.normal(size=3)
        self.before = 0.0
        return self.seen(), {}

    def seen(self):
        d, tip = self.data, self.data.site("tip").xpos
        self.hidden, before = float(self.np_random.normal()), self.before
        self.before = float(d.qpos[0])
        parts = [
            d.qpos[:1],
            [np.cos(d.qpos[1])],
            np.clip(d.qvel[1:2], -0.5, 0.5),
            tip - self.goal,
            d.sensordata,
            [before],
            [2.5 * d.qpos[0] + 1],
            d.xpos[3, 1:2],
            d.qpos[3:6],
            [self.hidden],
            [4.0],
        ]
        return np.concatenate(parts)

    def step(self, action):
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)
        return self.seen(), 0.0, False, False, {}


def test_every_column_is_explained_and_noise_is_not():
    found = match(Bench(), lambda o: np.asarray(o), 0)
    assert found[0].of == "qpos of joint rail (slide)" and found[0].unit == "m"
    assert found[1].how == "cos" and "pin" in found[1].of
    assert (
        found[2].how == "clip"
        and "qvel of joint pin" in found[2].of
        and "clipped at -0.5 and 0.5" in found[2].of
    )
    assert [found[k].index for k in (3, 4, 5)] == ["x", "y", "z"] and all(
        found[k].how == "difference" and "tip" in found[k].of and "goal" in found[k].of
        for k in (3, 4, 5)
    )
    assert [found[k].name for k in (6, 7, 8)] == ["speedometer"] * 3
    assert found[9].of == "one step ago: qpos of joint rail (slide)"
    assert found[10].how == "scaled" and "times 2.5, plus 1" in found[10].of
    assert [found[k].name for k in (12, 13, 14)] == ["loose_position"] * 3
    assert 15 not in found, "a random number is nobody's"
    assert 16 not in found, "a constant is evidence of nothing"


def test_equally_good_explanations_are_reported():
    found = match(Bench(), lambda o: np.asarray(o), 0)[11]
    options = {found.of, *found.also}
    assert "qpos of joint one (slide)" in options or (
        any("twin" in o for o in options) and any("shell" in o for o in options)
    ), options


def test_two_seeds_agree():
    first, second = (
        match(Bench(), lambda o: np.asarray(o), 0),
        match(Bench(), lambda o: np.asarray(o), 1),
    )
    assert {c: m.of for c, m in first.items()} == {c: m.of for c, m in second.items()}


@pytest.mark.parametrize(
    "names", [("Hopper-v5", "Reacher-v5", "Pusher-v5", "InvertedDoublePendulum-v5")]
)
def test_the_benchmark_finds_no_wrong_name(names):
    bench = Path(__file__).parents[3] / "benchmarks" / "match.py"
    done = subprocess.run(
        [sys.executable, str(bench), *names], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if "-v5" in line]
    assert len(rows) == len(names) and all(
        float(r[5].strip(" %")) >= 95 and r[7].strip() == "0" and float(r[8]) < 30 for r in rows
    ), done.stdout


@pytest.mark.long
def test_all_sixteen_environments_at_95_percent_without_a_wrong_name():
    pytest.importorskip("gymnasium_robotics")
    pytest.importorskip("metaworld")
    bench = Path(__file__).parents[3] / "benchmarks" / "match.py"
    done = subprocess.run([sys.executable, str(bench)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    shares = [
        float(line.split("|")[5].strip(" %")) for line in done.stdout.splitlines() if "%" in line
    ]
    assert len(shares) == 17 and sum(s >= 95 for s in shares[:-1]) >= 15, done.stdout
