"""How a card puts a transition into words, as data: the card's key `caption`.

`annotation/captions.py` writes captions out; trainers call it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import Field as _
from pydantic import model_validator

from autoreward.tasks.criteria import CardPart, Name

PIECE = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+")
SLOT = re.compile(r"^\{\s*(?:(prev|curr)\.)?([A-Za-z_]\w*)((?:\[\d+\])*)\s*\}$")
BINS = 20
LONGEST_TEMPLATE = 2000


@dataclass(frozen=True)
class Slot:
    """A placeholder of a template: a field before or after the action, or the action itself.

    `index` selects one component of the field; for the action, `field` is empty.
    """

    side: Literal["prev", "curr", "action"]
    field: str = ""
    index: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """The placeholder as a template spells it."""
        if self.side == "action":
            return "{action}"
        index = "".join(f"[{k}]" for k in self.index)
        return f"{{{self.side}.{self.field}{index}}}"


class Caption(CardPart):
    """A template, or a trusted function `f(prev, action, curr) -> n strings` of `code`.

    Placeholders are looked up by name, and nothing in them is evaluated: {prev.FIELD}, {curr.FIELD}
    or {FIELD}, with [K] for one component, and {action}. A literal brace is doubled. `bins` is the
    number of steps into which a field's range is rounded.
    """

    template: str | None = _(None, max_length=LONGEST_TEMPLATE)
    function: Name | None = None
    bins: int = _(BINS, ge=2, le=10_000)

    @model_validator(mode="after")
    def _require_one_writer(self) -> Caption:
        if (self.template is None) == (self.function is None):
            raise ValueError(
                "give exactly one of `template` and `function`; without `caption:` a default "
                "describes every field"
            )
        if self.template is not None:
            pieces(self.template)
        return self

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The placeholders of the template, in order."""
        if not self.template:
            return ()
        return tuple(piece for piece in pieces(self.template) if isinstance(piece, Slot))


def pieces(template: str) -> tuple[str | Slot, ...]:
    """Split a template into plain text and placeholders.

    Raises ValueError that quotes a brace or a placeholder that is malformed.
    """
    found: list[str | Slot] = []
    for piece in PIECE.findall(template):
        if piece in ("{", "}"):
            raise ValueError(
                f"template: a single {piece!r} in {template[:80]!r}; double a literal brace"
            )
        if piece in ("{{", "}}"):
            found.append(piece[0])
        elif piece.startswith("{"):
            found.append(_slot(piece))
        else:
            found.append(piece)
    return tuple(found)


def _slot(piece: str) -> Slot:
    """Parse one placeholder; ValueError if it is malformed."""
    match = SLOT.match(piece)
    if match is None:
        raise ValueError(
            f"template: {piece} is not a placeholder; write {{prev.FIELD}}, {{curr.FIELD}} or "
            "{FIELD}, with [K] for one component, or {action}"
        )
    side, name, brackets = match.groups()
    if side is None and name == "action" and not brackets:
        return Slot("action")
    index = tuple(int(digits) for digits in re.findall(r"\d+", brackets))
    return Slot("prev" if side == "prev" else "curr", name, index)
