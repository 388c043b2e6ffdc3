"""When a term counts: after another one was reached, or once the task is often solved.

Terms can also be scaled by penalty factors, or as far as constraints on other terms need it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from autoreward.rewards.composition.transform import (
    Arrays,
    Bound,
    Columns,
    Number,
    Over,
    OverColumns,
    Positive,
    Share,
    Step,
    Transform,
    UnsuitableComposition,
    latest,
    observe,
    push,
)
from autoreward.state import Array

# the value of `until` that stands for the task reward
TASK = "task"

# A multiplier above UNREACHABLE_WEIGHT for UNREACHABLE_UPDATES updates in a row: the constraint
# takes all the weight and still is not met.
UNREACHABLE_WEIGHT = 0.95
UNREACHABLE_UPDATES = 20

# A multiplier beyond this has no slope left and would never come back.
MAX_MULTIPLIER = 6.0
# A step of a multiplier is at most this many deviations of the episode's sum.
MAX_EXCESS = 10.0
# Sums that do not vary have no scale of their own.
MIN_DEVIATION = 1e-9


class Gate(OverColumns):
    """Terms count in full once something more important was reached in the episode.

        before: r = closed * x; at the step that opens it: r = x + (1 - closed) * sum of x so far
        after: r = x; open once sum of `until` so far >= at_least

    Paper: gated rewards (G-RA), arXiv 2508.10548 (hard: `closed` 0); LongRLVR, arXiv 2603.02146
    (soft: r = s + .1 c + .9 s c)

    Use: extras that must not be earned before the main thing; gated on final success they are as
    sparse as the task, so gate on a subgoal

    This is the running form. The gate stays open until the episode ends, and the step that opens
    it is paid what was withheld before, so an episode earns the same whether a term came early or
    late. What a gate that never opens withholds is lost. A price must not be behind a gate: the
    step that opens it would be charged all at once, and reaching the main thing would be punished.
    """

    place = 5
    state = "per episode"
    kind: Literal["gate"] = "gate"
    until: str = Field(TASK, description="a term, or `task`: the task reward")
    at_least: Number = 0.5
    closed: Share = 0.1

    def bind(self, columns: Columns) -> Bound:
        bound = super().bind(columns)
        if self.until == TASK:
            return bound
        columns.require((self.until,), self.kind)
        key = columns.names.index(self.until)
        if key in bound.over and not isinstance(self.over, str):
            raise UnsuitableComposition(
                f"gate: {self.until!r} is behind the gate, so it cannot open the gate",
                "name other terms in `over`",
            )
        bound.over = bound.over[bound.over != key]
        bound.places["key"] = np.array([key])
        return bound

    def initial_row(self, bound: Bound) -> Arrays:
        return {
            "sum": np.zeros(()),
            "open": np.zeros(()),
            "withheld": np.zeros(len(bound.over)),
        }

    def apply(self, step: Step, bound: Bound) -> None:
        memory = bound.memory
        key = bound.places.get("key")
        opening = step.task if key is None else step.shaped[:, key[0]]
        so_far = memory["sum"] + opening
        opened = np.maximum(memory["open"], so_far >= self.at_least)
        memory["sum"] = so_far
        memory["open"] = opened
        is_open = opened[:, None] > 0
        values = step.take(bound.over)
        share = self.closed * values
        withheld = memory["withheld"]
        paid = np.where(is_open, values + withheld, share)
        step.put(bound.over, paid)
        withheld = withheld + (values - share)
        memory["withheld"] = np.where(is_open, 0.0, withheld)


class Switch(OverColumns):
    """Terms count only while the task is often solved.

        r = w * x, w <- min(w + 1 / ramp, 1) each rollout while on
        on once p > above, off (w = 0) once p < below

    Paper: GRPO-lambda, arXiv 2505.18086 (length penalty for solved groups only)

    Use: prices for time, effort or energy that would keep an agent from learning the task; never
    for progress

    They count in full `ramp` rollouts after the success rate passed `above`, and not at all under
    `below`. p is the success rate of the last `window` finished training episodes, exploration
    included; nothing is switched before `episodes` of them have finished.
    """

    place = 5
    state = "across episodes"
    off_policy = False
    kind: Literal["switch"] = "switch"
    above: Share = 0.8
    below: Share = 0.5
    ramp: int = Field(10, ge=1, le=10_000)
    window: int = Field(100, ge=1, le=10_000)
    episodes: int = Field(20, ge=1, le=10_000)

    @model_validator(mode="after")
    def _hysteresis(self) -> Switch:
        if self.below >= self.above:
            raise ValueError(
                f"below ({self.below:g}) must be smaller than above ({self.above:g}), "
                "otherwise the switch flaps"
            )
        return self

    def initial_learned(self, bound: Bound) -> Arrays:
        return {
            "weight": np.zeros(()),
            "on": np.zeros(()),
            "ring": np.zeros((self.window,)),
            "count": np.zeros(()),
        }

    def apply(self, step: Step, bound: Bound) -> None:
        learned = bound.learned
        step.values[:, bound.over] *= learned["weight"]
        if step.done.any():
            push(learned["ring"], learned["count"], step.success[step.done])

    def update(self, bound: Bound) -> None:
        learned = bound.learned
        if learned["count"] < min(self.episodes, self.window):
            return
        rate = float(latest(learned["ring"], learned["count"]).mean())
        if rate > self.above:
            learned["on"] = np.asarray(1.0)
        elif rate < self.below:
            learned["on"] = np.asarray(0.0)
        weight = 0.0
        if learned["on"]:
            weight = min(float(learned["weight"]) + 1.0 / self.ramp, 1.0)
        learned["weight"] = np.asarray(weight)


class Penalties(Transform):
    """Progress is multiplied by penalty factors in 0 .. 1, but only where it is positive.

        r = prod_i p_i * max(x, 0) + min(x, 0)

    Paper: CaRL, arXiv 2504.17838 (its plain product rewards violations on the way back, so here
    only the positive part is scaled)

    Use: rules of conduct (speed, comfort, lane) beside one progress term; up to three factors, as
    the product of more is close to 0

    The factors are terms of the program, 1 if the rule is kept; they are used up.
    """

    place = 5
    kind: Literal["penalties"] = "penalties"
    progress: str
    factors: tuple[str, ...] = Field(min_length=1, max_length=3)
    floor: Share = 0.0

    @model_validator(mode="after")
    def _distinct(self) -> Penalties:
        if self.progress in self.factors or len(set(self.factors)) < len(self.factors):
            raise ValueError("factors must be distinct terms other than `progress`")
        return self

    def bind(self, columns: Columns) -> Bound:
        for name in self.factors:
            if name in columns.potentials:
                raise UnsuitableComposition(
                    f"penalties: the factor {name!r} is a potential, whose shaped value is not in "
                    "0 .. 1",
                    "return it from reward()",
                )
        return Bound(
            columns=columns.without(self.factors),
            over=columns.pick((self.progress,), self.kind),
            places={"factors": columns.pick(self.factors, self.kind)},
        )

    def apply(self, step: Step, bound: Bound) -> None:
        used = bound.places["factors"]
        factors = step.shaped[:, used].clip(0.0, 1.0)
        product = np.maximum(factors.prod(-1), self.floor)
        progress = step.take(bound.over)
        forward = np.maximum(progress, 0.0)
        back = np.minimum(progress, 0.0)
        step.put(used, 0.0)
        kept = product[:, None] * forward
        step.put(bound.over, kept + back)


class SumConstraint(BaseModel):
    """A bound on the sum of a term over an episode: `at_least`, `at_most` or `equals`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    term: str
    at_least: Number | None = None
    at_most: Number | None = None
    equals: Number | None = None

    @model_validator(mode="after")
    def _one(self) -> SumConstraint:
        if len([b for b in (self.at_least, self.at_most, self.equals) if b is not None]) != 1:
            raise ValueError("a constraint needs one of `at_least`, `at_most` and `equals`")
        return self

    @property
    def sign(self) -> float:
        """-1.0 for `at_most`, whose term and threshold are negated, else 1.0."""
        return -1.0 if self.at_most is not None else 1.0

    @property
    def bound(self) -> float:
        """The threshold as given."""
        given = (self.at_least, self.at_most, self.equals)
        return next(float(value) for value in given if value is not None)


