"""Every documented form of field source reads the same in training and in an exported file."""

import json
import re

import numpy as np
import pytest
import yaml
from test_export import ROOT, a_run, bare, imported, same, trained

from autoreward.results.export import export
from autoreward.tasks.find import load
from autoreward.trainer.environment import CardEnvironment, CardProblem, trusted_code
from autoreward.trainer.wrappers import TaskWrapper

# Environments whose every number is known: `steps` counts the steps of the episode.
CODE = """
import gymnasium as gym
import numpy as np
from gymnasium import spaces


def box(*shape):
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


class Counting(gym.Env):
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.seen(), {"always": 7.0}

    def step(self, action):
        self.steps += 1
        info = {"always": 7.0 + self.steps, "late": 8.0 + self.steps}
        info["vector"] = np.array([1.0, 2.0, 3.0, 4.0]) * self.steps
        return self.seen(), 0.0, False, False, info


class OfDict(Counting):
    observation_space = spaces.Dict({
        "deep": spaces.Dict({"inner": spaces.Dict({"x": box(2)})}),
        "hand": box(4),
        "mode": spaces.Discrete(3),
        "pair": spaces.Tuple((box(1), box(2))),
    })

    def seen(self):
        t = np.float32(self.steps)
        hand = np.array([10, 20, 30, 40], np.float32) + t
        pair = (np.array([50 + t]), np.array([60 + t, 70 + t]))
        deep = {"inner": {"x": np.array([1 + t, 2 + t])}}
        return {"deep": deep, "hand": hand, "mode": self.steps % 3, "pair": pair}


class OfTuple(Counting):
    observation_space = spaces.Tuple((box(2), spaces.Dict({"x": box(1)})))

    def seen(self):
        return (np.array([1.0, 2.0]) + self.steps, {"x": np.array([3.0]) + self.steps})


class OfBox(Counting):
    observation_space = box(2, 3)

    def seen(self):
        return np.arange(6, dtype=np.float32).reshape(2, 3) + self.steps


def energy(env):
    return 5.0 * env.steps


def pose(env):
    return np.array([[1.0, 2.0], [3.0, 4.0]]) * env.steps
"""


def one_hot(t):
    return np.eye(3)[t % 3]


# environment -> (documented form, source, shape, values at step t; step 0 is the reset)
FORMS = {
    "OfBox": [
        ("7", "4", [], lambda t: [4 + t]),
        ("3:6", "2:5", [3], lambda t: [2 + t, 3 + t, 4 + t]),
        ("obs", "obs", [2, 3], lambda t: np.arange(6) + t),
        ("obs[7]", "obs[4]", [], lambda t: [4 + t]),
        ("obs[3:6]", "obs[1:3]", [2], lambda t: [1 + t, 2 + t]),
        ("info.KEY", "info.always", [], lambda t: [7 + t]),
        ("info.KEY", "info.late", [], lambda t: [8 + t if t else 0]),
        ("info.KEY", "info.vector", [2, 2], lambda t: np.arange(1, 5) * t),
        ("info.KEY[7]", "info.vector[2]", [], lambda t: [3 * t]),
        ("info.KEY[3:6]", "info.vector[1:3]", [2], lambda t: [2 * t, 3 * t]),
        ("state.NAME", "state.energy", [], lambda t: [5 * t]),
        ("state.NAME", "state.pose", [2, 2], lambda t: np.arange(1, 5) * t),
    ],
    "OfDict": [
        ("7", "0", [], lambda t: [1 + t]),
        ("3:6", "6:9", [3], one_hot),
        ("obs.KEY", "obs.hand", [4], lambda t: np.array([10, 20, 30, 40]) + t),
        ("obs.KEY", "obs.mode", [], lambda t: [t % 3]),
        ("obs.KEY[7]", "obs.hand[2]", [], lambda t: [30 + t]),
        ("obs.KEY[3:6]", "obs.hand[1:3]", [2], lambda t: [20 + t, 30 + t]),
        ("obs.A.B", "obs.deep.inner.x", [2], lambda t: [1 + t, 2 + t]),
        ("obs.A.B", "obs.pair.1", [2], lambda t: [60 + t, 70 + t]),
        ("obs.KEY[7]", "obs.pair.1[0]", [], lambda t: [60 + t]),
    ],
    "OfTuple": [
        ("obs.0", "obs.0", [2], lambda t: [1 + t, 2 + t]),
        ("obs.KEY[3:6]", "obs.0[1:2]", [1], lambda t: [2 + t]),
        ("obs.A.B", "obs.1.x", [1], lambda t: [3 + t]),
        ("3:6", "1:3", [2], lambda t: [2 + t, 3 + t]),
    ],
}
CASES = [(name, k) for name, forms in FORMS.items() for k in range(len(forms))]
STEPS = 3
PROGRAM = """
def reward(prev, action, curr, memory):
    return {"a": 0.0 * curr.f0.reshape(len(curr), -1)[:, 0]}
"""
SCRIPT = """
import importlib.util, json, sys


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


exported, forms = load("exported", sys.argv[1]), load("forms", sys.argv[2])
env = exported.DesignedReward(getattr(forms, sys.argv[3])())
_, info = env.reset(seed=0)
read = [info["autoreward"]["fields"].tolist()]
for _ in range(int(sys.argv[4])):
    _, _, _, _, info = env.step(0)
    read.append(info["autoreward"]["fields"].tolist())
json.dump(read, sys.stdout)
"""


