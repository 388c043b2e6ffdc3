"""What counts in an episode, as data: conditions on named fields, success, a metric, constraints.

The parts of a card that judge.
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

    `within` holds where the Euclidean distance of `field` to `other` (or to `value_at`, or to 0) is
    at most `value`. A comparison of a vector field holds where it holds for every component.
    """

    field: Ref
    op: Literal[">=", "<=", ">", "<", "==", "!=", "within"]
    value: float | None = None
    other: Ref | None = None
    at: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _sides(self) -> Condition:
        if self.op == "within":
            if self.value is None or (self.other is not None and self.at is not None):
                raise ValueError(
                    "`within` needs `value` (the distance) and at most one of `other` (a field) and `at` (numbers)"
                )
        elif (self.value is None) == (self.other is None) or self.at is not None:
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
        """For people and prompts: `has_key == 1`."""
        if self.op == "within":
            return f"distance of {self.field} to {self.other or list(self.at or [0.0])} <= {self.value:g}"
        return f"{self.field} {self.op} {self.other if self.other else format(self.value, 'g')}"


def all_hold(conditions: tuple[Condition, ...], state: State) -> Array:
    """(n,) of bool: every condition holds."""
    import numpy as np

    held = np.ones(len(state), bool)
    for condition in conditions:
        held &= condition.holds(state)
    return held


class Success(CardPart):
    """What counts: conditions on fields, an `info` key, or a trusted predicate `f(state) -> (n,)
    bool` of `code`.
    """

    when: tuple[Condition, ...] = ()
    info: str | None = None
    predicate: Name | None = None
    ends_episode: bool = True
    latches: bool = _(
        True, description="once reached it counts for the episode; else only if it holds at the end"
    )
    means: str = _("", description="in words")

    @model_validator(mode="after")
    def _one(self) -> Success:
        if sum((bool(self.when), self.info is not None, self.predicate is not None)) != 1:
            raise ValueError("give exactly one of `when`, `info` and `predicate`")
        return self


class Metric(CardPart):
    """A number of an episode, from the environment's own return, an `info` key or a field, over
    the episode's steps.

    `range` is what an episode may reach at worst and at best: intervals and charts are drawn over
    it. An agent whose training episodes hold `goal` on average is good enough: its training ends
    early.
    """

    name: Name
    of: str = _(pattern=r"^(return|info\.[\w.\-]+|field\.[A-Za-z_]\w*(\[\d+\])*)$")
    reduce: Literal["sum", "mean", "max", "min", "last"] = "sum"
    range: tuple[float, float]
    direction: Literal["maximize", "minimize"] = "maximize"
    goal: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Metric:
        if not self.range[0] < self.range[1]:
            raise ValueError(
                f"range: {self.range[0]:g} .. {self.range[1]:g} is no range; write the lower end first"
            )
        return self

    def reached(self, value: float) -> bool:
        """Whether a value is at the goal; False where there is none."""
        return self.goal is not None and (
            value >= self.goal if self.direction == "maximize" else value <= self.goal
        )


class Constraint(CardPart):
    """A bound on a metric's mean over episodes; a candidate that breaks it ranks below every one
    that keeps it.
    """

    metric: Metric
    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one(self) -> Constraint:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give exactly one of `at_most` and `at_least`")
        return self

    def holds(self, value: float) -> bool:
        """Whether the mean over episodes is within the bound."""
        return (
            value <= self.at_most if self.at_most is not None else value >= (self.at_least or 0.0)
        )

    def words(self) -> str:
        """`energy at most 4`"""
        return (
            f"{self.metric.name} at most {self.at_most:g}"
            if self.at_most is not None
            else f"{self.metric.name} at least {self.at_least:g}"
        )