class Lagrange(Transform):
    """Constrained terms get the weight that their constraints require; the others share the rest.

        r = (N - sum sigma(l_i)) * sum of `over` + sum sigma(l_i) * x_i
        v <- momentum * v + sigma'(l_i) * (J_i - theta_i) / d_i
        l_i <- min(max(l_i - rate * v, -6), 6)

    Paper: Confronting Reward Model Overoptimization with Constrained RLHF, arXiv 2310.04373

    Use: "at least 0.9 upright", "at most 5 of energy per episode"; put `normalize` before it

    Rewards are mixed, where the paper mixes advantages: close, but not the same. J_i is the mean
    sum of the term, as the program returned it, over the episodes that finished in a rollout, and
    d_i the deviation of such sums over all episodes so far: without it a large sum would saturate
    its multiplier for good, and a small one would hardly move it. The bounds let it come back. The
    task reward keeps its weight. For `at_most` both the term and its threshold are negated. For
    `equals` the paper's tanh stands in the place of sigma, so that the weight can be negative.
    """

    place = 5
    state = "across episodes"
    off_policy = False
    kind: Literal["lagrange"] = "lagrange"
    constraints: tuple[SumConstraint, ...] = Field(min_length=1, max_length=8)
    over: Over = "all"
    rate: Positive = 0.01
    momentum: Share = 0.1

    def bind(self, columns: Columns) -> Bound:
        names = tuple(constraint.term for constraint in self.constraints)
        if len(set(names)) < len(names):
            raise UnsuitableComposition(
                "lagrange: two constraints on one term", "give each term one constraint"
            )
        constrained = columns.pick(names, self.kind)
        others = columns.pick(self.over, self.kind)
        sign = np.array([constraint.sign for constraint in self.constraints])
        thresholds = np.array([constraint.bound for constraint in self.constraints])
        equality = np.array([constraint.equals is not None for constraint in self.constraints])
        return Bound(
            columns=columns,
            over=constrained,
            places={
                "others": others[~np.isin(others, constrained)],
                "sign": sign,
                "theta": sign * thresholds,
                "equality": equality,
            },
        )

    def initial_row(self, bound: Bound) -> Arrays:
        return {"sums": np.zeros(len(self.constraints))}

    def initial_learned(self, bound: Bound) -> Arrays:
        m = len(self.constraints)
        return {
            "l": np.zeros(m),
            "v": np.zeros(m),
            "total": np.zeros(m),
            "episodes": np.zeros(()),
            "high": np.zeros(m),
            # over all finished episodes: count, mean and sum of squared deviations of the sums
            "count": np.zeros(()),
            "mean": np.zeros(m),
            "squares": np.zeros(m),
        }

    def apply(self, step: Step, bound: Bound) -> None:
        learned = bound.learned
        weights = self.weights(bound)
        sign = bound.places["sign"]
        constrained = step.shaped[:, bound.over]
        sums = bound.memory["sums"] + sign * constrained
        bound.memory["sums"] = sums
        if step.done.any():
            finished = sums[step.done]
            learned["total"] = learned["total"] + finished.sum(0)
            learned["episodes"] = learned["episodes"] + len(finished)
            observe(finished, learned)
        rest = len(self.constraints) - weights.sum()
        step.values[:, bound.places["others"]] *= rest
        step.values[:, bound.over] *= weights * sign

    @staticmethod
    def weights(bound: Bound) -> Array:
        """Return the weight (m,) of each constrained term."""
        multipliers = bound.learned["l"]
        return np.where(
            bound.places["equality"],
            np.tanh(multipliers),
            sigmoid(multipliers),
        )

    def update(self, bound: Bound) -> None:
        learned = bound.learned
        if learned["episodes"] == 0:
            return
        weights = self.weights(bound)
        slope = np.where(
            bound.places["equality"],
            1.0 - weights**2,
            weights * (1.0 - weights),
        )
        excess = learned["total"] / learned["episodes"] - bound.places["theta"]
        in_deviations = excess / self.deviation(learned)
        in_deviations = np.clip(in_deviations, -MAX_EXCESS, MAX_EXCESS)
        learned["v"] = self.momentum * learned["v"] + slope * in_deviations
        moved = learned["l"] - self.rate * learned["v"]
        learned["l"] = np.clip(moved, -MAX_MULTIPLIER, MAX_MULTIPLIER)
        high = np.abs(self.weights(bound)) > UNREACHABLE_WEIGHT
        learned["high"] = np.where(high, learned["high"] + 1, 0.0)
        learned["total"] = np.zeros(len(self.constraints))
        learned["episodes"] = np.zeros(())

    @staticmethod
    def deviation(learned: Arrays) -> Array:
        """Return the deviation (m,) of the sums over an episode; 1 as long as it is not known."""
        if learned["count"] < 2:
            return np.ones_like(learned["mean"])
        deviation = np.sqrt(learned["squares"] / learned["count"])
        return np.where(deviation > MIN_DEVIATION, deviation, 1.0)

    def notes(self, bound: Bound) -> list[str]:
        names = [constraint.term for constraint in self.constraints]
        notes = []
        for name, weight in zip(names, self.weights(bound), strict=True):
            notes.append(f"lagrange: the final weight of {name!r} is {weight:.3g}")
        for name, updates in zip(names, bound.learned["high"], strict=True):
            if updates >= UNREACHABLE_UPDATES:
                notes.append(f"lagrange: the constraint on {name!r} was not reached")
        return notes


def sigmoid(x: Array) -> Array:
    """The logistic function, without overflow."""
    clipped = np.clip(x, -500, 500)
    return np.asarray(1.0 / (1.0 + np.exp(-clipped)))
