"""The worker process: read one program, confine, load it, answer batches until the pipe closes."""

from __future__ import annotations

import os
import sys

import numpy as np

from autoreward import wire
from autoreward.state import Array, Layout
from autoreward.worker.confine import confine
from autoreward.worker.load import Program, Refusal, refused

READ, WRITE = 3, 4  # the protocol's own descriptors, so that a print cannot forge an answer


def main() -> None:
    kind, data = _frame()
    hello = wire.parse_json(bytes(data), wire.HELLO_CAP)
    layout = Layout.from_json(hello["fields"])
    try:
        _say(wire.CONFINED, {"level": confine(hello["profile"], READ, WRITE)})
        program = Program(hello["program"], layout)
    except Refusal as refusal:
        _say(wire.REFUSED, refusal.to_json())
        return
    _say(wire.READY, {"sparse": program.sparse, "memory": bool(program.initial)})
    row, integer = tuple(hello["action"]["row"]), hello["action"]["integer"]
    named = False
    while True:
        try:
            kind, data = _frame()
        except EOFError:
            return
        if kind != wire.STEPS:
            return
        try:
            answer = _answer(program, data, layout.width, row, integer)
        except BaseException as error:  # ours, too, may fail where the program replaced something of numpy
            _say(wire.REFUSED, refused("the program", error).to_json())
            return
        if not named:
            named = True
            _say(wire.NAMES, {"terms": program.terms, "potentials": program.potentials, "broadcast": sorted(program.broadcast)})
        wire.write_all(WRITE, wire.pack(wire.ANSWER, answer))


def _answer(program: Program, data: bytearray, width: int, row: tuple[int, ...], integer: bool) -> bytes:
    steps, n = wire.SHAPE.unpack_from(data)
    place = wire.SHAPE.size

    def take(dtype: type, *shape: int) -> Array:
        nonlocal place
        array: Array = np.frombuffer(data, dtype, int(np.prod(shape)), place).reshape(shape)
        place += array.nbytes
        return array

    prev, curr = take(np.float64, steps, n, width), take(np.float64, steps, n, width)
    action = take(np.int64 if integer else np.float64, steps, n, *row)
    first = take(np.uint8, steps, n).astype(bool)
    answers = [program.step(prev[t], action[t], curr[t], first[t]) for t in range(steps)]
    return b"".join(np.ascontiguousarray(np.stack(part)).tobytes() for part in zip(*answers, strict=True))


def _frame() -> tuple[int, bytearray]:
    kind, length = wire.HEADER.unpack(wire.read_exactly(READ, wire.HEADER.size))
    return kind, wire.read_exactly(READ, length)


def _say(kind: int, value: dict[str, object]) -> None:
    wire.write_all(WRITE, wire.pack_json(kind, value))


if __name__ == "__main__":
    try:
        if sys.argv[-1] == "template":
            from autoreward.worker.template import serve

            serve(main)
        main()
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        sys.exit(0)
    finally:
        os._exit(0)
