"""From a model's reply to what was asked for: code out of fenced blocks, verdicts out of JSON.

Nothing is executed, nothing trusted.
"""

from __future__ import annotations

import ast
import json
import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from autoreward.rewards import composition
from autoreward.rewards.composition import Composition
from autoreward.rewards.program import facts

R = TypeVar("R", bound=BaseModel)
FENCE = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n`]*\n(.*?)(?:\1[`~]*[ \t]*$|\Z)", re.M | re.S
)
THINKING = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|\Z)", re.S | re.I)
NOT_THIS = re.compile(
    r"\b(do not|don't|never|avoid|bad|wrong|naive|broken|hacked|instead of|example|draft|first (try|attempt|idea)|sketch|not like)\b",
    re.I,
)
THIS = re.compile(
    r"\b(final|complete|full program|corrected|revised|improved version|my answer|the answer|solution)\b",
    re.I,
)


class UnreadableReply(Exception):
    """What was asked for is not in the reply; `kind` and the message say why, fit to be sent back."""

    def __init__(self, kind: str, message: str, line: int | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.line, self.hint = kind, message, line, hint


def program_of(text: str, finish: str = "stop") -> tuple[str, str]:
    """(program, explanation).

    Of several blocks that define a program, the one that prose marks as final; Unreadable where
    that is unsure.
    """
    text = THINKING.sub("", text).strip()
    if not text:
        raise UnreadableReply(
            "empty-reply",
            "the reply was empty; answer with one fenced block that holds the complete program",
        )
    found: list[tuple[str, str, bool]] = []
    for match in FENCE.finditer(text):
        closed = (
            match[0].rstrip().endswith(match[1][:3]) and len(match[0].rstrip()) > len(match[1]) * 2
        )
        before = text[: match.start()].rstrip()
        found.append((_dedent(match[3]), "\n".join(before.splitlines()[-3:])[-300:], closed))
    programs = [(code, lead) for code, lead, _ in found if _defines(code)]
    if not programs and _defines(text):
        return text + "\n", ""
    if not programs:
        cut = finish == "length" or (found and not found[-1][2])
        if cut:
            raise UnreadableReply(
                "cut-off",
                "the reply was cut off before the program's end; answer shorter, the program first",
            )
        broken = next(
            (
                code
                for code, _, _ in reversed(found)
                if "def reward" in code or "def potential" in code
            ),
            None,
        )
        if broken is not None:
            # the linter names the syntax error
            return broken, FENCE.sub("", text).strip()
        what = (
            f"{len(found)} fenced blocks, none of which defines reward() or potential()"
            if found
            else "no fenced block with a program"
        )
        raise UnreadableReply(
            "no-program",
            f"the reply holds {what}; answer with exactly one ```python block that holds the complete program",
        )
    explanation = FENCE.sub("", text).strip()
    distinct = {_same(code): (code, lead) for code, lead in programs}
    if len(distinct) > 1:
        kept = {
            k: v for k, v in distinct.items() if THIS.search(v[1]) and not NOT_THIS.search(v[1])
        } or {k: v for k, v in distinct.items() if not NOT_THIS.search(v[1])}
        if len(kept) == 1:
            distinct = kept
    if len(distinct) > 1:
        raise UnreadableReply(
            "several-programs",
            f"the reply holds {len(distinct)} different programs, and none is marked as the final one; answer with exactly one ```python block",
        )
    return next(iter(distinct.values()))[0], explanation


def composition_of(text: str) -> Composition | None:
    """What the last fenced block marked yaml says; None where there is none.

    Unreadable with the line in that block.
    """
    blocks = [
        _dedent(m[3])
        for m in FENCE.finditer(THINKING.sub("", text))
        if m[2].lower() in ("yaml", "yml")
    ]
    if not blocks:
        return None
    try:
        return composition.parse(blocks[-1])
    except composition.UnreadableComposition as error:
        raise UnreadableReply(
            "composition", f"in the yaml block, {error.message}", error.line, error.hint
        ) from None


def record_of(text: str, record: type[R]) -> R:
    """The first JSON object in the reply that is such a record: whole, fenced, or anywhere.

    Unreadable with the reason.
    """
    text = THINKING.sub("", text).strip()
    why = "the reply holds no JSON object"
    decoder = json.JSONDecoder()
    for start in [m.start() for m in re.finditer(r"\{", text)][:50]:
        try:
            value, _ = decoder.raw_decode(text[start:])
            return record.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            why = f"{'.'.join(map(str, first['loc'])) or 'the object'}: {first['msg']}"
        except (ValueError, RecursionError) as error:
            why = f"not JSON: {error}" if "no JSON" in why else why
    raise UnreadableReply("no-record", why)


def _defines(code: str) -> bool:
    return bool(facts(code).entry_points)


def _same(code: str) -> str:
    try:
        return ast.dump(ast.parse(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code


def _dedent(code: str) -> str:
    import textwrap

    return textwrap.dedent(code).strip("\n") + "\n"
