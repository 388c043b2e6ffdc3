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
    push,
)
from autoreward.state import Array

# the value of `until` that stands for the task reward
TASK = "task"

# A multiplier above UNREACHABLE_WEIGHT for UNREACHABLE_UPDATES updates in a row: the constraint
# takes all the weight and still is not met.
UNREACHABLE_WEIGHT = 0.95
UNREACHABLE_UPDATES = 20


class Gate(OverColumns):
    """Terms count in full once something more important was reached in the episode.

        r = x * (closed + (1 - closed) * 1[sum of `until` so far >= at_least])

    Paper: gated rewards, arXiv 2508.10548 (hard); LongRLVR, arXiv 2603.02146 (soft: r = s + .1 c +
    .9 s c)

    Use: extras that must not be earned before the main thing; gated on final success they are as
    sparse as the task, so gate on a subgoal

    Before that, terms count by the share `closed`; 0 makes a hard gate. This is the running form:
    the gate is open from the step that reaches the threshold, that step included, until the
    episode ends. What was withheld before is not paid later.
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
        return {"sum": np.zeros(()), "open": np.zeros(())}

    def apply(self, step: Step, bound: Bound) -> None:
        memory = bound.memory
        key = bound.places.get("key")
        opening = step.task if key is None else step.shaped[:, key[0]]
        so_far = memory["sum"] + opening
        is_open = np.maximum(memory["open"], so_far >= self.at_least)
        memory["sum"] = so_far
        memory["open"] = is_open
        share = self.closed + (1.0 - self.closed) * is_open
        step.values[:, bound.over] *= share[:, None]


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
        step.put(bound.over, product[:, None] * forward + back)


class SumConstraint(BaseModel):
    """A bound on the sum of a term over an episode: either `at_least` or `at_most`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    term: str
    at_least: Number | None = None
    at_most: Number | None = None

    @model_validator(mode="after")
    def _one(self) -> SumConstraint:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a constraint needs either `at_least` or `at_most`")
        return self

    @property
    def sign(self) -> float:
        """-1.0 for `at_most`, whose term and threshold are negated, else 1.0."""
        return 1.0 if self.at_least is not None else -1.0

    @property
    def bound(self) -> float:
        """The threshold as given."""
        return float(self.at_least if self.at_least is not None else self.at_most or 0.0)


class Lagrange(Transform):
    """Constrained terms get the weight that meeting their constraints takes; the others the rest.

        r = (N - sum sigma(l_i)) * sum of `over` + sum sigma(l_i) * x_i
        v <- momentum * v + sigma'(l_i) * (J_i - theta_i), l_i <- l_i - rate * v

    Paper: Confronting Reward Model Overoptimization with Constrained RLHF, arXiv 2310.04373

    Use: "at least 0.9 upright", "at most 5 of energy per episode"; put `normalize` before it

    Rewards are mixed, where the paper mixes advantages: close, but not the same. J_i is the mean
    sum of the term, as the program returned it, over the episodes that finished in a rollout. The
    task reward keeps its weight. For `at_most` both the term and its threshold are negated.
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
        return Bound(
            columns=columns,
            over=constrained,
            places={
                "others": others[~np.isin(others, constrained)],
                "sign": sign,
                "theta": sign * thresholds,
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
        }

    def apply(self, step: Step, bound: Bound) -> None:
        learned = bound.learned
        weights = sigmoid(learned["l"])
        sign = bound.places["sign"]
        constrained = step.shaped[:, bound.over]
        sums = bound.memory["sums"] + sign * constrained
        bound.memory["sums"] = sums
        if step.done.any():
            finished = sums[step.done]
            learned["total"] = learned["total"] + finished.sum(0)
            learned["episodes"] = learned["episodes"] + len(finished)
        rest = len(self.constraints) - weights.sum()
        step.values[:, bound.places["others"]] *= rest
        step.values[:, bound.over] *= weights * sign

    def update(self, bound: Bound) -> None:
        learned = bound.learned
        if learned["episodes"] == 0:
            return
        weights = sigmoid(learned["l"])
        mean_sums = learned["total"] / learned["episodes"]
        slope = weights * (1.0 - weights)
        gradient = slope * (mean_sums - bound.places["theta"])
        learned["v"] = self.momentum * learned["v"] + gradient
        learned["l"] = learned["l"] - self.rate * learned["v"]
        high = sigmoid(learned["l"]) > UNREACHABLE_WEIGHT
        updates = learned["high"] + 1
        learned["high"] = np.where(high, updates, 0.0)
        learned["total"] = np.zeros(len(self.constraints))
        learned["episodes"] = np.zeros(())

    def notes(self, bound: Bound) -> list[str]:
        names = [constraint.term for constraint in self.constraints]
        notes = []
        for name, weight in zip(names, sigmoid(bound.learned["l"]), strict=True):
            notes.append(f"lagrange: the final weight of {name!r} is {weight:.3g}")
        for name, updates in zip(names, bound.learned["high"], strict=True):
            if updates >= UNREACHABLE_UPDATES:
                notes.append(f"lagrange: the constraint on {name!r} was not reached")
        return notes


def sigmoid(x: Array) -> Array:
    """The logistic function, without overflow."""
    clipped = np.clip(x, -500, 500)
    return np.asarray(1.0 / (1.0 + np.exp(-clipped)))
