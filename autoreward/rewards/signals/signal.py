"""What a signal is: a class that states what it needs and gives, and an object that lives as long
as one training.

Every process may read the class. Only a trainer (or a replay of recorded steps) makes the object.
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
    """One step of n rows, without what the program answered.

    With a leading axis T in every array it holds T steps; `at` gives one of them.

    Attributes:
        prev, curr: (n, D), the fields that programs get, by the card's `reward_layout`.
        action: (n, *row), as the environment got it.
        first: (n,) of bool, an episode begins with this step.
        terminated: (n,) of bool, the episode ends by success or failure, not by time.
        done: (n,) of bool, the episode ends with this step, for whatever reason.
        success: (n,) of bool, meaningful where `done`.
        task: (n,), the task reward.
        dense: (n,), what the task reward would have been at this step if the card holds it back to
            the end of the episode; for measurements only, and known in training only.
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
        """Return step t of T steps (T, n, ...)."""
        parts = {}
        for attribute in fields(self):
            part = getattr(self, attribute.name)
            if part is not None:
                parts[attribute.name] = part[t]
        return StepBatch(**parts)


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
    """What a signal is built from, once the program has named its terms.

    Attributes:
        settings: the method's own settings, with defaults filled in.
        rows: how many environments run side by side.
        folder: where the training writes its files; None in a replay of recorded episodes.
        channel: to the annotator, if the job asks for one. The signal must call the channel's
            `update` in its own.
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
    """Turns a program's answers into terms, for one stream of steps of the same rows.

    What a signal learns takes effect in `update` only, between two rollouts of the learner.
    """

    entry: ClassVar[str] = "reward"
    """The function that a program for this signal defines: reward, factors or subgoals."""

    replaces_task: ClassVar[bool] = False
    """True if the agent gets the terms instead of the task reward, which they explain."""

    replayable: ClassVar[bool] = True
    """True if recorded episodes give the terms of training again, without anything learned."""

    learned: ClassVar[bool] = False
    """True if a stored transition's reward changes as the signal learns, so that replay buffers
    must recompute it on sampling. Such a signal must also set `replaces_task`."""

    def __init__(self, context: SignalContext) -> None:
        self.context = context
        # Only if `learned`: what the last step's reward can be recomputed from, (n, m), and the
        # (length, return) of the episodes that ended with that step, by row.
        self.stored_inputs: Array = np.zeros((context.rows, 0))
        self.finished_episodes: dict[int, tuple[int, float]] = {}

    @classmethod
    @abstractmethod
    def columns(
        cls, terms: tuple[str, ...], potentials: tuple[str, ...], sparse: frozenset[str]
    ) -> Columns:
        """Return the columns that a composition gets, given the names that a program uses."""

    @classmethod
    def require(cls, card: TaskCard, settings: Mapping[str, str]) -> None:
        """Raise UserError if the signal cannot serve this card's learner, or these settings."""
        return

    @classmethod
    def check_answers(
        cls, card: TaskCard, names: tuple[str, ...], values: Array, first: Array
    ) -> list[Verdict]:
        """Return what is wrong with a program's answers to recorded steps, for the check stage.

        values (T, n, k): one column for each of `names`. first (T, n): an episode begins there.
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
        """Measure how good the program's answers are, if the card knows the right ones.

        episodes: (fields (T + 1, D) by `layout`, answers (T, k)) of each.
        """
        return ()

    @abstractmethod
    def step(
        self, terms: Array, before: Array, after: Array, batch: StepBatch
    ) -> tuple[Array, Array, Array]:
        """Return (terms (n, k'), potentials before and after (n, p')) in the order of `columns`.

        terms (n, k), before and after (n, p): what the program answered.
        """

    def replay(
        self, terms: Array, before: Array, after: Array, batch: StepBatch
    ) -> tuple[Array, Array, Array]:
        """Return for T recorded steps (T, n, ...) of the same rows what `step` would have."""
        steps = [self.step(terms[t], before[t], after[t], batch.at(t)) for t in range(len(terms))]
        terms, before, after = (np.stack(part) for part in zip(*steps, strict=True))
        return terms, before, after

    @property
    def ready(self) -> bool:
        """Whether the terms mean anything yet.

        The learner skips its updates on rollouts that were scored while they did not.
        """
        return True

    def update(self) -> None:  # noqa: B027  most signals learn nothing
        """Apply what was learned: a rollout of the learner has ended. Nothing else applies it."""

    # -- learned signals, for a learner that keeps transitions and recomputes their rewards --------

    @property
    def needs_returns(self) -> bool:
        """Whether `recompute` needs the return of a transition's episode."""
        return False

    def recompute(self, inputs: Array, returns: Array) -> Array:
        """Return the terms (B, k') of B stored transitions, as the signal sees them now.

        inputs (B, m): `stored_inputs` when each step was taken. returns (B,): of their episodes,
        NaN while an episode is still running.
        """
        raise UserError(
            f"the signal {type(self).__name__} learns, but cannot recompute the rewards of stored"
            " transitions",
            "define recompute() in the signal's class, or use a card that trains with PPO",
            REFUSED,
        )

    def before_sampling(self) -> None:  # noqa: B027
        """Learn, if the signal wants to: the learner is about to sample a batch."""

    # -- at the end of a training ------------------------------------------------------------------

    def save(self, folder: Path) -> None:  # noqa: B027
        """Save what was learned, beside the policy's weights."""

    def notes(self) -> list[str]:
        """Return sentences that a person should read at the end of a training."""
        return []

    def evidence(self) -> dict[str, Any]:
        """Return the numbers behind the notes, as JSON data."""
        return {}
