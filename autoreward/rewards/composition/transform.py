"""What a transform is: data with a `kind`, its properties, and one step over n environments.

A column is a term of the program or one of its potentials. Before the first transform every
potential stands in its column as shaped with the learner's gamma. A transform changes columns in
place.

A transform remembers two kinds of plain arrays, both saved with the policy: its memory, one row per
environment, which is reset when an episode starts, and what it has learned, which lasts over
episodes. What it has learned (weights, switches, divisors) changes only in `update`, between the
learner's rollouts, so that all steps of a rollout are rewarded alike.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from autoreward.state import Array

# rewards are float32 in training
MAX_NUMBER = 1e6
GROUP_MEANINGS = {
    "all": "columns",
    "terms": "terms",
    "dense": "dense terms",
    "sparse": "sparse terms",
    "potentials": "potentials",
}
EMPTY_GROUP_HINTS = {
    "potentials": "define potential(state), which returns them by name",
    "sparse": "declare them in the program: SPARSE = (...)",
}

Group = Literal["all", "terms", "dense", "sparse", "potentials"]
Span = Literal["none", "per episode", "across episodes"]
Bounded = Literal["yes", "as its terms", "no"]
Number = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=MAX_NUMBER, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Arrays = dict[str, Array]


class UnsuitableComposition(Exception):
    """A composition that does not fit the program or the task, or that gave a bad number.

    `kind` is the class of the verdict; `message` and `hint` can be sent back to the designer.
    """

    def __init__(self, message: str, hint: str = "", kind: str = "composition") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.kind = kind


def _group_or_names(value: Any) -> Any:
    """Accept a group or a list of distinct names. Raises ValueError, for pydantic."""
    groups = ", ".join(GROUP_MEANINGS)
    if isinstance(value, str):
        if value not in GROUP_MEANINGS:
            raise ValueError(
                f"{value!r} is not a group ({groups}); write names of terms as a list: [{value}]"
            )
        return value
    is_list = isinstance(value, (list, tuple)) and bool(value)
    if not is_list or not all(isinstance(name, str) for name in value):
        raise ValueError(f"must be a group ({groups}) or a list of term names")
    if len(set(value)) < len(value):
        raise ValueError("the list has the same name twice")
    return value


Over = Annotated[Group | tuple[str, ...], BeforeValidator(_group_or_names)]


@dataclass(frozen=True)
class Columns:
    """The columns in order: the program's terms, its potentials, then what transforms added.

    `sparse`: the terms that the program declares sparse. `used_up`: columns that an earlier
    transform has consumed.
    """

    terms: tuple[str, ...]
    potentials: tuple[str, ...] = ()
    sparse: frozenset[str] = frozenset()
    added: tuple[str, ...] = ()
    used_up: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns, those that are used up included."""
        return (*self.terms, *self.potentials, *self.added)

    def without(self, names: Sequence[str] | frozenset[str]) -> Columns:
        """The columns once `names` are used up."""
        return replace(self, used_up=self.used_up | set(names))

    def group(self, group: str) -> tuple[str, ...]:
        """Return the names of a group that are not used up.

        Shaped potentials and added columns belong to `all`; they count as neither dense nor sparse.
        """
        if group == "all":
            found = self.names
        elif group == "terms":
            found = self.terms
        elif group == "dense":
            found = tuple(name for name in self.terms if name not in self.sparse)
        elif group == "sparse":
            found = tuple(name for name in self.terms if name in self.sparse)
        else:
            found = self.potentials
        return tuple(name for name in found if name not in self.used_up)

    def pick(self, over: str | Sequence[str], kind: str) -> Array:
        """Return the positions of the columns that a transform of this kind is over.

        Raises UnsuitableComposition if a name is unknown or used up, or if a group is empty.
        """
        if not isinstance(over, str):
            self.require(over, kind)
            return self.positions(over)
        names = self.group(over)
        if not names:
            raise UnsuitableComposition(
                f"{kind}: the program has no {GROUP_MEANINGS[over]}; "
                f"it has {', '.join(self.names)}",
                EMPTY_GROUP_HINTS.get(over, "name other columns in `over`"),
            )
        return self.positions(names)

    def positions(self, names: Sequence[str]) -> Array:
        """Return the positions of known names, as integers."""
        positions = [self.names.index(name) for name in names]
        return np.array(positions, int)

    def require(self, names: Sequence[str], kind: str) -> None:
        """Raise UnsuitableComposition if one of the names is unknown or used up."""
        for name in names:
            if name in self.used_up:
                raise UnsuitableComposition(
                    f"{kind} is over {name!r}, which an earlier transform has used up",
                    "name a column that is left, or move this transform to the front",
                )
            if name not in self.names:
                raise UnsuitableComposition(
                    f"{kind} is over {name!r}, but the program has no such term; "
                    f"it has {', '.join(self.names)}",
                    "rename the term in the program, or name another one in the composition",
                )

    def scores(self, names: Sequence[str], kind: str) -> Array:
        """Return the positions of the names among the potentials.

        Raises UnsuitableComposition if one of them is not a potential.
        """
        self.require(names, kind)
        for name in names:
            if name not in self.potentials:
                raise UnsuitableComposition(
                    f"{kind} needs {name!r} at both ends of a step, but it is a term of reward(), "
                    "which is known only after the step",
                    "move it to potential(state)",
                )
        positions = [self.potentials.index(name) for name in names]
        return np.array(positions, int)


