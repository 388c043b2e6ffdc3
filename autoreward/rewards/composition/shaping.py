"""First in a list: what a potential, a score or a milestone pays step by step.

Each column may be shaped once.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from autoreward.rewards.composition.transform import (
    Bound,
    Bounded,
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
    shape_potentials,
)
from autoreward.state import Array

# the most that progress toward the next milestone is worth
BELOW_1 = 1.0 - 1e-9


class _Scores(Transform):
    """Over potentials, known at both ends of a step."""

    place: ClassVar[int] = 1
    over: Over = "potentials"
    scale: Number = 1.0

    def bind(self, columns: Columns) -> Bound:
        picked = columns.pick(self.over, self.kind)
        return Bound(
            {
                "columns": picked,
                "scores": columns.scores([columns.names[k] for k in picked], self.kind),
            },
            columns,
        )


class Potential(_Scores):
    """Potential-based shaping: the optimal policy stays, whatever the potential says.

        F = gamma * Phi(s') * (1 - terminated) - Phi(s), Phi = scale * (phi + shift)

    Paper: Ng, Harada, Russell 1999, theorem 1

    Use: the default for potentials, also where no transform names them; name it to scale or shift
    one (0 at success is best)

    The gamma is always the learner's. Phi is 0 at a terminal state and kept at a truncation.
    """

    keeps_optimal: ClassVar[bool] = True
    bounded: ClassVar[Bounded] = "yes"
    kind: Literal["potential"] = "potential"
    shift: Number = 0.0

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        scores = bound.at["scores"]
        before, after = (
            self.scale * (step.before[:, scores] + self.shift),
            self.scale * (step.after[:, scores] + self.shift),
        )
        step.values[:, bound.at["columns"]] = shape_potentials(
            before, after, step.terminated, step.gamma
        )


class Gain(_Scores):
    """The plain difference of a score.

        r = scale * (S(s') - S(s))

    Paper: DenseGRPO, arXiv 2601.20218 (score after minus score before)

    Use: progress that costs as much when it is undone; shaping with gamma 1, where a finish shall
    not pay -Phi

    The score of a terminal state counts: reaching the goal pays the last piece of the way.
    """

    bounded: ClassVar[Bounded] = "yes"
    kind: Literal["gain"] = "gain"

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        scores = bound.at["scores"]
        step.values[:, bound.at["columns"]] = self.scale * (
            step.after[:, scores] - step.before[:, scores]
        )


class Best(_Scores):
    """The gain over the best of the episode so far: no repetition can raise its sum.

        g = scale * max(S(s') - b, 0), b <- max(b, S(s')), b = S(s0) at first

    Paper: ours, after DenseGRPO, arXiv 2601.20218

    Use: bounded progress without a price for steps back; pair it with a small step cost
    """

    bounded: ClassVar[Bounded] = "yes"
    state: ClassVar[Span] = "per episode"
    kind: Literal["best"] = "best"

    def rows(self, bound: Bound) -> Rows:
        return {"best": np.zeros(len(bound.at["scores"]))}

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        scores = bound.at["scores"]
        best = np.where(step.first[:, None], step.before[:, scores], rows["best"])
        rows["best"] = np.maximum(best, step.after[:, scores])
        step.values[:, bound.at["columns"]] = self.scale * (rows["best"] - best)


class Milestone(BaseModel):
    """One stage: `done` names a potential that is 1 where it is reached, else 0; `progress` one in
    0 .. 1 that says how near it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    done: str
    progress: str | None = None


class Milestones(Transform):
    """Ordered milestones as one potential: the number done so far, plus progress to the next.

        Phi(s, k) = scale * (k + rho_k(s) - K), rho in [0, 1)
        F = gamma * Phi(s', k') * (1 - terminated) - Phi(s, k), or with pay: gain the plain difference

    Paper: MiRA, arXiv 2603.19685 (subgoal checker and potential); Robo-Dopamine, arXiv 2512.23703

    Use: tasks in stages (fetch the key, open the door, reach the goal); undone and redone stages
    pay nothing

    k is latched for the episode and passes over milestones that were true already, at its start
    too. It is memory that the policy does not see, so the promise of potential-based shaping holds
    only where the stage can be told from the state.
    """

    place: ClassVar[int] = 1
    bounded: ClassVar[Bounded] = "yes"
    state: ClassVar[Span] = "per episode"
    kind: Literal["milestones"] = "milestones"
    stages: tuple[Milestone, ...] = Field(min_length=1, max_length=16)
    scale: Number = 1.0
    pay: Literal["potential", "gain"] = "potential"
    name: str = Field("milestones", min_length=1, max_length=64)

    def bind(self, columns: Columns) -> Bound:
        done = [m.done for m in self.stages]
        progress = [m.progress for m in self.stages if m.progress]
        if self.name in columns.names:
            raise UnsuitableComposition(
                f"milestones: the program has a term {self.name!r} already",
                "give the milestones another `name`",
            )
        places = {
            "done": columns.scores(done, self.kind),
            "progress": columns.scores(progress, self.kind),
        }
        used = [*dict.fromkeys([*done, *progress])]
        places |= {"used": columns.pick(used, self.kind), "column": np.array([len(columns.names)])}
        which = iter(range(len(progress)))
        places["rho"] = np.array([next(which) if m.progress else -1 for m in self.stages])
        return Bound(
            places,
            Columns(
                columns.terms,
                columns.potentials,
                columns.sparse,
                (*columns.added, self.name),
                columns.gone | set(used),
            ),
        )

    def rows(self, bound: Bound) -> Rows:
        return {"reached": np.zeros(len(self.stages))}

    def phi(self, scores: Array, reached: Array, bound: Bound) -> Array:
        """(n,) from potentials (n, p) and the latched flags (n, K)."""
        count, total = np.cumprod(reached, -1).sum(-1).astype(int), len(self.stages)
        # the last column: no progress named
        rho = np.concatenate(
            [scores[:, bound.at["progress"]].clip(0.0, BELOW_1), np.zeros((len(scores), 1))], -1
        )
        which = np.append(bound.at["rho"], -1)[count]
        return np.asarray(self.scale * (count + rho[np.arange(len(scores)), which] - total))

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        done = bound.at["done"]
        reached = np.where(
            step.first[:, None], (step.before[:, done] >= 0.5).astype(np.float64), rows["reached"]
        )
        rows["reached"] = np.maximum(reached, step.after[:, done] >= 0.5)
        before, after = (
            self.phi(step.before, reached, bound),
            self.phi(step.after, rows["reached"], bound),
        )
        step.values[:, bound.at["used"]] = 0.0
        column = int(bound.at["column"][0])
        step.values[:, column] = (
            after - before
            if self.pay == "gain"
            else shape_potentials(before[:, None], after[:, None], step.terminated, step.gamma)[
                :, 0
            ]
        )


class _StepScores(Transform):
    """Over scores of a step in 0 .. 1: a term, or a potential's value after it."""

    place: ClassVar[int] = 1
    over: Over

    def bind(self, columns: Columns) -> Bound:
        return Bound({"columns": columns.pick(self.over, self.kind)}, columns)

    @staticmethod
    def score(step: Step, bound: Bound) -> Array:
        return np.concatenate([step.terms, step.after], -1)[:, bound.at["columns"]]


class Clip(_StepScores):
    """A step's score above `eta` pays nothing, below it costs the difference.

        r = min(q - eta, 0)

    Paper: On Designing Effective RL Reward at Training Time, arXiv 2410.15115 (Clip)

    Use: step scores that must not be farmed, on episodes that do not end early: every step costs or
    pays nothing
    """

    kind: Literal["clip"] = "clip"
    eta: Share

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        step.values[:, bound.at["columns"]] = np.minimum(self.score(step, bound) - self.eta, 0.0)


class Delta(_StepScores):
    """A step's score less the next one's: what is left to come is the score of now, and the whole
    sum that of the first step.

        r_t = q_t - q_(t+1), the last but one q, the last 0 (at a truncation q); paid one step later

    Paper: On Designing Effective RL Reward at Training Time, arXiv 2410.15115 (Delta)

    Use: step scores whose repetition must not pay, with gamma near 1; for gamma < 1 a potential is
    the better form

    The next score is known a step later, so a step's reward comes with the next step's, and at the
    end of an episode all that is held back.
    """

    bounded: ClassVar[Bounded] = "yes"
    state: ClassVar[Span] = "per episode"
    needs_future: ClassVar[bool] = True
    kind: Literal["delta"] = "delta"
    scale: Positive = 1.0

    def rows(self, bound: Bound) -> Rows:
        return {"before": np.zeros(len(bound.at["columns"]))}

    def apply(self, step: Step, bound: Bound, rows: Rows, kept: Kept) -> None:
        now, held = self.score(step, bound), rows["before"]
        first, done = step.first[:, None], step.done[:, None]
        # an episode of one step, cut off
        at_once = np.where(done & ~(step.terminated[:, None] > 0), now, 0.0)
        step.values[:, bound.at["columns"]] = self.scale * np.where(
            first, at_once, np.where(done, held, held - now)
        )
        rows["before"] = now
