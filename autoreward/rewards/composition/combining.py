"""Last in a list: several terms become one number, in the column of the first of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from autoreward.rewards.composition.transform import (
    Arrays,
    Bound,
    Columns,
    Number,
    OverColumns,
    Positive,
    Step,
    Transform,
    UnsuitableComposition,
    observe,
)
from autoreward.state import Array

# A member that does not vary must not blow up.
MIN_SCALE = 1e-3


class Ensemble(OverColumns):
    """Several terms that measure the same thing, combined conservatively on a common scale.

        z_i = (x_i - m_i) / d_i; mean: mean(z); worst: min(z); careful: mean(z) - caution * var(z)
        r = mean of the m_i + mean of the d_i * z; var is the population's

    Paper: Reward Model Ensembles Help Mitigate Overoptimization, arXiv 2310.02743 (mean, WCO, UWO)

    Use: two or three measures of one kind of progress; only dense terms, as a minimum of bonuses
    is almost always 0

    m_i and d_i are the mean and deviation of a member over the first rollouts, and frozen after
    `rollouts` of them. Without them a member with a low offset would be the minimum nearly
    everywhere. Their common mean is added back, so that staying alive is worth what it was. In the
    first rollout, which has no scale yet, the plain mean is paid.
    """

    place = 6
    state = "across episodes"
    off_policy = False
    kind: Literal["ensemble"] = "ensemble"
    how: Literal["mean", "worst", "careful"] = "careful"
    caution: Positive = 0.1
    rollouts: int = Field(10, ge=1, le=1_000_000)

    def bind(self, columns: Columns) -> Bound:
        bound = super().bind(columns)
        names = [columns.names[k] for k in bound.over]
        sparse = [name for name in names if name in columns.sparse]
        if sparse and self.how == "worst":
            raise UnsuitableComposition(
                f"ensemble: {sparse[0]!r} is declared sparse, so the worst case over it is almost "
                "always 0",
                "use only dense terms, or how: mean",
            )
        bound.columns = columns.without(names[1:])
        return bound

    def initial_learned(self, bound: Bound) -> Arrays:
        m = len(bound.over)
        return {
            "count": np.zeros(()),
            "mean": np.zeros(m),
            "squares": np.zeros(m),
            "rollouts": np.zeros(()),
            "offset": np.zeros(m),
            "scale": np.ones(m),
        }

    def apply(self, step: Step, bound: Bound) -> None:
        learned = bound.learned
        members = step.take(bound.over)
        if learned["rollouts"] < self.rollouts:
            observe(members, learned)
        if learned["rollouts"] == 0:
            combined = members.mean(-1)
        else:
            scaled = (members - learned["offset"]) / learned["scale"]
            common = learned["scale"].mean() * self.combined(scaled)
            combined = learned["offset"].mean() + common
        step.put(bound.over, 0.0)
        step.values[:, bound.over[0]] = combined

    def update(self, bound: Bound) -> None:
        learned = bound.learned
        if learned["rollouts"] >= self.rollouts:
            return
        learned["rollouts"] = learned["rollouts"] + 1
        variance = learned["squares"] / max(float(learned["count"]), 1.0)
        learned["offset"] = learned["mean"].copy()
        learned["scale"] = np.maximum(np.sqrt(variance), MIN_SCALE)

    def combined(self, x: Array) -> Array:
        """Combine the members (n, m), on one scale, to one number for each row, (n,)."""
        if self.how == "worst":
            return np.asarray(x.min(-1))
        mean = x.mean(-1)
        if self.how == "mean":
            return np.asarray(mean)
        variance = x.var(-1)
        return np.asarray(mean - self.caution * variance)


class Signs(Transform):
    """The sign of what events pay together, plus a tenth of the sign of everything else.

        r = sparse * sgn(sum of sparse terms) + dense * sgn(sum of all others)
        sgn(x) = 0 for |x| < dead

    Paper: Auto MC-Reward, arXiv 2312.09238, reward composition

    Use: as in that paper, if a model's magnitudes cannot be trusted; with best-so-far gains, since
    a sign is not a potential: creeping forward and jumping back would pay forever

    A step pays at most `sparse` + `dense`, whatever magnitudes the program returns.
    """

    place = 7
    bounded = "no"
    kind: Literal["signs"] = "signs"
    sparse: Number = 1.0
    dense: Number = 0.1
    dead: Positive = 1e-6

    def bind(self, columns: Columns) -> Bound:
        sparse = columns.group("sparse")
        others = [name for name in columns.group("all") if name not in sparse]
        bound = Bound(columns.without(columns.names))
        bound.places["sparse"] = columns.positions(sparse)
        bound.places["dense"] = columns.positions(others)
        return bound

    def apply(self, step: Step, bound: Bound) -> None:
        events = step.take(bound.places["sparse"])
        others = step.take(bound.places["dense"])
        sparse = self.sign_of_sum(events)
        dense = self.sign_of_sum(others)
        step.values[:] = 0.0
        step.values[:, 0] = self.sparse * sparse + self.dense * dense

    def sign_of_sum(self, values: Array) -> Array:
        """Return the sign (n,) of the sum of columns (n, m), 0 within the dead zone."""
        total = values.sum(-1)
        dead = np.abs(total) < self.dead
        return np.where(dead, 0.0, np.sign(total))
