"""What the terms of a program gave on the probes: their statistics, and warnings about them.

A warning rejects nothing. It goes along with the program, and the designer reads it in feedback.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from autoreward.sandbox.outside.worker import Answer, Worker
from autoreward.state import Array
from autoreward.store.records import TermProbe, Verdict
from autoreward.tasks.card import TaskCard

# A term that never gets larger than this goes unnoticed.
TINY = 1e-6
# Share of probes at one end of a term's range above which the term is saturated.
SATURATED_SHARE = 0.95
# A constant term may sum to this over an episode: a small price for time.
MAX_CONSTANT_SUM = 1
# Sums over an episode above which a term is out of scale: of its largest value, and of its mean.
MAX_LARGEST_SUM = 1e4
MAX_MEAN_SUM = 1e3
# A potential may exceed 0 by a rounding error.
POTENTIAL_TOLERANCE = 1e-9
GOOD_SIZE = "0.5 .. 5 over an episode"


def term_statistics(values: Array, names: tuple[str, ...], worker: Worker) -> tuple[TermProbe, ...]:
    """Statistics of every term; `values` (N, k) are the terms, then the shaped potentials."""
    sizes = np.abs(values).sum(0)
    total = float(sizes.sum()) or 1.0
    found = []
    for k, name in enumerate(names):
        column = values[:, k]
        found.append(
            TermProbe(
                name=name,
                kind=_kind(name, worker),
                mean=float(column.mean()),
                std=float(column.std()),
                low=float(column.min()),
                high=float(column.max()),
                nonzero=float((column != 0).mean()),
                share=float(sizes[k] / total),
            )
        )
    return tuple(found)


def _kind(name: str, worker: Worker) -> Literal["dense", "sparse", "potential"]:
    if name in worker.potentials:
        return "potential"
    return "sparse" if name in worker.sparse else "dense"


def term_warnings(
    values: Array, names: tuple[str, ...], worker: Worker, answer: Answer, card: TaskCard
) -> list[Verdict]:
    """Warnings about the terms of a reward(), in the order of the terms.

    `values` (N, k) as for `term_statistics`; `answer` holds the potentials as they were given.
    """
    found = []
    if len(values) and not np.abs(values).any():
        found.append(
            _warning(
                "silent",
                "every term is 0 on all probes: a random agent gets no signal",
                "reward progress from where an episode starts",
            )
        )
    for k, name in enumerate(names):
        found += _about_values(name, values[:, k], name in worker.terms, card)
    found += _about_potentials(worker, answer)
    for name in sorted(worker.broadcast):
        found.append(
            _warning(
                "broadcast",
                f"{name!r} is one number for all rows",
                "np.full(len(action), value)",
            )
        )
    return found


def _warning(kind: str, message: str, hint: str) -> Verdict:
    return Verdict(kind=kind, severity="warn", message=message, hint=hint)


def _about_values(name: str, column: Array, is_term: bool, card: TaskCard) -> Iterator[Verdict]:
    """Warnings about one column; `is_term` is False for a shaped potential."""
    limit = card.environment.limit
    size = _size_warning(name, column, is_term, limit)
    if size is not None:
        yield size

    ends_at_success = card.success is not None and card.success.ends_episode
    if is_term and column.min() > 0 and ends_at_success:
        yield _warning(
            "stalling",
            f"{name!r} pays {column.mean():.3g} at every step although success ends the episode: "
            "staying may beat finishing",
            "a term that is paid at every step should be 0 or below, or a difference",
        )
    mean_sum = np.abs(column).mean() * limit
    if np.abs(column).max() * limit > MAX_LARGEST_SUM and mean_sum > MAX_MEAN_SUM:
        yield _warning(
            "scale",
            f"{name!r} may sum to {mean_sum:.3g} over an episode; the success bonus is 1",
            GOOD_SIZE,
        )


def _size_warning(name: str, column: Array, is_term: bool, limit: int) -> Verdict | None:
    """A warning about a column that is constant, tiny or saturated."""
    largest = float(np.abs(column).max())
    constant = column.min() == column.max()
    if constant and is_term and largest * limit > MAX_CONSTANT_SUM:
        return _warning(
            "constant",
            f"{name!r} is {column[0]:.3g} on every probe: {column[0] * limit:.3g} over {limit} "
            "steps, whatever the agent does",
            "only a price for time of at most 0.5 over an episode may be constant",
        )
    if 0 < largest < TINY:
        return _warning(
            "tiny",
            f"{name!r} never exceeds {largest:.1g}: too small to matter beside a success bonus "
            "of 1",
            GOOD_SIZE,
        )
    if constant or not is_term:
        return None

    end = column[np.abs(column).argmax()]
    share = (column == end).mean()
    if share <= SATURATED_SHARE:
        return None
    return _warning(
        "saturated",
        f"{name!r} is {end:.3g}, its largest value, on {share:.0%} of the probes",
        "use a wider scale, or a gain in place of a level",
    )


def _about_potentials(worker: Worker, answer: Answer) -> Iterator[Verdict]:
    for k, name in enumerate(worker.potentials):
        highest = float(max(answer.before[..., k].max(), answer.after[..., k].max()))
        if highest > POTENTIAL_TOLERANCE:
            yield _warning(
                "potential-above-0",
                f"potential {name!r} reaches {highest:.3g}: it is cut to 0 at the end, so "
                "finishing costs that much",
                "shift it so that success is 0",
            )
