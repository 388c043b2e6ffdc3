"""Frames between the trusted side and a reward worker: lengths that both sides know, and caps on
everything else.

A frame is one byte for its kind, four bytes for its length, then that many bytes.

To the worker:
    HELLO     JSON: program, entry, fields, action
    STEPS     T, n, then prev, curr, action, first as raw arrays
From the worker:
    CONFINED  JSON: how it is confined; sent before anything of the program runs
    READY     JSON: what the program defines
    NAMES     JSON: names of terms and potentials; sent once, before the first answer
    ANSWER    raw float64: terms, potentials before, potentials after
    REFUSED   JSON: kind, line, message, hint

Imported on both sides of the sandbox; standard library and numpy only.
"""

from __future__ import annotations

import json
import math
import os
import struct
from typing import Any

import numpy as np

HELLO, STEPS, READY, NAMES, ANSWER, REFUSED, CONFINED = 1, 2, 3, 4, 5, 6, 7
HEADER = struct.Struct("<BI")
SHAPE = struct.Struct("<II")
# bytes of JSON that a worker may send, and that HELLO may have
JSON_CAP = 1 << 16
HELLO_CAP = 1 << 22
# The functions a program may define, with their arguments. The first three answer for a step; a
# program has one of them, and `reward` may stand beside `potential`.
ENTRIES = {
    "reward": "reward(prev, action, curr, memory)",
    "factors": "factors(prev, action, curr, memory)",
    "subgoals": "subgoals(prev, action, curr, memory)",
    "potential": "potential(state)",
}
# The largest number in an answer. Rewards are float32 in training, where 3e38 is infinite.
LARGEST = 1e30


class ProtocolError(Exception):
    """The other side sent what no honest side sends, or closed in the middle of a frame."""


class Steps:
    """The frame of T steps of n rows: one buffer, with views `prev`, `curr` (T, n, width),
    `action` (T, n, *row), `first` (T, n) into it.
    """

    def __init__(self, steps: int, n: int, width: int, row: tuple[int, ...], integer: bool) -> None:
        self.shape = (steps, n)
        count = steps * n
        numbers = count * width
        actions = count * math.prod(row)
        length = SHAPE.size + 16 * numbers + 8 * actions + count
        buffer, self.view, place = _buffer(STEPS, length)
        SHAPE.pack_into(self.view, HEADER.size, steps, n)

        place += SHAPE.size
        prev = np.frombuffer(buffer, np.float64, numbers, place)
        self.prev = prev.reshape(steps, n, width)
        place += prev.nbytes
        curr = np.frombuffer(buffer, np.float64, numbers, place)
        self.curr = curr.reshape(steps, n, width)
        place += curr.nbytes
        action = np.frombuffer(buffer, np.int64 if integer else np.float64, actions, place)
        self.action = action.reshape(steps, n, *row)
        place += action.nbytes
        self.first = np.frombuffer(buffer, np.bool_, count, place).reshape(steps, n)


class Answers:
    """The frame of an answer: one buffer, with views `terms` (T, n, k), `before` and `after` (T,
    n, p), and all `values` of them.
    """

    def __init__(self, steps: int, n: int, k: int, p: int) -> None:
        self.shape = (steps, n, k, p)
        count = steps * n
        numbers = count * (k + 2 * p)
        buffer, self.view, place = _buffer(ANSWER, 8 * numbers)
        self.values = np.frombuffer(buffer, np.float64, numbers, place)
        terms, before, after = np.split(self.values, [count * k, count * (k + p)])
        self.terms = terms.reshape(steps, n, k)
        self.before = before.reshape(steps, n, p)
        self.after = after.reshape(steps, n, p)


def _buffer(kind: int, length: int) -> tuple[bytearray, memoryview, int]:
    """Return a frame's bytes, its view with the header filled in, and where in the bytes its
    content begins. The view is offset so that the content's doubles are aligned.
    """
    skipped = -HEADER.size % 8
    buffer = bytearray(skipped + HEADER.size + length)
    view = memoryview(buffer)[skipped:]
    HEADER.pack_into(view, 0, kind, length)
    return buffer, view, skipped + HEADER.size


def pack(kind: int, *parts: bytes | memoryview) -> bytes:
    """Return one frame with that content."""
    return b"".join((HEADER.pack(kind, sum(len(p) for p in parts)), *parts))


def pack_json(kind: int, value: Any) -> bytes:
    """Return one frame with `value` as JSON."""
    return pack(kind, json.dumps(value).encode())


def parse_json(data: bytes, cap: int = JSON_CAP) -> dict[str, Any]:
    """Return a JSON object of at most `cap` bytes. Raises ProtocolError for anything else."""
    if len(data) > cap:
        raise ProtocolError(f"{len(data)} bytes of JSON; at most {cap} are allowed")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise ProtocolError("JSON, but not an object")
    return value


def read_exactly(descriptor: int, count: int) -> bytearray:
    """Read `count` bytes from a blocking descriptor. Raises EOFError if the other side closed."""
    buffer = bytearray(count)
    view = memoryview(buffer)
    got = 0
    while got < count:
        size = os.readv(descriptor, [view[got:]])
        if size == 0:
            raise EOFError
        got += size
    return buffer


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data` to a blocking descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
