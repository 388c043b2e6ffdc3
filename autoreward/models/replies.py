"""From a model's reply to what was asked for: a program, a composition, a record.

Nothing is executed and nothing is trusted. A reply that can be read in two ways is not read at all:
`UnreadableReply` says why in words that can be sent back to the model.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, RootModel, ValidationError

from autoreward.models.fences import Block, blocks_of
from autoreward.models.reasoning import answer_of
from autoreward.rewards import composition
from autoreward.rewards.composition import Composition
from autoreward.rewards.program import facts

R = TypeVar("R", bound=BaseModel)

# The sentence right before a block, if it presents the block as the answer.
PRESENTS = re.compile(
    r"\b(final|complete|full|corrected|fixed|revised|improved|updated|cleaned.up)\b"
    r"[\w\s,'-]{0,40}?\b(program|version|code|reward|function|answer|solution|implementation|draft"
    r"|one|it)\b"
    r"|\b(my|the|here is (?:my|the)|here's (?:my|the)) (final )?(answer|solution)\b"
    r"|\b(final|corrected|revised|fixed)\s*(version)?\s*[:.]?\s*\**\s*$"
    r"|最终|修正后|完整",
    re.I,
)
# The same sentence, if it presents the block as something not to be used.
DISCARDS = re.compile(
    r"\b(do not|don't|don’t|never|not) (write|do|use|submit|send|train|take|run|it like|like)\b"
    r"|\bnot like (this|that|so)\b"
    r"|\b(avoid|beware of|rejected|discarded)\b"
    r"|\b(bad|wrong|naive|hackable|broken|incorrect|farmable|flawed|counter)[\s-]*"
    r"(example|version|program|attempt|idea|variant|reward|one|code)\b"
    r"|\bfor (comparison|reference|contrast)\b"
    r"|\b(old|previous|earlier|original|existing|former|your)( \w+)? "
    r"(program|version|reward|code|draft|attempt)\b"
    r"|\banti-?pattern\b",
    re.I,
)
# Words after the last block that send the reader back to an earlier one.
SENDS_BACK = re.compile(
    r"\b(first|former|earlier|previous|above|option a|version 1|version a)\b[^.\n]{0,60}"
    r"\b(final|answer|use|keep|prefer|better|recommend|submit|choose)\b"
    r"|\b(use|keep|prefer|recommend|submit|choose|go with|take)\b[^.\n]{0,30}"
    r"\b(first|former|earlier|previous|option a|version 1|version a)\b",
    re.I,
)
# Words with which a writer turns back to what stands above.
REVISES = re.compile(
    r"\b(fix|fixed|fixes|chang\w*|correct\w*|revis\w*|improv\w*|bug|mistake|oops|wait|actually"
    r"|hmm|now|instead|rather|better|adjust\w*|refin\w*|updat\w*|but|however|problem|issue"
    r"|so i|so:)\b"
    r"|改|修",
    re.I,
)
# Labels of alternatives that stand side by side: neither revises the other.
ALTERNATIVE = re.compile(
    r"\b(option|alternative|variant|choice|approach|possibility)\b[\s#*:]*(\b[a-c1-9]\b)?|方案",
    re.I,
)
HEREDOC = re.compile(
    r"<<-?\s*(?P<quote>['\"]?)(?P<word>\w+)(?P=quote)[^\n]*\n(?P<body>.*?)\n[ \t]*(?P=word)[ \t]*$",
    re.M | re.S,
)
DIFF_LINE = re.compile(r"^(@@ |\+\+\+ |--- |<<<<<<< |>>>>>>> |diff --git )", re.M)
# Two programs this alike are one and its revision.
REVISION_RATIO = 0.6


class UnreadableReply(Exception):
    """What was asked for is not in the reply, or not beyond doubt.

    `kind` is a verdict's class, `message` fit to be sent back; `line` and `hint` where known.
    """

    def __init__(self, kind: str, message: str, line: int | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.line = line
        self.hint = hint


@dataclass(frozen=True)
class Proposal:
    """A complete program in a reply, and the sentence that introduces it."""

    code: str
    lead: str

    @property
    def presented(self) -> bool:
        """True if its introduction says that this is the answer."""
        return bool(PRESENTS.search(self.lead))

    @property
    def discarded(self) -> bool:
        """True if its introduction says that this is not the answer."""
        return bool(DISCARDS.search(self.lead)) and not self.presented


def program_of(text: str, finish: str = "stop") -> tuple[str, str]:
    """(program, explanation) of a reply; `finish` is the provider's finish reason.

    The last complete program is taken if it is introduced as the answer, or if it revises the
    programs before it. Raises UnreadableReply if there is none, or if it is not certain which one
    is meant.
    """
    answer = answer_of(text)
    if not answer:
        raise UnreadableReply(
            "empty-reply",
            "the reply was empty; answer with one fenced block that holds the complete program",
        )
    blocks = blocks_of(answer)
    proposals = _proposals(answer, blocks)
    if proposals:
        explanation = _prose(answer, blocks)
        return _meant(proposals, explanation).code, explanation
    if not blocks and _defines(answer):
        return answer + "\n", ""
    return _broken_program(answer, blocks, finish), _prose(answer, blocks)


def _proposals(answer: str, blocks: list[Block]) -> list[Proposal]:
    """The distinct complete programs in order; of equal ones the last."""
    lines = answer.split("\n")
    found: dict[str, Proposal] = {}
    previous_end = 0
    for block in blocks:
        lead = _lead(lines[previous_end : block.start])
        previous_end = block.end
        for code in _programs_in(block):
            key = _structure(code)
            found.pop(key, None)
            found[key] = Proposal(code, lead)
    return list(found.values())


def _programs_in(block: Block) -> list[str]:
    """The programs that a block holds: itself, or the files that its shell commands would write."""
    if block.language in ("diff", "patch") or DIFF_LINE.search(block.text):
        return []
    # `cat > reward.py <<'EOF'` is an expression in Python, so files in shell commands come first.
    bodies = (match["body"].strip("\n") + "\n" for match in HEREDOC.finditer(block.text))
    written = [body for body in bodies if _defines(body)]
    if written:
        return written
    return [block.text] if _defines(block.text) else []


def _lead(lines: list[str]) -> str:
    """The last sentence or heading before a block."""
    paragraph = [line.strip() for line in lines if line.strip()][-2:]
    if not paragraph:
        return ""
    sentences = re.split(r"(?<=[.!?;。！？])\s+", " ".join(paragraph))
    return sentences[-1]


def _meant(proposals: list[Proposal], explanation: str) -> Proposal:
    """The program that the reply gives as its answer. UnreadableReply if that is not certain."""
    if len(proposals) == 1:
        return proposals[0]
    kept = [p for p in proposals if not p.discarded]
    last = kept[-1] if kept else None
    if last is not None and not SENDS_BACK.search(explanation):
        earlier = [p for p in proposals if p is not last]
        alternatives = sum(bool(ALTERNATIVE.search(p.lead)) for p in proposals) > 1
        presented_before = any(p.presented for p in earlier)
        after = proposals[proposals.index(last) + 1 :]
        if last.presented and not alternatives:
            return last
        if after and all(p.discarded for p in after) and len(kept) == 1:
            return last
        revises = bool(REVISES.search(last.lead)) and all(
            _alike(p.code, last.code) for p in earlier
        )
        if not after and revises and not presented_before and not alternatives:
            return last
    raise UnreadableReply(
        "several-programs",
        f"the reply holds {len(proposals)} different programs, and it is unclear which one is "
        "final; answer with exactly one ```python block",
    )


def _alike(one: str, other: str) -> bool:
    """True if most of the lines of two programs are the same."""
    lines = [[line.strip() for line in code.splitlines() if line.strip()] for code in (one, other)]
    return difflib.SequenceMatcher(a=lines[0], b=lines[1], autojunk=False).ratio() >= REVISION_RATIO


def _broken_program(answer: str, blocks: list[Block], finish: str) -> str:
    """A block that means to be a program but is not Python, for the linter to say why."""
    if finish == "length" or (blocks and not blocks[-1].closed):
        raise UnreadableReply(
            "cut-off",
            "the reply was cut off before the program's end; answer shorter, the program first",
        )
    if any(b.language in ("diff", "patch") or DIFF_LINE.search(b.text) for b in blocks):
        raise UnreadableReply(
            "no-program",
            "the reply holds a diff; answer with exactly one ```python block that holds the "
            "complete program",
        )
    meant = [b.text for b in blocks if re.search(r"def (reward|potential)\b", b.text)]
    if meant:
        return meant[-1]
    what = "no fenced block with a program"
    if blocks:
        what = f"{len(blocks)} fenced blocks, none of which defines reward() or potential()"
    raise UnreadableReply(
        "no-program",
        f"the reply holds {what}; answer with exactly one ```python block that holds the complete "
        "program",
    )


def _prose(answer: str, blocks: list[Block]) -> str:
    """The reply without its blocks."""
    lines: list[str | None] = list(answer.split("\n"))
    for block in blocks:
        lines[block.start : block.end] = [None] * (block.end - block.start)
    return "\n".join(line for line in lines if line is not None).strip()


def composition_of(text: str) -> Composition | None:
    """What the last fenced block marked yaml says; None if there is none.

    Raises UnreadableReply with the line in that block.
    """
    blocks = [b for b in blocks_of(answer_of(text)) if b.language in ("yaml", "yml")]
    if not blocks:
        return None
    try:
        return composition.parse(blocks[-1].text)
    except composition.UnreadableComposition as error:
        message = f"in the yaml block, {error.message}"
        raise UnreadableReply("composition", message, error.line, error.hint) from None


def record_of(text: str, record: type[R]) -> R:
    """The last JSON object of the reply that means to be such a record.

    An object means to be one if it has one of the record's required keys. A draft before it does
    not count, and a damaged object after it makes the reply unreadable. Raises UnreadableReply.
    """
    answer = answer_of(text)
    required: set[str] = set()
    # The keys of a root model are data: any object may be one.
    if not issubclass(record, RootModel):
        required = {name for name, field in record.model_fields.items() if field.is_required()}
    attempts, rest = _objects(answer, required)
    if _looks_like_an_attempt(rest, required):
        raise UnreadableReply("no-record", "the last JSON object cannot be read: it is damaged")
    if not attempts:
        why = "the reply holds no JSON object"
        if "{" in answer and required:
            keys = ", ".join(sorted(required))
            why = f"the reply holds no JSON object with the keys {keys}"
        raise UnreadableReply("no-record", why)
    try:
        return record.model_validate(attempts[-1])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the object"
        raise UnreadableReply("no-record", f"{place}: {first['msg']}") from None


def _objects(answer: str, required: set[str]) -> tuple[list[dict[str, object]], str]:
    """The objects with one of the required keys, and the text after the last of them."""
    decoder = json.JSONDecoder()
    found: list[dict[str, object]] = []
    position = 0
    rest = answer
    # A reply of thousands of opening braces must not take minutes.
    for _ in range(200):
        start = answer.find("{", position)
        if start < 0:
            break
        try:
            value, length = decoder.raw_decode(answer[start:])
        except (ValueError, RecursionError):
            position = start + 1
            continue
        position = start + length
        if isinstance(value, dict) and (not required or required & value.keys()):
            found.append(value)
            rest = answer[position:]
    return found, rest


def _looks_like_an_attempt(rest: str, required: set[str]) -> bool:
    """True if the text begins an object with a required key that could not be decoded."""
    return any(re.search(rf"\{{[^{{}}]*[\"']{re.escape(key)}[\"']\s*:", rest) for key in required)


def _defines(code: str) -> bool:
    """True if the code is Python and defines an entry point."""
    return bool(facts(code).entry_points)


def _structure(code: str) -> str:
    """The syntax tree as text: equal for programs that differ only in layout and comments."""
    try:
        return ast.dump(ast.parse(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
