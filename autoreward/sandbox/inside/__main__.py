"""The worker process: read one program, confine itself, load it, answer until the pipe closes."""

from __future__ import annotations

import os
import sys

from autoreward.sandbox import wire
from autoreward.sandbox.inside.confine import confine
from autoreward.sandbox.inside.load import LoadedProgram, Refusal, refused
from autoreward.state import Layout

# descriptors of their own, so that a print cannot forge an answer
READ, WRITE = 3, 4


def main() -> None:
    """Serve one program: HELLO in; CONFINED, READY, then an answer to each question out."""
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
    row = tuple(hello["action"]["row"])
    integer = hello["action"]["integer"]
    question: wire.Steps | None = None
    answer: wire.Answers | None = None
    while True:
        question = _steps(question, layout.width, row, integer)
        if question is None:
            return
        try:
            answer = _answer(program, question, answer)
        except BaseException as error:
            # our own code, too, may fail if the program has replaced something of numpy
            _say(wire.REFUSED, refused("the program", error).to_json())
            return
        wire.write_all(WRITE, answer.view)


def _answer(
    program: LoadedProgram, question: wire.Steps, last: wire.Answers | None
) -> wire.Answers:
    """The program's answer, in the buffer of the last one if that has the same size.

    Before the first one the names are sent.
    """
    answer = last
    for t in range(question.shape[0]):
        terms, before, after = program.step(
            question.prev[t].copy(),
            question.action[t].copy(),
            question.curr[t].copy(),
            question.first[t].copy(),
        )
        if answer is None:
            _say_names(program)
        shape = (*question.shape, terms.shape[1], before.shape[1])
        if answer is None or answer.shape != shape:
            answer = wire.Answers(*shape)
        answer.terms[t] = terms
        answer.before[t] = before
        answer.after[t] = after
    assert answer is not None
    return answer


def _say_names(program: LoadedProgram) -> None:
    names: dict[str, object] = {
        "terms": program.terms,
        "potentials": program.potentials,
        "broadcast": sorted(program.broadcast),
    }
    _say(wire.NAMES, names)


def _steps(
    last: wire.Steps | None, width: int, row: tuple[int, ...], integer: bool
) -> wire.Steps | None:
    """The next question, in the buffer of the last one if that has the same size.

    None if there are no more.
    """
    needed = wire.HEADER.size + wire.SHAPE.size
    head = last.view if last is not None else memoryview(bytearray(needed))
    got = os.readv(READ, [head])
    if got == 0:
        return None
    while got < needed:
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
