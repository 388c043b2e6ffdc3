"""An exported file gives the rewards of training step by step, with only numpy and gymnasium.

Exporting runs nothing.
"""

import ast
import json
import subprocess
import sys
import textwrap
from importlib import util
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import yaml
from stable_baselines3.common.vec_env import DummyVecEnv

from autoreward.errors import UserError
from autoreward.results.card_functions import self_contained_functions
from autoreward.results.export import export
from autoreward.rewards.composition import Composition
from autoreward.rewards.signals import PLAIN, SignalContext, find_signal
from autoreward.sandbox.outside.worker import Worker
from autoreward.store.io import write
from autoreward.store.records import Check, Evaluation, Review, RunHeader, Score
from autoreward.store.run import Run
from autoreward.tasks.find import LocatedCard, load
from autoreward.trainer import environment as environment_module
from autoreward.trainer.environment import CardEnvironment, trusted_code
from autoreward.trainer.reward_env import RewardVecEnv

ROOT = Path(__file__).parents[2]
INSTALLED = Path(np.__file__).parents[1]
# numpy, gymnasium, and what gymnasium itself needs
NEEDED = (
    "numpy",
    "numpy.libs",
    "gymnasium",
    "cloudpickle",
    "farama_notifications",
    "typing_extensions.py",
)

# An environment with a nested Dict observation, fields of info and of the environment's state, a
# Tuple action, every ending.
CODE = """
import math

import gymnasium as gym
import numpy as np
from gymnasium import spaces

SCALE = 2.0


class Walk(gym.Env):
    observation_space = spaces.Dict({
        "place": spaces.Dict({"x": spaces.Box(-np.inf, np.inf, (2,), np.float32)}),
        "kind": spaces.Discrete(3),
    })
    action_space = spaces.Tuple((spaces.Discrete(2), spaces.Discrete(3)))

    def _seen(self):
        x = np.array([self.x, self.np_random.normal()], np.float32)
        return {"place": {"x": x}, "kind": self.kind}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.kind = self.np_random.normal() * 0.5, int(self.np_random.integers(3))
        return self._seen(), {}

    def step(self, action):
        push = 0.5 * (2.0 * action[0] - 1.0) + 0.2 * (action[1] - 1)
        self.x += push + 0.5 * self.np_random.normal()
        info = {"height": self.x**2, "arrived": self.x > 3}
        return self._seen(), 0.1 * self.x, self.x < -3, False, info


def doubled(env):
    return SCALE * env.x * math.cos(0.0)


def far(state):
    return state.at[:, 0] > 3
"""
PROGRAM = '''
"""Words with a "quote" and
a second line."""
import numpy as np

MEMORY = {"best": np.inf, "steps": 0.0, "flag": False, "two": [1.0, 2.0]}
TEXT = """not
indented"""


def gap(s):
    return np.abs(3.0 - s.at[:, 0])


def reward(prev, action, curr, memory):
    before = np.minimum(memory["best"], gap(prev))
    memory["best"] = np.minimum(before, gap(curr))
    memory["steps"] = memory["steps"] + 1
    memory["two"] = memory["two"] * 0.9
    effort = np.square(np.reshape(action, (len(curr), -1))).sum(-1)
    late = -0.001 * memory["steps"] * curr.doubled * memory["two"].sum(-1)
    terms = {"progress": before - memory["best"], "effort": -0.01 * effort, "late": late}
    return {**terms, "kind": 0.1 * curr.kind[:, 1], "text": len(TEXT) * 0.01}


def potential(s):
    return {"near": -gap(s), "height": -0.1 * s.height}
'''
WALK = {
    "name": "walk",
    "title": "A walk",
    "description": "A walk on a line.",
    "code": "walk.py",
    "environment": {"factory": "here:Walk", "limit": 12},
    "action": {"type": "multidiscrete", "nvec": [2, 3], "meaning": "push"},
    "fields": [
        {"name": "at", "source": "obs.place.x", "shape": [2]},
        {"name": "kind", "source": "0:3", "shape": [3]},
        {"name": "height", "source": "info.height"},
        {"name": "doubled", "source": "state.doubled"},
    ],
    "success": {"when": [{"field": "at[0]", "op": ">=", "value": 3}]},
    "training": {"algorithm": "PPO", "steps": 600, "n_envs": 4},
}


