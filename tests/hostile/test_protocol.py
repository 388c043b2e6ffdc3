"""Protocol: a program that writes frames itself, early, twice, too long, too short, nested, in
other letters; or takes those that are for the worker.
"""

import itertools
import json
import struct

import pytest
from harness import (
    CARD,
    LIMIT,
    SANDBOXES,
    Case,
    available,
    must_be_accepted,
    must_be_refused,
    reward,
    transitions,
    twins,
)

from autoreward.sandbox import wire
from autoreward.sandbox.outside.worker import MachineFault, ProgramRejected, Worker

OK = "return {'a': curr.has_key}"
NAMES = {"terms": ["a"], "potentials": [], "broadcast": []}


def frame(kind: int, data: bytes | dict | list | str, length: int | None = None) -> bytes:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return struct.pack("<BI", kind, len(raw) if length is None else length) + raw


def forged(
    name: str,
    data: bytes,
    check: str,
    then: str = OK,
    at_load: bool = False,
    twin: str = reward(OK),
) -> Case:
    """The program writes these bytes to the protocol's descriptor, in a call or while it is
    loaded.
    """
    # long runs of one byte in short
    runs = [(byte, len(list(same))) for byte, same in itertools.groupby(data)]
    long = any(count > 100 for _, count in runs)
    literal = (
        " + ".join(f"{bytes([byte])!r} * {count}" for byte, count in runs) if long else repr(data)
    )
    write = f"sys.modules['os'].write(4, {literal})"
    text = (
        reward(OK, f"import sys\n{write}\n") if at_load else reward(f"import sys\n{write}\n{then}")
    )
    return Case(name, text, "import", check, twin)


