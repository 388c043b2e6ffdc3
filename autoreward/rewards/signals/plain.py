"""The plain signal: the program's own terms and potentials, unchanged."""

from __future__ import annotations

from autoreward.rewards.composition import Columns
from autoreward.rewards.signals.signal import Signal, StepBatch
from autoreward.state import Array


class Plain(Signal):
    """The terms of `reward(prev, action, curr, memory)` and `potential(state)`, as they are."""

    @classmethod
    def columns(
        cls, terms: tuple[str, ...], potentials: tuple[str, ...], sparse: frozenset[str]
    ) -> Columns:
        """Return the names that the program uses."""
        return Columns(terms, potentials, sparse)

    def step(
        self, terms: Array, before: Array, after: Array, batch: StepBatch
    ) -> tuple[Array, Array, Array]:
        """Return the answers unchanged."""
        return terms, before, after

    def replay(
        self, terms: Array, before: Array, after: Array, batch: StepBatch
    ) -> tuple[Array, Array, Array]:
        """Return the answers unchanged."""
        return terms, before, after
