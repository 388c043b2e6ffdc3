"""Programs lie in folders where commands are called: a file of a library's name there is never
imported outside of the sandbox.
"""

import pytest

NAMES = (
    "glob",
    "queue",
    "copy",
    "random",
    "fnmatch",
    "yaml",
    "numpy",
    "torch",
    "gymnasium",
    "minigrid",
)
TRAP = (
    "import pathlib\n"
    "(pathlib.Path(__file__).parent / 'ran').write_text(__name__)\n"
    "raise SystemExit(99)\n"
)
PROGRAM = (
    "import numpy as np\n\n\n"
    "def reward(prev, action, curr, memory):\n"
    "    return {'progress': 0.01 * (curr.cell - prev.cell)}\n"
)


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(TRAP)
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


TRAIN = ("train", "program.py", "--task", "corridor", "--seeds", "1", "--steps", "2048")


@pytest.mark.parametrize(
    "words",
    [
        ("check", "program.py", "--task", "corridor"),
        TRAIN,
        ("envs", "caption", "corridor"),
        ("doctor",),
    ],
    ids=lambda w: w[0],
)
def test_a_file_of_a_librarys_name_is_not_run(command, folder, words):
    done = command(*words)
    assert not (folder / "ran").exists(), (folder / "ran").read_text()
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_card_may_still_name_a_module_that_lies_beside_you(command, folder):
    (folder / "mine.py").write_text(
        "import gymnasium as gym\nimport numpy as np\n\n\nclass Walk(gym.Env):\n"
        "    observation_space = gym.spaces.Box(-9, 9, (1,), np.float64)\n"
        "    action_space = gym.spaces.Discrete(2)\n\n"
        "    def reset(self, *, seed=None, options=None):\n        super().reset(seed=seed)\n"
        "        self.x = 0.0\n        return np.array([self.x]), {}\n\n"
        "    def step(self, action):\n        self.x += 1.0 if action else -1.0\n"
        "        return np.array([self.x]), 0.0, abs(self.x) > 5, False, {}\n"
    )
    done = command("envs", "new", "--factory", "mine:Walk", "--out", "card.yaml")
    assert done.returncode == 0 and not (folder / "ran").exists(), done.stderr
