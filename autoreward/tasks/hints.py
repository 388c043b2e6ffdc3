"""Hints of a task card: what a person knows about the way to success, as data.

No code and no coefficients. `offline/search` builds its programs from hints; a language model sees
them only with `--hints`.
"""

from __future__ import annotations

from pydantic import ConfigDict, model_validator
from pydantic import Field as _

from autoreward.tasks.criteria import CardPart, Condition, Name, Ref

HINT_KINDS = ("near", "increase", "decrease", "hold", "subgoals", "waypoints")


class Near(CardPart):
    """Bring `a` to `b`, a field or numbers.

    `axis_aligned`: moves go along axes, so the distance to use is the Manhattan distance.
    """

    a: Ref
    b: Ref | tuple[float, ...] | float
    axis_aligned: bool = False


class Subgoal(CardPart):
    """One of several stages in order, reached once `when` holds.

    Until then the distance of `near`, if given, should shrink.
    """

    name: Name
    when: tuple[Condition, ...] = _(min_length=1)
    near: Near | None = None


class Hold(CardPart):
    """Keep the conditions true for `steps` steps in a row.

    `count` names a field that counts those steps, if the task has one.
    """

    when: tuple[Condition, ...] = _(min_length=1)
    steps: int = _(gt=0)
    count: Ref | None = None


class Waypoints(CardPart):
    """Points that `field` passes in order, followed by the field `to`, if given."""

    field: Ref
    points: tuple[tuple[float, ...], ...] = _(min_length=1)
    to: Ref | None = None


class Hint(CardPart):
    """One hint: exactly one of near, raise, lower, hold, subgoals and waypoints."""

    near: Near | None = None
    increase: Ref | None = _(None, alias="raise")
    decrease: Ref | None = _(None, alias="lower")
    hold: Hold | None = None
    subgoals: tuple[Subgoal, ...] | None = None
    waypoints: Waypoints | None = None

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @property
    def kind(self) -> str:
        """The attribute that is given, one of HINT_KINDS."""
        return next(kind for kind in HINT_KINDS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _require_one_kind(self) -> Hint:
        given = [kind for kind in HINT_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                "a hint is exactly one of near, raise, lower, hold, subgoals and waypoints"
            )
        return self
