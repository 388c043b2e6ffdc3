"""Joins neighbouring fields of the simulator into vector fields, if there are too many fields."""

from __future__ import annotations

import re

from autoreward.drafting.columns import short
from autoreward.drafting.drafted import DraftedField

# above this, neighbours of one quantity become one field
MAX_FIELDS = 60
# fewer neighbours stay as they are
MIN_NEIGHBOURS = 3
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
# names of joined fields, by quantity and by what their parts' names end in
JOINED_NAMES = {
    ("qpos", "_angle"): "joint_angles",
    ("qvel", "_velocity"): "joint_velocities",
}


def merge_neighbours(
    fields: list[DraftedField],
) -> list[DraftedField]:
    """Join neighbours with the same unit, shape and quantity into one field of shape (k, ...)."""
    out: list[DraftedField] = []
    k = 0
    while k < len(fields):
        run = [fields[k]]
        while k + len(run) < len(fields) and _belong_together(run[0], fields[k + len(run)]):
            run.append(fields[k + len(run)])
        if len(run) >= MIN_NEIGHBOURS:
            out.append(_joined(run))
        else:
            out += run
        k += len(run)
    return out


def _belong_together(a: DraftedField, b: DraftedField) -> bool:
    if a.named_by != "simulator" or b.named_by != "simulator":
        return False
    same = (a.unit, a.shape, a.quantity) == (
        b.unit,
        b.shape,
        b.quantity,
    )
    return same and _common_ending([a.name, b.name]) != ""


def _common_ending(names: list[str]) -> str:
    """What all names end in, from an underscore on: `_angle`; "" if nothing."""
    words = names[0].split("_")
    for k in range(1, len(words)):
        ending = "_" + "_".join(words[k:])
        if all(name.endswith(ending) for name in names):
            return ending
    return ""


def _joined(run: list[DraftedField]) -> DraftedField:
    first = run[0]
    ending = _common_ending([field.name for field in run])
    parts = ", ".join(field.name.removesuffix(ending) for field in run)
    values = [float(number) for field in run for number in NUMBER.findall(field.range)]
    ambiguous = ""
    for field in run:
        ambiguous = ambiguous or field.ambiguous
    return DraftedField(
        JOINED_NAMES.get((first.quantity, ending), f"all{ending}"),
        _source(first.source, run[-1].source),
        (len(run), *first.shape),
        first.unit,
        f"about {short(min(values))} .. {short(max(values))}" if values else "",
        f"of {parts}, in this order: {first.meaning}, and so on",
        "simulator",
        tuple(column for field in run for column in field.columns),
        ambiguous=ambiguous,
        quantity=first.quantity,
    )


def _source(first: str, last: str) -> str:
    """One source for neighbouring columns: `obs.hand[3]`, `obs.hand[5]` -> `obs.hand[3:6]`."""
    key, _, columns = first.rpartition("[")
    start = re.findall(r"\d+", columns)[0]
    end = int(re.findall(r"\d+", last)[-1])
    if ":" not in last:
        end += 1
    return f"{key}[{start}:{end}]" if key else f"{start}:{end}"
