"""Statistics of agents: intervals of success rates and bounded means, and a robust mean.

Training seeds, not episodes, are the unit of evidence: episodes of one agent are a cluster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# The 97.5% quantile of the standard normal distribution.
Z = 1.959963984540054
# 97.5% quantiles of Student's t for 1..30 degrees of freedom.
T: tuple[float, ...] = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
)
T += (
    2.120,
    2.110,
    2.101,
    2.093,
    2.086,
    2.080,
    2.074,
    2.069,
    2.064,
    2.060,
    2.056,
    2.052,
    2.048,
    2.045,
    2.042,
)


def wilson(rate: float, episodes: float) -> tuple[float, float]:
    """95% score interval of a binomial rate (Wilson 1927).

    `episodes` may be an effective number, not whole.
    """
    if episodes <= 0:
        return 0.0, 1.0
    shrink = Z * Z / episodes
    centre = (rate + shrink / 2) / (1 + shrink)
    variance = rate * (1 - rate) / episodes + shrink / (4 * episodes)
    half = Z / (1 + shrink) * math.sqrt(max(0.0, variance))
    return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))


def interval(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """95% interval of the success rate, from (successes, episodes) of each training seed.

    With one seed this is Wilson's interval over its episodes, which says nothing about other seeds.
    With several, the number of episodes is divided by the design effect of the clusters and
    adjusted for their small number by (z/t)^2 (Korn and Graubard 1998); then Wilson's interval.
    """
    total = sum(n for _, n in counts)
    if total == 0:
        return 0.0, 1.0
    rate = sum(k for k, _ in counts) / total
    between = _between([(k / n, n) for k, n in counts if n])
    effective = float(total)
    if between > 0:
        effective = min(effective, max(1.0, rate * (1 - rate) / between))
    return wilson(rate, effective * _few(len(counts)))


def _between(means: Sequence[tuple[float, int]]) -> float:
    """Variance of the pooled mean, estimated from the clusters' (mean, size); 0 for one cluster."""
    clusters = len(means)
    if clusters <= 1:
        return 0.0

    total = sum(n for _, n in means)
    pooled = sum(m * n for m, n in means) / total
    spread = sum((n / total) ** 2 * (m - pooled) ** 2 for m, n in means)
    return spread * clusters / (clusters - 1)


def _few(clusters: int) -> float:
    """Factor on the effective number of episodes for a small number of clusters: (z/t)^2."""
    freedom = clusters - 1
    if freedom < 1 or freedom > len(T):
        return 1.0
    return (Z / T[freedom - 1]) ** 2


def bounded_mean(values: Sequence[Sequence[float]], low: float, high: float) -> tuple[float, float]:
    """95% interval of a mean of numbers from `low` to `high`, by training seed and episode.

    Episodes need not be normally distributed.

    Over episodes: betting (Waudby-Smith and Ramdas 2023, Theorem 3, hedged capital, predictable
    plug-in bets): a mean m is kept while nobody could have become 20 times richer by betting
    against it. Over seeds, as in `interval`: the score interval of as many episodes as explain how
    far the seeds' means lie apart. The wider end of both counts; one seed says nothing about other
    seeds. Values outside of the range are taken as its ends.
    """
    import numpy as np

    rounds = max((len(v) for v in values), default=0)
    mixed = np.array([v[k] for k in range(rounds) for v in values if k < len(v)], float)
    if len(mixed) == 0 or high <= low:
        return low, high
    x = np.clip((mixed - low) / (high - low), 0.0, 1.0)
    n, level = len(x), math.log(2 / 0.05)
    counts = np.arange(1, n + 1)
    means = (0.5 + np.cumsum(x)) / (counts + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (counts + 1)
    bets = np.sqrt(2 * level / (n * np.concatenate([[0.25], variances[:-1]])))
    grid = np.linspace(0, 1, 2001)[:, None]
    with np.errstate(divide="ignore"):
        up = np.log1p(np.minimum(bets, 0.5 / np.maximum(grid, 1e-12)) * (x - grid)).sum(1)
        down = np.log1p(-np.minimum(bets, 0.5 / np.maximum(1 - grid, 1e-12)) * (x - grid)).sum(1)
    kept, centre = grid[np.maximum(up, down) < level, 0], float(x.mean())
    ends = [centre, *([float(kept.min()), float(kept.max())] if len(kept) else [])]
    seeds = [
        (float(np.clip((np.asarray(v) - low) / (high - low), 0, 1).mean()), len(v))
        for v in values
        if len(v)
    ]
    if (between := _between(seeds)) > 0:
        ends += wilson(centre, max(1.0, centre * (1 - centre) / between) * _few(len(seeds)))
    return low + min(ends) * (high - low), low + max(ends) * (high - low)


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of the middle half of the values (Agarwal et al. 2021).

    If the half ends between two values, the outer one counts in part.
    """
    ordered = sorted(values)
    n = len(values)
    if n == 0:
        raise ValueError("no values")
    low, high = n / 4, 3 * n / 4
    weights = [max(0.0, min(i + 1, high) - max(i, low)) for i in range(n)]
    return sum(w * v for w, v in zip(weights, ordered, strict=True)) / sum(weights)
