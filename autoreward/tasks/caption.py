"""How a card puts a transition into words, as data: the card's key `caption`.

Written out by captions.py, in trainers.
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
    """A placeholder of a template: a field before or after the action, one of its components, or
    the action (`field` empty).
    """

    side: Literal["prev", "curr", "action"]
    field: str = ""
    index: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """As it is written in a template."""
        return (
            "{action}"
            if self.side == "action"
            else "{" + self.side + "." + self.field + "".join(f"[{k}]" for k in self.index) + "}"
        )


class Caption(CardPart):
    """A template with placeholders, or a trusted function `f(prev, action, curr) -> n strings` of
    `code`. `bins`: steps that a field's range is told in.

    Placeholders are looked up by name, and nothing in them is evaluated: {prev.FIELD}, {curr.FIELD}
    or {FIELD}, with [K] for one component, and {action}. A brace is written twice.
    """

    template: str | None = _(None, max_length=LONGEST_TEMPLATE)
    function: Name | None = None
    bins: int = _(BINS, ge=2, le=10_000)

    @model_validator(mode="after")
    def _one(self) -> Caption:
        if (self.template is None) == (self.function is None):
            raise ValueError(
                "give exactly one of `template` and `function`; without `caption:` a default tells every field"
            )
        if self.template is not None:
            pieces(self.template)
        return self

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The placeholders of the template, in order."""
        return (
            tuple(p for p in pieces(self.template) if isinstance(p, Slot)) if self.template else ()
        )


def pieces(template: str) -> tuple[str | Slot, ...]:
    """A template in parts: plain text, and placeholders. ValueError names what is none."""
    found: list[str | Slot] = []
    for part in PIECE.findall(template):
        if part in ("{", "}"):
            raise ValueError(
                f"template: a single {part!r} in {template[:80]!r}; a brace that is text is written twice"
            )
        if part in ("{{", "}}"):
            found.append(part[0])
        elif part.startswith("{"):
            match = SLOT.match(part)
            if match is None:
                raise ValueError(
                    f"template: {part} is no placeholder; write {{prev.FIELD}}, {{curr.FIELD}} or {{FIELD}}, with [K] for one component, or {{action}}"
                )
            side, name, index = match.groups()
            if side is None and name == "action" and not index:
                found.append(Slot("action"))
            else:
                found.append(
                    Slot(
                        "prev" if side == "prev" else "curr",
                        name,
                        tuple(map(int, re.findall(r"\d+", index))),
                    )
                )
        else:
            found.append(part)
    return tuple(found)