def card_of(folder, name, fields):
    """A card of the environment `name`, in the folder."""
    (folder / "forms.py").write_text(CODE)
    card = {
        "name": "forms",
        "title": "Forms",
        "description": "Counts its steps.",
        "code": "forms.py",
        "environment": {"factory": f"here:{name}", "limit": 20},
        "action": {"type": "discrete", "n": 2, "meaning": "nothing"},
        "fields": fields,
        "policy": {"input": "fields"},
        "success": {"when": [{"field": "f0", "op": ">=", "value": 1e9}]},
        "training": {"algorithm": "PPO", "steps": 100},
    }
    (folder / "forms.yaml").write_text(yaml.safe_dump(card))
    return load(folder / "forms.yaml")


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Per environment: its layout, and all fields (STEPS + 1, D) as training and an exported file,
    run with numpy and gymnasium only, read them.
    """
    found = {}
    for name, forms in FORMS.items():
        folder = tmp_path_factory.mktemp(name)
        fields = [
            {"name": f"f{k}", "source": source, "shape": shape}
            for k, (_, source, shape, _) in enumerate(forms)
        ]
        card = card_of(folder, name, fields)
        env = CardEnvironment(card, trusted_code(card))
        trained_on = [env.reset(seed=0)[0]]
        trained_on += [env.step(0)[0] for _ in range(STEPS)]

        made = export(a_run(folder / "run", card, PROGRAM), card, "1a")
        (folder / "exported.py").write_text(made.text)
        arguments = [folder / "exported.py", folder / "forms.py", name, STEPS]
        out = bare(SCRIPT, *map(str, arguments), cwd=folder)
        found[name] = card.card.layout, np.array(trained_on), np.array(json.loads(out))
    return found


@pytest.mark.parametrize(
    ("name", "k"), CASES, ids=[f"{name}-{FORMS[name][k][1]}" for name, k in CASES]
)
def test_a_field_source_reads_the_same_in_training_and_in_an_exported_file(read, name, k):
    layout, training, exported = read[name]
    start, end, _ = layout.slices[f"f{k}"]
    expected = np.array([FORMS[name][k][3](t) for t in range(STEPS + 1)], np.float64)
    assert training[:, start:end].tolist() == expected.tolist()
    assert exported[:, start:end].tolist() == expected.tolist()


def test_every_form_that_the_readme_lists_is_tried():
    text = (ROOT / "envs" / "README.md").read_text()
    section = text.split("## Field sources")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    listed = {form for row in rows for form in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert listed == {form for forms in FORMS.values() for form, *_ in forms}


BROKEN = [
    ("info.never", [], "KeyError: \"info has no key 'never' after a step\""),
    ("obs.hand", [3], "gives 4 numbers, but the field's shape needs 3"),
    ("obs.foot", [], "KeyError: 'foot'"),
]


@pytest.mark.parametrize(("source", "shape", "words"), BROKEN)
def test_a_source_that_does_not_fit_is_the_same_error_in_training_and_in_a_wrapper(
    tmp_path, source, shape, words
):
    card = card_of(tmp_path, "OfDict", [{"name": "f0", "source": source, "shape": shape}])
    code = trusted_code(card)
    training = CardEnvironment(card, code)
    with pytest.raises(CardProblem) as caught:
        training.reset(seed=0)
        training.step(0)
    wrapper = TaskWrapper(code.OfDict(), training.task)
    with pytest.raises(ValueError) as wrapped:
        wrapper.reset(seed=0)
        wrapper.step(0)
    assert caught.value.message == str(wrapped.value)
    assert caught.value.message.startswith(f"fields.f0: source {source!r}")
    assert words in caught.value.message


NESTED_ACTION = """
import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Pushed(gym.Env):
    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Dict({
        "legs": spaces.Tuple((spaces.Discrete(3, start=1), spaces.Discrete(2))),
        "arm": spaces.Discrete(4),
    })

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.got = {"arm": int(action["arm"]), "legs": tuple(int(a) for a in action["legs"])}
        return np.zeros(1, np.float32), 0.0, False, False, {}
