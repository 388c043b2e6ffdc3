"""The part of a task card that says what counts: conditions, success, metrics and constraints.

This is the schema; `runtime.py` decides success by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic import Field as _

if TYPE_CHECKING:
    from autoreward.state import Array, State

Ref = Annotated[str, _(pattern=r"^[A-Za-z_]\w*(\[\d+\])*$")]
Name = Annotated[str, _(pattern=r"^[A-Za-z_]\w*$")]
# (field, op, value, other, at)
ConditionTuple = tuple[str, str, float | None, str | None, tuple[float, ...] | None]


class CardPart(BaseModel):
    """Base of every part of a card: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Condition(CardPart):
    """A comparison of named fields, true or false for each state.

    `within` is true if the Euclidean distance of `field` to `other` (or to the numbers `at`, or to
    0) is at most `value`. Other comparisons of a vector field are true if they are true for every
    component.
    """

    field: Ref
    op: Literal[">=", "<=", ">", "<", "==", "!=", "within"]
    value: float | None = None
    other: Ref | None = None
    at: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _require_two_sides(self) -> Condition:
        if self.op == "within":
            if self.value is None or (self.other is not None and self.at is not None):
                raise ValueError(
                    "`within` needs `value` (the distance) and at most one of `other` (a field) "
                    "and `at` (numbers)"
                )
            return self
        if (self.value is None) == (self.other is None) or self.at is not None:
            raise ValueError(
                f"`{self.op}` needs exactly one of `value` (a number) and `other` (a field)"
            )
        return self

    def holds(self, state: State) -> Array:
        """Evaluate the condition for each of n states: (n,) of bool."""
        # numpy is imported on use, so that commands that only read cards start fast
        from autoreward.state import holds

        return holds(state, *self.as_tuple())

    def as_tuple(self) -> ConditionTuple:
        """Return the condition as plain data, in the order that `state.holds` takes it."""
        return (self.field, self.op, self.value, self.other, self.at)

    def words(self) -> str:
        """Return the condition for people and prompts: `has_key == 1`."""
        if self.op == "within":
            target = self.other
            if target is None:
                target = str(list(self.at or [0.0]))
            return f"distance of {self.field} to {target} <= {self.value:g}"
        right = self.other
        if right is None:
            right = f"{self.value:g}"
        return f"{self.field} {self.op} {right}"


def all_hold(conditions: tuple[Condition, ...], state: State) -> Array:
    """Return (n,) of bool: whether every condition holds, for each of n states."""
    import numpy as np

    result = np.ones(len(state), bool)
    for condition in conditions:
        result &= condition.holds(state)
    return result


class Success(CardPart):
    """What counts as success.

    Exactly one of: conditions on fields, a key of `info`, or a trusted predicate `f(state) -> (n,)
    bool` of `code`.
    """

    when: tuple[Condition, ...] = ()
    info: str | None = None
    predicate: Name | None = None
    ends_episode: bool = True
    latches: bool = _(
        True,
        description="true: success counts for the episode once reached; false: it must hold at "
        "the end",
    )
    means: str = _("", description="in plain language")

    @model_validator(mode="after")
    def _require_one_rule(self) -> Success:
        rules = (bool(self.when), self.info is not None, self.predicate is not None)
        if sum(rules) != 1:
            raise ValueError("give exactly one of `when`, `info` and `predicate`")
        return self


class Metric(CardPart):
    """A number per episode: the environment's return, or an `info` key or a field over its steps.

    `range` is the worst and the best that an episode may reach; intervals and charts are drawn
    over it. Training ends early once the mean over training episodes reaches `goal`.
    """

    name: Name
    of: str = _(pattern=r"^(return|info\.[\w.\-]+|field\.[A-Za-z_]\w*(\[\d+\])*)$")
    reduce: Literal["sum", "mean", "max", "min", "last"] = "sum"
    range: tuple[float, float]
    direction: Literal["maximize", "minimize"] = "maximize"
    goal: float | None = None

    @model_validator(mode="after")
    def _require_ordered_range(self) -> Metric:
        low, high = self.range
        if not low < high:
            raise ValueError(f"range: {low:g} .. {high:g} is not a range; give the lower end first")
        return self

    def reached(self, value: float) -> bool:
        """Return whether a value is at the goal; False if there is no goal."""
        if self.goal is None:
            return False
        if self.direction == "maximize":
            return value >= self.goal
        return value <= self.goal


class Constraint(CardPart):
    """A bound on a metric's mean over episodes.

    A candidate that violates it ranks below every candidate that satisfies it.
    """

    metric: Metric
    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _require_one_bound(self) -> Constraint:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give exactly one of `at_most` and `at_least`")
        return self

    def holds(self, value: float) -> bool:
        """Return whether the mean over episodes is within the bound."""
        if self.at_most is not None:
            return value <= self.at_most
        return value >= (self.at_least or 0.0)

    def words(self) -> str:
        """Return the constraint in words: `energy at most 4`."""
        if self.at_most is not None:
            return f"{self.metric.name} at most {self.at_most:g}"
        return f"{self.metric.name} at least {self.at_least:g}"
