"""What a transform is: data with a `kind`, its properties as class attributes, and one step over
the columns of n environments.

A column is a term of the program, or one of its potentials. Before the first transform every
potential stands in its column as shaped at the learner's gamma; a transform changes columns in
place. What it remembers is of two sorts, both plain arrays that are saved with the policy: `rows`,
one row per environment, set back where an episode begins, and `kept`, which lasts over episodes.
What `kept` decides (weights, switches, divisors) changes in `update` alone, between the learner's
rollouts, so that one rollout knows one reward.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from autoreward.state import Array

# of any weight: rewards are float32 in training
LARGEST = 1e6
Group = Literal["all", "terms", "dense", "sparse", "potentials"]
Span = Literal["none", "per episode", "across episodes"]
Bounded = Literal["yes", "as its terms", "no"]
GROUPS = ("all", "terms", "dense", "sparse", "potentials")
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Rows = dict[str, Array]
Kept = dict[str, Array]


class UnsuitableComposition(Exception):
    """A composition that does not fit the program, or gave a number that is none; `message` and
    `hint` are fit to be sent back.
    """

    def __init__(self, message: str, hint: str = "", kind: str = "composition") -> None:
        super().__init__(message)
        self.message, self.hint, self.kind = message, hint, kind


def _group_or_names(value: Any) -> Any:
    if isinstance(value, str):
        if value not in GROUPS:
            raise ValueError(
                f"{value!r} is no group ({', '.join(GROUPS)}); names of terms stand in a list: [{value}]"
            )
    elif (
        not isinstance(value, (list, tuple))
        or not value
        or not all(isinstance(v, str) for v in value)
    ):
        raise ValueError(f"a group ({', '.join(GROUPS)}), or a list of names of terms")
    elif len(set(value)) < len(value):
        raise ValueError("a name stands twice in the list")
    return value


Over = Annotated[Group | tuple[str, ...], BeforeValidator(_group_or_names)]


@dataclass(frozen=True)
class Columns:
    """Which columns there are, in order: the program's terms, its potentials, and those that
    transforms added. `gone`: used up by an earlier transform.
    """

    terms: tuple[str, ...]
    potentials: tuple[str, ...] = ()
    sparse: frozenset[str] = frozenset()
    added: tuple[str, ...] = ()
    gone: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.terms, *self.potentials, *self.added)

    def group(self, group: str) -> tuple[str, ...]:
        """The names of a group that are still there.

        Potentials, once shaped, and what was added count as dense nowhere but in `all`.
        """
        found = {
            "all": self.names,
            "terms": self.terms,
            "dense": tuple(n for n in self.terms if n not in self.sparse),
            "sparse": tuple(n for n in self.terms if n in self.sparse),
            "potentials": self.potentials,
        }[group]
        return tuple(n for n in found if n not in self.gone)

    def pick(self, over: str | Sequence[str], who: str) -> Array:
        """Places of the columns that a transform is over.

        UnsuitableComposition where there is no such column, or it was used up.
        """
        names = self.group(over) if isinstance(over, str) else tuple(over)
        self.require(names, who)
        if not names:
            hint = (
                "write potential(state), which returns them by name"
                if over == "potentials"
                else "declare SPARSE = (...)"
                if over == "sparse"
                else "another `over`"
            )
            raise UnsuitableComposition(
                f"{who} is over the program's {over}, and there are none; it has {', '.join(self.names)}",
                hint,
            )
        return np.array([self.names.index(n) for n in names], int)

    def require(self, names: Sequence[str], who: str) -> None:
        """UnsuitableComposition where one of the names is no column, or was used up."""
        for name in names:
            if name in self.gone:
                raise UnsuitableComposition(
                    f"{who} is over {name!r}, which a transform before it has used up",
                    "name what is left, or put this transform first",
                )
            if name not in self.names:
                raise UnsuitableComposition(
                    f"{who} is over {name!r}, and the program has no such term; it has {', '.join(self.names)}",
                    "give the term that name, or name another one in the composition",
                )

    def scores(self, names: Sequence[str], who: str) -> Array:
        """Places among the potentials, of those of the names that are some.

        UnsuitableComposition where one is none.
        """
        self.require(names, who)
        for name in names:
            if name not in self.potentials:
                raise UnsuitableComposition(
                    f"{who} needs {name!r} at both ends of a step, and it is a term of reward(), known after it only",
                    "move it to potential(state)",
                )
        return np.array([self.potentials.index(n) for n in names], int)


@dataclass
class Step:
    """One step of n environments.

    `values` (n, c) is what transforms change; `shaped` (n, c) is what it was once all shaping was
    done.

    terms, before, after: as the program answered, (n, k), (n, p), (n, p). first: an episode begins
    with this step; done: it ends with it, terminated: by success or failure and not by time.
    success (n,) counts where done; task (n,) is the task reward.
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


