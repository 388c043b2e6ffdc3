"""Columns of an observation: which of them belong together, where they are, and their range."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from autoreward.drafting.tables import Row
from autoreward.store.survey import Column, Leaf

# so many unnamed neighbours with equal finite bounds are one field: a lidar's rays, a grid's cells
MIN_RUN = 8
# a key that a card's source can name
PLAIN_PATH = re.compile(r"[\w.\-]+")


def groups(columns: Sequence[Column], rows: dict[int, Row]) -> Iterable[tuple[int, int]]:
    """Divide a leaf's columns into fields: (first, end) of each.

    Columns belong together if they are parts of one vector of the simulator, if the documentation
    says the same of x, y and z, or if they are unnamed neighbours with equal finite bounds.
    """
    k = 0
    while k < len(columns):
        if columns[k].match:
            end = _end_of_vector(columns, k)
        elif k in rows:
            end = k + 1 + len(same_for_other_axes(rows, k))
        else:
            end = _end_of_run(columns, rows, k)
        yield k, end
        k = end


def _end_of_vector(columns: Sequence[Column], k: int) -> int:
    """The end of the columns that are parts of the same vector as column k."""
    first = columns[k].match
    end = k + 1
    while first and first.index and end < len(columns):
        match = columns[end].match
        if not match or match.name != first.name or not match.index:
            break
        end += 1
    return end


def _end_of_run(columns: Sequence[Column], rows: dict[int, Row], k: int) -> int:
    """The end of the unnamed neighbours that have the same bounds as column k."""
    first = columns[k]
    end = k + 1
    while end < len(columns) and end not in rows and _alike(first, columns[end]):
        end += 1
    bounded = first.low is not None and first.high is not None
    return end if bounded and end - k >= MIN_RUN else k + 1


def _alike(a: Column, b: Column) -> bool:
    if a.relation or b.relation or b.match:
        return False
    return (a.low, a.high, a.integer) == (
        b.low,
        b.high,
        b.integer,
    )


def same_for_other_axes(rows: dict[int, Row], k: int) -> list[int]:
    """The rows after k that say of the axes y and z what row k says of x."""
    found: list[int] = []
    if not re.search(r"\bx\b", rows[k].meaning, re.I):
        return found
    pattern = _without_axis(rows[k].meaning, "x")
    for n, axis in enumerate("yz", 1):
        other = rows.get(k + n)
        if other is None or _without_axis(other.meaning, axis) != pattern:
            break
        found.append(k + n)
    return found


def _without_axis(meaning: str, axis: str) -> str:
    """A meaning with its axis blotted out: `x`, `x-axis`, `dx`, and `x_block`."""
    return re.sub(rf"\b(d?){axis}(?=\b|_)", "?", meaning, flags=re.I)


def can_be_source(leaf: Leaf) -> bool:
    """Whether a card can name the leaf, by its key or by columns of the flattened observation."""
    if not leaf.path or PLAIN_PATH.fullmatch(leaf.path):
        return True
    one_hot = leaf.kind in ("discrete", "multidiscrete")
    return leaf.start is not None and not one_hot


def source(leaf: Leaf, low: int, end: int) -> str:
    """The card's source of the columns low .. end-1 of a leaf."""
    whole = low == 0 and end == len(leaf.columns)
    if not leaf.path:
        if leaf.kind == "box" and leaf.start is not None:
            return _span(low, end)
        return "obs" if whole else f"obs[{_span(low, end)}]"
    if PLAIN_PATH.fullmatch(leaf.path):
        return f"obs.{leaf.path}" if whole else f"obs.{leaf.path}[{_span(low, end)}]"
    start = leaf.start or 0
    return _span(start + low, start + end)


def _span(low: int, end: int) -> str:
    return f"{low}:{end}" if end > low + 1 else f"{low}"


def range_of(columns: Sequence[Column], row: Row | None = None) -> str:
    """A field's range in words.

    The declared range if it is finite and random play kept to it; else the documented one, if it
    kept to that; else what was seen.
    """
    low = min(column.seen_low for column in columns)
    high = max(column.seen_high for column in columns)
    if all(column.integer for column in columns) and (
        low,
        high,
    ) == (
        0,
        1,
    ):
        return "0 or 1"
    if all(_keeps_to_bounds(column) for column in columns):
        lowest = min(column.low for column in columns if column.low is not None)
        highest = max(column.high for column in columns if column.high is not None)
        return f"{short(lowest)} .. {short(highest)}"
    documented = row.range if row else None
    if documented and _within(low, high, *documented):
        return f"{short(documented[0])} .. {short(documented[1])}"
    if low == high:
        return f"always {short(low)}"
    return f"about {short(low)} .. {short(high)}"


def _keeps_to_bounds(column: Column) -> bool:
    if column.low is None or column.high is None:
        return False
    return _within(column.seen_low, column.seen_high, column.low, column.high)


def _within(low: float, high: float, least: float, most: float) -> bool:
    slack = 1e-4 * max(1.0, abs(least), abs(most))
    return least - slack <= low and high <= most + slack


def is_flag(columns: Sequence[Column]) -> bool:
    """Whether the columns were 0 or 1, and not always the same."""
    if not all(column.integer for column in columns):
        return False
    if all(column.constant for column in columns):
        return False
    values = {value for column in columns for value in (column.seen_low, column.seen_high)}
    return values <= {0.0, 1.0}


def short(value: float) -> str:
    """A number in three digits."""
    text = f"{value:.3g}"
    if "e+0" in text and abs(value) < 1e6:
        return f"{value:.0f}"
    return text if float(text) else "0"
