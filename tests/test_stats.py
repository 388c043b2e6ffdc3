import pytest

from autoreward.stats import interquartile_mean, interval, wilson


def test_wilson_known_values():
    low, high = wilson(0.5, 100)
    assert (low, high) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(1.0, 100)[0] == pytest.approx(0.9630, abs=1e-4)
    assert wilson(0.0, 100) == pytest.approx((0.0, 0.0370), abs=1e-4)
    assert wilson(0.3, 0) == (0.0, 1.0)


def test_several_seeds_are_wider_than_their_episodes_pooled():
    same = interval([(50, 100), (50, 100), (50, 100)])
    assert same[0] < wilson(0.5, 300)[0]
    apart = interval([(100, 100), (50, 100), (0, 100)])
    assert apart[0] < same[0] and apart[1] > same[1]


def test_one_seed_is_wilson_and_none_says_nothing():
    assert interval([(90, 100)]) == wilson(0.9, 100)
    assert interval([]) == (0.0, 1.0)


def test_the_rate_lies_inside():
    for counts in ([(100, 100)] * 3, [(0, 50)] * 2, [(1, 10), (9, 10)], [(3, 7)] * 40):
        rate = sum(k for k, _ in counts) / sum(n for _, n in counts)
        low, high = interval(counts)
        assert 0 <= low <= rate <= high <= 1


def test_interquartile_mean():
    assert interquartile_mean([0, 1, 2, 100]) == 1.5
    assert interquartile_mean([5.0]) == 5.0
    assert interquartile_mean([0, 0, 1, 1, 50]) == pytest.approx((0.75 * 0 + 1 + 0.75 * 1) / 2.5)
