"""Named fields over flat arrays: the form in which observations enter the sandbox.

A batch of n states is one float64 array (..., n, D). A `Layout` says which columns belong to which
field, `State` gives them back by name, shaped (n, *shape), and `holds` compares them. This module
is loaded inside the sandbox and copied into exported files, so it imports numpy only.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
REFERENCE = re.compile(r"^([A-Za-z_]\w*)((?:\[\d+\])*)$")
COMPARISONS = {
    ">=": np.greater_equal,
    "<=": np.less_equal,
    ">": np.greater,
    "<": np.less,
    "==": np.equal,
    "!=": np.not_equal,
}


@dataclass(frozen=True)
class Layout:
    """Names and shapes of fields in the order of their columns."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @cached_property
    def slices(self) -> dict[str, tuple[int, int, tuple[int, ...]]]:
        """name -> (first column, end column, shape)."""
        out, start = {}, 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            end = start + math.prod(shape)
            out[name] = (start, end, shape)
            start = end
        return out

    @cached_property
    def width(self) -> int:
        """Number of columns, D."""
        return sum(math.prod(shape) for shape in self.shapes)

    def to_json(self) -> list[dict[str, Any]]:
        return [{"name": n, "shape": list(s)} for n, s in zip(self.names, self.shapes, strict=True)]

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> Layout:
        return cls(tuple(d["name"] for d in data), tuple(tuple(d["shape"]) for d in data))


class State:
    """n states: every field an attribute of shape (n, *shape), float64.

    An unknown name is an error that lists the fields.
    """

    __slots__ = ("_flat", "_layout")

    def __init__(self, flat: Array, layout: Layout) -> None:
        self._flat, self._layout = flat, layout

    def __getattr__(self, name: str) -> Array:
        try:
            start, end, shape = self._layout.slices[name]
        except KeyError:
            raise AttributeError(
                f"no field {name!r}; the fields are {', '.join(self._layout.names)}"
            ) from None
        return self._flat[:, start:end].reshape(len(self._flat), *shape)

    def __len__(self) -> int:
        return len(self._flat)


@lru_cache(maxsize=1024)
def _parse_reference(reference: str) -> tuple[str, tuple[int, ...]]:
    """Split `"door_pos[1]"` into the field's name and its indices."""
    match = REFERENCE.match(reference)
    if match is None:
        raise AttributeError(
            f"{reference!r} is not a field name, with or without indices in brackets"
        )
    return match[1], tuple(int(index) for index in re.findall(r"\d+", match[2]))


def resolve(state: State, reference: str) -> Array:
    """Return the array that `"door_pos"` or `"door_pos[1]"` names.

    Indices apply after the batch axis: the result is (n, *rest of the field's shape). Raises
    AttributeError if the reference is malformed or the field is unknown.
    """
    name, indices = _parse_reference(reference)
    value: Array = getattr(state, name)
    for index in indices:
        value = value[:, index]
    return value


def holds(
    state: State,
    field: str,
    op: str,
    value: float | None = None,
    other: str | None = None,
    at: tuple[float, ...] | None = None,
) -> Array:
    """Evaluate one condition of a task card for each of n states: (n,) of bool.

    `within` is true if the Euclidean distance of `field` to `other` (or to the numbers `at`, or to
    0) is at most `value`. Any other `op` compares `field` with `other` (a field) or `value`, and is
    true if it is true for every component.
    """
    n = len(state)
    left = resolve(state, field)

    if op == "within":
        target = (0.0,) if at is None else at
        right = resolve(state, other) if other else np.asarray(target)
        gap = (left - right).reshape(n, -1)
        distance = np.sqrt((gap * gap).sum(-1))
        return np.asarray(distance <= value)

    right = resolve(state, other) if other else np.asarray(value)
    compared = COMPARISONS[op](left, right)
    return np.asarray(compared.reshape(n, -1).all(-1))