def walk(tmp_path: Path, **changes) -> LocatedCard:
    (tmp_path / "walk.py").write_text(textwrap.dedent(CODE))
    (tmp_path / "walk.yaml").write_text(yaml.safe_dump({**WALK, **changes}))
    return load(tmp_path / "walk.yaml")


def a_run(folder: Path, card: LocatedCard, program: str, **changes) -> Run:
    """A run directory with one evaluated candidate."""
    header = RunHeader(
        task=card.card.name,
        card=card.card.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        card_path=str(card.path),
        card_digest=card.digest(),
    )
    run = Run.create(folder, header.model_copy(update=changes), "one")
    candidate = run.candidate(1, "a")
    write(candidate.program_path, program)
    write(candidate.path / "2-critic.json", Review(ok=True))
    write(candidate.path / "3-check.json", Check(ok=True))
    write(
        candidate.path / "6-evaluation.json",
        Evaluation(
            success=0.5, low=0.4, high=0.6, scores=(Score(seed=0, episodes=100, successes=50),)
        ),
    )
    return run


class Tape(gym.Wrapper):
    """Keeps what an environment was told and said."""

    def __init__(self, env):
        super().__init__(env)
        self.said = []

    def reset(self, **options):
        observation, info = self.env.reset(**options)
        self.said.append(("reset", None, observation, 0.0, False, False, dict(info)))
        return observation, info

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.said.append(("step", action, observation, reward, terminated, truncated, dict(info)))
        return observation, reward, terminated, truncated, info


def trained(card: LocatedCard, program: str, monkeypatch, steps: int, choose, n: int = 3):
    """Rewards (T, n) as a training computes them, with the real worker; the tapes of the n
    environments; terminated and done (T, n).
    """
    code, made = trusted_code(card), environment_module.bare_environment
    tapes = []

    def taped(*arguments, **options):
        tapes.append(Tape(made(*arguments, **options)))
        return tapes[-1]

    monkeypatch.setattr(environment_module, "bare_environment", taped)
    with Worker(program, card.card.reward_layout, card.card.action) as worker:
        venv = RewardVecEnv(
            DummyVecEnv([lambda: CardEnvironment(card, code)] * n),
            SignalContext(card.card, ()),
            worker,
            Composition(),
            find_signal(PLAIN),
            record=steps,
        )
        venv.seed(7)
        venv.action_space.seed(7)
        seen, rewards = venv.reset(), []
        for _ in range(steps):
            seen, reward, _, _ = venv.step(np.stack([choose(venv, row) for row in seen]))
            rewards.append(reward)
    arrays = venv.recording.arrays()
    assert (arrays["done"] & ~arrays["terminated"]).any(), "a truncated end is wanted"
    return np.stack(rewards), tapes, arrays["terminated"] & arrays["done"], arrays["done"]


REPLAY = """
import importlib.util, json, sys
import numpy as np
import gymnasium as gym

spec = importlib.util.spec_from_file_location("exported", sys.argv[1])
exported = importlib.util.module_from_spec(spec)
sys.modules["exported"] = exported
spec.loader.exec_module(exported)
for name in ("autoreward", "torch", "stable_baselines3", "pydantic", "mujoco", "minigrid", "yaml"):
    assert importlib.util.find_spec(name) is None, name


class Replayed(gym.Env):
    def __init__(self, said, observation, action):
        self.said, self.at, self.observation_space, self.action_space = said, 0, observation, action

    def _next(self):
        self.at += 1
        return self.said[self.at - 1]

    def reset(self, **options):
        what, _, seen, *_, info = self._next()
        assert what == "reset"
        return np.array(seen), info

    def step(self, action):
        what, _, seen, reward, terminated, truncated, info = self._next()
        assert what == "step"
        return np.array(seen), reward, terminated, truncated, info


tapes, out = json.load(open(sys.argv[2])), []
for said in tapes:
    width = len(said[0][2])
    action = np.array(next(s[1] for s in said if s[0] == "step"))
    space = gym.spaces.Discrete(100)
    if action.shape:
        space = gym.spaces.Box(-1, 1, action.shape, np.float32)
    seen = gym.spaces.Box(-np.inf, np.inf, (width,), np.float64)
    env = exported.DesignedReward(Replayed(said, seen, space))
    env.reset()
    rewards, k = [], 1
    while k < len(said):
        _, reward, terminated, truncated, info = env.step(np.array(said[k][1]))
        rewards.append([reward, bool(terminated), bool(truncated)])
        k += 1
        if terminated or truncated:
            if k >= len(said): break
            env.reset()
            k += 1
    out.append(rewards)
json.dump(out, sys.stdout)
"""


