"""Signals: from what a program answered about a step to the named terms that are composed.

    program answers -> signal -> terms -> composition -> reward

A method names its signal; trainers find it by that name. Shipped signals are found by name, others
by entry point: group `autoreward.signals`, the value names a class. A name in a run directory is
never a path, so it reaches only what is installed here.
"""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points

from autoreward.errors import REFUSED, UserError
from autoreward.rewards.signals.signal import Signal, SignalContext, StepBatch

__all__ = ["PLAIN", "Signal", "SignalContext", "StepBatch", "find_signal"]

GROUP = "autoreward.signals"
PLAIN = "program"
SHIPPED = {
    PLAIN: "autoreward.rewards.signals.plain:Plain",
    "subgoals": "autoreward.rewards.signals.subgoals:Subgoals",
    "decoded": "autoreward.rewards.signals.decoded:Decoded",
}


def find_signal(name: str) -> type[Signal]:
    """Return the signal of that name. Raises UserError if it is unknown or broken."""
    points = {n: EntryPoint(n, value, GROUP) for n, value in SHIPPED.items()}
    for point in sorted(entry_points(group=GROUP), key=lambda p: (p.name, p.value)):
        points.setdefault(point.name, point)
    if name not in points:
        raise UserError(f"unknown signal {name!r}", _suggestion(name, list(points)))

    point = points[name]
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        raise UserError(
            f"signal {name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}",
            "fix or remove its package",
            REFUSED,
        ) from error
    if not (isinstance(found, type) and issubclass(found, Signal)):
        raise UserError(
            f"signal {name!r}: {point.value} is not an autoreward.rewards.signals.Signal",
            "fix or remove its package",
            REFUSED,
        )
    return found


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.5)
    guess = f"did you mean {close[0]}? " if close else ""
    return f"{guess}known signals: {', '.join(known)}; is the package of its method installed?"
