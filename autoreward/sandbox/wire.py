"""Frames between the trusted side and a reward worker: lengths that both sides know, caps on
everything else.

A frame is one kind byte and a four-byte length, then that many bytes. To the worker: HELLO (JSON:
program, entry, fields, action), then STEPS (T, n, prev, curr, action, first as raw arrays). Back:
CONFINED (JSON: how; before anything of the program runs), READY (JSON: what the program defines),
NAMES (JSON, once, before the first answer), ANSWER (raw float64: terms, potentials before,
potentials after), or REFUSED (JSON: kind, line, message, hint). Imported on both sides of the jail;
standard library and numpy only.
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
# what a worker may say in JSON
JSON_CAP = 1 << 16
HELLO_CAP = 1 << 22
# What a program defines -> its arguments. The first three are answers about a step, by name; a
# program has one of them, `reward` may stand beside `potential`.
ENTRIES = {
    "reward": "reward(prev, action, curr, memory)",
    "factors": "factors(prev, action, curr, memory)",
    "subgoals": "subgoals(prev, action, curr, memory)",
    "potential": "potential(state)",
}
# of an answered number: rewards are float32 in training, where 3e38 is infinite
LARGEST = 1e30


class ProtocolError(Exception):
    """The other side sent what no honest side sends, or went away in the middle of a frame."""


class Steps:
    """The frame of T steps of n rows: one buffer, with views `prev`, `curr` (T, n, width),
    `action` (T, n, *row), `first` (T, n) into it.
    """

    def __init__(self, steps: int, n: int, width: int, row: tuple[int, ...], integer: bool) -> None:
        self.shape, count = (steps, n), steps * n
        numbers = count * width
        buffer, self.view, place = _buffer(
            STEPS, SHAPE.size + count * (16 * width + 8 * math.prod(row) + 1)
        )
        SHAPE.pack_into(self.view, HEADER.size, steps, n)
        place += SHAPE.size
        self.prev = np.frombuffer(buffer, np.float64, numbers, place).reshape(steps, n, width)
        self.curr = np.frombuffer(buffer, np.float64, numbers, place + 8 * numbers).reshape(
            steps, n, width
        )
        place += 16 * numbers
        self.action = np.frombuffer(
            buffer, np.int64 if integer else np.float64, count * math.prod(row), place
        ).reshape(steps, n, *row)
        self.first = np.frombuffer(buffer, np.bool_, count, place + self.action.nbytes).reshape(
            steps, n
        )


class Answers:
    """The frame of an answer: one buffer, with views `terms` (T, n, k), `before` and `after` (T,
    n, p), and all `values` of them.
    """

    def __init__(self, steps: int, n: int, k: int, p: int) -> None:
        self.shape, count = (steps, n, k, p), steps * n
        buffer, self.view, place = _buffer(ANSWER, 8 * count * (k + 2 * p))
        self.values = np.frombuffer(buffer, np.float64, count * (k + 2 * p), place)
        self.terms = self.values[: count * k].reshape(steps, n, k)
        self.before = self.values[count * k : count * (k + p)].reshape(steps, n, p)
        self.after = self.values[count * (k + p) :].reshape(steps, n, p)


def _buffer(kind: int, length: int) -> tuple[bytearray, memoryview, int]:
    """Bytes of a frame, its view with the header filled in, and where in the bytes its content
    begins: so that its doubles are aligned.
    """
    skipped = -HEADER.size % 8
    buffer = bytearray(skipped + HEADER.size + length)
    view = memoryview(buffer)[skipped:]
    HEADER.pack_into(view, 0, kind, length)
    return buffer, view, skipped + HEADER.size


def pack(kind: int, *parts: bytes | memoryview) -> bytes:
    """One frame."""
    return b"".join((HEADER.pack(kind, sum(len(p) for p in parts)), *parts))


def pack_json(kind: int, value: Any) -> bytes:
    return pack(kind, json.dumps(value).encode())


def parse_json(data: bytes, cap: int = JSON_CAP) -> dict[str, Any]:
    """A JSON object of at most `cap` bytes, else ProtocolError."""
    if len(data) > cap:
        raise ProtocolError(f"{len(data)} bytes of JSON, more than {cap}")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise ProtocolError("JSON, but no object")
    return value


def read_exactly(descriptor: int, count: int) -> bytearray:
    """`count` bytes from a blocking descriptor.

    EOFError where the other side closed before a frame began.
    """
    buffer = bytearray(count)
    view, got = memoryview(buffer), 0
    while got < count:
        size = os.readv(descriptor, [view[got:]])
        if size == 0:
            raise EOFError
        got += size
    return buffer


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
