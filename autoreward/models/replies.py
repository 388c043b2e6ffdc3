"""Read replies: code out of fenced blocks, records out of JSON.

Nothing in a reply is executed or trusted here.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from dataclasses import dataclass
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
# Words before a block that say whether it is the answer.
NOT_THE_ANSWER = re.compile(
    r"\b(do not|don't|never|avoid|bad|wrong|naive|broken|hacked|instead of|example|draft|"
    r"first (try|attempt|idea)|sketch|not like)\b",
    re.I,
)
THE_ANSWER = re.compile(
    r"\b(final|complete|full program|corrected|revised|improved version|my answer|the answer|"
    r"solution)\b",
    re.I,
)
# Lines and characters before a block that are searched for these words.
LEAD_LINES = 3
LEAD_CHARACTERS = 300
# Opening braces that are tried as the start of a JSON object.
MOST_STARTS = 50


class UnreadableReply(Exception):
    """A reply does not hold what was asked for.

    `kind` is the verdict's kind. The message is written for the model: it is sent back.
    """

    def __init__(self, kind: str, message: str, line: int | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.line = line
        self.hint = hint


@dataclass(frozen=True)
class Block:
    """A fenced block: its code, the text just before it, and whether its fence is closed."""

    code: str
    lead: str
    closed: bool


def program_of(text: str, finish: str = "stop") -> tuple[str, str]:
    """Return the program in a reply, and the explanation around it.

    If several blocks define a program, the one that the text marks as final is chosen. Raises
    UnreadableReply if the reply holds no program, or several and none is marked.
    """
    text = THINKING.sub("", text).strip()
    if not text:
        raise UnreadableReply(
            "empty-reply",
            "the reply was empty; answer with one fenced block that holds the complete program",
        )
    blocks = _blocks(text)
    programs = [block for block in blocks if _defines(block.code)]
    if not programs and _defines(text):
        return text + "\n", ""
    explanation = FENCE.sub("", text).strip()
    if not programs:
        return _broken_program(blocks, finish), explanation
    return _marked(programs).code, explanation


def _blocks(text: str) -> list[Block]:
    found = []
    for match in FENCE.finditer(text):
        whole = match[0].rstrip()
        fence = match[1]
        closed = whole.endswith(fence[:3]) and len(whole) > len(fence) * 2
        before = text[: match.start()].rstrip().splitlines()
        lead = "\n".join(before[-LEAD_LINES:])[-LEAD_CHARACTERS:]
        found.append(Block(_dedent(match[3]), lead, closed))
    return found


def _broken_program(blocks: list[Block], finish: str) -> str:
    """Return a block that would be a program but for a syntax error, which the linter names.

    Raises UnreadableReply if there is none.
    """
    if finish == "length" or (blocks and not blocks[-1].closed):
        raise UnreadableReply(
            "cut-off",
            "the reply was cut off before the program's end; answer shorter, the program first",
        )
    for block in reversed(blocks):
        if "def reward" in block.code or "def potential" in block.code:
            return block.code
    holds = "no fenced block with a program"
    if blocks:
        holds = f"{len(blocks)} fenced blocks, none of which defines reward() or potential()"
    raise UnreadableReply(
        "no-program",
        f"the reply holds {holds}; answer with exactly one ```python block that holds the "
        "complete program",
    )


def _marked(programs: list[Block]) -> Block:
    """Return the program that counts. Raises UnreadableReply if that is unclear."""
    # Blocks with the same syntax tree are one program; the last one's text is taken.
    distinct = list({_same(block.code): block for block in programs}.values())
    if len(distinct) == 1:
        return distinct[0]
    possible = [b for b in distinct if not NOT_THE_ANSWER.search(b.lead)]
    final = [b for b in possible if THE_ANSWER.search(b.lead)]
    chosen = final or possible
    if len(chosen) == 1:
        return chosen[0]
    raise UnreadableReply(
        "several-programs",
        f"the reply holds {len(distinct)} different programs, and none is marked as the final "
        "one; answer with exactly one ```python block",
    )


def composition_of(text: str) -> Composition | None:
    """Return the composition in the last fenced block marked yaml, None if there is no such block.

    Raises UnreadableReply, with the line in that block, if it cannot be read.
    """
    blocks = []
    for match in FENCE.finditer(THINKING.sub("", text)):
        if match[2].lower() in ("yaml", "yml"):
            blocks.append(_dedent(match[3]))
    if not blocks:
        return None
    try:
        return composition.parse(blocks[-1])
    except composition.UnreadableComposition as error:
        raise UnreadableReply(
            "composition", f"in the yaml block, {error.message}", error.line, error.hint
        ) from None


def record_of(text: str, record: type[R]) -> R:
    """Return the first JSON object in a reply that is such a record.

    The object may be the whole reply, in a fenced block, or anywhere in the text. Raises
    UnreadableReply with the reason if there is none.
    """
    text = THINKING.sub("", text).strip()
    why = "the reply holds no JSON object"
    decoder = json.JSONDecoder()
    starts = [match.start() for match in re.finditer(r"\{", text)]
    for start in starts[:MOST_STARTS]:
        try:
            value, _ = decoder.raw_decode(text[start:])
            return record.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the object"
            why = f"{place}: {first['msg']}"
        except (ValueError, RecursionError) as error:
            if "no JSON" in why:
                why = f"not JSON: {error}"
    raise UnreadableReply("no-record", why)


def _defines(code: str) -> bool:
    return bool(facts(code).entry_points)


def _same(code: str) -> str:
    try:
        return ast.dump(ast.parse(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code


def _dedent(code: str) -> str:
    return textwrap.dedent(code).strip("\n") + "\n"
