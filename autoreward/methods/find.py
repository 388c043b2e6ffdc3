"""Find methods by name: shipped ones, and those of installed packages.

A package declares its method as an entry point of the group `autoreward.methods`, whose value names
a `Method`; `prompts/` in the same package holds its templates (docs/methods.md). An installed
package is trusted code, and it is imported only when its method is asked for.
"""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points

from autoreward.errors import REFUSED, UserError
from autoreward.methods.method import AGENTS, Method
from autoreward.rewards.composition import PRESETS

GROUP = "autoreward.methods"
SHIPPED = {
    name: f"autoreward.methods.{name.replace('-', '_')}:METHOD"
    for name in ("auto-mc-reward", "eureka", "lare", "calm")
}
DEFAULT = "auto-mc-reward"


def names() -> dict[str, str]:
    """Return name -> where it comes from, without importing any package's code."""
    found = {}
    for name, point in _points().items():
        found[name] = "autoreward" if name in SHIPPED else point.value
    return found


def find_method(name: str) -> Method:
    """Return the method of that name. Raises UserError if it is unknown or broken."""
    points = _points()
    point = points.get(name)
    if point is None:
        close = difflib.get_close_matches(name, points, 1, 0.4)
        suggestion = f"did you mean {close[0]}? " if close else ""
        raise UserError(
            f"unknown method {name!r}",
            f"{suggestion}known methods: {', '.join(points)}; autoreward methods list",
        )
    hint = f"fix or remove the package of {point.value}; docs/methods.md has a complete example"
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        raise UserError(
            f"method {name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}",
            hint,
            REFUSED,
        ) from error
    wrong = _wrong(found, name)
    if wrong:
        raise UserError(f"method {name!r}: {point.value} {wrong}", hint, REFUSED)
    return found


def _points() -> dict[str, EntryPoint]:
    """Return all entry points by name. A package cannot take a shipped name."""
    points = {name: EntryPoint(name, value, GROUP) for name, value in SHIPPED.items()}
    for point in sorted(entry_points(group=GROUP), key=lambda p: (p.name, p.value)):
        points.setdefault(point.name, point)
    return points


def _wrong(found: object, name: str) -> str:
    """Return what is wrong with the object that a package provides; empty if nothing is."""
    if not isinstance(found, Method):
        return f"is {type(found).__name__}, not an autoreward.methods.Method"
    if found.name != name:
        return (
            f"is named {found.name!r}: the entry point, the method and the folder of templates "
            "must have the same name"
        )
    if "designer" not in found.agents or not set(found.agents) <= set(AGENTS):
        agents = ", ".join(map(str, found.agents)) or "(none)"
        return f"has the agents {agents}: must be designer, and optionally critic and analyzer"
    if found.composition not in PRESETS:
        return f"has the composition {found.composition!r}: presets are {', '.join(PRESETS)}"
    return ""
