"""Explanations of a column by quantities of the simulation, as data."""

from __future__ import annotations

from typing import Literal

from autoreward.store.survey import Match
from autoreward.trainer.survey.joints import Quantity

# names of equally good explanations that are reported
MAX_ALTERNATIVES = 4
# an explanation with its cost: the lower, the simpler
Option = tuple[int, Match]


def as_it_is(quantity: Quantity) -> Match:
    """The quantity itself."""
    return Match(
        name=identifier(quantity.name),
        index=quantity.index,
        how="identity",
        quantity=quantity.quantity,
        of=quantity.of,
        unit=quantity.unit,
        row=quantity.row,
    )


def clipped(quantity: Quantity, words: str) -> Match:
    """The quantity, clipped or compared with 0; `words` says how."""
    return as_it_is(quantity).model_copy(
        update={
            "how": "clip",
            "of": f"{quantity.of}, {words}",
        },
    )


def turned(quantity: Quantity, how: Literal["sin", "cos"]) -> Match:
    """The sine or cosine of an angle."""
    return as_it_is(quantity).model_copy(
        update={
            "name": identifier(f"{quantity.name}_{how}"),
            "how": how,
            "of": f"{how} of {quantity.of}",
            "unit": "-",
        },
    )


def scaled(quantity: Quantity, factor: float, shift: float) -> Match:
    """The quantity times a factor, plus a shift."""
    words = f"{quantity.of}, times {factor:.6g}"
    if abs(shift) > 1e-9:
        sign = "plus" if shift > 0 else "minus"
        words += f", {sign} {abs(shift):.6g}"
    return as_it_is(quantity).model_copy(
        update={
            "name": identifier(f"{quantity.name}_scaled"),
            "how": "scaled",
            "of": words,
            "unit": "-",
        },
    )


def difference(a: Quantity, b: Quantity) -> Match:
    """One quantity minus another of its family."""
    return Match(
        name=identifier(f"{a.name}_minus_{b.name}"),
        index=a.index,
        how="difference",
        quantity=f"{a.quantity}-{b.quantity}",
        of=f"{a.of} minus {b.of}",
        unit=a.unit,
        row=a.row,
    )


def one_step_ago(column: int, explained: Match | None) -> Match:
    """Another column's value one step before."""
    if explained is None:
        return Match(
            name=f"previous_x{column}",
            how="previous",
            quantity="previous",
            of=f"one step ago: column {column}",
            row=column,
        )
    return Match(
        name=f"previous_{explained.name}",
        index=explained.index,
        how="previous",
        quantity="previous",
        of=f"one step ago: {explained.of}",
        unit=explained.unit,
        row=column,
    )


def simplest(options: list[Option], previous: Match | None) -> Match | None:
    """The cheapest explanation, with the equally cheap ones of another name as alternatives.

    Of several, the one that continues the explanation of the column before is preferred.
    """
    if not options:
        return None
    least = min(cost for cost, _ in options)
    cheapest = [match for cost, match in options if cost == least]
    best = cheapest[0]
    for match in cheapest:
        if previous and continues(match, previous):
            best = match
            break
    others = {m.of: m for m in cheapest if (m.name, m.index) != (best.name, best.index)}
    if not others:
        return best
    # the environment's own attributes say the most
    ranked = sorted(
        others.values(),
        key=lambda match: match.quantity != "attribute",
    )
    ranked = ranked[:MAX_ALTERNATIVES]
    return best.model_copy(
        update={
            "also": tuple(match.of for match in ranked),
            "also_named": tuple(match.name for match in ranked),
        },
    )


def continues(match: Match, previous: Match) -> bool:
    """Whether a match is the next number of the array that the previous one is from."""
    return (match.quantity, match.how, match.row) == (
        previous.quantity,
        previous.how,
        previous.row + 1,
    )


def identifier(name: str) -> str:
    """A Python name; MuJoCo's names may hold any character."""
    kept = (ch if ch.isalnum() or ch == "_" else "_" for ch in name)
    out = "".join(kept).strip("_")
    return out if out and not out[0].isdigit() else f"n_{out}"
