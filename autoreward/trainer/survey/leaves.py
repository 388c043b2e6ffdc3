"""The leaves of an observation space: their columns as declared, and as seen in random play."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from autoreward.state import Array
from autoreward.store.survey import Column, Kind, Leaf, Match
from autoreward.trainer.environment import (
    CardProblem,
    parts_of,
)
from autoreward.trainer.survey.playing import Play
from autoreward.trainer.survey.relations import relations

# numbers of one leaf; more are too many for a reward program
MAX_LEAF_SIZE = 4096
# a Box of three dimensions with more numbers is an image, not a table
MAX_GRID_SIZE = 1024
# a declared bound this large is none
UNBOUNDED = 1e6


def bounds(values: Array) -> tuple[float | None, ...]:
    """Declared bounds as a flat tuple; None where unbounded."""
    flat = np.asarray(values, np.float64).ravel()
    return tuple(float(value) if abs(value) < UNBOUNDED else None for value in flat)


def leaves_of(space: spaces.Space[Any]) -> list[Leaf]:
    """The leaves with their declared bounds; those a card cannot hold say why they are left out.

    Raises CardProblem if no leaf is left.
    """
    found = []
    start = 0
    can_be_flattened = True
    for path, part in parts_of(space):
        shape = tuple(int(n) for n in (part.shape or ()))
        left_out = _reason_to_leave_out(path, part, shape)
        kind = None if left_out else _kind(part)
        leaf = Leaf(
            path=path,
            space=str(part)[:200],
            kind=kind,
            shape=shape,
            start=start if can_be_flattened else None,
            columns=_declared_columns(part, kind),
            left_out=left_out,
        )
        found.append(leaf)
        try:
            start += spaces.flatdim(part)
        except (NotImplementedError, ValueError):
            can_be_flattened = False
    if not can_be_flattened:
        found = [leaf.model_copy(update={"start": None}) for leaf in found]
    if not any(leaf.kind for leaf in found):
        raise CardProblem(
            "observation: " + "; ".join(leaf.left_out for leaf in found),
            "wrap the environment in one that also returns the numbers behind it, e.g. as a Dict",
        )
    return found


def _kind(part: Any) -> Kind | None:
    if isinstance(part, spaces.Box):
        return "box"
    if isinstance(part, spaces.Discrete):
        return "discrete"
    if isinstance(part, spaces.MultiDiscrete):
        return "multidiscrete"
    if isinstance(part, spaces.MultiBinary):
        return "multibinary"
    return None


def _reason_to_leave_out(path: str, part: Any, shape: tuple[int, ...]) -> str:
    """Why a reward program cannot read a leaf; "" if it can."""
    name = f"obs.{path}" if path else "the observation"
    if _kind(part) is None:
        return f"{name} is {type(part).__name__}, which holds no numbers"
    if not isinstance(part, spaces.Box):
        return ""
    size = int(np.prod(shape))
    if len(shape) >= 3:
        looks_like_pixels = part.dtype == np.uint8 and float(part.high.max()) > 100
        if size > MAX_GRID_SIZE or looks_like_pixels:
            return f"{name} is an image of shape {shape}: reward programs read numbers, not pixels"
    if size > MAX_LEAF_SIZE:
        return f"{name} has {size:,} numbers; a reward program can read at most {MAX_LEAF_SIZE:,}"
    return ""


def _declared_columns(part: Any, kind: Kind | None) -> tuple[Column, ...]:
    if kind == "box":
        ranges = zip(bounds(part.low), bounds(part.high), strict=True)
        return tuple(Column(low=low, high=high) for low, high in ranges)
    if kind == "discrete":
        last = part.start + part.n - 1
        return (Column(low=float(part.start), high=float(last)),)
    if kind == "multidiscrete":
        return tuple(Column(low=0.0, high=float(n - 1)) for n in part.nvec.ravel())
    if kind == "multibinary":
        return tuple(Column(low=0.0, high=1.0) for _ in range(int(np.prod(part.shape))))
    return ()


def with_what_was_seen(
    leaves: list[Leaf],
    played: Play,
    moved: Array,
    matches: dict[int, Match],
) -> list[Leaf]:
    """The leaves with ranges, effects, relations and matches of their columns.

    moved: (parts, C) which columns each part of the action moves. Columns that were not always
    finite are noted in `played`.
    """
    related = relations(played.before, played.after, played.first)
    out = []
    c = 0
    for leaf in leaves:
        columns = []
        for k, column in enumerate(leaf.columns):
            values = np.concatenate([played.before[:, c], played.after[:, c]])
            finite = values[np.isfinite(values)]
            if len(finite) < len(values):
                name = f"obs.{leaf.path}" if leaf.path else "obs"
                infinite = len(values) - len(finite)
                played.notes.append(
                    f"{name}[{k}] was not finite in {infinite} of {len(values)} states"
                )
            update: dict[str, Any] = {
                **_seen(finite),
                "actions": tuple(int(i) for i in np.flatnonzero(moved[:, c])),
                "relation": related.get(c, ""),
                "match": matches.get(c),
            }
            columns.append(column.model_copy(update=update))
            c += 1
        out.append(leaf.model_copy(update={"columns": tuple(columns)}))
    return out


def _seen(values: Array) -> dict[str, Any]:
    """The range of a column's finite values, and whether they are constant, and whole numbers."""
    if not len(values):
        return {"constant": False, "integer": False}
    return {
        "seen_low": float(values.min()),
        "seen_high": float(values.max()),
        "constant": bool((values == values[0]).all()),
        "integer": bool((values == np.round(values)).all()),
    }
