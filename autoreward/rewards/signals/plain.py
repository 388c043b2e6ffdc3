"""The program's own terms and potentials, as they are."""

from __future__ import annotations

from autoreward.rewards.composition import Columns
from autoreward.rewards.signals.signal import Signal, StepBatch
from autoreward.state import Array


class Plain(Signal):
    """`reward(prev, action, curr, memory)` and `potential(state)`: their terms are the terms."""

    @classmethod
    def columns(
        cls, terms: tuple[str, ...], potentials: tuple[str, ...], sparse: frozenset[str]
    ) -> Columns:
        return Columns(terms, potentials, sparse)

    def step(
        self, terms: Array, before: Array, after: Array, batch: StepBatch
    ) -> tuple[Array, Array, Array]:
        return terms, before, after

    def replay(
        self, terms: Array, before: Array, after: Array, batch: StepBatch
    ) -> tuple[Array, Array, Array]:
        return terms, before, after