@dataclass
class Step:
    """One step of n environments.

    `values` (n, c) is what transforms change, and `shaped` (n, c) a copy of it from the moment all
    shaping was done. `terms` (n, k), `before` and `after` (n, p) are the program's answers. The
    rest is (n,): `task` is the task reward; `first` is true if an episode starts with this step,
    `done` if it ends with it; `terminated` is 1.0 if it ends by success or failure, not by a time
    limit; `success` counts only where `done` is true. `late` (n, c), if a transform needs it, is
    what belongs to the step before in the same episode, and is known only now.
    """

    terms: Array
    before: Array
    after: Array
    task: Array
    first: Array
    terminated: Array
    done: Array
    success: Array
    gamma: float
    values: Array
    shaped: Array
    late: Array | None = None

    def take(self, columns: Array) -> Array:
        """Return a copy of the values (n, m) of these columns."""
        return self.values[:, columns]

    def put(self, columns: Array, values: Array | float) -> None:
        """Set the values (n, m) of these columns."""
        self.values[:, columns] = values


@dataclass
class Bound:
    """A transform at work on one program.

    `columns` are those that are there after it, `over` the positions of those that it is over, and
    `places` further positions and constants by purpose. `memory` has a row for each environment,
    reset when an episode starts; `learned` lasts over episodes.
    """

    columns: Columns
    over: Array = field(default_factory=lambda: np.zeros(0, int))
    places: Arrays = field(default_factory=dict)
    memory: Arrays = field(default_factory=dict)
    learned: Arrays = field(default_factory=dict)


class Transform(BaseModel, ABC):
    """Base of every transform.

    The docstring of each has its equation (the indented lines), `Paper:` and `Use:`;
    docs/composition.md shows them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # The order that a list must keep, and the properties in the table of docs/composition.md.
    place: ClassVar[int]
    # the optimal policy is the one without the transformed terms
    keeps_optimal: ClassVar[bool] = False
    # whether the sum over an episode is bounded, whatever the agent repeats
    bounded: ClassVar[Bounded] = "as its terms"
    state: ClassVar[Span] = "none"
    # a part of a step's own reward is known one step later (`Step.late`)
    needs_future: ClassVar[bool] = False
    # multiplies columns by constants, so it may scale what is late, too
    scales: ClassVar[bool] = False
    # a reward stored with its transition stays right
    off_policy: ClassVar[bool] = True

    kind: str

    @abstractmethod
    def bind(self, columns: Columns) -> Bound:
        """Find the columns. Raises UnsuitableComposition if the program does not have them."""

    def initial_row(self, bound: Bound) -> Arrays:
        """Return the initial memory of an episode: one row, by name."""
        return {}

    def initial_learned(self, bound: Bound) -> Arrays:
        """Return the initial values of what lasts over episodes, by name."""
        return {}

    @abstractmethod
    def apply(self, step: Step, bound: Bound) -> None:
        """Change `step.values`, and what is remembered in `bound`."""

    def update(self, bound: Bound) -> None:
        """A rollout of the learner has ended."""

    def notes(self, bound: Bound) -> list[str]:
        """Return sentences for a person to read at the end of a training."""
        return []

    @classmethod
    def words(cls) -> dict[str, str]:
        """Return the parts of the docstring: title, equation, paper, use."""
        docstring = inspect.cleandoc(cls.__doc__ or "")
        title, *paragraphs = docstring.split("\n\n")
        found = {"title": _one_line(title)}
        for paragraph in paragraphs:
            label, colon, text = paragraph.partition(": ")
            if paragraph.startswith(" "):
                lines = [line.strip() for line in paragraph.splitlines()]
                found["equation"] = "; ".join(lines)
            elif colon and label in ("Paper", "Use"):
                found[label.lower()] = _one_line(text)
        return found


def _one_line(text: str) -> str:
    return " ".join(text.split())


class OverColumns(Transform):
    """A transform over a group or a list of columns, `over`."""

    over: Over

    def bind(self, columns: Columns) -> Bound:
        return Bound(columns, columns.pick(self.over, self.kind))


def latest(ring: Array, count: Array) -> Array:
    """Return the filled part of a ring buffer of episodes into which `count` have been pushed."""
    filled = min(len(ring), int(count))
    return ring[:filled]


def push(ring: Array, count: Array, episodes: Array) -> None:
    """Push the rows of `episodes` in order. `ring` and `count` (0-d) are changed in place."""
    for episode in episodes:
        place = int(count) % len(ring)
        ring[place] = episode
        count += 1


def observe(batch: Array, learned: Arrays) -> None:
    """Add the rows (n, m) to the running `count`, `mean` and sum of `squares` of `learned`.

    Source: Chan, Golub, LeVeque 1979, the pairwise update of both.
    """
    n = len(batch)
    mean = batch.mean(0)
    count = learned["count"]
    total = count + n
    gap = mean - learned["mean"]
    within = np.square(batch - mean).sum(0)
    between = np.square(gap) * count * n / total
    learned["squares"] = learned["squares"] + within + between
    learned["mean"] = learned["mean"] + gap * n / total
    learned["count"] = total
