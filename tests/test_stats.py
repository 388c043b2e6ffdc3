import numpy as np
import pytest

from autoreward.stats import bounded_mean, interquartile_mean, interval, wilson


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


def test_a_bounded_mean_is_covered_without_normality():
    """Skewed values (9 of 10 are 0): a normal interval of 30 episodes covers the mean in about 8
    of 10 cases.
    """
    random, missed = np.random.default_rng(3), 0
    for _ in range(400):
        low, high = bounded_mean(
            [list(np.where(random.random(30) < 0.1, random.random(30), 0.0))], 0.0, 1.0
        )
        missed += not low <= 0.05 <= high
    assert missed <= 0.05 * 400 + 3 * (400 * 0.05 * 0.95) ** 0.5


def test_a_bounded_mean_narrows_with_episodes_and_with_small_spread():
    random = np.random.default_rng(0)
    wide = [bounded_mean([list(random.uniform(0, 1, n))], 0, 1) for n in (30, 100, 1000)]
    assert wide[0][1] - wide[0][0] > wide[1][1] - wide[1][0] > wide[2][1] - wide[2][0]
    calm = bounded_mean([list(random.uniform(0.49, 0.51, 100))], 0, 1)
    assert calm[1] - calm[0] < 0.5 * (wide[1][1] - wide[1][0])


def test_a_bounded_mean_widens_where_seeds_disagree():
    random = np.random.default_rng(0)
    alike = bounded_mean([list(random.uniform(0.4, 0.6, 100)) for _ in range(3)], 0, 1)
    apart = bounded_mean(
        [list(random.uniform(m - 0.1, m + 0.1, 100)) for m in (0.2, 0.5, 0.8)], 0, 1
    )
    assert apart[1] - apart[0] > 3 * (alike[1] - alike[0]) and apart[0] <= 0.2


def test_a_bounded_mean_scales_with_its_range():
    values = list(np.random.default_rng(0).uniform(0, 1, 60))
    low, high = bounded_mean([values], 0, 1)
    assert bounded_mean([[100 * v - 50 for v in values]], -50, 50) == pytest.approx(
        (100 * low - 50, 100 * high - 50)
    )
    assert bounded_mean([], 0, 1) == (0, 1) and bounded_mean([[0.3]], 0, 1)[1] == 1.0
