"""Several programs merged into one: the ensemble follows its formula, and each program keeps its
own names, memory and imports.
"""

import numpy as np
import pytest

from autoreward.errors import UserError
from autoreward.rewards.composition import Columns, Composer, Composition
from autoreward.rewards.linter import lint
from autoreward.rewards.merge import merged
from autoreward.sandbox.outside.worker import Worker
from autoreward.tasks.find import find

CARD = find("corridor").card
FIRST = """\
\"\"\"New bests.\"\"\"
import numpy as np

MEMORY = {"best": np.inf}
SCALE = 0.5


def gap(s):
    return np.abs(10.0 - s.cell)


def reward(prev, action, curr, memory):
    before = np.minimum(memory["best"], gap(prev))
    memory["best"] = np.minimum(before, gap(curr))
    return {"progress": SCALE * (before - memory["best"]), "cost": np.full(len(curr), -0.01)}
"""
SECOND = """\
from __future__ import annotations
import numpy
from math import sqrt

MEMORY = {"best": -1.0, "steps": 0.0}
SCALE = 2.0


def gap(s):
    return s.cell


def reward(prev, action, curr, memory):
    memory.update(best=numpy.maximum(memory["best"], gap(curr)), steps=memory["steps"] + 1)
    return {"height": SCALE * sqrt(4.0) * memory["best"], "late": -0.1 * memory["steps"]}
"""
THIRD = """\
import numpy as np
reward = lambda prev, action, curr, memory: {'moved': 1.0 * (curr.cell != prev.cell)}
"""


def played(text: str, states: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the program's terms (T, n, k)."""
    with Worker(text, CARD.reward_layout, CARD.action) as worker:
        return worker.ask(states[:-1], np.zeros(first.shape, np.int64), states[1:], first).terms


def walk(steps: int = 40, rows: int = 6) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(0)
    states = np.zeros((steps + 1, rows, CARD.reward_layout.width))
    states[..., 0] = np.cumsum(drawn.integers(-1, 2, (steps + 1, rows)), 0)
    first = drawn.random((steps, rows)) < 0.1
    first[0] = True
    return states, first


@pytest.mark.parametrize("how", ["mean", "worst", "careful"])
def test_an_ensemble_over_programs(how):
    states, first = walk()
    apart = np.stack([played(text, states, first).sum(-1) for text in (FIRST, SECOND, THIRD)], -1)
    text = merged({"a": FIRST, "b": SECOND, "c": THIRD})
    assert not lint(text, CARD.reward_layout)
    terms = played(text, states, first)
    np.testing.assert_allclose(terms, apart, rtol=1e-12)
    caution = {"caution": 0.25} if how == "careful" else {}
    composition = Composition.model_validate(
        {"transforms": [{"kind": "ensemble", "over": ["a", "b", "c"], "how": how, **caution}]}
    )
    nothing, never = np.zeros((*first.shape, 0)), np.zeros(first.shape, bool)
    columns, gamma = Columns(("a", "b", "c")), CARD.training.gamma
    composer = Composer(composition, columns, gamma)

    def rollout() -> np.ndarray:
        task = np.zeros(first.shape)
        rewards, _ = composer.replay(terms, nothing, nothing, task, first, never, never, never)
        composer.update()
        return rewards

    # the first rollout measures the scales of the programs and pays their mean
    np.testing.assert_allclose(rollout(), apart.mean(-1), rtol=1e-12)
    offset, scale = apart.mean((0, 1)), apart.std((0, 1))
    scaled = (apart - offset) / scale
    combined = {
        "mean": scaled.mean(-1),
        "worst": scaled.min(-1),
        "careful": scaled.mean(-1) - 0.25 * scaled.var(-1),
    }[how]
    wanted = offset.mean() + scale.mean() * combined
    np.testing.assert_allclose(rollout(), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("x = 1\n", "b: does not define reward"),
        ("def broken(:\n", "b: does not define reward"),
        (
            THIRD + "def potential(s):\n    return {'near': s.cell}\n",
            "b: potentials are shaped by the learner",
        ),
        (
            THIRD + "NAMES = ['best']\nMEMORY = {n: 0.0 for n in NAMES}\n",
            "b: MEMORY is not a literal",
        ),
        (THIRD + "BASE = {'z': 0.0}\nMEMORY = {**BASE, 'm': 5.0}\n", "b: MEMORY is not a literal"),
        (THIRD + "MEMORY = {1: 2.0}\n", "b: MEMORY is not a literal"),
        (THIRD + "MEMORY = {'m': 5.0}\nMEMORY['n'] = 1.0\n", "b: MEMORY is not a literal"),
        ("from numpy import *\n" + THIRD, "b: `import \\*` is not allowed"),
        (THIRD + f"WORDS = {'x' * 40_000!r}\n", "the merged program has"),
    ],
)
def test_a_program_that_cannot_be_merged_is_rejected_by_name(program, said):
    with pytest.raises(UserError, match=said):
        merged({"a": FIRST, "b": program})


def test_names_that_look_alike_stay_apart():
    body = (
        "def reward(prev, action, curr, memory):\n"
        "    memory['K'] = memory['K'] + 1.0\n"
        "    return {'t': memory['K']}\n"
    )
    texts = {
        "x": "MEMORY = {'y_m': 0.0}\n" + body.replace("K", "y_m"),
        "x_y": "MEMORY = {'m': 5.0}\n" + body.replace("K", "m"),
        "x_reward": "MEMORY = {'a\"b': 9.0}\n" + body.replace("'K'", "'a\"b'"),
    }
    states, first = walk(3, 2)
    first[1:] = False
    assert played(merged(texts), states, first)[:, 0].tolist() == [
        [1, 6, 10],
        [2, 7, 11],
        [3, 8, 12],
    ]
