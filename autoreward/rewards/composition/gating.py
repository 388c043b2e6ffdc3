"""When a term counts: after another has been reached, once the task is solved often enough, or as
far as constraints ask for it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from autoreward.rewards.composition.transform import (
    Bound,
    Columns,
    Kept,
    Number,
    Over,
    Positive,
    Rows,
    Share,
    Span,
    Step,
    Transform,
    UnsuitableComposition,
    latest,
    push,
)
from autoreward.state import Array

TASK = "task"
# a multiplier above this for so many updates: its constraint is not reached
UNREACHABLE, LONG = 0.95, 20


class Gate(Transform):
    """Terms count in full once something more important was reached in the episode; before it by
    the share `closed` (0: a hard gate).

        r = x * (closed + (1 - closed) * 1[sum of `until` so far >= at_least])

    Paper: gated rewards, arXiv 2508.10548 (hard); LongRLVR, arXiv 2603.02146 (soft: r = s + .1 c +
    .9 s c)

    Use: niceties that must not be earned before the point of it; gated on final success it is as
    sparse as the task, so gate on a subgoal

    The running form: open from the step that reaches it on, that step included, until the episode's
    end.
    """

    place: ClassVar[int] = 5
    state: ClassVar[Span] = "per episode"
    kind: Literal["gate"] = "gate"
    over: Over
    until: str = Field(TASK, description="a term, or `task`: the task reward")
    at_least: Number = 0.5
    closed: Share = 0.1

    def bind(self, columns: Columns) -> Bound:
        picked = columns.pick(self.over, self.kind)
        if self.until != TASK:
            columns.require((self.until,), self.kind)
        key = -1 if self.until == TASK else columns.names.index(self.until)
        if key in picked and not isinstance(self.over, str):
            raise UnsuitableComposition(
                f"gate: {self.until!r} cannot open the gate that it waits behind",
                "name other terms in `over`",
            )
        return Bound({"columns": picked[picked != key], "key": np.array([key])}, columns)

    def rows(self, bound: Bound) -> Rows:
        return {"sum": np.zeros(()), "open": np.zeros(())}

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        key = int(bound.at["key"][0])
        rows["sum"] = rows["sum"] + (step.task if key < 0 else step.shaped[:, key])
        rows["open"] = np.maximum(rows["open"], rows["sum"] >= self.at_least)
        step.values[:, bound.at["columns"]] *= (self.closed + (1.0 - self.closed) * rows["open"])[
            :, None
        ]


class Switch(Transform):
    """Terms count only while the task succeeds often: in full some rollouts after `above` was
    passed, not at all under `below`.

        r = w * x, w <- min(w + 1 / ramp, 1) each rollout while on; on once p > above, off (w = 0) once p < below

    Paper: GRPO-lambda, arXiv 2505.18086 (length penalty for solved groups only)

    Use: prices for time, effort, energy, which would keep an agent from learning the task; never
    for progress

    p: success over the last `window` finished training episodes, exploration included; nothing is
    switched before 20 have finished.
    """

    place: ClassVar[int] = 5
    state: ClassVar[Span] = "across episodes"
    off_policy: ClassVar[bool] = False
    kind: Literal["switch"] = "switch"
    over: Over
    above: Share = 0.8
    below: Share = 0.5
    ramp: int = Field(10, ge=1, le=10_000)
    window: int = Field(100, ge=1, le=10_000)
    episodes: int = Field(20, ge=1, le=10_000)

    @model_validator(mode="after")
    def _hysteresis(self) -> Switch:
        if self.below >= self.above:
            raise ValueError(
                f"below is {self.below:g} and above {self.above:g}: `below` must be the smaller one, or it flaps"
            )
        return self

    def bind(self, columns: Columns) -> Bound:
        return Bound({"columns": columns.pick(self.over, self.kind)}, columns)

    def kept(self, bound: Bound) -> Kept:
        return {
            "weight": np.zeros(()),
            "on": np.zeros(()),
            "ring": np.zeros((self.window,)),
            "count": np.zeros(()),
        }

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        step.values[:, bound.at["columns"]] *= kept["weight"]
        if step.done.any():
            push(kept["ring"], kept["count"], step.success[step.done])

    def update(self, bound: Bound, kept: Kept) -> None:
        if kept["count"] < min(self.episodes, self.window):
            return
        p = float(latest(kept["ring"], kept["count"]).mean())
        kept["on"] = np.asarray(
            1.0 if p > self.above else 0.0 if p < self.below else float(kept["on"])
        )
        kept["weight"] = np.asarray(
            min(float(kept["weight"]) + 1.0 / self.ramp, 1.0) if kept["on"] else 0.0
        )


class Penalties(Transform):
    """Progress times what is kept of it: each penalty is a factor in 0 ..

    1, on the positive part alone.

        r = prod_i p_i * max(x, 0) + min(x, 0)

    Paper: CaRL, arXiv 2504.17838 (its plain product pays a violation on the way back: only the
    positive part here)

    Use: rules of conduct (speed, comfort, lane) beside one progress term; up to three factors, more
    vanish together

    The factors are terms of the program, 1 where all is well; they are used up.
    """

    place: ClassVar[int] = 5
    kind: Literal["penalties"] = "penalties"
    progress: str
    factors: tuple[str, ...] = Field(min_length=1, max_length=3)
    floor: Share = 0.0

    @model_validator(mode="after")
    def _apart(self) -> Penalties:
        if self.progress in self.factors or len(set(self.factors)) < len(self.factors):
            raise ValueError("factors: each a term of its own, other than `progress`")
        return self

    def bind(self, columns: Columns) -> Bound:
        if scores := [n for n in self.factors if n in columns.potentials]:
            raise UnsuitableComposition(
                f"penalties: the factor {scores[0]!r} is a potential, which is shaped and so no number in 0 .. 1",
                "return it from reward()",
            )
        places = {
            "progress": columns.pick((self.progress,), self.kind),
            "factors": columns.pick(self.factors, self.kind),
        }
        return Bound(
            places,
            Columns(
                columns.terms,
                columns.potentials,
                columns.sparse,
                columns.added,
                columns.gone | set(self.factors),
            ),
        )

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        product = np.maximum(
            step.shaped[:, bound.at["factors"]].clip(0.0, 1.0).prod(-1), self.floor
        )[:, None]
        x = step.values[:, bound.at["progress"]]
        step.values[:, bound.at["factors"]] = 0.0
        step.values[:, bound.at["progress"]] = product * np.maximum(x, 0.0) + np.minimum(x, 0.0)


class SumConstraint(BaseModel):
    """What a term's sum over an episode should come to: `at_least`, or `at_most`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    term: str
    at_least: Number | None = None
    at_most: Number | None = None

    @model_validator(mode="after")
    def _one(self) -> SumConstraint:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a constraint has `at_least` or `at_most`, one of them")
        return self

    @property
    def sign(self) -> float:
        return 1.0 if self.at_least is not None else -1.0

    @property
    def bound(self) -> float:
        return float(self.at_least if self.at_least is not None else self.at_most or 0.0)


