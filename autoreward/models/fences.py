"""Fenced code blocks of a reply, read line by line as CommonMark does.

Differences from CommonMark, each seen in replies of real models: a fence may be indented to any
depth, a block that the reply's end cuts off is kept and marked, and a fence line inside a string of
a Python program (a docstring with an example) does not end the program's block.
"""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass

OPENING = re.compile(r"^(?P<indent>[ \t]*(?:>[ \t]?)*)(?P<fence>`{3,}|~{3,})(?P<info>[^`\n]*)$")


@dataclass(frozen=True)
class Block:
    """One fenced block: its text without the fences, dedented, and where it lies in the reply.

    `start` and `end` are line numbers from 0, both fence lines included; `end` is exclusive.
    `closed` is False if the reply ended inside of the block.
    """

    text: str
    language: str
    start: int
    end: int
    closed: bool


def blocks_of(text: str) -> list[Block]:
    """Every fenced block of the text, in order."""
    lines = text.split("\n")
    found: list[Block] = []
    number = 0
    while number < len(lines):
        opening = OPENING.match(lines[number])
        if opening is None:
            number += 1
            continue
        block = _block(lines, number, opening)
        found.append(block)
        number = block.end
    return found


def _block(lines: list[str], start: int, opening: re.Match[str]) -> Block:
    fence = opening["fence"]
    language = opening["info"].strip().split(" ")[0].strip("{}.").lower()
    # Some replies put the closing fence at the end of the last line of code.
    mark = re.escape(fence[0])
    closing = re.compile(rf"^(?P<code>[^`~]*?){mark}{{{len(fence)},}}[ \t]*$")
    ends = [k for k in range(start + 1, len(lines)) if closing.match(lines[k])]
    chosen = ends[0] if ends else None
    if ends and _ends_inside_a_string(lines[start + 1 : ends[0]]):
        # The first closing line lies in a docstring: take the first that ends a whole program.
        whole = (k for k in ends if parses(textwrap.dedent("\n".join(lines[start + 1 : k]))))
        chosen = next(whole, ends[0])
    end = len(lines) if chosen is None else chosen
    inner = lines[start + 1 : end]
    if (
        chosen is not None
        and (glued := closing.match(lines[chosen]))
        and glued["code"].strip(" \t>")
    ):
        inner.append(glued["code"])
    if ">" in opening["indent"]:
        inner = [re.sub(r"^[ \t]*>[ \t]?", "", line) for line in inner]
    body = textwrap.dedent("\n".join(inner)).strip("\n") + "\n"
    return Block(body, language, start, min(end + 1, len(lines)), chosen is not None)


def parses(code: str) -> bool:
    """True if the text is Python."""
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _ends_inside_a_string(lines: list[str]) -> bool:
    """True if Python code stops within a triple-quoted string."""
    try:
        ast.parse(textwrap.dedent("\n".join(lines)))
    except SyntaxError as error:
        return "unterminated triple-quoted" in str(error.msg)
    except (ValueError, RecursionError, MemoryError):
        return False
    return False
