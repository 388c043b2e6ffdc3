"""A composition at work on one program: step by step in training, whole trajectories in replay,
the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autoreward.rewards.composition.sequence import SHAPING, Composition
from autoreward.rewards.composition.transform import (
    Columns,
    Step,
    UnsuitableComposition,
    shape_potentials,
)
from autoreward.state import Array


class Composer:
    """From terms and potentials to the reward.

    One stream of steps of the same n rows; UnsuitableComposition where the program does not fit the composition.
    """

    def __init__(self, composition: Composition, columns: Columns, gamma: float) -> None:
        self.composition, self.gamma, self.given = composition, gamma, columns
        self.bound = composition.bind(columns)
        self.columns = self.bound[-1][1].columns if self.bound else columns
        # of what `step` gives beside the reward
        self.names = self.columns.names
        self.added = len(self.names) - len(columns.names)
        self.kept = [t.kept(b) for t, b in self.bound]
        self.initial = [t.rows(b) for t, b in self.bound]
        self.rows: list[dict[str, Array]] = [{} for _ in self.bound]

    def step(
        self,
        terms: Array,
        before: Array,
        after: Array,
        task: Array,
        first: Array,
        terminated: Array,
        done: Array,
        success: Array,
    ) -> tuple[Array, Array]:
        """(reward (n,), columns (n, c)): the scalar, and every column once it is shaped, before
        anything weighs it; in the order of `names`.

        terms (n, k); before, after (n, p): potentials at both ends of the step; the rest (n,): see
        `transform.Step`.
        """
        ended = terminated.astype(np.float64)
        values = np.concatenate([terms, shape_potentials(before, after, ended, self.gamma)], -1)
        if not self.bound:
            return self.composition.task_reward * task + values.sum(-1), values
        if self.added:
            values = np.concatenate([values, np.zeros((len(values), self.added))], -1)
        self._begin(len(values), first)
        step = Step(
            terms, before, after, task, first, ended, done, success, self.gamma, values, values
        )
        shaped = False
        for (transform, bound), rows, kept in zip(self.bound, self.rows, self.kept, strict=True):
            if not shaped and transform.place > SHAPING:
                step.shaped, shaped = step.values.copy(), True
            transform.apply(step, bound, rows, kept)
        if not shaped:
            step.shaped = step.values
        reward = self.composition.task_reward * task + step.values.sum(-1)
        if not (np.abs(reward) < np.finfo(np.float32).max).all():
            raise UnsuitableComposition(
                "the composed reward is not finite, or too large for 32 bits",
                "smaller terms, or smaller weights",
                "not-finite",
            )
        return reward, step.shaped

    def _begin(self, n: int, first: Array) -> None:
        """Rows of as many environments; those that begin an episode at their initial values."""
        for k, initial in enumerate(self.initial):
            if initial and len(next(iter(self.rows[k].values()), ())) != n:
                self.rows[k] = {
                    name: np.broadcast_to(value, (n, *value.shape)).copy()
                    for name, value in initial.items()
                }
            elif initial and first.any():
                for name, value in initial.items():
                    array = self.rows[k][name].copy()
                    array[first] = value
                    self.rows[k][name] = array

    def update(self) -> None:
        """A rollout of the learner has ended: weights, switches, divisors and multipliers change
        now, and at no other time.
        """
        for (transform, bound), kept in zip(self.bound, self.kept, strict=True):
            transform.update(bound, kept)

    def replay(
        self,
        terms: Array,
        before: Array,
        after: Array,
        task: Array,
        first: Array,
        terminated: Array,
        done: Array,
        success: Array,
        ends: Array | None = None,
    ) -> tuple[Array, Array]:
        """(rewards (T, n), columns (T, n, c)) of T steps of n rows.

        `ends` (T,): a rollout ended after that step; None: none did.
        """
        rewards, columns = [], []
        for t in range(len(terms)):
            reward, shaped = self.step(
                terms[t], before[t], after[t], task[t], first[t], terminated[t], done[t], success[t]
            )
            rewards.append(reward)
            columns.append(shaped)
            if ends is not None and ends[t]:
                self.update()
        n = first.shape[1]
        return np.stack(rewards) if rewards else np.zeros((0, n)), np.stack(
            columns
        ) if columns else np.zeros((0, n, len(self.names)))

    def notes(self) -> list[str]:
        """What a person should know at the end of a training: raw scales, multipliers, what was
        dropped or not reached.
        """
        return [
            note
            for (t, b), kept in zip(self.bound, self.kept, strict=True)
            for note in t.notes(b, kept)
        ]

    def state(self) -> list[dict[str, Any]]:
        """All that is remembered, as plain data for JSON: numbers come back bit for bit."""
        return [
            {
                "kind": t.kind,
                "rows": {k: v.tolist() for k, v in rows.items()},
                "kept": {k: np.asarray(v).tolist() for k, v in kept.items()},
            }
            for (t, _), rows, kept in zip(self.bound, self.rows, self.kept, strict=True)
        ]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Put back what `state` gave. UnsuitableComposition where it is of another composition."""
        if [s.get("kind") for s in state] != [t.kind for t, _ in self.bound]:
            raise UnsuitableComposition(
                "the saved state belongs to another composition",
                "use the composition that it was saved with",
            )
        for k, saved in enumerate(state):
            kept = {name: np.array(v, np.float64) for name, v in saved.get("kept", {}).items()}
            rows = {name: np.array(v, np.float64) for name, v in saved.get("rows", {}).items()}
            wrong = {n: v.shape for n, v in kept.items()} != {
                n: np.shape(v) for n, v in self.kept[k].items()
            }
            wrong = wrong or (
                bool(rows)
                and {n: v.shape[1:] for n, v in rows.items()}
                != {n: v.shape for n, v in self.initial[k].items()}
            )
            if wrong or not all(np.isfinite(v).all() for v in (*kept.values(), *rows.values())):
                raise UnsuitableComposition(
                    f"the saved state of {saved['kind']} has another shape, or numbers that are none",
                    "was the program changed?",
                )
            self.kept[k], self.rows[k] = kept, rows
