"""Removes from a reply what is not the answer: reasoning, channel marks and terminal control codes.

Models and servers mark reasoning in many ways, and chat templates that put the opening mark into
the prompt leave only the closing one in the reply. Marks inside a fenced block of the answer are
the program's own text (a comment, a string) and stay.
"""

from __future__ import annotations

import re
from functools import lru_cache

from autoreward.models.fences import blocks_of, parses

_TAG_NAMES = (
    r"(?:[\w-]+:)?"
    r"(?:think|thinking|thoughts?|reason|reasoning|reflection|analysis|scratchpad"
    r"|deliberation|inner_monologue|internal_monologue|chain_of_thought|cot)"
)
# Opening and closing marks of reasoning, in pairs.
_MARKS = (
    (re.compile(rf"<{_TAG_NAMES}(?:\s[^<>\n]*)?>", re.I), re.compile(rf"</{_TAG_NAMES}\s*>", re.I)),
    (re.compile(rf"\[{_TAG_NAMES}\]", re.I), re.compile(rf"\[/{_TAG_NAMES}\]", re.I)),
    (re.compile(rf"<\|{_TAG_NAMES}\|>", re.I), re.compile(rf"<\|/{_TAG_NAMES}\|>", re.I)),
    (
        re.compile(rf"<\|(?:begin|start)_of_{_TAG_NAMES}\|>", re.I),
        re.compile(rf"<\|end_of_{_TAG_NAMES}\|>", re.I),
    ),
    (re.compile(r"◁think▷", re.I), re.compile(r"◁/think▷", re.I)),
    # What a command-line client prints around reasoning.
    (
        re.compile(r"^[ \t]*Thinking\.\.\.[ \t]*$", re.M),
        re.compile(r"^[ \t]*\.\.\.done thinking\.[ \t]*$", re.M),
    ),
)
# Messages in channels: <|start|>assistant<|channel|>final<|message|>...<|end|>. The last message in
# the channel `final` is the answer.
_CHANNEL = re.compile(
    r"(?:<\|start\|>\s*\w*\s*)?<\|channel\|>\s*(?P<name>\w+)[^<\n]*"
    r"(?:<\|constrain\|>\w+)?<\|message\|>"
)
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|im_end|eot_id|endoftext)\|>")
# The same marks after a tokenizer has dropped its special tokens.
_BARE_FINAL = re.compile(r"\bassistant\s?final(?=\s*(?:\n|`{3}|~{3}|\{|[A-Z]))")
_BARE_ANALYSIS = re.compile(r"\A\s*(?:assistant\s?)?analysis(?=[A-Z\s])")
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")
_SPINNER = re.compile(r"^[\u2800-\u28ff\s]+(?=`{3}|~{3})", re.M)


def answer_of(text: str) -> str:
    """The reply without reasoning and marks; empty if there is nothing but reasoning."""
    text = _without_terminal_codes(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    text = _final_channel(text)
    for opening, closing in _MARKS:
        text = _without(text, opening, closing)
    return text.strip()


def _without_terminal_codes(text: str) -> str:
    cleaned = _TERMINAL.sub("", text)
    return _SPINNER.sub("", cleaned) if cleaned != text else text


def _final_channel(text: str) -> str:
    """The last message in the channel `final`; the text as it is if it has no channels."""
    marks = [m for m in _CHANNEL.finditer(text) if not _in_a_program(text, m.start())]
    if marks:
        finals = [m for m in marks if m["name"].lower() == "final"]
        if not finals:
            return text[: marks[0].start()].strip()
        text = text[finals[-1].end() :]
        end = next(
            (m for m in _CHANNEL_END.finditer(text) if not _in_a_program(text, m.start())),
            None,
        )
        return text if end is None else text[: end.start()]
    bare = [m for m in _BARE_FINAL.finditer(text) if not _in_a_program(text, m.start())]
    if bare:
        return text[bare[-1].end() :]
    return "" if _BARE_ANALYSIS.match(text) and not blocks_of(text) else text


def _without(text: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    """The text without what stands between such marks.

    A closing mark without its opening one ends reasoning that began before the reply; an opening
    mark without its closing one is reasoning to the reply's end.
    """
    while (mark := _outside(text, opening)) is not None:
        before = text[: mark.start()]
        stray = _last_outside(before, closing)
        if stray is not None:
            text = text[stray.end() :]
            continue
        end = _closing_of(text, mark.end(), closing)
        text = before + ("" if end is None else "\n" + text[end:])
    stray = _last_outside(text, closing)
    return text if stray is None else text[stray.end() :]


def _closing_of(text: str, start: int, closing: re.Pattern[str]) -> int | None:
    """Where the reasoning that began at `start` ends; None if nothing closes it.

    A fence that the reasoning opened and never closed would swallow the mark, so a mark outside of
    blocks is preferred and any other one is taken only if there is none.
    """
    rest = text[start:]
    outside = _outside(rest, closing)
    any_mark = closing.search(rest)
    if outside is not None:
        return start + outside.end()
    return None if any_mark is None else start + any_mark.end()


def _outside(text: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
    """The first match that is not inside a program."""
    matches = pattern.finditer(text)
    return next((m for m in matches if not _in_a_program(text, m.start())), None)


def _last_outside(text: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
    found = [m for m in pattern.finditer(text) if not _in_a_program(text, m.start())]
    return found[-1] if found else None


def _in_a_program(text: str, position: int) -> bool:
    """True inside of a closed block that is Python: marks there are comments or strings."""
    line = text.count("\n", 0, position)
    return any(start < line < end - 1 for start, end in _programs(text))


@lru_cache(maxsize=16)
def _programs(text: str) -> tuple[tuple[int, int], ...]:
    """First and last line of each closed block that parses as Python."""
    closed = (block for block in blocks_of(text) if block.closed)
    return tuple((block.start, block.end) for block in closed if parses(block.text))
