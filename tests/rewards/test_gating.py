"""What gates, switches, penalties and multipliers do, in numbers worked out by hand."""

import numpy as np
import pytest

from autoreward.rewards.composition.gating import SumConstraint, sigmoid


@pytest.mark.parametrize(
    ("s", "c", "total"), [(0, 0.5, 0.05), (0, 1, 0.1), (1, 0.5, 1.5), (1, 1, 2.0)]
)
def test_the_soft_gate_pays_a_little_before_success_and_most_with_it(pays, s, c, total):
    assert pays([{"kind": "gate", "over": ["c"]}], {"c": [c]}, task=[s]).sum() == pytest.approx(
        total
    )


def test_the_hard_gate_is_closed_until_its_term_reaches_the_threshold(pays):
    hard = [{"kind": "gate", "over": ["low"], "until": "high", "closed": 0.0}]
    assert pays(hard, {"low": [0.1] * 5, "high": [0.0] * 5}).sum() == 0
    assert pays(hard, {"low": [0.1] * 5, "high": [1.0, 0, 0, 0, 0]}).sum() == pytest.approx(1.5)
    # what was withheld is paid at the step that opens the gate: the sum is that of an open gate
    opened = pays(hard, {"low": [0.1] * 5, "high": [0, 0, 1.0, 0, 0]})
    assert opened == pytest.approx([0, 0, 1.3, 0.1, 0.1]) and opened.sum() == pytest.approx(1.5)


@pytest.mark.parametrize("success_at", [0, 2, 4])
def test_a_gated_term_earns_the_same_in_one_step_or_spread_over_five(pays, success_at):
    """c = 1 in all and success: 2, wherever the gate opens; 1.28 if the withheld part is lost."""
    task = [float(k == success_at) for k in range(5)]
    soft = [{"kind": "gate", "over": ["c"]}]
    assert pays(soft, {"c": [0.2] * 5}, task=task).sum() == pytest.approx(2.0)
    assert pays(soft, {"c": [0.2] * 5}).sum() == pytest.approx(0.1)


def test_what_a_gate_withheld_is_not_paid_in_the_next_episode(made, played):
    composer = made([{"kind": "gate", "over": ["low"], "closed": 0.0}], ("low",))
    assert played(composer, {"low": [1.0, 1.0]}).tolist() == [0.0, 0.0]
    assert played(composer, {"low": [1.0, 1.0]}, task=[0.0, 1.0]).tolist() == [0.0, 3.0]


def test_a_gate_is_closed_again_in_the_next_episode(made, played):
    composer = made([{"kind": "gate", "over": ["low"], "closed": 0.0}], ("low",))
    assert played(composer, {"low": [1.0, 1.0]}, task=[1.0, 0.0]).tolist() == [2.0, 1.0]
    assert played(composer, {"low": [1.0, 1.0]}).tolist() == [0.0, 0.0]


def test_a_switch_follows_the_success_rate_with_hysteresis(made, played):
    composer = made([{"kind": "switch", "over": ["effort"], "window": 100, "ramp": 2}], ("effort",))
    modes, weights = [], []
    for rate in (0.4, 0.6, 0.85, 0.7, 0.49):
        for k in range(100):
            played(composer, {"effort": [-1.0]}, success=k < 100 * rate)
        composer.update()
        modes.append(bool(composer.bound[0][1].learned["on"]))
        weights.append(float(composer.bound[0][1].learned["weight"]))
    assert modes == [False, False, True, True, False] and weights == [0, 0, 0.5, 1.0, 0]


def test_a_switch_waits_for_enough_episodes(made, played):
    composer = made([{"kind": "switch", "over": ["effort"], "episodes": 3}], ("effort",))
    for _ in range(2):
        played(composer, {"effort": [-1.0]}, success=True)
    composer.update()
    assert not composer.bound[0][1].learned["on"]


def test_penalties_reduce_progress_but_not_the_cost_of_a_step_back(pays):
    rule = [{"kind": "penalties", "progress": "dx", "factors": ["speed", "comfort"]}]
    assert pays(rule, {"dx": [2.0], "speed": [0.5], "comfort": [0.75]}).tolist() == [0.75]
    assert pays(rule, {"dx": [2.0], "speed": [0.0], "comfort": [1.0]}).tolist() == [0.0]
    assert pays(rule, {"dx": [-2.0], "speed": [0.5], "comfort": [1.0]}).tolist() == [-2.0]
    # a factor is at most 1
    assert pays(rule, {"dx": [1.0], "speed": [1.7], "comfort": [1.0]}).tolist() == [1.0]


