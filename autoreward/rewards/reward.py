"""The reward of a program: answers -> signal -> terms -> composition -> reward.

Training, hindsight and the analyzer compute rewards here, so a recorded step has the same reward
wherever it is computed, bit for bit. Exported files and `Study` compose weighted sums only
(`tasks/runtime.py`).
"""

from __future__ import annotations

import numpy as np

from autoreward.rewards.composition import Composer, Composition, UnsuitableComposition
from autoreward.rewards.signals import Signal, SignalContext, StepBatch
from autoreward.sandbox.outside.worker import ProgramRejected
from autoreward.state import Array
from autoreward.store.records import Verdict


def sparse_reward(composition: Composition, task: Array) -> Array:
    """Return the reward without a program: the task reward (n,), at the composition's weight."""
    return composition.task_reward * task


def refusal(error: UnsuitableComposition) -> ProgramRejected:
    """Return the rejection of a program whose composition does not fit it in training."""
    verdict = Verdict(kind=error.kind, stage="training", message=error.message, hint=error.hint)
    return ProgramRejected(verdict)


class ProgramReward:
    """Computes rewards from a program's answers, for one stream of steps of the same n rows.

    `context` must hold the names that the program gave its terms. The signal and the composer keep
    what they learn; it takes effect in `update` only.

    Raises ProgramRejected, here and in every method, if the composition does not fit the program.
    """

    def __init__(
        self, signal_class: type[Signal], composition: Composition, context: SignalContext
    ) -> None:
        self.composition = composition
        try:
            self.signal = signal_class(context)
            self.columns = signal_class.columns(context.terms, context.potentials, context.sparse)
            self.composer = Composer(composition, self.columns, context.card.training.gamma)
        except UnsuitableComposition as error:
            raise refusal(error) from None
        self._weights: Array | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the shaped terms, in the order of their columns."""
        return self.composer.names

    @property
    def needs_future(self) -> bool:
        """Whether a part of each reward is known one step later (`late`)."""
        return self.composer.needs_future

    @property
    def late(self) -> Array | None:
        """What the last `step` adds to the reward (n,) of the step before; None if nothing can."""
        return self.composer.late

    def step(
        self, terms: Array, before: Array, after: Array, batch: StepBatch
    ) -> tuple[Array, Array]:
        """Return (reward (n,), shaped terms (n, c)) of one step.

        terms (n, k), before and after (n, p): what the program answered.
        """
        try:
            terms, before, after = self.signal.step(terms, before, after, batch)
            return self.composer.step(
                terms,
                before,
                after,
                self._task(batch),
                batch.first,
                batch.terminated,
                batch.done,
                batch.success,
            )
        except UnsuitableComposition as error:
            raise refusal(error) from None

    def replay(
        self, terms: Array, before: Array, after: Array, batch: StepBatch
    ) -> tuple[Array, Array]:
        """Return (rewards (T, n), shaped terms (T, n, c)) of T recorded steps, as `step` would."""
        try:
            terms, before, after = self.signal.replay(terms, before, after, batch)
            return self.composer.replay(
                terms,
                before,
                after,
                self._task(batch),
                batch.first,
                batch.terminated,
                batch.done,
                batch.success,
            )
        except UnsuitableComposition as error:
            raise refusal(error) from None

    def recompute(self, inputs: Array, returns: Array) -> Array:
        """Return the rewards (B,) of B stored transitions, as the signal sees them now.

        inputs (B, m): what the signal gave as `stored_inputs` at these steps. returns (B,): the
        returns of their episodes, NaN while an episode is still running. See `Signal.recompute`.
        """
        if self._weights is None:
            self._weights = self._term_weights()
        return self.signal.recompute(inputs, returns) @ self._weights

    def require_recomputable(self) -> None:
        """Raise ProgramRejected unless the composition can be computed for single transitions."""
        self._weights = self._term_weights()

    def update(self) -> None:
        """Apply what the signal and the composition have learned, between two rollouts."""
        self.signal.update()
        self.composer.update()

    def _task(self, batch: StepBatch) -> Array:
        if self.signal.replaces_task:
            return np.zeros_like(batch.task)
        return batch.task

    def _term_weights(self) -> Array:
        weights = self.composition.weights_by_name()
        if weights is None:
            kinds = ", ".join(t.kind for t in self.composition.transforms)
            raise refusal(
                UnsuitableComposition(
                    f"the composition {kinds} cannot be computed for single transitions, and this"
                    " learner samples them from a replay buffer",
                    "use weights only, or a card that trains with PPO",
                )
            )
        return np.array([weights.get(name, 1.0) for name in self.columns.terms])
