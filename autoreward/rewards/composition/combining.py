"""Last in a list: several terms become one number.

The result stands in the column of the first of them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from autoreward.rewards.composition.transform import (
    Bound,
    Bounded,
    Columns,
    Kept,
    Number,
    Over,
    Positive,
    Rows,
    Step,
    Transform,
    UnsuitableComposition,
)


class Ensemble(Transform):
    """Several terms that measure the same thing, taken together with care.

        mean: mean(x); worst: min(x); careful: mean(x) - caution * var(x), the population's variance

    Paper: Reward Model Ensembles Help Mitigate Overoptimization, arXiv 2310.02743 (mean, WCO, UWO)

    Use: two or three measures of one progress, on one scale (`normalize` first); dense terms only,
    a minimum of bonuses is almost always 0
    """

    place: ClassVar[int] = 6
    kind: Literal["ensemble"] = "ensemble"
    over: Over
    how: Literal["mean", "worst", "careful"] = "careful"
    caution: Positive = 0.1

    def bind(self, columns: Columns) -> Bound:
        picked = columns.pick(self.over, self.kind)
        if bonuses := [
            columns.names[k]
            for k in picked
            if columns.names[k] in columns.sparse and self.how == "worst"
        ]:
            raise UnsuitableComposition(
                f"ensemble: the worst case over {bonuses[0]!r}, which the program declares sparse, is almost always 0",
                "dense terms only, or how: mean",
            )
        gone = columns.gone | {columns.names[k] for k in picked[1:]}
        return Bound(
            {"columns": picked},
            Columns(columns.terms, columns.potentials, columns.sparse, columns.added, gone),
        )

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        at = bound.at["columns"]
        x = step.values[:, at]
        result = (
            x.min(-1)
            if self.how == "worst"
            else x.mean(-1) - (self.caution * x.var(-1) if self.how == "careful" else 0.0)
        )
        step.values[:, at] = 0.0
        step.values[:, at[0]] = result


class Signs(Transform):
    """Only the sign of what events pay together, and a tenth of the sign of all the rest: no
    magnitude can be mistaken.

        r = sparse * sgn(sum of sparse terms) + dense * sgn(sum of all others), sgn(x) = 0 for |x| < dead

    Paper: Auto MC-Reward, arXiv 2312.09238, reward composition

    Use: as in that paper, where a model's magnitudes cannot be trusted; with best-so-far gains: a
    sign is no potential, and creeping forward and jumping back pays for ever
    """

    place: ClassVar[int] = 7
    bounded: ClassVar[Bounded] = "no"
    kind: Literal["signs"] = "signs"
    sparse: Number = 1.0
    dense: Number = 0.1
    dead: Positive = 1e-6

    def bind(self, columns: Columns) -> Bound:
        sparse = [columns.names.index(n) for n in columns.group("sparse")]
        others = [
            k
            for k, name in enumerate(columns.names)
            if k not in sparse and name not in columns.gone
        ]
        return Bound(
            {"sparse": np.array(sparse, int), "dense": np.array(others, int)},
            Columns(
                columns.terms,
                columns.potentials,
                columns.sparse,
                columns.added,
                frozenset(columns.names),
            ),
        )

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        def sign(at: np.ndarray) -> np.ndarray:
            total = step.values[:, at].sum(-1)
            return np.where(np.abs(total) < self.dead, 0.0, np.sign(total))

        result = self.sparse * sign(bound.at["sparse"]) + self.dense * sign(bound.at["dense"])
        step.values[:] = 0.0
        step.values[:, 0] = result
