"""The worker process: read one program, confine, load it, answer batches until the pipe closes."""

from __future__ import annotations

import os
import sys

from autoreward.sandbox import wire
from autoreward.sandbox.inside.confine import confine
from autoreward.sandbox.inside.load import LoadedProgram, Refusal, refused
from autoreward.state import Layout

# the protocol's own descriptors, so that a print cannot forge an answer
READ, WRITE = 3, 4


def main() -> None:
    _, data = _frame()
    hello = wire.parse_json(bytes(data), wire.HELLO_CAP)
    layout = Layout.from_json(hello["fields"])
    try:
        level, tried = confine(hello["profile"], READ, WRITE)
        _say(wire.CONFINED, {"level": level, "tried": tried})
        program = LoadedProgram(hello["program"], layout, hello["entry"])
    except Refusal as refusal:
        _say(wire.REFUSED, refusal.to_json())
        return
    _say(wire.READY, {"sparse": program.sparse, "memory": bool(program.initial)})
    asked: wire.Steps | None = None
    answer: wire.Answers | None = None
    while True:
        asked = _steps(
            asked, layout.width, tuple(hello["action"]["row"]), hello["action"]["integer"]
        )
        if asked is None:
            return
        try:
            for t in range(asked.shape[0]):
                terms, before, after = program.step(
                    asked.prev[t].copy(),
                    asked.action[t].copy(),
                    asked.curr[t].copy(),
                    asked.first[t].copy(),
                )
                shape = (*asked.shape, terms.shape[1], before.shape[1])
                if answer is None or answer.shape != shape:
                    if answer is None:
                        _say(
                            wire.NAMES,
                            {
                                "terms": program.terms,
                                "potentials": program.potentials,
                                "broadcast": sorted(program.broadcast),
                            },
                        )
                    answer = wire.Answers(*shape)
                answer.terms[t], answer.before[t], answer.after[t] = terms, before, after
        except BaseException as error:
            # ours, too, may fail where the program replaced something of numpy
            _say(wire.REFUSED, refused("the program", error).to_json())
            return
        assert answer is not None
        wire.write_all(WRITE, answer.view)


def _steps(
    last: wire.Steps | None, width: int, row: tuple[int, ...], integer: bool
) -> wire.Steps | None:
    """The next question, in the buffer of the last one where it has the same size.

    None at the end of all.
    """
    head = memoryview(bytearray(wire.HEADER.size + wire.SHAPE.size)) if last is None else last.view
    got = os.readv(READ, [head])
    if got == 0:
        return None
    while got < wire.HEADER.size + wire.SHAPE.size:
        got += os.readv(READ, [head[got:]]) or os._exit(0)
    steps, n = wire.SHAPE.unpack_from(head, wire.HEADER.size)
    if head[0] != wire.STEPS:
        return None
    if last is None or last.shape != (steps, n):
        last = wire.Steps(steps, n, width, row, integer)
        last.view[:got] = head[:got]
    while got < len(last.view):
        got += os.readv(READ, [last.view[got:]]) or os._exit(0)
    return last


def _frame() -> tuple[int, bytearray]:
    kind, length = wire.HEADER.unpack(wire.read_exactly(READ, wire.HEADER.size))
    return kind, wire.read_exactly(READ, length)


def _say(kind: int, value: dict[str, object]) -> None:
    wire.write_all(WRITE, wire.pack_json(kind, value))


if __name__ == "__main__":
    try:
        if sys.argv[-1] == "template":
            from autoreward.sandbox.inside.template import serve

            serve(main)
        main()
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        sys.exit(0)
    finally:
        os._exit(0)
