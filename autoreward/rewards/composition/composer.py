"""A composition at work on one program, with the same numbers step by step and in a replay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from autoreward.rewards.composition.sequence import SHAPING, Composition
from autoreward.rewards.composition.transform import (
    Arrays,
    Columns,
    Step,
    UnsuitableComposition,
)
from autoreward.state import Array
from autoreward.tasks.runtime import shape_potentials


class Composer:
    """Turns terms and potentials into the reward, for one stream of steps of the same n rows.

    `columns` are the program's, `gamma` is the learner's discount. Raises UnsuitableComposition if
    the program does not fit the composition.
    """

    def __init__(self, composition: Composition, columns: Columns, gamma: float) -> None:
        self.composition = composition
        self.gamma = gamma
        self.bound = composition.bind(columns)
        self.columns = columns
        if self.bound:
            _, last = self.bound[-1]
            self.columns = last.columns
        # the columns that `step` returns beside the reward
        self.names = self.columns.names
        self.added = len(self.names) - len(columns.names)
        self.initial = [transform.initial_row(b) for transform, b in self.bound]
        # Whether a part of each reward arrives one step late, and that part (n,) of the step before
        # the last one: to be added to that step's reward.
        self.needs_future = any(transform.needs_future for transform, _ in self.bound)
        self.late: Array | None = None
        for transform, bound in self.bound:
            bound.learned = transform.initial_learned(bound)

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
        """Return the reward (n,) and the shaped columns (n, c) in the order of `names`.

        The columns are taken after shaping, before anything weighs them, and include what is late.
        `terms` (n, k), `before` and `after` (n, p) are the program's answers; the rest is (n,), see
        `transform.Step`. `self.late` is then what has to be added to the reward of the step before.

        Raises UnsuitableComposition of kind "not-finite" if the reward does not fit in 32 bits.
        """
        terminated = terminated.astype(np.float64)
        shaping = shape_potentials(before, after, terminated, self.gamma)
        values = np.concatenate([terms, shaping], -1)
        if not self.bound:
            reward = self.composition.task_reward * task + values.sum(-1)
            return reward, values
        if self.added:
            new_columns = np.zeros((len(values), self.added))
            values = np.concatenate([values, new_columns], -1)
        self._begin(len(values), first)
        step = Step(
            terms=terms,
            before=before,
            after=after,
            task=task,
            first=first,
            terminated=terminated,
            done=done,
            success=success,
            gamma=self.gamma,
            values=values,
            shaped=values,
            late=np.zeros_like(values) if self.needs_future else None,
        )
        self._apply(step)
        self.late = None if step.late is None else step.late.sum(-1)
        reward = self.composition.task_reward * task + step.values.sum(-1)
        if not (np.abs(reward) < np.finfo(np.float32).max).all():
            raise UnsuitableComposition(
                "the composed reward is not finite, or too large for 32 bits",
                "use smaller terms or smaller weights",
                "not-finite",
            )
        return reward, step.shaped

    def _apply(self, step: Step) -> None:
        """Run the transforms in order, and keep the columns as they are once shaping is done."""
        shaping_done = False
        for transform, bound in self.bound:
            if not shaping_done and transform.place > SHAPING:
                step.shaped = self._shaped(step)
                shaping_done = True
            transform.apply(step, bound)
            if step.late is not None and transform.scales:
                late = replace(step, values=step.late)
                transform.apply(late, bound)
                step.late = late.values
        if not shaping_done:
            step.shaped = self._shaped(step)

    @staticmethod
    def _shaped(step: Step) -> Array:
        """A copy of the columns as they are now, with what is late."""
        if step.late is None:
            return step.values.copy()
        return step.values + step.late

    def _begin(self, n: int, first: Array) -> None:
        """Make memory for n rows, and reset the rows in which an episode starts."""
        for (_, bound), initial in zip(self.bound, self.initial, strict=True):
            for name, value in initial.items():
                rows = bound.memory.get(name)
                if rows is None or len(rows) != n:
                    rows = np.broadcast_to(value, (n, *value.shape)).copy()
                elif first.any():
                    # a copy: a transform may have stored an array of the step
                    rows = rows.copy()
                    rows[first] = value
                bound.memory[name] = rows

    def update(self) -> None:
        """Apply what was learned: call it when a rollout of the learner has ended.

        Weights, switches, divisors and multipliers change here, and nowhere else.
        """
        for transform, bound in self.bound:
            transform.update(bound)

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
        """Return the rewards (T, n) and shaped columns (T, n, c) of T steps of n rows.

        The arguments are those of `step` with a leading axis T. `ends` (T,) is true for steps after
        which a rollout ended; None if none did.
        """
        steps, n = first.shape
        rewards = np.zeros((steps, n))
        columns = np.zeros((steps, n, len(self.names)))
        parts = (terms, before, after, task, first, terminated, done, success)
        for t in range(steps):
            of_step = [part[t] for part in parts]
            rewards[t], columns[t] = self.step(*of_step)
            if self.late is not None and t > 0:
                rewards[t - 1] += self.late
            if ends is not None and ends[t]:
                self.update()
        return rewards, columns

    def notes(self) -> list[str]:
        """Return sentences for a person to read at the end of a training.

        They give raw scales and multipliers, and what was dropped or not reached.
        """
        notes = []
        for transform, bound in self.bound:
            notes += transform.notes(bound)
        return notes

    def state(self) -> list[dict[str, Any]]:
        """Return all that is remembered as plain data for JSON; numbers come back bit for bit."""
        state = []
        for transform, bound in self.bound:
            state.append(
                {
                    "kind": transform.kind,
                    "rows": _lists(bound.memory),
                    "kept": _lists(bound.learned),
                }
            )
        return state

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Put back what `state` returned.

        Raises UnsuitableComposition if it belongs to another composition or another program.
        """
        if [saved.get("kind") for saved in state] != [t.kind for t, _ in self.bound]:
            raise UnsuitableComposition(
                "the saved state belongs to another composition",
                "use the composition that it was saved with",
            )
        for saved, (_, bound), initial in zip(state, self.bound, self.initial, strict=True):
            learned = _arrays(saved.get("kept", {}))
            memory = _arrays(saved.get("rows", {}))
            fits = _shapes(learned) == _shapes(bound.learned)
            if memory:
                fits = fits and _row_shapes(memory) == _shapes(initial)
            numbers = (*learned.values(), *memory.values())
            finite = all(np.isfinite(array).all() for array in numbers)
            if not fits or not finite:
                raise UnsuitableComposition(
                    f"the saved state of {saved['kind']} has another shape or is not finite",
                    "use the program that it was saved with",
                )
            bound.learned = learned
            bound.memory = memory


def _lists(arrays: Arrays) -> dict[str, Any]:
    lists = {}
    for name, array in arrays.items():
        lists[name] = np.asarray(array).tolist()
    return lists


def _arrays(lists: dict[str, Any]) -> Arrays:
    arrays = {}
    for name, values in lists.items():
        arrays[name] = np.array(values, np.float64)
    return arrays


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: np.shape(array) for name, array in arrays.items()}


def _row_shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    """Return the shapes of one row each, without the leading axis."""
    return {name: shape[1:] for name, shape in _shapes(arrays).items()}
