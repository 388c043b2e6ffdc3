"""What a signal is: a class with a few facts about it that any process may read, and an object in
a trainer that lives as long as the training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from autoreward.errors import REFUSED, UserError
from autoreward.rewards.composition import Columns
from autoreward.state import Array, Layout
from autoreward.store.records import Measure, Verdict

if TYPE_CHECKING:
    from autoreward.tasks.card import TaskCard


@dataclass(frozen=True)
class StepBatch:
    """One step of n rows, beside what the program answered.

    prev, curr (n, D): fields that programs get, by the card's `reward_layout`.

    first: an episode begins with this step; done: it ends with it, terminated: by success or
    failure and not by time. success (n,) counts where done; task (n,) is the task reward. dense
    (n,): where the task reward is held back to the end, what it would have been at this step; for
    measuring alone, and known in training only.
    """

    prev: Array
    action: Array
    curr: Array
    first: Array
    terminated: Array
    done: Array
    success: Array
    task: Array
    dense: Array | None = None

    def at(self, t: int) -> StepBatch:
        """Step t of T steps (T, n, ...)."""
        return StepBatch(
            **{f.name: part[t] for f in fields(self) if (part := getattr(self, f.name)) is not None}
        )


class LabelChannel(Protocol):
    """What a signal needs of the annotator's channel (`annotation/channel.py`)."""

    def caption_numbers(self, prev: Array, action: Array, curr: Array) -> Array:
        """Numbers (n,) of the captions of n transitions."""
        ...

    def labels_of(self, numbers: Array) -> Array:
        """Labels (n, K) of bool of those captions; False until a label takes effect."""
        ...

    def update(self) -> None:
        """Take in the labels that have arrived. Called between two rollouts, never within one."""
        ...

    def notes(self) -> list[str]:
        """Sentences for the end of a training."""
        ...

    def evidence(self) -> dict[str, Any]:
        """The numbers behind the notes, for JSON."""
        ...


@dataclass(frozen=True)
class SignalContext:
    """What a signal is made with, once the program has named its terms.

    `settings`: the method's own, defaults filled in.

    `folder`: where the training leaves its files, None in a replay of recorded episodes. `rows`:
    environments side by side. `channel`: to the annotator, where the job asks for one; the signal
    calls `update` at its own.
    """

    card: TaskCard
    terms: tuple[str, ...]
    potentials: tuple[str, ...] = ()
    sparse: frozenset[str] = frozenset()
    settings: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    rows: int = 1
    folder: Path | None = None
    device: str = "cpu"
    channel: LabelChannel | None = None


class Signal(ABC):
    """From a program's answers to terms.

    One stream of steps of the same rows; what it learns takes effect in `update` alone.
    """

    # the function that a program of such a method defines: reward, factors or subgoals
    entry: ClassVar[str] = "reward"
    # the agent gets its terms in place of the task reward, which they explain
    replaces_task: ClassVar[bool] = False
    # recorded episodes give the terms of training again, without what was learned in it
    replays: ClassVar[bool] = True
    # terms of the same transition change between rollouts: an off-policy learner must ask again
    # when it samples; then with `replaces_task`
    learns: ClassVar[bool] = False

    def __init__(self, making: SignalContext) -> None:
        self.making = making
        # Where `learns`: (n, m) of the last step, from which its worth can be told later; and of
        # the rows that ended with it, length and return.
        self.latest: Array = np.zeros((making.rows, 0))
        self.ended: dict[int, tuple[int, float]] = {}

    @classmethod
    @abstractmethod
    def columns(
        cls, terms: tuple[str, ...], potentials: tuple[str, ...], sparse: frozenset[str]
    ) -> Columns:
        """What a composition finds, from what a program names."""

    @classmethod
    def require(cls, card: TaskCard, settings: Mapping[str, str]) -> None:
        """UserError where it cannot serve this card's learner, or these settings."""
        return

    @classmethod
    def judge(
        cls, card: TaskCard, names: tuple[str, ...], values: Array, first: Array
    ) -> list[Verdict]:
        """What is wrong with answers (T, n, k) to recorded steps, of which `first` (T, n) begin an
        episode; for check.
        """
        return []

    @classmethod
    def measure(
        cls,
        card: TaskCard,
        layout: Layout,
        names: tuple[str, ...],
        episodes: Sequence[tuple[Array, Array]],
    ) -> tuple[Measure, ...]:
        """How good the program's answers are, where the card can tell.

        episodes: (fields (T + 1, D) by `layout`, answers (T, k)).
        """
        return ()

    @abstractmethod
    def step(
        self, terms: Array, before: Array, after: Array, facts: StepBatch
    ) -> tuple[Array, Array, Array]:
        """(terms (n, k'), potentials before and after (n, p')) from the program's own; in the
        order of `columns`.
        """

    def replay(
        self, terms: Array, before: Array, after: Array, facts: StepBatch
    ) -> tuple[Array, Array, Array]:
        """T recorded steps (T, n, ...) of the same rows, as `step` would have given them."""
        steps = [self.step(terms[t], before[t], after[t], facts.at(t)) for t in range(len(terms))]
        return tuple(np.stack(part) for part in zip(*steps, strict=True))  # type: ignore[return-value]

    @property
    def knows(self) -> bool:
        """Whether its terms mean anything yet.

        A learner learns nothing from a rollout that was scored while they did not.
        """
        return True

    def update(self) -> None:  # noqa: B027  most learn nothing
        """A rollout of the learner has ended: what was learned takes effect now, and at no other
        time.
        """

    # -- where `learns`: for a learner that keeps transitions, and asks what they are worth when it draws them

    @property
    def needs_returns(self) -> bool:
        """Whether only transitions of finished episodes are worth something."""
        return False

    def worth(self, kept: Array, returns: Array) -> Array:
        """Terms (B, k') of B transitions as of now; kept (B, m): `latest` when they were made,
        returns (B,): of their episodes, NaN where they are not over.
        """
        raise UserError(
            f"the signal {type(self).__name__} learns, and does not say what stored transitions are worth",
            "worth() in the signal's class, or a card that trains with PPO",
            REFUSED,
        )

    def sampled(self) -> None:  # noqa: B027
        """A batch is about to be drawn: a moment to learn."""

    # -- what it knows at the end ------------------------------------------------------------------

    def save(self, folder: Path) -> None:  # noqa: B027
        """What was learned, beside the policy's weights."""

    def notes(self) -> list[str]:
        """What a person should know at the end of a training."""
        return []

    def evidence(self) -> dict[str, Any]:
        """Numbers behind the notes, for JSON."""
        return {}
