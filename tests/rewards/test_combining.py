"""Numbers of algorithms.md, A1, A8: signs and ensembles."""

import pytest


@pytest.mark.parametrize(
    ("sparse", "dense", "reward"),
    [(5, -0.3, 0.9), (0, 2, 0.1), (0, 0, 0), (-2, 0.7, -0.9), (0, 1e-9, 0)],
)
def test_signs_bound_every_magnitude(pays, sparse, dense, reward):
    assert pays(
        [{"kind": "signs"}],
        {"event": [sparse], "progress": [dense / 2], "effort": [dense / 2]},
        sparse=("event",),
    ) == pytest.approx([reward])


def test_signs_are_no_potential_and_creeping_forward_pays_for_ever(pays):
    assert pays([{"kind": "signs"}], {"gain": [*[0.01] * 9, -0.09]}).sum() == pytest.approx(0.8)


def test_signs_leave_the_task_reward_alone(pays):
    assert pays([{"kind": "signs"}], {"gain": [-3.0]}, task=[1.0]) == pytest.approx([0.9])


@pytest.mark.parametrize(("how", "value"), [("mean", 3), ("worst", 1), ("careful", 2.8)])
def test_an_ensemble_is_mean_worst_case_or_mean_less_variance(pays, how, value):
    terms = {name: [float(k)] for k, name in enumerate("abcde", 1)}
    assert pays(
        [{"kind": "ensemble", "over": list("abcde"), "how": how}], {**terms, "other": [10.0]}
    ) == pytest.approx([value + 10])


def test_an_ensemble_of_one_is_that_one(pays):
    assert pays([{"kind": "ensemble", "over": ["a"]}], {"a": [2.0]}).tolist() == [2.0]
