"""Captions of transitions: turns rows of numbers into numbered text. Runs in trainers; numpy only.

A row is rounded to the grid that its caption is written in: whole numbers stay as they are, and
measured ones take one of `bins` steps over the field's range. Rows that read the same are therefore
equal, and text is written only for a row that was not seen before. Captions are numbered in the
order in which they first appear, so the same trajectory gives the same numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autoreward.annotation.labels import MAX_CAPTION_CHARS
from autoreward.errors import REFUSED, UserError
from autoreward.state import Array, State
from autoreward.tasks.caption import BINS, Slot, pieces
from autoreward.tasks.card import Action, TaskCard, numbers
from autoreward.tasks.card import Field as CardField

# different captions of one training
MAX_CAPTIONS = 100_000
MAX_REMEMBERED_ROWS = 400_000
# units of fields whose values are whole numbers
WHOLE_UNITS = {
    "flag",
    "code",
    "cells",
    "cell",
    "index",
    "steps",
    "step",
    "count",
}
# rounding of such a field, in case its values are not whole after all
WHOLE_STEP = 0.01
# a field without a range is written in two digits; smaller values read as 0
ZERO_BELOW = 1e-3
UNITS_NOT_WRITTEN = WHOLE_UNITS | {"-", ""}
ACTION_MEANING = re.compile(r"(\d+)(?:\s*(?:,|and)\s*(\d+))?\s*=\s*([^,;()]+)")


@dataclass(frozen=True)
class Grid:
    """The values that the columns of one field are rounded to: `low` + a whole number of `step`s.

    `low` and `step` have shape (k,). A step of 0 means rounding to two digits.
    """

    low: Array
    step: Array

    @classmethod
    def of(cls, field: CardField, bins: int) -> Grid:
        """The grid of a card's field.

        Whole numbers are recognized by their unit. Otherwise the range is divided into `bins`
        steps, separately for each column if the card gives a range for each. A field without a
        range is rounded to two digits.
        """
        k = math.prod(field.shape)
        if field.unit in WHOLE_UNITS:
            return cls(np.zeros(k), np.full(k, WHOLE_STEP))
        ends = numbers(re.sub(r"\bpi\b", f"{math.pi:.6f}", field.range))
        if len(ends) == 2 * k and k > 1:
            ranges = np.array(ends).reshape(-1, 2)
        elif ends:
            ranges = np.array([[min(ends), max(ends)]] * k)
        else:
            ranges = np.zeros((k, 2))
        width = ranges[:, 1] - ranges[:, 0]
        if (width <= 0).any():
            return cls(np.zeros(k), np.zeros(k))
        return cls(ranges[:, 0], width / bins)

    @classmethod
    def of_action(cls, action: Action, bins: int) -> Grid:
        """The grid of the action's components."""
        k = math.prod(action.row)
        if action.type != "box":
            return cls(np.zeros(k), np.full(k, WHOLE_STEP))
        return cls(
            np.full(k, action.low),
            np.full(k, (action.high - action.low) / bins),
        )