"""


def test_a_nested_action_reaches_programs_in_a_wrapper_as_in_training(tmp_path):
    (tmp_path / "pushed.py").write_text(NESTED_ACTION)
    card = {
        "name": "pushed",
        "title": "Pushed",
        "description": "Pushed.",
        "code": "pushed.py",
        "environment": {"factory": "here:Pushed", "limit": 20},
        "action": {"type": "multidiscrete", "nvec": [4, 3, 2], "meaning": "arm, legs"},
        "fields": {"x": "0"},
        "success": {"when": [{"field": "x", "op": ">=", "value": 1}]},
        "training": {"algorithm": "PPO", "steps": 100},
    }
    (tmp_path / "pushed.yaml").write_text(yaml.safe_dump(card))
    card = load(tmp_path / "pushed.yaml")
    env = CardEnvironment(card, trusted_code(card))
    env.reset(seed=0)
    # the row that a program sees in training
    row = np.array([3, 2, 0])
    env.step(row)
    given = env.env.unwrapped.got
    assert given == {"arm": 3, "legs": (3, 0)}
    wrapper = TaskWrapper(trusted_code(card).Pushed(), env.task)
    wrapper.reset(seed=0)
    # keys in another order than the space's
    *_, info = wrapper.step({"legs": given["legs"], "arm": given["arm"]})
    assert info["autoreward"]["action"].tolist() == row.tolist()


def test_fetchreach_is_exported_and_gives_the_rewards_of_training(tmp_path, monkeypatch):
    pytest.importorskip("gymnasium_robotics")
    card = load(ROOT / "envs" / "robotics" / "fetchreach.yaml")
    program = card.human.read_text()
    rewards, _, _, done = trained(
        card, program, monkeypatch, 130, lambda venv, row: venv.action_space.sample()
    )
    monkeypatch.undo()
    made = export(a_run(tmp_path, card, program), card, "1a")
    (tmp_path / "exported.py").write_text(made.text)
    exported = imported(tmp_path / "exported.py")

    import gymnasium as gym

    venv = exported.designed_vec(
        lambda: gym.make("gymnasium_robotics:FetchReach-v4", max_episode_steps=-1), 3
    )
    venv.seed(7)
    venv.action_space.seed(7)
    venv.reset()
    again, ends = [], []
    for _ in range(130):
        actions = np.stack([venv.action_space.sample() for _ in range(3)])
        _, reward, dones, infos = venv.step(actions)
        again.append(reward)
        ends.append(dones)
    assert same(rewards, again)
    assert np.stack(ends).tolist() == done.tolist()
    assert infos[0]["autoreward"]["fields"].shape == (9,)
