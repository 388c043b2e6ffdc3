"""What columns have to do with each other, found in the numbers alone: an angle's sine and cosine,
a difference, a rate, a goal, a step before.

Said only where it holds in every transition that was seen, to nearly the last digit of a float32.
"""

from __future__ import annotations

import numpy as np

from autoreward.state import Array

# of the column's spread
EXACT = 2e-5
# columns; pairs are tried
MOST = 400
# columns; pairs of them are tried for each column
MOST_PAIRS = 80
# transitions
ENOUGH = 50


def relations(before: Array, after: Array, first: Array) -> dict[int, str]:
    """column -> words, 0-based.

    `before`, `after` (T, C), `first` (T,): the transition begins an episode.
    """
    inside = ~first
    if (
        inside.sum() < ENOUGH
        or before.shape[1] > MOST
        or not np.isfinite(after).all()
        or not np.isfinite(before).all()
    ):
        return {}
    spread = after.std(0)
    moving = [int(c) for c in np.flatnonzero(spread > 1e-9)]
    found: dict[int, str] = {}
    for c in moving:
        for d in moving:
            if d < c and np.abs(after[:, c] - after[:, d]).max() <= EXACT * spread[c]:
                found.setdefault(c, f"equals column {d}")
            if (
                d != c
                and np.abs(after[inside, c] - before[inside, d]).max() <= EXACT * spread[c]
                and np.abs(after[:, c] - after[:, d]).max() > 0.1 * spread[c]
            ):
                found.setdefault(c, f"column {d} one step ago")
    for c in moving:
        if c not in found and (after[inside, c] == before[inside, c]).all():
            found[c] = "changes only where an episode begins: a goal, or a place that is drawn anew"
    turning = _circles(after, moving, found)
    if len(moving) <= MOST_PAIRS:
        _differences(after, spread, moving, found)
    change = after - before
    for c in moving:
        _rates(change[:, c], f"column {c}", c, before, after, moving, found)
    for c, d in turning:
        turn = np.arctan2(after[:, d], after[:, c]) - np.arctan2(before[:, d], before[:, c])
        _rates(
            (turn + np.pi) % (2 * np.pi) - np.pi,
            f"the angle in columns {c} and {d}",
            c,
            before,
            after,
            moving,
            found,
        )
    return found


def _circles(after: Array, moving: list[int], found: dict[int, str]) -> list[tuple[int, int]]:
    """Pairs whose squares add up to 1, cosine and sine, which are given back; or four neighbours
    that are a quaternion.
    """
    pairs = []
    small = [c for c in moving if np.abs(after[:, c]).max() <= 1 + EXACT]
    for c in small:
        for d in small:
            if (
                c < d
                and c not in found
                and d not in found
                and np.abs(after[:, c] ** 2 + after[:, d] ** 2 - 1).max() < 1e-5
            ):
                found[c], found[d] = (
                    f"with column {other} the cosine and sine of an angle, in one order or the other"
                    for other in (d, c)
                )
                pairs.append((c, d))
    for c in small:
        four = range(c, c + 4)
        if (
            all(k in small and k not in found for k in four)
            and np.abs((after[:, c : c + 4] ** 2).sum(1) - 1).max() < 1e-5
        ):
            found |= {k: f"part {k - c} of a unit quaternion, columns {c} to {c + 3}" for k in four}
    return pairs


def _differences(after: Array, spread: Array, moving: list[int], found: dict[int, str]) -> None:
    """Columns that are the difference of two before them.

    A random projection keeps differences: pairs are looked up in it, then checked.
    """
    weights = np.random.default_rng(0).normal(size=len(after)) / np.sqrt(len(after))
    projected = {c: float(weights @ after[:, c]) for c in moving}
    for c in moving:
        if c in found:
            continue
        for a in moving:
            for b in moving:
                if (
                    a != b
                    and max(a, b) < c
                    and abs(projected[a] - projected[b] - projected[c]) < 0.01 * spread[c]
                    and np.abs(after[:, a] - after[:, b] - after[:, c]).max() <= EXACT * spread[c]
                ):
                    found.setdefault(c, f"column {a} minus column {b}")


def _rates(
    change: Array,
    what: str,
    c: int,
    before: Array,
    after: Array,
    moving: list[int],
    found: dict[int, str],
) -> None:
    """Columns that are a rate of change: change = k * column, the same k in every transition (but
    for a few, at limits and wraps).
    """
    typical = float(np.median(np.abs(change)))
    for d in moving if typical > 0 else ():
        if d == c or d in found:
            continue
        for rate in (after[:, d], before[:, d]):
            power = float(rate @ rate)
            k = float(rate @ change) / power if power > 0 else 0.0
            if abs(k) > 1e-9 and np.quantile(np.abs(change - k * rate), 0.9) <= 1e-3 * typical:
                found[d] = (
                    f"the rate of change of {what} (which grows by {k:.3g} times this in a step)"
                )
                break