class Captions:
    """Numbers the captions of transitions.

    `texts[number]` is the caption; `written_by` says what wrote it. `function` is the card's
    trusted function, required if the card sets `caption.function`. Beyond `max_captions` different
    captions, new ones get the number -1.
    """

    def __init__(
        self,
        card: TaskCard,
        function: Callable[[State, Array, State], Sequence[str]] | None = None,
        max_captions: int = MAX_CAPTIONS,
    ) -> None:
        self.layout = card.reward_layout
        self.action = card.action
        self.max_captions = max_captions
        self.fields = {f.name: f for f in card.fields if f.reward}
        self.function = None
        self.written_by = "default"
        self.pieces: tuple[str | Slot, ...] = ()
        bins = BINS
        if card.caption:
            bins = card.caption.bins
            self.written_by = "template"
        if card.caption and card.caption.template:
            self.pieces = pieces(card.caption.template)
        if card.caption and card.caption.function:
            if function is None:
                raise ValueError("the card sets caption.function, but no function was given")
            self.function = function
            self.written_by = f"function {card.caption.function}()"
        self._make_grid(bins)
        self._make_parts()
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}
        self._row_numbers: dict[bytes, int] = {}

    def numbers_of(self, prev: Array, action: Array, curr: Array) -> Array:
        """The caption numbers (n,) int64 of n transitions.

        prev, curr: (n, D), by the card's reward layout; action: (n, ...). Raises UserError if the
        card's caption function fails.
        """
        rows = self._rows(prev, action, curr)
        keys = _row_bytes(rows)
        found = [self._row_numbers.get(key) for key in keys]
        if None not in found:
            return np.array(found, np.int64)
        if len(self.texts) < self.max_captions or self.function:
            return self._number_new(keys, found, rows, prev, action, curr)
        # An unknown row cannot read like a known one, so there is nothing to write.
        numbers = [-1 if number is None else number for number in found]
        return np.array(numbers, np.int64)

    def _rows(self, prev: Array, action: Array, curr: Array) -> Array:
        """What decides the captions (n, k): rounded columns, or all numbers for a function."""
        flat_action = np.asarray(action, np.float64).reshape(len(prev), -1)
        rows = np.concatenate([prev, flat_action, curr], axis=1)
        if self.function is None:
            if not self.uses_all_columns:
                rows = rows[:, self.columns]
            rows = self._round(rows)
        # -0.0 and 0.0 must have the same bytes
        rows += 0.0
        return rows

    def number_of(self, text: str) -> int | None:
        """The number of a caption; None if it has not been seen."""
        return self._numbers.get(text)

    def _number_new(
        self,
        keys: list[bytes],
        found: list[int | None],
        rows: Array,
        prev: Array,
        action: Array,
        curr: Array,
    ) -> Array:
        """Write the captions of unknown rows, the first of each, and number them."""
        first_places: dict[bytes, int] = {}
        for k, key in enumerate(keys):
            if found[k] is None:
                first_places.setdefault(key, k)
        places = list(first_places.values())
        if self.function:
            texts = self._call_function(prev[places], action[places], curr[places])
        else:
            texts = [self._write(rows[k].tolist()) for k in places]
        new: dict[bytes, int] = {}
        for key, text in zip(first_places, texts, strict=True):
            text = " ".join(text.split())[:MAX_CAPTION_CHARS]
            number = self._numbers.get(text)
            if number is None and len(self.texts) < self.max_captions:
                number = len(self.texts)
                self._numbers[text] = number
                self.texts.append(text)
            if number is not None:
                new[key] = number
        if len(self._row_numbers) < MAX_REMEMBERED_ROWS:
            self._row_numbers.update(new)
        out = [
            new.get(key, -1) if number is None else number
            for key, number in zip(keys, found, strict=True)
        ]
        return np.array(out, np.int64)

    def _call_function(self, prev: Array, action: Array, curr: Array) -> list[str]:
        """Captions of the card's own function. Raises UserError if it fails."""
        assert self.function is not None
        hint = "fix the card's Python file, then: autoreward envs caption CARD"
        before = State(prev, self.layout)
        after = State(curr, self.layout)
        try:
            texts = list(self.function(before, action, after))
        except Exception as error:
            message = f"caption.function: {type(error).__name__}: {error}"
            raise UserError(message, hint, REFUSED) from error
        if len(texts) != len(prev) or not all(isinstance(text, str) for text in texts):
            kind = type(texts[0]).__name__ if texts else "nothing"
            raise UserError(
                f"caption.function: it must return {len(prev)} strings, one per transition; it "
                f"returned {len(texts)} of {kind}",
                hint,
                REFUSED,
            )
        return texts

    # -- the grid ----------------------------------------------------------------------------------

    def _make_grid(self, bins: int) -> None:
        """Set up rounding: `low` and `step` of every column of [prev | action | curr]."""
        grids = [Grid.of(field, bins) for field in self.fields.values()]
        acted = Grid.of_action(self.action, bins)
        low = np.concatenate([grid.low for grid in grids])
        step = np.concatenate([grid.step for grid in grids])
        self.low = np.concatenate([low, acted.low, low])
        self.step = np.concatenate([step, acted.step, step])
        # columns that the text depends on; below, only these
        self.columns = self._columns_used()
        self.uses_all_columns = len(self.columns) == len(self.step)
        used_step = self.step[self.columns]
        self.start = self.low[self.columns]
        self.scale = np.where(used_step == 0, 1.0, used_step)
        self.two_digit_columns = np.flatnonzero(used_step == 0)

    def _columns_used(self) -> Array:
        """Columns of [prev | action | curr] that the text depends on."""
        if not self.pieces:
            return np.arange(2 * self.layout.width + math.prod(self.action.row))
        found: set[int] = set()
        for piece in self.pieces:
            if isinstance(piece, Slot):
                found.update(self._columns_of(piece))
        return np.array(sorted(found), np.int64)

    def _columns_of(self, slot: Slot) -> list[int]:
        """Columns of [prev | action | curr] that a placeholder shows."""
        width = self.layout.width
        actions = math.prod(self.action.row)
        if slot.side == "action":
            return list(range(width, width + actions))
        low, high, shape = self.layout.slices[slot.field]
        start = low + (width + actions if slot.side == "curr" else 0)
        chosen = np.arange(start, start + high - low).reshape(shape)[slot.index]
        return [int(column) for column in np.atleast_1d(chosen).ravel()]

    def _round(self, rows: Array) -> Array:
        """Round rows in place: to whole numbers of steps, or to two digits if the step is 0."""
        rough = None
        if len(self.two_digit_columns):
            rough = rows[:, self.two_digit_columns]
        rows -= self.start
        rows /= self.scale
        np.rint(rows, out=rows)
        if rough is not None:
            rows[:, self.two_digit_columns] = _two_digits(rough)
        return rows

    # -- text --------------------------------------------------------------------------------------

    def _make_parts(self) -> None:
        """Prepare what writes a caption: the template's pieces, or the action and every field."""
        self.parts = tuple(
            piece if isinstance(piece, str) else self._part(piece) for piece in self.pieces
        )
        self.action_part: _Part | None = None
        self.field_parts: list[tuple[str, _Part, _Part]] = []
        if self.pieces:
            return
        self.action_part = self._part(Slot("action"))
        for name in self.layout.names:
            before = self._part(Slot("prev", name))
            after = self._part(Slot("curr", name))
            self.field_parts.append((name, before, after))

    def _write(self, row: list[float]) -> str:
        """The caption of one rounded row."""
        if self.pieces:
            return "".join(part if isinstance(part, str) else part.text(row) for part in self.parts)
        assert self.action_part is not None
        changes = []
        for name, before, after in self.field_parts:
            was = before.text(row)
            now = after.text(row)
            changes.append(f"{name} {now}" if was == now else f"{name} {was} -> {now}")
        return f"{self.action_part.text(row)}: {'; '.join(changes)}"

    def _part(self, slot: Slot) -> _Part:
        """What writes one placeholder of a rounded row."""
        columns = self._columns_of(slot)
        position = {int(column): k for k, column in enumerate(self.columns)}
        places = [position[column] for column in columns]
        low = self.low[columns].tolist()
        step = self.step[columns].tolist()
        prefix = ""
        suffix = ""
        meanings: dict[int, str] = {}
        if slot.side == "action":
            shape = self.action.row
            prefix = "action "
            if self.action.type == "discrete":
                meanings = _action_meanings(self.action.meaning)
        else:
            field = self.fields[slot.field]
            shape = field.shape[len(slot.index) :]
            if field.unit not in UNITS_NOT_WRITTEN:
                suffix = f" {field.unit}"

        def write(values: tuple[float, ...]) -> str:
            if meanings:
                meaning = meanings.get(int(low[0] + values[0] * step[0]))
                if meaning:
                    return meaning
            texts = []
            for value, start, size in zip(values, low, step, strict=True):
                number = value if size == 0 else start + value * size
                texts.append(_digits(number, size))
            return prefix + _nested(shape, texts) + suffix

        return _Part(places, write)