def test_a_multiplier_falls_once_its_constraint_is_met(made, played):
    composer = made(
        [{"kind": "lagrange", "constraints": [{"term": "upright", "at_least": 3.0}]}],
        ("speed", "upright"),
    )
    assert played(composer, {"speed": [4.0], "upright": [5.0]}).tolist() == [0.5 * 4 + 0.5 * 5]
    composer.update()
    assert composer.bound[0][1].learned["l"] == pytest.approx([-0.005]) and sigmoid(
        composer.bound[0][1].learned["l"]
    ) == pytest.approx([0.49875], abs=1e-6)
    assert played(composer, {"speed": [4.0], "upright": [0.0]}) == pytest.approx(
        [4 * (1 - 0.49875)], abs=1e-5
    )


def test_at_most_negates_term_and_threshold(made, played):
    composer = made(
        [{"kind": "lagrange", "constraints": [{"term": "energy", "at_most": 1.0}], "rate": 1.0}],
        ("energy",),
    )
    # 4 in the episode: 3 too much
    assert played(composer, {"energy": [2.0, 2.0]}).tolist() == [-1.0, -1.0]
    composer.update()
    assert composer.bound[0][1].learned["l"] == pytest.approx([0.25 * 3])


def test_multipliers_wait_for_an_episode_and_an_unreachable_constraint_is_noted(made, played):
    composer = made(
        [{"kind": "lagrange", "constraints": [{"term": "x", "at_least": 1000.0}], "rate": 10.0}],
        ("x",),
    )
    composer.update()
    assert composer.bound[0][1].learned["l"].tolist() == [0.0]
    for _ in range(25):
        played(composer, {"x": [0.0]})
        composer.update()
    assert (
        any("not reached" in note for note in composer.notes())
        and np.isfinite(composer.bound[0][1].learned["l"]).all()
    )


def test_a_multiplier_moves_in_deviations_of_the_sum_and_comes_back(made, played):
    """Sums of 1000 and 3000 an episode move it as far as sums of 1 and 3, and never past 6."""
    multipliers = []
    for scale in (1.0, 1000.0):
        constraint = {"term": "x", "at_least": 1.0 * scale}
        composer = made([{"kind": "lagrange", "constraints": [constraint], "rate": 0.5}], ("x",))
        learned = composer.bound[0][1].learned
        for _ in range(3):
            played(composer, {"x": [1.0 * scale]})
            played(composer, {"x": [3.0 * scale]})
            composer.update()
        multipliers.append(float(learned["l"][0]))
        for _ in range(500):
            played(composer, {"x": [-3.0 * scale]})
            played(composer, {"x": [-1.0 * scale]})
            composer.update()
        assert 2.0 < learned["l"][0] <= 6.0
        for _ in range(2000):
            played(composer, {"x": [3.0 * scale]})
            played(composer, {"x": [5.0 * scale]})
            composer.update()
        assert learned["l"][0] < 0
    assert multipliers[0] == pytest.approx(multipliers[1])


def test_an_equality_pushes_from_both_sides(made, played):
    constraint = {"term": "x", "equals": 2.0}
    composer = made([{"kind": "lagrange", "constraints": [constraint], "rate": 1.0}], ("x",))
    learned = composer.bound[0][1].learned
    # tanh(0): no weight while it is met
    assert played(composer, {"x": [2.0]}).tolist() == [0.0]
    for _ in range(5):
        played(composer, {"x": [0.0]})
        played(composer, {"x": [1.0]})
        composer.update()
    assert learned["l"][0] > 0 and played(composer, {"x": [1.0]})[0] > 0
    for _ in range(30):
        played(composer, {"x": [4.0]})
        played(composer, {"x": [5.0]})
        composer.update()
    assert learned["l"][0] < 0 and played(composer, {"x": [1.0]})[0] < 0


@pytest.mark.parametrize("bounds", [{}, {"at_least": 1.0, "at_most": 2.0}])
def test_a_constraint_has_one_bound(bounds):
    with pytest.raises(ValueError, match="one of"):
        SumConstraint(term="x", **bounds)
