"""What weights, difficulty and normalization do, in numbers worked out by hand."""

import numpy as np
import pytest

from autoreward.rewards.composition.weighing import difficulty


def test_weights_go_by_name_then_by_group_then_1(pays):
    terms = {"a": [1.0], "b": [2.0], "event": [4.0]}
    assert pays([{"kind": "weights", "weights": {"b": 3.0}}], terms).tolist() == [11.0]
    assert pays(
        [{"kind": "weights", "weights": {"b": 3.0}, "dense": 0.0, "sparse": 0.5}],
        terms,
        sparse=("event",),
    ).tolist() == [8.0]
    assert pays(
        [{"kind": "weights", "potentials": 0.0}], {"a": [1.0]}, {"phi": [0.0, 5.0]}
    ).tolist() == [1.0]


def test_the_task_reward_keeps_its_own_weight(pays):
    assert pays(
        [{"kind": "weights", "weights": {"a": 0.0}}],
        {"a": [7.0, 7.0]},
        task=[0.0, 1.0],
        task_reward=2.0,
    ).tolist() == [0.0, 2.0]


def test_rarely_passed_subgoals_weigh_most():
    assert difficulty(np.array([1.0, 0.5, 0.0]), np.zeros(3)) == pytest.approx([0, 1 / 3, 2 / 3])
    assert difficulty(np.ones(3), np.zeros(3)) == pytest.approx([1 / 3] * 3)


def test_a_subgoal_pays_once_per_episode_and_weights_change_between_rollouts(made, played):
    composer = made(
        [{"kind": "difficulty", "over": ["x", "y", "z"], "budget": 0.5}], ("x", "y", "z")
    )
    often = {"x": [1, 1, 1, 1], "y": [0, 0, 1, 1], "z": [0, 0, 0, 0]}
    first = played(composer, often)
    assert first == pytest.approx([0.5 / 3, 0, 0.5 / 3, 0])
    # not yet
    assert played(composer, {**often, "y": [0, 0, 0, 0]}) == pytest.approx([0.5 / 3, 0, 0, 0])
    composer.update()
    assert composer.bound[0][1].learned["weights"] == pytest.approx([0, 1 / 3, 2 / 3])
    assert played(composer, {**often, "z": [0, 0, 0, 9]}) == pytest.approx([0, 0, 0.5 / 3, 1 / 3])


def test_a_subgoal_that_is_never_passed_although_a_later_one_was_is_dropped(made, played):
    composer = made(
        [{"kind": "difficulty", "over": ["x", "never", "z"], "window": 4}], ("x", "never", "z")
    )
    for k in range(4):
        played(composer, {"x": [1.0], "never": [0.0], "z": [float(k == 0)]})
    composer.update()
    assert (
        composer.bound[0][1].learned["weights"].tolist() == [0, 0, 1]
        and "'never'" in composer.notes()[0]
    )


def test_a_term_is_divided_by_the_deviation_of_its_discounted_return(made, played):
    rng = np.random.default_rng(0)
    composer, values = (
        made([{"kind": "normalize", "rollouts": 2}], ("a", "b"), gamma=0.5),
        rng.normal(5.0, 3.0, (40, 2)) * [1.0, 1e-6],
    )
    raw = played(composer, {"a": values[:, 0], "b": values[:, 1]})
    # 1 during the first rollout
    assert raw == pytest.approx(values.sum(-1))
    composer.update()
    returns, total = [], np.zeros(2)
    for row in values:
        total = 0.5 * total + row
        returns.append(total)
    deviation = np.std(returns, axis=0)
    # the second is floored: nearly constant terms are not blown up
    divisor = np.array([deviation[0], 1e-3])
    assert composer.bound[0][1].learned["divisor"] == pytest.approx(divisor)
    # no mean is taken off
    assert played(composer, {"a": [6.0], "b": [6e-6]})[0] == pytest.approx(
        (np.array([6.0, 6e-6]) / divisor).sum()
    )
    composer.update()
    frozen = composer.bound[0][1].learned["divisor"].copy()
    played(composer, {"a": [1e6] * 5, "b": [1e6] * 5})
    composer.update()
    assert (
        composer.bound[0][1].learned["divisor"].tolist() == frozen.tolist()
        and "raw scales" in composer.notes()[0]
    )