def shape_potentials(before: Array, after: Array, terminated: Array, gamma: float) -> Array:
    """Return the shaping reward gamma * phi(s') * (1 - terminated) - phi(s), float64.

    `before` and `after` are potentials (..., n, p) at both ends of a step; `terminated` (..., n),
    bool or 0 and 1, is true if the episode ends with the step and not by a time limit. `gamma`
    must be the learner's own.

    Source: Ng, Harada, Russell 1999, "Policy invariance under reward transformations", theorem 1;
    the potential of a terminal state counts as 0.
    """
    return gamma * after * (1.0 - terminated[..., None]) - before


@dataclass
class Bound:
    """Where a transform finds its columns, by purpose; the columns after it are `columns`."""

    at: dict[str, Array]
    columns: Columns


class Transform(BaseModel, ABC):
    """Base of every transform.

    The docstring of each holds its equation (the indented lines), `Paper:` and `Use:`, which
    docs/composition.md shows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # the order that a list must keep, and the properties of the table in docs/composition.md
    place: ClassVar[int]
    # the optimal policy stays what it is without the transformed terms
    keeps_optimal: ClassVar[bool] = False
    # the sum over an episode, whatever the agent repeats
    bounded: ClassVar[Bounded] = "as its terms"
    state: ClassVar[Span] = "none"
    # a step's own reward is known only one step later, and paid then
    needs_future: ClassVar[bool] = False
    # a reward stored with its transition stays right
    off_policy: ClassVar[bool] = True

    kind: str

    @abstractmethod
    def bind(self, columns: Columns) -> Bound:
        """Find the columns. UnsuitableComposition where the program has none of that name."""

    def rows(self, bound: Bound) -> Rows:
        """What is remembered of an episode: one row's initial values by name."""
        return {}

    def kept(self, bound: Bound) -> Kept:
        """What is remembered over episodes: initial values by name."""
        return {}

    @abstractmethod
    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        """Change `step.values`, and what is remembered."""

    def update(self, bound: Bound, kept: Kept) -> None:
        """A rollout of the learner has ended."""

    def notes(self, bound: Bound, kept: Kept) -> list[str]:
        """What a person should know at the end of a training."""
        return []

    @classmethod
    def words(cls) -> dict[str, str]:
        """title, equation, paper, use: the parts of the docstring."""
        text = inspect.cleandoc(cls.__doc__ or "")
        title, *rest = text.split("\n\n")
        found = {"title": " ".join(title.split())}
        for part in rest:
            if part.startswith(" "):
                found["equation"] = "; ".join(line.strip() for line in part.splitlines())
            for word in ("Paper", "Use"):
                if part.startswith(f"{word}: "):
                    found[word.lower()] = " ".join(part.removeprefix(f"{word}: ").split())
        return found


def latest(ring: Array, count: Array) -> Array:
    """The filled part of a ring buffer of `len(ring)` episodes, of which `count` have been pushed."""
    return ring[: min(len(ring), int(count))]


def push(ring: Array, count: Array, values: Array) -> None:
    """Push the rows of `values`, one an episode, in order."""
    for value in values:
        ring[int(count) % len(ring)] = value
        count += 1
