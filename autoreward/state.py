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
        """Map each name to (first column, end column, shape)."""
        slices = {}
        start = 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            end = start + math.prod(shape)
            slices[name] = (start, end, shape)
            start = end
        return slices

    @cached_property
    def width(self) -> int:
        """The number of columns, D."""
        return sum(math.prod(shape) for shape in self.shapes)

    def to_json(self) -> list[dict[str, Any]]:
        """Return [{"name": ..., "shape": [...]}, ...] in the order of the columns."""
        fields = zip(self.names, self.shapes, strict=True)
        return [{"name": name, "shape": list(shape)} for name, shape in fields]

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> Layout:
        """Read what `to_json` returned."""
        names = tuple(field["name"] for field in data)
        shapes = tuple(tuple(field["shape"]) for field in data)
        return cls(names, shapes)


class State:
    """n states, with every field as an attribute of shape (n, *shape), float64.

    `flat` is (n, D), laid out by `layout`. An unknown name raises AttributeError with the fields
    that exist.
    """

    __slots__ = ("_flat", "_layout")

    def __init__(self, flat: Array, layout: Layout) -> None:
        self._flat = flat
        self._layout = layout

    def __getattr__(self, name: str) -> Array:
        try:
            start, end, shape = self._layout.slices[name]
        except KeyError:
            raise AttributeError(
                f"unknown field {name!r}; the fields are {', '.join(self._layout.names)}"
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
