"""Intervals in which training seeds, not episodes, are the unit of evidence: of success rates, and
of bounded means; robust means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    half = (
        Z
        / (1 + shrink)
        * math.sqrt(max(0.0, rate * (1 - rate) / episodes + shrink / (4 * episodes)))
    )
    return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))


def interval(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """95% interval of the success rate from (successes, episodes) of each training seed.

    One seed: Wilson over its episodes; that says nothing about other seeds. Several: episodes of
    one agent are a cluster, so the number of episodes is divided by the design effect and adjusted
    for the few clusters, (z/t)^2 (Korn and Graubard 1998), then Wilson.
    """
    total = sum(n for _, n in counts)
    if total == 0:
        return 0.0, 1.0
    rate = sum(k for k, _ in counts) / total
    between = _between([(k / n, n) for k, n in counts if n])
    effective = (
        float(total) if between == 0 else min(float(total), max(1.0, rate * (1 - rate) / between))
    )
    return wilson(rate, effective * _few(len(counts)))


def _between(means: Sequence[tuple[float, int]]) -> float:
    """Variance of the pooled mean, as far as the means of the clusters (mean, size) tell; 0 for
    one cluster.
    """
    total, clusters = sum(n for _, n in means), len(means)
    pooled = sum(m * n for m, n in means) / total
    return (
        sum((n / total) ** 2 * (m - pooled) ** 2 for m, n in means) * clusters / (clusters - 1)
        if clusters > 1
        else 0.0
    )


def _few(clusters: int) -> float:
    """What the few clusters take from the effective number of episodes: (z/t)^2."""
    return (Z / (T[clusters - 2] if clusters - 2 < len(T) else Z)) ** 2 if clusters > 1 else 1.0


def bounded_mean(values: Sequence[Sequence[float]], low: float, high: float) -> tuple[float, float]:
    """95% interval of the mean of numbers in low ..

    high, from the episodes' values of each training seed. No normality of episodes is needed.

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
    """Mean of the middle half, the outer values weighted where the half is not whole (Agarwal et
    al. 2021).
    """
    ordered, n = sorted(values), len(values)
    if n == 0:
        raise ValueError("no values")
    low, high = n / 4, 3 * n / 4
    weights = [max(0.0, min(i + 1, high) - max(i, low)) for i in range(n)]
    return sum(w * v for w, v in zip(weights, ordered, strict=True)) / sum(weights)