def _row_bytes(rows: Array) -> list[bytes]:
    """The bytes of each row, for a dictionary."""
    data = rows.tobytes()
    size = rows.shape[1] * rows.itemsize
    # a template without placeholders leaves no columns, so count rows and not bytes
    return [data[k * size : (k + 1) * size] for k in range(len(rows))]


class _Part:
    """The text of a placeholder, written once for each of its rounded values."""

    def __init__(
        self,
        places: list[int],
        write: Callable[[tuple[float, ...]], str],
    ) -> None:
        self.write = write
        self.places = places
        self.known: dict[tuple[float, ...], str] = {}
        # neighbouring columns are read with one slice
        first = places[0]
        end = first + len(places)
        self.slice: slice | None = None
        if places == list(range(first, end)):
            self.slice = slice(first, end)

    def text(self, row: list[float]) -> str:
        values = tuple(row[self.slice]) if self.slice else tuple(row[k] for k in self.places)
        text = self.known.get(values)
        if text is None:
            text = self.write(values)
            if len(self.known) < MAX_REMEMBERED_ROWS:
                self.known[values] = text
        return text


def _two_digits(values: Array) -> Array:
    """Round to two significant digits; small values become 0."""
    size = np.abs(values)
    # 1.0 stands in for values that have no logarithm; they are replaced below or stay as they are
    has_logarithm = np.isfinite(size) & (size >= ZERO_BELOW)
    safe = np.where(has_logarithm, size, 1.0)
    exponent = np.floor(np.log10(safe))
    unit = 10.0 ** (exponent - 1)
    rounded = np.rint(values / unit) * unit
    return np.where(size < ZERO_BELOW, 0.0, rounded)


def _digits(value: float, step: float) -> str:
    """A number with as many digits as distinguish neighbours on its grid."""
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    if step == 0:
        return f"{value:.2g}"
    decimals = max(0, math.ceil(-math.log10(step)))
    text = f"{value:.{decimals}f}"
    if step == WHOLE_STEP and "." in text:
        text = text.rstrip("0").rstrip(".")
    minus_zero = text.startswith("-") and not text.strip("-0.")
    return text[1:] if minus_zero else text


def _nested(shape: tuple[int, ...], texts: list[str]) -> str:
    """Numbers in the brackets of their shape: `(1, 2)`, `((1, 2), (3, 4))`."""
    if not shape:
        return texts[0]
    size = len(texts) // max(1, shape[0])
    parts = []
    for k in range(shape[0]):
        part = texts[k * size : (k + 1) * size]
        parts.append(_nested(shape[1:], part))
    return "(" + ", ".join(parts) + ")"


def _action_meanings(text: str) -> dict[int, str]:
    """The discrete actions that a card describes as `0 = turn left, 1 and 2 = wait`."""
    meanings: dict[int, str] = {}
    for first, second, words in ACTION_MEANING.findall(text):
        for number in (first, second):
            if number:
                meanings[int(number)] = words.strip()
    return meanings
