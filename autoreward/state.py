"""Named fields over flat arrays: the one form in which observations cross the jail's wall
(imported on both sides).

A batch of n states is one float64 array (..., n, D); a `Layout` says which columns belong to which
field, and `State` gives them back by name, shaped (n, *shape). Numpy only, nothing else of ours:
this module is loaded inside the jail.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
REFERENCE = re.compile(r"^([A-Za-z_]\w*)((?:\[\d+\])*)$")


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


def resolve(state: State, reference: str) -> Array:
    """The array that `"door_pos"` or `"door_pos[1]"` names; the index is taken after the batch
    axis.
    """
    match = REFERENCE.match(reference)
    if match is None:
        raise AttributeError(
            f"{reference!r} is no field name, and no field name with indices in brackets"
        )
    value = getattr(state, match[1])
    for index in re.findall(r"\d+", match[2]):
        value = value[:, int(index)]
    return value
