"""A field of the drafted card, and how names are made from words."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import Literal

# words that say nothing in a name
FILLERS = {
    "the",
    "a",
    "an",
    "of",
    "in",
    "at",
    "and",
    "for",
    "to",
    "on",
    "is",
    "s",
    "its",
    "value",
    "equals",
    "with",
    "respect",
}
MAX_WORDS_IN_NAME = 5
# what a name can come from; a field renamed by a model has the model's name instead
Namer = Literal["key", "documentation", "simulator", "space", "info", "nobody"]


@dataclass(frozen=True)
class DraftedField:
    """One field of the drafted card.

    `named_by` says where its name comes from (`Namer`, or a model). `columns` are counted over all
    leaves that are kept. `ambiguous` is set if several quantities explain it equally well.
    `first_name` is its name before a model renamed it.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    unit: str
    range: str
    meaning: str
    named_by: str
    columns: tuple[int, ...] = ()
    policy: bool = True
    ambiguous: str = ""
    quantity: str = ""
    first_name: str = ""


def identifier(text: str, max_words: int = MAX_WORDS_IN_NAME) -> str:
    """A Python name from words: `Cart Position` -> cart_position.

    Brackets are dropped, except those of sin(), cos() and tan().
    """

    def in_brackets(match: re.Match[str]) -> str:
        before = text[: match.start()].strip().lower()
        return match[0] if re.search(r"(cos|sin|tan)$", before) else " "

    text_kept = re.sub(r"\([^()]*\)", in_brackets, text)
    words = [word.lower() for word in re.findall(r"[A-Za-z0-9]+", text_kept)]
    telling = [word for word in words if word not in FILLERS]
    name = "_".join((telling or words or ["x"])[:max_words])
    if name[0].isdigit():
        name = f"n_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name
