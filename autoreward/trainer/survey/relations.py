"""Relations between columns of an observation, found in their numbers.

An angle's sine and cosine, a difference, a rate of change, a goal, the value one step before. A
relation is reported only if it holds in every recorded transition, to nearly the last digit of a
float32.
"""

from __future__ import annotations

import numpy as np

from autoreward.state import Array

# as a share of the column's spread
EXACT = 2e-5
# of a sum of squares that should be 1
UNIT_TOLERANCE = 1e-5
# columns that vary less are constant
MIN_SPREAD = 1e-9
# columns; every pair is tried
MAX_COLUMNS = 400
# columns; every pair is tried for each column
MAX_COLUMNS_FOR_DIFFERENCES = 80
MIN_TRANSITIONS = 50


def relations(before: Array, after: Array, first: Array) -> dict[int, str]:
    """Column (from 0) -> its relation to other columns, in words.

    before, after: (T, C) consecutive observations; first: (T,) the transition starts an episode.
    """
    if (~first).sum() < MIN_TRANSITIONS or before.shape[1] > MAX_COLUMNS:
        return {}
    if not np.isfinite(after).all() or not np.isfinite(before).all():
        return {}
    return _Relations(before, after, ~first).find()


class _Relations:
    """One search. The first relation found for a column stays."""

    def __init__(self, before: Array, after: Array, inside: Array) -> None:
        """inside: (T,) the transition does not start an episode."""
        self.before = before
        self.after = after
        self.inside = inside
        self.spread = after.std(0)
        self.moving = [int(c) for c in np.flatnonzero(self.spread > MIN_SPREAD)]
        largest = np.abs(after).max(0)
        self.within_one = [c for c in self.moving if largest[c] <= 1 + EXACT]
        self.found: dict[int, str] = {}

    def find(self) -> dict[int, str]:
        for c in self.moving:
            for d in self.moving:
                self._compare(c, d)
        for c in self.moving:
            if c not in self.found:
                self._find_goal(c)
        angles = self._find_angles()
        self._find_quaternions()
        if len(self.moving) <= MAX_COLUMNS_FOR_DIFFERENCES:
            self._find_differences()
        for c in self.moving:
            change = self.after[:, c] - self.before[:, c]
            self._find_rates(change, f"column {c}", c)
        for cosine, sine in angles:
            change = self._turn(cosine, sine)
            self._find_rates(
                change,
                f"the angle in columns {cosine} and {sine}",
                cosine,
            )
        return self.found

    def _compare(self, c: int, d: int) -> None:
        """Column c repeats d, now or one step later."""
        if c == d:
            return
        near = EXACT * self.spread[c]
        now = np.abs(self.after[:, c] - self.after[:, d]).max()
        if d < c and now <= near:
            self.found.setdefault(c, f"equals column {d}")
        later = np.abs(self.after[self.inside, c] - self.before[self.inside, d]).max()
        if later <= near and now > 0.1 * self.spread[c]:
            self.found.setdefault(c, f"column {d} one step ago")

    def _find_goal(self, c: int) -> None:
        unchanged = self.after[self.inside, c] == self.before[self.inside, c]
        if unchanged.all():
            self.found[c] = (
                "changes only when an episode starts: a goal, or a position that is redrawn"
            )

    def _find_angles(self) -> list[tuple[int, int]]:
        """Pairs whose squares add up to 1: the cosine and sine of an angle."""
        pairs = []
        for c in self.within_one:
            for d in self.within_one:
                if c >= d or c in self.found or d in self.found:
                    continue
                if not self._add_up_to_one([c, d]):
                    continue
                words = "the cosine and sine of an angle, in one order or the other"
                self.found[c] = f"with column {d} {words}"
                self.found[d] = f"with column {c} {words}"
                pairs.append((c, d))
        return pairs

    def _find_quaternions(self) -> None:
        """Four neighbours whose squares add up to 1."""
        for c in self.within_one:
            four = list(range(c, c + 4))
            free = all(k in self.within_one and k not in self.found for k in four)
            if free and self._add_up_to_one(four):
                for k in four:
                    self.found[k] = f"part {k - c} of a unit quaternion, columns {c} to {c + 3}"

    def _add_up_to_one(self, columns: list[int]) -> bool:
        total = (self.after[:, columns] ** 2).sum(1)
        return bool(np.abs(total - 1).max() < UNIT_TOLERANCE)

    def _find_differences(self) -> None:
        """Columns that are the difference of two before them.

        A random projection keeps differences: pairs are looked up in it, then checked.
        """
        weights = np.random.default_rng(0).normal(size=len(self.after))
        weights = weights / np.sqrt(len(self.after))
        projected = {c: float(weights @ self.after[:, c]) for c in self.moving}
        for c in self.moving:
            if c in self.found:
                continue
            earlier = [a for a in self.moving if a < c]
            for a in earlier:
                for b in earlier:
                    likely = abs(projected[a] - projected[b] - projected[c]) < 0.01 * self.spread[c]
                    if a != b and likely and self._is_difference(c, a, b):
                        self.found.setdefault(c, f"column {a} minus column {b}")

    def _is_difference(self, c: int, a: int, b: int) -> bool:
        error = self.after[:, a] - self.after[:, b] - self.after[:, c]
        return bool(np.abs(error).max() <= EXACT * self.spread[c])

    def _turn(self, cosine: int, sine: int) -> Array:
        """The change (T,) of an angle, in -pi .. pi."""
        now = np.arctan2(self.after[:, sine], self.after[:, cosine])
        before = np.arctan2(self.before[:, sine], self.before[:, cosine])
        return (now - before + np.pi) % (2 * np.pi) - np.pi

    def _find_rates(self, change: Array, what: str, owner: int) -> None:
        """Columns that are a rate of change: change = k * column, with the same k throughout.

        A tenth of the transitions may differ: at limits and wraps.
        """
        typical = float(np.median(np.abs(change)))
        if typical <= 0:
            return
        for d in self.moving:
            if d == owner or d in self.found:
                continue
            k = _factor(self.after[:, d], change, typical)
            if k is None:
                k = _factor(self.before[:, d], change, typical)
            if k is not None:
                self.found[d] = (
                    f"the rate of change of {what} (which grows by {k:.3g} times this in a step)"
                )


def _factor(rate: Array, change: Array, typical: float) -> float | None:
    """k with change = k * rate; None if there is none."""
    power = float(rate @ rate)
    if power <= 0:
        return None
    k = float(rate @ change) / power
    error = np.quantile(np.abs(change - k * rate), 0.9)
    if abs(k) > 1e-9 and error <= 1e-3 * typical:
        return k
    return None
