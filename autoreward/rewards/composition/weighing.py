"""After shaping: one scale for all terms (normalize), then what each is worth (weights,
difficulty).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from autoreward.rewards.composition.transform import (
    Arrays,
    Bound,
    Columns,
    Number,
    Over,
    OverColumns,
    Positive,
    Step,
    Transform,
    latest,
    observe,
    push,
)
from autoreward.state import Array


class Normalize(OverColumns):
    """Each term is divided by the running deviation of its own discounted return.

        r = x / max(std(R), floor), R <- gamma * R + x within an episode; no mean is subtracted

    Paper: as VecNormalize of stable-baselines3, but for each term by itself

    Use: terms of unknown scale; the task reward keeps its own scale

    The divisor is 1 during the first rollout. It changes between rollouts, and is frozen after
    `rollouts` of them.
    """

    place = 2
    bounded = "no"
    state = "across episodes"
    off_policy = False
    kind: Literal["normalize"] = "normalize"
    over: Over = "all"
    floor: Positive = 1e-3
    rollouts: int = Field(10, ge=1, le=1_000_000)

    def initial_row(self, bound: Bound) -> Arrays:
        return {"returns": np.zeros(len(bound.over))}

    def initial_learned(self, bound: Bound) -> Arrays:
        m = len(bound.over)
        return {
            "divisor": np.ones(m),
            "mean": np.zeros(m),
            "squares": np.zeros(m),
            "count": np.zeros(()),
            "rollouts": np.zeros(()),
        }

    def apply(self, step: Step, bound: Bound) -> None:
        values = step.take(bound.over)
        if bound.learned["rollouts"] < self.rollouts:
            returns = step.gamma * bound.memory["returns"] + values
            observe(returns, bound.learned)
            bound.memory["returns"] = returns
        step.put(bound.over, values / bound.learned["divisor"])

    def update(self, bound: Bound) -> None:
        learned = bound.learned
        if learned["rollouts"] >= self.rollouts:
            return
        learned["rollouts"] = learned["rollouts"] + 1
        count = max(float(learned["count"]), 1.0)
        deviation = np.sqrt(learned["squares"] / count)
        learned["divisor"] = np.maximum(deviation, self.floor)

    def notes(self, bound: Bound) -> list[str]:
        names = [bound.columns.names[k] for k in bound.over]
        scales = zip(names, bound.learned["divisor"], strict=True)
        listed = [f"{name} {divisor:.3g}" for name, divisor in scales]
        return ["normalize: raw scales (deviation of the discounted return): " + ", ".join(listed)]


class Weights(Transform):
    """Each term is multiplied by its weight: by name, else by group, else 1.

        r = sum_i w_i * x_i

    Paper: the plain weighted sum; recorded programs carry terms from .0005 to .3, which signs would
    flatten

    Use: the default, with all weights 1; a weight of 0 switches a term off
    """

    place = 3
    scales = True
    kind: Literal["weights"] = "weights"
    weights: dict[str, Number] = {}
    dense: Number = 1.0
    sparse: Number = 1.0
    potentials: Number = 1.0

    def bind(self, columns: Columns) -> Bound:
        columns.require(tuple(self.weights), self.kind)
        return Bound(columns, places={"weights": self.of(columns)})

    def of(self, columns: Columns) -> np.ndarray:
        """Return the weights (c,) of all columns; an added column counts as a potential."""
        by_name = dict.fromkeys(columns.terms, self.dense)
        by_name |= dict.fromkeys(columns.group("sparse"), self.sparse)
        by_name |= dict.fromkeys((*columns.potentials, *columns.added), self.potentials)
        by_name |= self.weights
        weights = [by_name[name] for name in columns.names]
        return np.array(weights, np.float64)

    def apply(self, step: Step, bound: Bound) -> None:
        step.values = step.values * bound.places["weights"]


class Difficulty(OverColumns):
    """Subgoals pay once per episode, and those that are rarely passed pay the most.

        r_j = budget * w_j at the first x_j > 0 of an episode
        w_j = (1 - rho_j) / sum(1 - rho), rho_j = pass rate

    Paper: VeRPO, arXiv 2601.03525 (we have not seen its weight formula: this one is ours)

    Use: many easy subgoals beside a few hard ones; all that they pay together stays below half of
    the success bonus

    rho is taken over the last `window` finished episodes, and weights change between rollouts. A
    subgoal that was never passed in a whole window, while a later one was, is dropped and noted.
    """

    place = 4
    bounded = "yes"
    state = "across episodes"
    off_policy = False
    kind: Literal["difficulty"] = "difficulty"
    budget: Positive = 0.5
    window: int = Field(200, ge=1, le=10_000)

    def initial_row(self, bound: Bound) -> Arrays:
        return {"passed": np.zeros(len(bound.over))}

    def initial_learned(self, bound: Bound) -> Arrays:
        m = len(bound.over)
        return {
            "weights": np.full(m, 1.0 / m),
            "ring": np.zeros((self.window, m)),
            "count": np.zeros(()),
            "dropped": np.zeros(m),
        }

    def apply(self, step: Step, bound: Bound) -> None:
        memory, learned = bound.memory, bound.learned
        positive = step.take(bound.over) > 0
        passed = np.maximum(memory["passed"], positive)
        newly_passed = passed - memory["passed"]
        memory["passed"] = passed
        worth = self.budget * learned["weights"]
        step.put(bound.over, worth * newly_passed)
        if step.done.any():
            push(learned["ring"], learned["count"], passed[step.done])

    def update(self, bound: Bound) -> None:
        learned = bound.learned
        if learned["count"] == 0:
            return
        rates = latest(learned["ring"], learned["count"]).mean(0)
        if learned["count"] >= self.window:
            never = rates == 0
            skipped = never & (_later_rates(rates) > 0)
            dropped = np.maximum(learned["dropped"], skipped)
            # a dropped subgoal comes back once it is passed
            learned["dropped"] = dropped * never
        learned["weights"] = difficulty(rates, learned["dropped"])

    def notes(self, bound: Bound) -> list[str]:
        notes = []
        for k, dropped in zip(bound.over, bound.learned["dropped"], strict=True):
            if dropped:
                notes.append(
                    f"difficulty: {bound.columns.names[k]!r} was never passed although a later "
                    "subgoal was, so it was dropped"
                )
        return notes


def _later_rates(rates: Array) -> Array:
    """Return, for each subgoal, the highest pass rate of those after it; 0 for the last."""
    from_the_end = np.maximum.accumulate(rates[::-1])
    from_here_on = from_the_end[::-1]
    return np.append(from_here_on[1:], 0.0)


def difficulty(rates: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """Return weights (m,) that sum to 1 from pass rates (m,).

    They are uniform if every subgoal is always passed, and 0 for those that are `dropped` (m,).
    """
    hard = (1.0 - rates) * (1.0 - dropped)
    if hard.sum() <= 0:
        hard = 1.0 - dropped
    if not hard.any():
        hard = np.ones(len(rates))
    return np.asarray(hard / hard.sum())
