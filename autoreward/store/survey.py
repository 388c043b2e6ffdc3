"""The report of a `survey` job on an environment, from which `autoreward envs new` drafts a card.

Plain pydantic. Numbers come from seeded random play. A *leaf* is one part of the observation that
is not a Dict or Tuple (the whole observation if that is a Box); its columns are the leaf's numbers,
flattened, in order.
"""

from __future__ import annotations

from typing import Any, Literal

from autoreward.store.records import Record

Kind = Literal["box", "discrete", "multidiscrete", "multibinary"]


class SurveyJob(Record):
    """Asks for a survey of an environment that is known only by its id or factory.

    Leaves a `Survey` (JSON) at `out`.
    """

    kind: Literal["survey"] = "survey"
    id: str | None = None
    factory: str | None = None
    kwargs: dict[str, Any] = {}
    seed: int = 0
    steps: int = 3000
    out: str


class Match(Record):
    """What a column is, as a comparison of numbers found.

    `of` names it (`qvel of joint rootz`), `how` is the transform, `also` (and their names) are
    others that fit as well.
    """

    name: str
    index: str = ""
    how: Literal["identity", "clip", "sin", "cos", "difference", "scaled", "previous"] = "identity"
    quantity: str = ""
    of: str
    unit: str = "-"
    also: tuple[str, ...] = ()
    also_named: tuple[str, ...] = ()
    row: int = -1

    @property
    def words(self) -> str:
        if not self.also:
            return self.of
        return f"{self.of} (or, equally well: {', '.join(self.also)})"


class Column(Record):
    """One number of the observation.

    `low` and `high` are None if it is unbounded; `actions` are the parts of the action that move it
    within one step.
    """

    low: float | None = None
    high: float | None = None
    seen_low: float = 0.0
    seen_high: float = 0.0
    constant: bool = False
    integer: bool = False
    actions: tuple[int, ...] = ()
    relation: str = ""
    match: Match | None = None


class Leaf(Record):
    """One part of the observation.

    `path` is `""` for the whole observation, `a.b` or `0` below Dict and Tuple. `start` is its
    first column in the flattened observation, None if that cannot be flattened.
    """

    path: str
    space: str
    kind: Kind | None = None
    shape: tuple[int, ...] = ()
    start: int | None = None
    columns: tuple[Column, ...] = ()
    left_out: str = ""


class ActionSpace(Record):
    """The action space as agents are trained on it: Dict and Tuple are flattened.

    `parts` are the names of its components, if the environment names them.
    """

    type: Kind
    n: int | None = None
    nvec: tuple[int, ...] | None = None
    shape: tuple[int, ...] = ()
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    parts: tuple[str, ...] = ()
    space: str = ""

    @property
    def size(self) -> int:
        """How many values or components can be told apart."""
        return self.n or len(self.nvec or ()) or len(self.parts) or _product(self.shape)


class InfoKey(Record):
    """One key of `info`.

    `flips` means that it was true only when an episode ended by itself; `always`, that it is there
    at every reset and step.
    """

    name: str
    kind: Literal["flag", "number", "array", "other"]
    size: int = 1
    low: float = 0.0
    high: float = 0.0
    always: bool = False
    flips: bool = False
    ever: bool = False
    same_as: str = ""


class Reward(Record):
    """The environment's own reward in random play."""

    low: float = 0.0
    high: float = 0.0
    distinct: int = 0
    nonzero: float = 0.0
    returns: tuple[float, ...] = ()
    threshold: float | None = None

    @property
    def manner(self) -> str:
        """How the reward is paid: `none`, `constant`, `sparse` or `dense`.

        `none` is always 0; `sparse` has at most three values, or is nearly always 0.
        """
        if self.distinct <= 1:
            return "none" if self.high == self.low == 0 else "constant"
        return "sparse" if self.distinct <= 3 or self.nonzero < 0.05 else "dense"


class Survey(Record):
    """The whole report.

    `goal`: columns, counted over all leaves that are kept, with the value they had wherever an
    episode ended rewarded, and nowhere else.
    """

    title: str
    id: str | None = None
    factory: str | None = None
    kwargs: dict[str, Any] = {}
    observation: str
    leaves: tuple[Leaf, ...]
    action: ActionSpace
    reward: Reward = Reward()
    info: tuple[InfoKey, ...] = ()
    limit: int | None = None
    terminated: tuple[int, ...] = ()
    truncated: tuple[int, ...] = ()
    cut: int = 0
    steps: int = 0
    steps_per_second: float = 0.0
    reproducible: bool = True
    rewarded_ends: int = 0
    failed_ends: int = 0
    goal: dict[int, float] = {}
    doc: str = ""
    source: str = ""
    packages: tuple[str, ...] = ()
    mujoco: bool = False
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(c for leaf in self.leaves for c in leaf.columns)


def _product(shape: tuple[int, ...]) -> int:
    out = 1
    for n in shape:
        out *= n
    return out
