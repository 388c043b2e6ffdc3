"""Parts of a card as expressions of a generated program: fields, distances, conditions, gaps.

Expressions are functions of one state `s`. Names of fields and tasks are only copied, never
interpreted: renaming a field renames it in the program and changes nothing else.
"""

from __future__ import annotations

import re

from autoreward.tasks.card import TaskCard, numbers
from autoreward.tasks.criteria import Condition
from autoreward.tasks.hints import Hint, Near

# Operators of a success condition that give a target for a rising or a falling field.
RISING = (">=", ">", "==")
FALLING = ("<=", "<", "==")


def value(reference: str) -> str:
    """Return a field, or the columns that `field[i][j]` names."""
    name, _, rest = reference.partition("[")
    indices = re.findall(r"\d+", rest)
    if not indices:
        return f"s.{name}"
    return f"s.{name}[:, {', '.join(indices)}]"


def after_step(expression: str) -> str:
    """Return an expression of `s` for the state after the step."""
    return re.sub(r"\bs\.", "curr.", expression)


def signed(number: float) -> str:
    """Return a number with six significant digits."""
    return f"{number:.6g}"


class Expressions:
    """Expressions over the fields of one card."""

    def __init__(self, card: TaskCard) -> None:
        self.card = card

    def distance(self, near: Near) -> str:
        """Return the distance between two fields, or between a field and a point."""
        left = value(near.a)
        if isinstance(near.b, str):
            right = value(near.b)
        elif isinstance(near.b, tuple):
            right = f"np.array({[float(v) for v in near.b]})"
        else:
            right = f"({near.b:g})"
        if not self._shape(near.a):
            return f"np.abs({left} - {right})"
        if near.axis_aligned:
            return f"np.abs({left} - {right}).sum(-1)"
        return f"np.sqrt(np.square({left} - {right}).sum(-1))"

    def test(self, condition: Condition) -> str:
        """Return whether a condition holds."""
        if condition.op == "within":
            near = Near(a=condition.field, b=condition.other or condition.at or 0.0)
            return f"({self.distance(near)} <= {condition.value:g})"
        left = value(condition.field)
        right = value(condition.other) if condition.other else f"{condition.value:g}"
        comparison = f"({left} {condition.op} {right})"
        if self._shape(condition.field):
            return f"{comparison}.all(-1)"
        return comparison

    def all_hold(self, conditions: tuple[Condition, ...]) -> str:
        """Return whether all conditions hold."""
        return " & ".join(self.test(c) for c in conditions)

    def gap(self, tag: str, hint: Hint) -> str:
        """Return a helper `gap{tag}(s)` for a hint `near`, `increase` or `decrease`."""
        if hint.near:
            return self.gap_between(tag, hint.near)
        if hint.increase:
            target = self._target(hint.increase, RISING)
            return f"def gap{tag}(s):\n    return {signed(target)} - {value(hint.increase)}"
        reference = hint.decrease or ""
        target = self._target(reference, FALLING)
        return f"def gap{tag}(s):\n    return {signed(-target)} + {value(reference)}"

    def gap_between(self, tag: str, near: Near) -> str:
        """Return a helper `gap{tag}(s)`: the distance between two things."""
        return f"def gap{tag}(s):\n    return {self.distance(near)}"

    def width(self, reference: str) -> float:
        """Return the width of a field's range; 1 if its range is unknown."""
        found = numbers(self._range(reference))
        if len(found) > 1 and max(found) > min(found):
            return max(found) - min(found)
        return 1.0

    def _target(self, reference: str, ops: tuple[str, ...]) -> float:
        """Return where a field should go: the threshold of success, else the end of its range.

        0 if neither is known.
        """
        success = self.card.success
        for condition in success.when if success else ():
            if condition.field != reference or condition.op not in ops:
                continue
            if condition.value is not None:
                return condition.value
        found = numbers(self._range(reference))
        if not found:
            return 0.0
        return max(found) if ops is RISING else min(found)

    def _range(self, reference: str) -> str:
        name = reference.split("[")[0]
        return next((f.range for f in self.card.fields if f.name == name), "")

    def _shape(self, reference: str) -> tuple[int, ...]:
        name = reference.split("[")[0]
        shape = next(f.shape for f in self.card.fields if f.name == name)
        return shape[reference.count("[") :]