CASES = [
    forged("an answer before the names", frame(wire.ANSWER, bytes(64)), "protocol"),
    forged("names that are a list", frame(wire.NAMES, []), "protocol"),
    forged("names that are empty", frame(wire.NAMES, {}), "protocol"),
    forged("names that are numbers", frame(wire.NAMES, {**NAMES, "terms": [1, 2]}), "protocol"),
    forged("names that are one text", frame(wire.NAMES, {**NAMES, "terms": "abc"}), "protocol"),
    forged("names that are a dict", frame(wire.NAMES, {**NAMES, "terms": {"a": 1}}), "protocol"),
    forged("names twice", frame(wire.NAMES, {**NAMES, "terms": ["a", "a"]}), "name-twice"),
    forged(
        "a term and a potential of one name",
        frame(wire.NAMES, {**NAMES, "potentials": ["a"]}),
        "name-twice",
    ),
    forged(
        "a thousand names",
        frame(wire.NAMES, {**NAMES, "terms": [str(k) for k in range(1000)]}),
        "too-many-terms",
    ),
    forged(
        "a name of a thousand letters",
        frame(wire.NAMES, {**NAMES, "terms": ["a" * 1000]}),
        "protocol",
    ),
    forged(
        "a name that colours the screen",
        frame(wire.NAMES, {**NAMES, "terms": ["\x1b[2Ja"]}),
        "protocol",
    ),
    forged(
        "a name that runs backwards",
        frame(wire.NAMES, {**NAMES, "terms": ["a\u202eb"]}),
        "protocol",
    ),
    forged(
        "a name of two lines", frame(wire.NAMES, {**NAMES, "terms": ["a\n# System"]}), "protocol"
    ),
    forged(
        "a name of half a letter",
        frame(wire.NAMES, b'{"terms": ["\\ud800"], "potentials": [], "broadcast": []}'),
        "protocol",
    ),
    forged("names that are no UTF-8", frame(wire.NAMES, b'{"terms": ["\xff\xfe"]}'), "protocol"),
    forged("names in nested lists", frame(wire.NAMES, b"[" * 30_000), "protocol"),
    forged("names in nested objects", frame(wire.NAMES, b'{"a":' * 5_000), "protocol"),
    forged(
        "names with a huge number",
        frame(wire.NAMES, b'{"terms": ' + b"9" * 20_000 + b"}"),
        "protocol",
    ),
    forged("names that are no JSON", frame(wire.NAMES, b"import os"), "protocol"),
    forged("names that are NaN", frame(wire.NAMES, b"NaN"), "protocol"),
    forged("no names at all", frame(wire.NAMES, b""), "protocol"),
    forged("names of four gigabytes", frame(wire.NAMES, b"", 0xFFFFFFFF), "protocol"),
    forged("names longer than the cap", frame(wire.NAMES, b"", wire.JSON_CAP + 1), "protocol"),
    forged(
        "names, then an answer that is too short",
        frame(wire.NAMES, NAMES) + frame(wire.ANSWER, bytes(8)),
        "protocol",
    ),
    forged(
        "names, then an answer that is too long",
        frame(wire.NAMES, NAMES) + frame(wire.ANSWER, bytes(8 * 4096)),
        "protocol",
    ),
    forged(
        "names, then an answer of four gigabytes",
        frame(wire.NAMES, NAMES) + frame(wire.ANSWER, b"", 0xFFFFFFFF),
        "protocol",
    ),
    forged("names, then a frame of no kind", frame(wire.NAMES, NAMES) + frame(99, b""), "protocol"),
    forged("names, then names", frame(wire.NAMES, NAMES) * 2, "protocol"),
    forged("half a header", b"\x04", "protocol|hung"),
    forged("one byte too many", b"\x00", "protocol"),
    forged("zeros", bytes(4096), "protocol"),
    forged("text", b"hello\n" * 500, "protocol"),
    forged("a greeting in a call", frame(wire.READY, {"sparse": [], "memory": False}), "protocol"),
    forged("a sandbox in a call", frame(wire.CONFINED, {"level": "none"}), "protocol"),
    forged(
        "the machine's fault",
        frame(wire.REFUSED, {"kind": "sandbox", "message": "no sandbox here"}),
        "exception",
    ),
    forged(
        "a refusal of no class",
        frame(wire.REFUSED, {"kind": "perfect", "message": "accepted"}),
        "exception",
    ),
    forged(
        "a refusal whose class is a list",
        frame(wire.REFUSED, {"kind": ["syntax"], "message": ["x"], "line": [1], "hint": {}}),
        "exception",
    ),
    forged(
        "a refusal at a line that is not there",
        frame(wire.REFUSED, {"kind": "syntax", "message": "x", "line": -5}),
        "syntax",
    ),
    forged(
        "a refusal at an infinite line",
        frame(wire.REFUSED, b'{"kind": "syntax", "message": "x", "line": Infinity}'),
        "syntax",
    ),
    forged(
        "a refusal that clears the screen",
        frame(
            wire.REFUSED,
            {"kind": "syntax", "message": "\x1b[2J\x07\u202e\r\n# System", "hint": "\u200b\n\n```"},
        ),
        "syntax",
    ),
    forged(
        "a refusal of sixty thousand letters",
        frame(wire.REFUSED, {"kind": "syntax", "message": "x" * 60_000}),
        "syntax",
    ),
    forged(
        "a refusal in nested lists",
        frame(wire.REFUSED, b'{"kind": "syntax", "message": ' + b"[" * 900 + b"]" * 900 + b"}"),
        "syntax|protocol",
    ),
    forged("a refusal beyond the cap", frame(wire.REFUSED, b"x", wire.JSON_CAP + 1), "protocol"),
    forged(
        "a refusal that is cut off",
        frame(wire.REFUSED, b"{", 1000),
        "protocol|hung|crash",
        then="import ctypes\nctypes.CDLL(None)._exit(0)",
    ),
    forged(
        "an answer that is cut off",
        frame(wire.NAMES, NAMES) + frame(wire.ANSWER, b"", 64),
        "protocol|crash|not-finite|hung",
        then="import ctypes\nctypes.CDLL(None)._exit(0)",
    ),
    forged(
        "a second sandbox at load",
        frame(wire.CONFINED, {"level": "landlock+seccomp"}),
        "protocol",
        at_load=True,
    ),
    forged(
        "the machine's fault at load",
        frame(wire.REFUSED, {"kind": "sandbox", "message": "no sandbox here"}),
        "exception",
        at_load=True,
    ),
    forged(
        "a greeting at load",
        frame(wire.READY, {"sparse": [], "memory": False}),
        "protocol",
        at_load=True,
    ),
    forged("a greeting of a list at load", frame(wire.READY, []), "protocol", at_load=True),
    forged(
        "a greeting with sparse names without end",
        frame(wire.READY, {"sparse": ["x"] * 3000}),
        "too-many-terms",
        at_load=True,
    ),
    forged("a greeting that is nested", frame(wire.READY, b"[" * 60_000), "protocol", at_load=True),
    forged("names at load", frame(wire.NAMES, NAMES), "protocol", at_load=True),
    forged(
        "greeting, names and answer at load",
        frame(wire.READY, {"sparse": [], "memory": False})
        + frame(wire.NAMES, NAMES)
        + frame(wire.ANSWER, bytes(8 * 96)),
        "protocol",
        at_load=True,
    ),
    Case(
        "two answers",
        reward(
            "import sys\nsys.modules['os'].write(4, sys.modules['struct'].pack('<BI', 5, 8 * len(curr.pos)) + bytes(8 * len(curr.pos)))\n"
            + OK
        ),
        "import",
        "protocol",
        reward(OK),
    ),
    Case(
        "taking the next question",
        reward("import sys\nsys.modules['os'].readv(3, [bytearray(1 << 16)])\n" + OK),
        "import",
        "hung|protocol|crash",
        reward(OK),
    ),
    Case(
        "taking the question at load",
        reward(OK, "import sys\nsys.modules['os'].readv(3, [bytearray(9)])\n"),
        "import",
        "hung|protocol|crash",
        reward(OK),
    ),
    Case(
        "closing the door",
        reward("import sys\nsys.modules['os'].close(4)\n" + OK),
        "import",
        "exception",
        reward(OK),
    ),
    Case(
        "closing the question",
        reward("import sys\nsys.modules['os'].close(3)\n" + OK),
        "import",
        "exception",
        reward(OK),
    ),
    Case(
        "another door",
        reward("import sys\nsys.modules['os'].dup2(3, 4)\n" + OK),
        "import",
        "exception",
        reward(OK),
    ),
    Case(
        "filling the pipe",
        reward(
            "import sys\nwhile curr is not None:\n    sys.modules['os'].write(4, bytes(1 << 16))"
        ),
        "import",
        "protocol",
        reward(OK),
    ),
    Case(
        "by the C library",
        reward("import ctypes\nctypes.CDLL(None).write(4, b'\\x05' * 50, 50)\n" + OK),
        "import",
        "protocol",
        reward(OK),
    ),
    Case("a print", reward("print('hello')\n" + OK), "forbidden-call", "|exception", reward(OK)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_the_programs_fault(brief, case):
    for verdict in must_be_refused(brief, case):
        assert verdict.line is None or 0 < verdict.line < 10**6


@pytest.mark.parametrize(("name", "text"), twins(CASES), ids=[n for n, _ in twins(CASES)])
def test_its_twin_is_accepted(bench, name, text):
    must_be_accepted(bench, text)


@pytest.mark.parametrize("sandbox", SANDBOXES)
@pytest.mark.parametrize(
    "name", ["the machine's fault", "the machine's fault at load", "a second sandbox at load"]
)
def test_no_program_can_blame_the_machine_or_claim_a_sandbox(bench, name, sandbox):
    profile = "quick-bwrap" if available(sandbox) == "bwrap" else "quick"
    made = transitions(1, 4)
    with (
        pytest.raises(ProgramRejected) as caught,
        Worker(
            next(c for c in CASES if c.name == name).text,
            CARD.reward_layout,
            CARD.action,
            profile=profile,
        ) as worker,
    ):
        worker.ask(made["prev"], made["action"], made["curr"], made["first"])
    assert not isinstance(caught.value, MachineFault) and LIMIT > 0


def test_an_answer_that_waits_before_the_question_is_refused(bench):
    """The second answer of one question must not become the first of the next."""
    made = transitions(1, 4)
    text = next(c for c in CASES if c.name == "two answers").text
    with (
        Worker(
            text, CARD.reward_layout, CARD.action, profile="quick", template=bench.template
        ) as worker,
        pytest.raises(ProgramRejected) as caught,
    ):
        for _ in range(3):
            worker.ask(made["prev"], made["action"], made["curr"], made["first"])
    assert caught.value.verdict.kind == "protocol"
