"""Statistics of success rates: intervals in which training seeds, not episodes, are the unit of evidence; robust means; steps to a rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z = 1.959963984540054
# 97.5% quantiles of Student's t for 1..30 degrees of freedom.
T: tuple[float, ...] = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
T += (2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)


def wilson(rate: float, episodes: float) -> tuple[float, float]:
    """95% score interval of a binomial rate (Wilson 1927). `episodes` may be an effective number, not whole."""
    if episodes <= 0:
        return 0.0, 1.0
    shrink = Z * Z / episodes
    centre = (rate + shrink / 2) / (1 + shrink)
    half = Z / (1 + shrink) * math.sqrt(max(0.0, rate * (1 - rate) / episodes + shrink / (4 * episodes)))
    return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))


def interval(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """95% interval of the success rate from (successes, episodes) of each training seed.

    One seed: Wilson over its episodes; that says nothing about other seeds. Several: episodes of one agent are a cluster, so the
    number of episodes is divided by the design effect and adjusted for the few clusters, (z/t)^2 (Korn and Graubard 1998), then Wilson.
    """
    total = sum(n for _, n in counts)
    if total == 0:
        return 0.0, 1.0
    rate = sum(k for k, _ in counts) / total
    seeds = len(counts)
    if seeds == 1:
        return wilson(rate, total)
    between = sum((n / total) ** 2 * (k / n - rate) ** 2 for k, n in counts if n) * seeds / (seeds - 1)
    effective = float(total)
    if between > 0:
        effective = min(effective, max(1.0, rate * (1 - rate) / between))
    t = T[seeds - 2] if seeds - 2 < len(T) else Z
    return wilson(rate, effective * (Z / t) ** 2)


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of the middle half, the outer values weighted where the half is not whole (Agarwal et al. 2021)."""
    ordered, n = sorted(values), len(values)
    if n == 0:
        raise ValueError("no values")
    low, high = n / 4, 3 * n / 4
    weights = [max(0.0, min(i + 1, high) - max(i, low)) for i in range(n)]
    return sum(w * v for w, v in zip(weights, ordered, strict=True)) / sum(weights)