def bare(script: str, *arguments: str, cwd: Path) -> str:
    """Run a script that can import only numpy, gymnasium and the standard library.

    Python runs with `-I -S` and a folder of links.
    """
    site = cwd / "only"
    site.mkdir(exist_ok=True)
    for name in NEEDED:
        there = INSTALLED / name
        if there.exists() and not (site / name).exists():
            (site / name).symlink_to(there)
    (cwd / "script.py").write_text(f"import sys\nsys.path.append({str(site)!r})\n" + script)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", str(cwd / "script.py"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def plain(value):
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def same(rewards, again) -> bool:
    return (
        np.asarray(rewards, np.float32).tobytes()
        == np.asarray(again, np.float64).astype(np.float32).tobytes()
    )


DRAW = np.random.default_rng(0)
# card: what the agent does, the episode limit, steps
CASES = {
    "classic/corridor": (lambda venv, row: int(row[2]) if DRAW.random() < 0.6 else 1, 100, 450),
    "minigrid/doorkey16": (lambda venv, row: venv.action_space.sample(), 80, 300),
    "mujoco/hopper3m": (lambda venv, row: 0.3 * venv.action_space.sample(), 60, 400),
}


@pytest.mark.parametrize("name", CASES)
def test_an_exported_file_gives_the_rewards_of_training_with_numpy_and_gymnasium_alone(
    name, tmp_path, monkeypatch
):
    card = load(ROOT / "envs" / f"{name}.yaml")
    for module in card.card.environment.needs:
        pytest.importorskip(module)
    choose, limit, steps = CASES[name]
    card = card.model_copy(
        update={
            "card": card.card.model_copy(
                update={"environment": card.card.environment.model_copy(update={"limit": limit})}
            )
        }
    )
    field = card.card.reward_layout.names[0]
    program = (
        card.human.read_text()
        + "\n\ndef potential(state):\n"
        + f"    size = np.abs(state.{field}).reshape(len(state), -1).sum(-1)\n"
        + '    return {"late": -0.1 * size}\n'
    )
    rewards, tapes, terminated, done = trained(card, program, monkeypatch, steps, choose)
    assert name == "minigrid/doorkey16" or terminated.any()
    made = export(a_run(tmp_path, card, program), card, "1a")
    (tmp_path / "exported.py").write_text(made.text)
    (tmp_path / "tapes.json").write_text(
        json.dumps(
            [
                [
                    [plain(x) for x in (s[0], s[1], s[2], s[3], bool(s[4]), bool(s[5]))] + [{}]
                    for s in t.said
                ]
                for t in tapes
            ]
        )
    )
    out = json.loads(
        bare(REPLAY, str(tmp_path / "exported.py"), str(tmp_path / "tapes.json"), cwd=tmp_path)
    )
    for k, episode in enumerate(out):
        assert same(rewards[:, k], [r[0] for r in episode])
        assert [r[1] for r in episode] == terminated[:, k].tolist() and [
            r[1] or r[2] for r in episode
        ] == done[:, k].tolist()


