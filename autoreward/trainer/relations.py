"""What columns have to do with each other, found in the numbers alone: an angle's sine and cosine, a rate of change, a value of the step before.

Said only where it holds in every transition that was seen, to nearly the last digit of a float32.
"""

from __future__ import annotations

import numpy as np

from autoreward.state import Array

EXACT = 2e-5  # of the column's spread
MOST = 400  # columns; pairs are tried
ENOUGH = 50  # transitions


def relations(before: Array, after: Array, first: Array) -> dict[int, str]:
    """column -> words, 0-based. `before`, `after` (T, C), `first` (T,): the transition begins an episode."""
    inside = ~first
    if inside.sum() < ENOUGH or before.shape[1] > MOST or not np.isfinite(after).all() or not np.isfinite(before).all():
        return {}
    spread = after.std(0)
    moving = [int(c) for c in np.flatnonzero(spread > 1e-9)]
    found: dict[int, str] = {}
    for c in moving:
        for d in moving:
            if d < c and np.abs(after[:, c] - after[:, d]).max() <= EXACT * spread[c]:
                found.setdefault(c, f"equals column {d}")
            if d != c and np.abs(after[inside, c] - before[inside, d]).max() <= EXACT * spread[c] and np.abs(after[:, c] - after[:, d]).max() > 0.1 * spread[c]:
                found.setdefault(c, f"column {d} one step ago")
    _circles(after, moving, found)
    _rates(before, after, spread, moving, found)
    return found


def _circles(after: Array, moving: list[int], found: dict[int, str]) -> None:
    """Neighbours whose squares add up to 1: cosine and sine, or a quaternion."""
    for c in moving:
        if c + 1 in moving and c not in found and np.abs(after[:, c] ** 2 + after[:, c + 1] ** 2 - 1).max() < 1e-5:
            found[c], found[c + 1] = f"with column {c + 1} the cosine and sine of an angle, in one order or the other", f"with column {c} the cosine and sine of an angle, in one order or the other"
    for c in moving:
        four = range(c, c + 4)
        if all(k in moving and k not in found for k in four) and np.abs((after[:, c : c + 4] ** 2).sum(1) - 1).max() < 1e-5:
            found |= {k: f"part {k - c} of a unit quaternion, columns {c} to {c + 3}" for k in four}


def _rates(before: Array, after: Array, spread: Array, moving: list[int], found: dict[int, str]) -> None:
    """Columns that are the rate of change of another: change = k * column, the same k in every transition (but for a few, at limits and wraps)."""
    change = after - before
    changing = [c for c in moving if change[:, c].std() > 1e-9]
    for c in changing:
        for d in moving:
            if d == c or d in found:
                continue
            for rate in (after[:, d], before[:, d]):
                power = float(rate @ rate)
                k = float(rate @ change[:, c]) / power if power > 0 else 0.0
                error = np.abs(change[:, c] - k * rate)
                if abs(k) > 1e-9 and (typical := float(np.median(np.abs(change[:, c])))) > 0 and np.quantile(error, 0.9) <= 1e-3 * typical:
                    found[d] = f"the rate of change of column {c} (which grows by {k:.3g} times this in a step)"
                    break
