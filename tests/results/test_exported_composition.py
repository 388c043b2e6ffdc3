"""What an exported file adds up is what a training did, where it takes the composition at all."""

import numpy as np
import pytest

from autoreward.rewards.composition import Columns, Composer, Composition
from autoreward.tasks.runtime import Task, composed


@pytest.mark.parametrize(
    ("weights", "task_reward"), [({}, 1.0), ({"a": 0.3, "phi": -2.0}, 1.0), ({"b": 1e-3}, 7.5)]
)
def test_weighed_terms_are_the_same_bit_for_bit(weights, task_reward):
    rng, n = np.random.default_rng(0), 50
    made = Composition.model_validate(
        {
            "task_reward": task_reward,
            "transforms": [{"kind": "weights", "weights": weights}] if weights else [],
        }
    )
    terms, before, after, task = (
        rng.normal(size=(n, 2)),
        rng.normal(size=(n, 1)),
        rng.normal(size=(n, 1)),
        rng.normal(size=n),
    )
    ended = rng.uniform(size=n) < 0.3
    ours, columns = Composer(made, Columns(("a", "b"), ("phi",)), 0.97).step(
        terms, before, after, task, np.ones(n, bool), ended, ended, ended
    )
    known = Task(
        fields=(),
        offered=(),
        row=(),
        integer=False,
        limit=1,
        gamma=0.97,
        weights=made.weights_by_name() or {},
        task_weight=task_reward,
    )
    theirs, shown = composed(known, (terms, before, after, ("a", "b", "phi")), task, ended)
    assert ours.tobytes() == theirs.tobytes() and columns.tobytes() == shown.tobytes()


@pytest.mark.parametrize(
    "transforms",
    [
        [{"kind": "signs"}],
        [{"kind": "weights", "dense": 0.5}],
        [{"kind": "best"}, {"kind": "weights", "weights": {"a": 2}}],
    ],
)
def test_more_than_weights_by_name_is_nothing_for_such_a_file(transforms):
    assert Composition.model_validate({"transforms": transforms}).weights_by_name() is None