def imported(path: Path):
    spec = util.spec_from_file_location("exported", path)
    module = util.module_from_spec(spec)
    sys.modules["exported"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    "success", [WALK["success"], {"info": "arrived", "ends_episode": False}, {"predicate": "far"}]
)
def test_dict_info_and_state_fields_and_the_vector_of_environments_give_the_same_rewards(
    tmp_path, monkeypatch, success, own
):
    card = walk(tmp_path, success=success, task_reward="environment" if own else "success")
    choose = lambda venv, row: venv.action_space.sample()  # noqa: E731
    rewards, _, terminated, done = trained(card, PROGRAM, monkeypatch, 150, choose)
    assert terminated.any()
    monkeypatch.undo()
    made = export(a_run(tmp_path, card, PROGRAM), card, "1a")
    assert made.missing == () and made.candidate == "1a"
    (tmp_path / "exported.py").write_text(made.text)
    exported, code = imported(tmp_path / "exported.py"), trusted_code(card)
    venv = exported.designed_vec(code.Walk, 3)
    venv.seed(7)
    flat = gym.spaces.MultiDiscrete([2, 3])
    flat.seed(7)
    venv.reset()
    again, ends = [], []
    for _ in range(150):
        _, reward, dones, infos = venv.step(
            [tuple(int(a) for a in flat.sample()) for _ in range(3)]
        )
        again.append(reward)
        ends.append(dones)
    assert same(rewards, again) and (np.stack(ends) == done).all()
    assert set(infos[0]["autoreward"]["terms"]) == {
        "progress",
        "effort",
        "late",
        "kind",
        "text",
        "near",
        "height",
    }
    script = f"""
import importlib.util, sys
def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
exported = load("exported", {str(tmp_path / "exported.py")!r})
walk = load("walk", {str(tmp_path / "walk.py")!r})
env = exported.DesignedReward(walk.Walk())
env.reset(seed=3)
for k in range(30):
    *_, terminated, truncated, info = env.step((k % 2, k % 3))
    if terminated or truncated: env.reset()
print(sorted(info["autoreward"]["terms"]))
"""
    assert "near" in bare(script, cwd=tmp_path)


def test_functions_that_need_more_than_numpy_and_gymnasium_are_asked_for(tmp_path):
    card = walk(tmp_path)
    (tmp_path / "walk.py").write_text(
        CODE.replace("import math\n", "import math\nimport yaml\n").replace(
            "SCALE * env.x", "yaml.safe_load('2.0') * env.x"
        )
    )
    made = export(a_run(tmp_path, card, PROGRAM), card, "1a")
    assert (
        made.missing == ("doubled",)
        and "YOU MUST PASS functions=" in made.text
        and "yaml" not in made.text.split("_functions()")[1].split("return")[0]
    )
    (tmp_path / "exported.py").write_text(made.text)
    exported, code = imported(tmp_path / "exported.py"), trusted_code(card)
    with pytest.raises(ValueError, match=r"doubled.*functions="):
        exported.DesignedReward(code.Walk())
    env = exported.DesignedReward(code.Walk(), functions={"doubled": code.doubled})
    env.reset(seed=0)
    assert np.isfinite(env.step((0, 1))[1])


def test_what_a_function_uses_comes_along_and_nothing_else():
    found = self_contained_functions(CODE, ("doubled",))
    assert "import math" in found and "SCALE" in found and "class Walk" not in found
    assert (
        self_contained_functions(CODE, ("nothing",)) is None
        and self_contained_functions("from x import *\ndef f(e): return e", ("f",)) is None
    )


def test_exporting_runs_nothing_and_a_runs_words_cannot_leave_their_string(tmp_path):
    card, evil = walk(tmp_path), tmp_path / "evil"
    side = (
        f"import numpy as np\nnp.zeros(3).tofile({str(evil)!r})\n\n\n"
        'def reward(prev, action, curr, memory):\n    return {"a": curr.height}\n'
    )
    (tmp_path / "walk.py").write_text(CODE + f"\nopen({str(evil)!r}, 'w')\n")
    quiet = export(a_run(tmp_path / "quiet", card, side), card, "1a")
    words = 'x\\"""\nimport os\nos.system("echo")\n"""'
    loud = export(
        a_run(tmp_path / "loud", card, side, model=words, created=words, versions={"numpy": words}),
        card,
        "1a",
    )
    assert not evil.exists()
    one, other = ast.parse(quiet.text).body, ast.parse(loud.text).body
    assert [ast.dump(n) for n in one[1:]] == [
        ast.dump(n) for n in other[1:]
    ] and "os.system" in ast.get_docstring(ast.parse(loud.text))
    assert "without a sandbox" in ast.get_docstring(ast.parse(quiet.text))


UNFIT = [
    ("import os\n\n\ndef reward(p, a, c, m):\n    return {}\n", "cannot import os"),
    (
        "from numpy import *\n\n\ndef potential(s):\n    return {'a': s.height}\n",
        "does not compile inside a function",
    ),
]


@pytest.mark.parametrize(("program", "word"), UNFIT)
def test_a_program_that_cannot_be_exported_is_a_sentence(tmp_path, program, word):
    card = walk(tmp_path)
    with pytest.raises(UserError, match=word):
        export(a_run(tmp_path, card, program), card, "1a")
