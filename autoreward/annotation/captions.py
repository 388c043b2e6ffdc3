"""What a model is told about a transition: from rows of numbers to numbered captions.

Numpy only; used in trainers.

A row is brought to the grid that its caption is written in (whole numbers as they are, measured
ones in `bins` steps over the field's range), so rows that read the same have the same key, and
words are written only for a key that was not seen before. The order of first sight numbers the
captions: the same trajectory gives the same numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autoreward.annotation.labels import LONGEST
from autoreward.errors import REFUSED, UserError
from autoreward.state import Array, State
from autoreward.tasks.caption import BINS, Slot, pieces
from autoreward.tasks.card import Field as CardField
from autoreward.tasks.card import TaskCard, numbers

# captions that are told apart
MOST = 100_000
# rows that are remembered
MOST_KEYS = 400_000
# units of fields that are told as they are
WHOLE = {"flag", "code", "cells", "cell", "index", "steps", "step", "count"}
# what these are rounded to, should they not be whole
FINE = 0.01
# a field without a range is told in two digits; below this it is 0
SMALL = 1e-3
SILENT = WHOLE | {"-", ""}
NAMED = re.compile(r"(\d+)(?:\s*(?:,|and)\s*(\d+))?\s*=\s*([^,;()]+)")


@dataclass(frozen=True)
class Grid:
    """Where the columns of one field may stand: `low` + a whole number of `step`s; step 0: two
    digits. Arrays (k,).
    """

    low: Array
    step: Array

    @classmethod
    def of(cls, field: CardField, bins: int) -> Grid:
        """From the card: whole numbers by their unit, else the range in `bins` steps (x, y, z
        apart where it gives each), else two digits.
        """
        k = math.prod(field.shape)
        if field.unit in WHOLE:
            return cls(np.zeros(k), np.full(k, FINE))
        ends = numbers(re.sub(r"\bpi\b", f"{math.pi:.6f}", field.range))
        pairs = (
            np.array(ends).reshape(-1, 2)
            if len(ends) == 2 * k and k > 1
            else np.array([[min(ends), max(ends)]] * k)
            if ends
            else np.zeros((k, 2))
        )
        span = pairs[:, 1] - pairs[:, 0]
        if (span <= 0).any():
            return cls(np.zeros(k), np.zeros(k))
        return cls(pairs[:, 0], span / bins)


class Captions:
    """Numbers captions. `texts[id]` is a caption; `by` says what wrote it.

    `function`: the card's trusted one, where `caption.function` names it. More than `most`
    different captions are not told apart: they get -1.
    """

    def __init__(
        self,
        card: TaskCard,
        function: Callable[[State, Array, State], Sequence[str]] | None = None,
        most: int = MOST,
    ) -> None:
        self.layout, self.action, self.most = card.reward_layout, card.action, most
        self.fields = {f.name: f for f in card.fields if f.reward}
        made = card.caption
        if made and made.function and function is None:
            raise ValueError("the card's caption is a function, and none was given")
        self.function = function if made and made.function else None
        self.by = (
            f"function {made.function}()"
            if made and made.function
            else "template"
            if made
            else "default"
        )
        self.pieces = pieces(made.template) if made and made.template else ()
        grids = {name: Grid.of(f, made.bins if made else BINS) for name, f in self.fields.items()}
        narrow = (
            np.zeros(1)
            if self.action.type != "box"
            else np.full(math.prod(self.action.shape), self.action.low)
        )
        width = math.prod(self.action.row)
        wide = (
            np.full(width, (self.action.high - self.action.low) / (made.bins if made else BINS))
            if self.action.type == "box"
            else np.full(width, FINE)
        )
        low, step = (
            np.concatenate([getattr(g, part) for g in grids.values()]) for part in ("low", "step")
        )
        self.low = np.concatenate([low, np.broadcast_to(narrow, width), low])
        self.step = np.concatenate([step, wide, step])
        self.meanings = _meanings(self.action.meaning) if self.action.type == "discrete" else {}
        self.shown = self._shown()
        self.all, self.start = len(self.shown) == len(self.step), self.low[self.shown]
        self.rough = np.flatnonzero(self.step[self.shown] == 0)
        self.scale = np.where(self.step == 0, 1.0, self.step)[self.shown]
        self.parts = tuple(p if isinstance(p, str) else self._part(p) for p in self.pieces)
        self.acted = self._part(Slot("action")) if not self.pieces else None
        self.changes = (
            [
                (name, self._part(Slot("prev", name)), self._part(Slot("curr", name)))
                for name in self.layout.names
            ]
            if not self.pieces
            else []
        )
        self.texts: list[str] = []
        self._ids: dict[str, int] = {}
        self._keys: dict[bytes, int] = {}

    def keys(self, prev: Array, action: Array, curr: Array) -> Array:
        """The captions' numbers, (n,) int64, of n transitions: prev, curr (n, D) as offered to
        reward programs, action (n, ...).
        """
        n = len(prev)
        rows = np.concatenate([prev, np.asarray(action, np.float64).reshape(n, -1), curr], axis=1)
        if self.function is None:
            rows = self._on_grid(rows if self.all else rows[:, self.shown])
        # -0.0 and 0.0 are one number
        rows += 0.0
        data, size = rows.tobytes(), rows.shape[1] * 8
        names = [data[k * size : (k + 1) * size] for k in range(n)]
        found = [self._keys.get(name) for name in names]
        if None not in found:
            return np.array(found, np.int64)
        # nothing new can come of it, so nothing is written
        if len(self.texts) >= self.most and self.function is None:
            return np.array([-1 if number is None else number for number in found], np.int64)
        return self._new(names, found, rows, prev, action, curr)

    def number(self, text: str) -> int | None:
        """The number of a caption that was seen, else None."""
        return self._ids.get(text)

    def _new(
        self,
        names: list[bytes],
        found: list[int | None],
        rows: Array,
        prev: Array,
        action: Array,
        curr: Array,
    ) -> Array:
        unseen = {name: k for k, name in reversed(list(enumerate(names))) if found[k] is None}
        places = sorted(unseen.values())
        texts = (
            self._asked(prev[places], action[places], curr[places])
            if self.function
            else [self._written(rows[k].tolist()) for k in places]
        )
        now: dict[bytes, int] = {}
        for k, text in zip(places, texts, strict=True):
            text = " ".join(text.split())[:LONGEST]
            number = self._ids.get(text)
            if number is None and len(self.texts) < self.most:
                number = self._ids[text] = len(self.texts)
                self.texts.append(text)
            if number is not None:
                now[names[k]] = number
        if len(self._keys) < MOST_KEYS:
            self._keys.update(now)
        return np.array(
            [
                now.get(name, -1) if number is None else number
                for name, number in zip(names, found, strict=True)
            ],
            np.int64,
        )

    def _asked(self, prev: Array, action: Array, curr: Array) -> list[str]:
        assert self.function is not None
        mend = "mend the card's Python file, then: autoreward envs caption CARD"
        try:
            texts = list(self.function(State(prev, self.layout), action, State(curr, self.layout)))
        except Exception as error:
            raise UserError(
                f"caption.function: {type(error).__name__}: {error}", mend, REFUSED
            ) from error
        if len(texts) != len(prev) or not all(isinstance(t, str) for t in texts):
            raise UserError(
                f"caption.function: it must return {len(prev)} strings for {len(prev)} transitions, and returned {len(texts)} of {type(texts[0]).__name__ if texts else 'nothing'}",
                mend,
                REFUSED,
            )
        return texts

    # -- the grid ----------------------------------------------------------------------------------

    def _shown(self) -> Array:
        """Columns of [prev | action | curr] that the words depend on."""
        width, actions = self.layout.width, math.prod(self.action.row)
        if not self.pieces:
            return np.arange(2 * width + actions)
        found: list[int] = []
        for slot in (p for p in self.pieces if isinstance(p, Slot)):
            found += range(width, width + actions) if slot.side == "action" else self._columns(slot)
        return np.array(sorted(set(found)), np.int64)

    def _columns(self, slot: Slot) -> list[int]:
        low, high, shape = self.layout.slices[slot.field]
        start = low + (self.layout.width + math.prod(self.action.row) if slot.side == "curr" else 0)
        chosen = np.arange(start, start + high - low).reshape(shape)[slot.index]
        return [int(c) for c in np.atleast_1d(chosen).ravel()]

    def _on_grid(self, rows: Array) -> Array:
        """Whole numbers of steps, written over `rows`; where there is no step, the number in two
        digits.
        """
        x = rows[:, self.rough] if len(self.rough) else None
        rows -= self.start
        rows /= self.scale
        np.rint(rows, out=rows)
        if x is not None:
            size = np.abs(x)
            unit = 10.0 ** (
                np.floor(np.log10(np.where(np.isfinite(size) & (size >= SMALL), size, 1.0))) - 1
            )
            rows[:, self.rough] = np.where(size < SMALL, 0.0, np.rint(x / unit) * unit)
        return rows

    # -- words -------------------------------------------------------------------------------------

    def _written(self, row: list[float]) -> str:
        """The caption of one row of `_on_grid`."""
        if self.pieces:
            return "".join(p if isinstance(p, str) else p.text(row) for p in self.parts)
        told = []
        for name, before, after in self.changes:
            was, now = before.text(row), after.text(row)
            told.append(f"{name} {now}" if was == now else f"{name} {was} -> {now}")
        assert self.acted is not None
        return f"{self.acted.text(row)}: {'; '.join(told)}"

    def _part(self, slot: Slot) -> _Part:
        width, actions = self.layout.width, math.prod(self.action.row)
        columns = (
            list(range(width, width + actions)) if slot.side == "action" else self._columns(slot)
        )
        position = {int(c): k for k, c in enumerate(self.shown)}
        places = [position[c] for c in columns]
        low, step = self.low[columns].tolist(), self.step[columns].tolist()
        if slot.side == "action":
            shape, before, after = self.action.row, "action ", ""
        else:
            field = self.fields[slot.field]
            shape, before, after = (
                field.shape[len(slot.index) :],
                "",
                "" if field.unit in SILENT else f" {field.unit}",
            )
        meanings = self.meanings if slot.side == "action" else {}

        def write(values: tuple[float, ...]) -> str:
            if meanings and (known := meanings.get(int(low[0] + values[0] * step[0]))):
                return known
            texts = [
                _digits(v, 0) if d == 0 else _digits(a + v * d, d)
                for v, a, d in zip(values, low, step, strict=True)
            ]
            return before + _nested(shape, texts) + after

        return _Part(places, write)


class _Part:
    """The words of a placeholder, written once for each of its values on the grid."""

    def __init__(self, places: list[int], write: Callable[[tuple[float, ...]], str]) -> None:
        self.write, self.known = write, dict[tuple[float, ...], str]()
        run = places == list(range(places[0], places[0] + len(places)))
        self.places, self.part = places, slice(places[0], places[0] + len(places)) if run else None

    def text(self, row: list[float]) -> str:
        values = tuple(row[self.part]) if self.part else tuple(row[k] for k in self.places)
        text = self.known.get(values)
        if text is None:
            text = self.write(values)
            if len(self.known) < MOST_KEYS:
                self.known[values] = text
        return text


def _digits(value: float, step: float) -> str:
    """As many digits as tell neighbours on the grid apart."""
    if not math.isfinite(value):
        return "unknown" if value != value else "infinite" if value > 0 else "-infinite"
    if step == 0:
        return f"{value:.2g}"
    text = f"{value:.{max(0, math.ceil(-math.log10(step)))}f}"
    if step == FINE and "." in text:
        text = text.rstrip("0").rstrip(".")
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


def _nested(shape: tuple[int, ...], texts: list[str]) -> str:
    """Numbers in the brackets of their shape: `(1, 2)`, `((1, 2), (3, 4))`."""
    if not shape:
        return texts[0]
    size = len(texts) // max(1, shape[0])
    return (
        "("
        + ", ".join(_nested(shape[1:], texts[k * size : (k + 1) * size]) for k in range(shape[0]))
        + ")"
    )


def _meanings(text: str) -> dict[int, str]:
    """What each discrete action does, where the card says it as `0 = turn left, 1 and 2 = wait`."""
    return {
        int(number): words.strip()
        for first, second, words in NAMED.findall(text)
        for number in (first, second)
        if number
    }
