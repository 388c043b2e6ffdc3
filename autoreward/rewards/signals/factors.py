"""Checks of factors on recorded steps: constant, duplicate, or measuring nothing but time."""

from __future__ import annotations

import numpy as np

from autoreward.state import Array
from autoreward.store.records import Verdict

# a deviation below this share of the mean counts as none
CONSTANT = 1e-8
# correlation from which two factors are the same
DUPLICATE_CORRELATION = 0.999
# correlation with the step's number from which a factor only measures time
CLOCK_CORRELATION = 0.95


def check_factors(names: tuple[str, ...], values: Array, first: Array) -> list[Verdict]:
    """Return warnings about single factors; a rejection if none of them ever changes.

    values (T, n, k): one column for each of `names`. first (T, n): an episode begins there.
    """
    flat = values.reshape(-1, len(names))
    constant = _constant(flat)
    if constant.all():
        return [
            Verdict(
                kind="constant-factor",
                message=f"no factor changes over {len(flat)} recorded transitions:"
                f" {', '.join(names)}",
                hint="compute factors from prev, action and curr",
            )
        ]
    found = [
        _warning(
            "constant-factor",
            f"{names[k]!r} is the same in all {len(flat)} recorded transitions",
            "it may matter in states that random actions do not reach; if not, leave it out",
        )
        for k in np.flatnonzero(constant)
    ]
    changing = np.flatnonzero(~constant)
    found += _duplicates(names, flat, changing)
    found += _clocks(names, flat, changing, first)
    return found


def _constant(flat: Array) -> Array:
    """(k,) of bool: columns of flat (N, k) that never change."""
    least = CONSTANT * np.maximum(1.0, np.abs(flat.mean(0)))
    return ~(flat.std(0) > least)


def _duplicates(names: tuple[str, ...], flat: Array, changing: Array) -> list[Verdict]:
    count = len(changing)
    alike = np.abs(np.corrcoef(flat[:, changing], rowvar=False).reshape(count, count))
    pairs = np.argwhere(np.triu(alike > DUPLICATE_CORRELATION, 1))
    return [
        _warning(
            "duplicate-factor",
            f"{names[changing[second]]!r} equals {names[changing[first]]!r} up to scale and offset",
            "leave one of them out: the decoder splits their shares by chance",
        )
        for first, second in pairs
    ]


def _clocks(names: tuple[str, ...], flat: Array, changing: Array, first: Array) -> list[Verdict]:
    time = _steps_since_start(first).ravel()
    if time.std() == 0:
        return []
    return [
        _warning(
            "clock-factor",
            f"{names[k]!r} follows the number of the step: it explains long episodes, not actions",
            "describe what the step did, not when it was",
        )
        for k in changing
        if abs(np.corrcoef(time, flat[:, k])[0, 1]) > CLOCK_CORRELATION
    ]


def _steps_since_start(first: Array) -> Array:
    """(T, n): steps since the episode began, as far as recorded."""
    time = np.zeros(first.shape)
    for t in range(1, len(first)):
        time[t] = np.where(first[t], 0, time[t - 1] + 1)
    return time


def _warning(kind: str, message: str, hint: str) -> Verdict:
    return Verdict(kind=kind, severity="warn", message=message, hint=hint)