class Lagrange(Transform):
    """Constraint terms weigh as much as it takes to keep them, and the other terms what is left.

        r = (N - sum sigma(l_i)) * sum of `over` + sum sigma(l_i) * x_i
        v <- momentum * v + sigma'(l_i) * (J_i - theta_i), l_i <- l_i - rate * v

    Paper: Confronting Reward Model Overoptimization with Constrained RLHF, arXiv 2310.04373

    Use: "at least 0.9 upright", "at most 5 of energy an episode"; put `normalize` before it

    Rewards are mixed, not advantages as in the paper: close, not the same. J_i: mean sum of the
    term as the program gave it, over the episodes that finished in a rollout. The task reward keeps
    its weight. For `at_most` both the term and its threshold are negated.
    """

    place: ClassVar[int] = 5
    state: ClassVar[Span] = "across episodes"
    off_policy: ClassVar[bool] = False
    kind: Literal["lagrange"] = "lagrange"
    constraints: tuple[SumConstraint, ...] = Field(min_length=1, max_length=8)
    over: Over = "all"
    rate: Positive = 0.01
    momentum: Share = 0.1

    def bind(self, columns: Columns) -> Bound:
        names = tuple(c.term for c in self.constraints)
        if len(set(names)) < len(names):
            raise UnsuitableComposition(
                "lagrange: two constraints on one term", "one constraint a term"
            )
        held, main = columns.pick(names, self.kind), columns.pick(self.over, self.kind)
        places = {"held": held, "main": main[~np.isin(main, held)]}
        return Bound(
            {
                **places,
                "sign": np.array([c.sign for c in self.constraints]),
                "theta": np.array([c.sign * c.bound for c in self.constraints]),
            },
            columns,
        )

    def rows(self, bound: Bound) -> Rows:
        return {"sums": np.zeros(len(self.constraints))}

    def kept(self, bound: Bound) -> Kept:
        m = len(self.constraints)
        return {
            "l": np.zeros(m),
            "v": np.zeros(m),
            "total": np.zeros(m),
            "episodes": np.zeros(()),
            "high": np.zeros(m),
        }

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        sigma, held, main = sigmoid(kept["l"]), bound.at["held"], bound.at["main"]
        rows["sums"] = rows["sums"] + bound.at["sign"] * step.shaped[:, held]
        if step.done.any():
            kept["total"] = kept["total"] + rows["sums"][step.done].sum(0)
            kept["episodes"] = kept["episodes"] + step.done.sum()
        step.values[:, main] *= len(self.constraints) - sigma.sum()
        step.values[:, held] *= sigma * bound.at["sign"]

    def update(self, bound: Bound, kept: Kept) -> None:
        if kept["episodes"] == 0:
            return
        sigma = sigmoid(kept["l"])
        kept["v"] = self.momentum * kept["v"] + sigma * (1.0 - sigma) * (
            kept["total"] / kept["episodes"] - bound.at["theta"]
        )
        kept["l"] = kept["l"] - self.rate * kept["v"]
        kept["high"] = np.where(sigmoid(kept["l"]) > UNREACHABLE, kept["high"] + 1, 0.0)
        kept["total"], kept["episodes"] = np.zeros(len(self.constraints)), np.zeros(())

    def notes(self, bound: Bound, kept: Kept) -> list[str]:
        told = [
            f"lagrange: the weight of {c.term!r} ended at {s:.3g}"
            for c, s in zip(self.constraints, sigmoid(kept["l"]), strict=True)
        ]
        return told + [
            f"lagrange: the constraint on {c.term!r} was not reached"
            for c, h in zip(self.constraints, kept["high"], strict=True)
            if h >= LONG
        ]


def sigmoid(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -500, 500))))
