"""After shaping: one scale for all terms (normalize), then what each is worth (weights,
difficulty).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from autoreward.rewards.composition.transform import (
    Bound,
    Bounded,
    Columns,
    Kept,
    Number,
    Over,
    Positive,
    Rows,
    Span,
    Step,
    Transform,
    latest,
    push,
)


class Normalize(Transform):
    """Each term divided by the running deviation of its own discounted return; no mean is
    subtracted.

        r = x / max(std(R), floor), R <- gamma * R + x within an episode

    Paper: as stable-baselines3's VecNormalize, per term; DLER, arXiv 2510.15110, for batch-wise
    rather than group-wise deviations

    Use: terms whose scales nobody knows; the task reward keeps its own scale

    1 during the first rollout; then changed between rollouts, and frozen after `rollouts` of them.
    """

    place: ClassVar[int] = 2
    bounded: ClassVar[Bounded] = "no"
    state: ClassVar[Span] = "across episodes"
    off_policy: ClassVar[bool] = False
    kind: Literal["normalize"] = "normalize"
    over: Over = "all"
    floor: Positive = 1e-3
    rollouts: int = Field(10, ge=1, le=1_000_000)

    def bind(self, columns: Columns) -> Bound:
        return Bound({"columns": columns.pick(self.over, self.kind)}, columns)

    def rows(self, bound: Bound) -> Rows:
        return {"returns": np.zeros(len(bound.at["columns"]))}

    def kept(self, bound: Bound) -> Kept:
        m = len(bound.at["columns"])
        return {
            "divisor": np.ones(m),
            "mean": np.zeros(m),
            "squares": np.zeros(m),
            "count": np.zeros(()),
            "rollouts": np.zeros(()),
        }

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        at = bound.at["columns"]
        values = step.values[:, at]
        # Chan's parallel mean and sum of squares, a batch of n rows at a time
        if kept["rollouts"] < self.rollouts:
            rows["returns"] = step.gamma * rows["returns"] + values
            n, mean = len(values), rows["returns"].mean(0)
            total = kept["count"] + n
            gap = mean - kept["mean"]
            kept["squares"] = (
                kept["squares"]
                + np.square(rows["returns"] - mean).sum(0)
                + np.square(gap) * kept["count"] * n / total
            )
            kept["mean"], kept["count"] = kept["mean"] + gap * n / total, total
        step.values[:, at] = values / kept["divisor"]

    def update(self, bound: Bound, kept: Kept) -> None:
        if kept["rollouts"] < self.rollouts:
            kept["rollouts"] = kept["rollouts"] + 1
            kept["divisor"] = np.maximum(
                np.sqrt(kept["squares"] / max(float(kept["count"]), 1.0)), self.floor
            )

    def notes(self, bound: Bound, kept: Kept) -> list[str]:
        names = [bound.columns.names[k] for k in bound.at["columns"]]
        told = ", ".join(f"{n} {d:.3g}" for n, d in zip(names, kept["divisor"], strict=True))
        return [f"normalize: raw scales (deviation of the discounted return): {told}"]


class Weights(Transform):
    """Each term times its weight: by name, else by group, else 1.

        r = sum_i w_i * x_i

    Paper: the plain weighted sum; recorded programs carry terms from .0005 to .3, which signs would
    flatten

    Use: the default, with all weights 1; a weight of 0 switches a term off
    """

    place: ClassVar[int] = 3
    kind: Literal["weights"] = "weights"
    weights: dict[str, Number] = {}
    dense: Number = 1.0
    sparse: Number = 1.0
    potentials: Number = 1.0

    def bind(self, columns: Columns) -> Bound:
        columns.require(tuple(self.weights), self.kind)
        return Bound(
            {"columns": np.arange(len(columns.names)), "weights": self.of(columns)}, columns
        )

    def of(self, columns: Columns) -> np.ndarray:
        """(c,) weights of all columns; what milestones added counts as a potential."""
        groups = (
            {n: self.dense for n in columns.terms}
            | {n: self.sparse for n in columns.group("sparse")}
            | {n: self.potentials for n in (*columns.potentials, *columns.added)}
        )
        return np.array(
            [self.weights.get(name, groups[name]) for name in columns.names], np.float64
        )

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        step.values = step.values * bound.at["weights"]


class Difficulty(Transform):
    """Subgoals pay once an episode, the rarely passed ones most.

        r_j = budget * w_j at the first x_j > 0 of an episode, w_j = (1 - rho_j) / sum(1 - rho), rho_j = pass rate

    Paper: VeRPO, arXiv 2601.03525 (its weight formula was not read: this one is ours)

    Use: many easy subgoals beside a few hard ones; all that they pay together stays below half of
    the success bonus

    rho over the last `window` finished episodes, weights changed between rollouts. A subgoal that
    nobody passed in a whole window, while one after it was passed, is dropped and told.
    """

    place: ClassVar[int] = 4
    bounded: ClassVar[Bounded] = "yes"
    state: ClassVar[Span] = "across episodes"
    off_policy: ClassVar[bool] = False
    kind: Literal["difficulty"] = "difficulty"
    over: Over
    budget: Positive = 0.5
    window: int = Field(200, ge=1, le=10_000)

    def bind(self, columns: Columns) -> Bound:
        return Bound({"columns": columns.pick(self.over, self.kind)}, columns)

    def rows(self, bound: Bound) -> Rows:
        return {"passed": np.zeros(len(bound.at["columns"]))}

    def kept(self, bound: Bound) -> Kept:
        m = len(bound.at["columns"])
        return {
            "weights": np.full(m, 1.0 / m),
            "ring": np.zeros((self.window, m)),
            "count": np.zeros(()),
            "dropped": np.zeros(m),
        }

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        at = bound.at["columns"]
        now = np.maximum(rows["passed"], step.values[:, at] > 0)
        step.values[:, at] = self.budget * kept["weights"] * (now - rows["passed"])
        rows["passed"] = now
        if step.done.any():
            push(kept["ring"], kept["count"], now[step.done])

    def update(self, bound: Bound, kept: Kept) -> None:
        if kept["count"] == 0:
            return
        rho = latest(kept["ring"], kept["count"]).mean(0)
        if kept["count"] >= self.window:
            later = np.append(np.maximum.accumulate(rho[::-1])[::-1][1:], 0.0)
            kept["dropped"] = np.maximum(kept["dropped"], (rho == 0) & (later > 0)) * (rho == 0)
        kept["weights"] = difficulty(rho, kept["dropped"])

    def notes(self, bound: Bound, kept: Kept) -> list[str]:
        names = [
            bound.columns.names[k]
            for k, d in zip(bound.at["columns"], kept["dropped"], strict=True)
            if d
        ]
        return [
            f"difficulty: nobody ever passed {n!r}, though a later one was passed: it was dropped"
            for n in names
        ]


def difficulty(rho: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """(m,) weights that sum to 1, from pass rates (m,); uniform where everything is passed, 0
    where `dropped`.
    """
    hard = (1.0 - rho) * (1.0 - dropped)
    if hard.sum() <= 0:
        hard = 1.0 - dropped if (1.0 - dropped).any() else np.ones(len(rho))
    return np.asarray(hard / hard.sum())
