"""Signals: from what a program answered about a step to the named terms that are composed.

A method names its signal; trainers find it by that name.

    program answers -> signal -> terms -> composition -> reward

Shipped ones are found by name, others by entry point: group `autoreward.signals`, the value names a
class. A name in a run directory is never a path: only what is installed here can be reached by it.
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
    """The signal of that name. UserError where there is none, or it is broken."""
    points = {n: EntryPoint(n, value, GROUP) for n, value in SHIPPED.items()}
    for point in sorted(entry_points(group=GROUP), key=lambda p: (p.name, p.value)):
        points.setdefault(point.name, point)
    if name not in points:
        close = difflib.get_close_matches(name, points, 1, 0.5)
        raise UserError(
            f"no signal {name!r}",
            (f"did you mean {close[0]}? " if close else "")
            + f"there are {', '.join(points)}; is the package of its method installed?",
        )
    try:
        found = points[name].load()
    except (Exception, SystemExit) as error:
        raise UserError(
            f"signal {name!r} ({points[name].value}) cannot be loaded: {type(error).__name__}: {error}",
            "mend or remove its package",
            REFUSED,
        ) from error
    if not (isinstance(found, type) and issubclass(found, Signal)):
        raise UserError(
            f"signal {name!r}: {points[name].value} is no autoreward.rewards.signals.Signal",
            "mend or remove its package",
            REFUSED,
        )
    return found
