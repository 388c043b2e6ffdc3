"""What signs and ensembles pay, in numbers worked out by hand."""

import numpy as np
import pytest

from autoreward.rewards.composition.combining import Ensemble


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


def test_a_sign_is_not_a_potential_so_creeping_forward_pays_forever(pays):
    assert pays([{"kind": "signs"}], {"gain": [*[0.01] * 9, -0.09]}).sum() == pytest.approx(0.8)


def test_signs_do_not_change_the_task_reward(pays):
    assert pays([{"kind": "signs"}], {"gain": [-3.0]}, task=[1.0]) == pytest.approx([0.9])


@pytest.mark.parametrize(("how", "value"), [("mean", 3), ("worst", 1), ("careful", 2.8)])
def test_members_on_one_scale_give_mean_worst_case_or_mean_less_variance(how, value):
    combined = Ensemble(over="dense", how=how).combined(np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]))
    assert combined == pytest.approx([value])


def rollout(made, composer, members: dict[str, np.ndarray]) -> np.ndarray:
    """The rewards of one rollout of rows side by side, each row an episode of one step."""
    n = len(next(iter(members.values())))
    once = np.ones(n, bool)
    columns = np.stack(list(members.values()), -1)
    none = np.zeros((n, 0))
    reward, _ = composer.step(columns, none, none, np.zeros(n), once, once, once, once & False)
    return reward


@pytest.mark.parametrize("how", ["worst", "careful"])
def test_a_member_with_a_low_offset_or_a_large_scale_does_not_rule_the_ensemble(made, how):
    """Three measures of one thing, in other units: the worst is each of them equally often."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=3000)
    noise = rng.normal(scale=0.5, size=(3, 3000))
    plain = {name: truth + noise[k] for k, name in enumerate("abc")}
    moved = {"a": plain["a"], "b": 10.0 * plain["b"], "c": plain["c"] - 2.0}
    rewards = []
    for members in (plain, moved):
        composer = made([{"kind": "ensemble", "over": list("abc"), "how": how}], ("a", "b", "c"))
        rollout(made, composer, members)
        composer.update()
        rewards.append(rollout(made, composer, members))
    assert np.corrcoef(rewards[0], rewards[1])[0, 1] > 0.999
    assert np.corrcoef(rewards[1], truth)[0, 1] > 0.85
    # the members' common mean is kept: staying alive is worth what it was
    mean = np.mean([values.mean() for values in moved.values()])
    scale = np.mean([values.std() for values in moved.values()])
    assert abs(rewards[1].mean() - mean) < scale


def test_the_first_rollout_pays_the_plain_mean_and_the_scale_is_frozen_later(made):
    composer = made(
        [{"kind": "ensemble", "over": ["a", "b"], "how": "worst", "rollouts": 2}], ("a", "b")
    )
    members = {"a": np.array([1.0, 3.0]), "b": np.array([3.0, 7.0])}
    assert rollout(made, composer, members).tolist() == [2.0, 5.0]
    for _ in range(2):
        composer.update()
        rollout(made, composer, members)
    frozen = composer.bound[0][1].learned["offset"].copy()
    rollout(made, composer, {"a": np.array([99.0, 99.0]), "b": np.array([99.0, 99.0])})
    composer.update()
    assert composer.bound[0][1].learned["offset"].tolist() == frozen.tolist()


def test_an_ensemble_of_one_is_that_one(pays):
    assert pays([{"kind": "ensemble", "over": ["a"]}], {"a": [2.0]}).tolist() == [2.0]
