"""The `source` of a card's field as text: which part of a step it names.

Plain data from a string, nothing is read here; `runtime.FieldReader` reads. Copied into exported
files, so it imports the standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Columns of the flattened observation | obs, obs.KEY or info.KEY, with columns | state.FUNCTION
SOURCE_PATTERN = r"^(\d+(:\d+)?|(obs(\.[\w.\-]+)?|info\.[\w.\-]+)(\[\d+(:\d+)?\])?|state\.\w+)$"
_COLUMNS = re.compile(r"^(?:(.*)\[)?(\d+)(?::(\d+))?\]?$")
ALL_COLUMNS = slice(0, None)


@dataclass(frozen=True)
class FieldSource:
    """A parsed source.

    `origin` is "columns" (of the flattened observation), "obs", "info" or "state". `name` is what
    follows the dot: the path of keys of `obs`, the key of `info`, the function of `state`.
    `columns` selects from the value, flattened; of `"7"` it is 7:8.
    """

    origin: str
    name: str
    columns: slice


def parse_source(text: str) -> FieldSource:
    """Parse a source, as `obs.hand[0:3]` into origin obs, name hand and columns 0:3."""
    columns = ALL_COLUMNS
    match = _COLUMNS.match(text)
    if match is not None:
        start = int(match[2])
        end = int(match[3]) if match[3] else start + 1
        columns = slice(start, end)
        text = match[1] or "columns"
    origin, _, name = text.partition(".")
    return FieldSource(origin, name, columns)
