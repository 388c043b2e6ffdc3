"""First in a list: what a potential, a score or a milestone pays at each step.

A column may be shaped only once. The docstring of each transform gives its equation and source.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

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
)
from autoreward.state import Array
from autoreward.tasks.runtime import shape_potentials

# Progress to the next milestone is worth less than the milestone.
MAX_PROGRESS = 1.0 - 1e-9
NO_PROGRESS = -1


class _Scores(OverColumns):
    """A transform over potentials, which are known at both ends of a step."""

    place = 1
    over: Over = "potentials"
    scale: Number = 1.0

    def bind(self, columns: Columns) -> Bound:
        bound = super().bind(columns)
        names = [columns.names[k] for k in bound.over]
        bound.places["scores"] = columns.scores(names, self.kind)
        return bound


class Potential(_Scores):
    """Potential-based shaping: the optimal policy stays the same, whatever the potential is.

        F = gamma * Phi(s') * (1 - terminated) - Phi(s), Phi = scale * (phi + shift)

    Paper: Ng, Harada, Russell 1999, theorem 1

    Use: the default for potentials, even if no transform names them; name it to scale or shift one
    (best so that success has potential 0)

    gamma is always the learner's. Phi is 0 at a terminal state and kept at a truncation.
    """

    keeps_optimal = True
    bounded = "yes"
    kind: Literal["potential"] = "potential"
    shift: Number = 0.0

    def phi(self, scores: Array) -> Array:
        """Return Phi for the program's potentials."""
        return self.scale * (scores + self.shift)

    def apply(self, step: Step, bound: Bound) -> None:
        scores = bound.places["scores"]
        before = self.phi(step.before[:, scores])
        after = self.phi(step.after[:, scores])
        shaping = shape_potentials(before, after, step.terminated, step.gamma)
        step.put(bound.over, shaping)


class Gain(_Scores):
    """The plain difference of a score over a step.

        r = scale * (S(s') - S(s))

    Paper: DenseGRPO, arXiv 2601.20218 (score after minus score before)

    Use: progress that costs as much when it is undone; shaping with gamma 1, if finishing should
    not cost -Phi

    The score of a terminal state counts: reaching the goal pays for the last bit of the way.
    """

    bounded = "yes"
    kind: Literal["gain"] = "gain"

    def apply(self, step: Step, bound: Bound) -> None:
        scores = bound.places["scores"]
        before = step.before[:, scores]
        after = step.after[:, scores]
        step.put(bound.over, self.scale * (after - before))


class Best(_Scores):
    """The gain over the best score of the episode so far: repetition cannot raise its sum.

        g = scale * max(S(s') - b, 0), b <- max(b, S(s')), b = S(s0) at first

    Paper: ours, after DenseGRPO, arXiv 2601.20218

    Use: bounded progress that does not charge for steps back; pair it with a small step cost
    """

    bounded = "yes"
    state = "per episode"
    kind: Literal["best"] = "best"

    def initial_row(self, bound: Bound) -> Arrays:
        return {"best": np.zeros(len(bound.places["scores"]))}

    def apply(self, step: Step, bound: Bound) -> None:
        scores = bound.places["scores"]
        before = step.before[:, scores]
        after = step.after[:, scores]
        first = step.first[:, None]
        best_before = np.where(first, before, bound.memory["best"])
        best = np.maximum(best_before, after)
        bound.memory["best"] = best
        step.put(bound.over, self.scale * (best - best_before))


class Milestone(BaseModel):
    """One stage: `done` names a potential that is 1 once the stage is reached and 0 before;
    `progress` names one in 0 .. 1 that says how close it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    done: str
    progress: str | None = None


class Milestones(Transform):
    """Ordered milestones as one potential: the number reached so far, plus progress to the next.

        Phi(s, k) = scale * (k + rho_k(s) - K), rho in [0, 1)
        r = Phi(s', k') - Phi(s, k)
        with `pay: potential`: F = gamma * Phi(s', k') * (1 - terminated) - Phi(s, k)

    Paper: MiRA, arXiv 2603.19685 (subgoal checker and potential); Robo-Dopamine, arXiv 2512.23703

    Use: tasks in stages (fetch the key, open the door, reach the goal); a stage that is undone and
    redone pays nothing

    k is latched for the episode and skips milestones that are already true, also at the start. The
    policy does not see k, so the optimal policy is kept only if the stage can be read from the
    state. The default pays gains, which are right for every kind of ending. `pay: potential` is
    for tasks whose episodes cannot end in failure: Phi is 0 at every termination, so there a
    failure is paid the rest, K - k, at once.
    """

    place = 1
    bounded = "yes"
    state = "per episode"
    kind: Literal["milestones"] = "milestones"
    stages: tuple[Milestone, ...] = Field(min_length=1, max_length=16)
    scale: Number = 1.0
    pay: Literal["potential", "gain"] = "gain"
    name: str = Field("milestones", min_length=1, max_length=64)

    def bind(self, columns: Columns) -> Bound:
        if self.name in columns.names:
            raise UnsuitableComposition(
                f"milestones: the program already has a term {self.name!r}",
                "give the milestones another `name`",
            )
        done = [stage.done for stage in self.stages]
        progress = [stage.progress for stage in self.stages if stage.progress]
        used = list(dict.fromkeys([*done, *progress]))
        # of each stage, which column of "progress" is its own
        own_progress: list[int] = []
        for stage in self.stages:
            if stage.progress:
                own_progress.append(sum(k >= 0 for k in own_progress))
            else:
                own_progress.append(NO_PROGRESS)
        places = {
            "done": columns.scores(done, self.kind),
            "progress": columns.scores(progress, self.kind),
            "own_progress": np.array(own_progress),
            "used": columns.pick(used, self.kind),
        }
        left = columns.without(used)
        return Bound(
            columns=replace(left, added=(*columns.added, self.name)),
            over=np.array([len(columns.names)]),
            places=places,
        )

    def initial_row(self, bound: Bound) -> Arrays:
        return {"reached": np.zeros(len(self.stages))}

    def phi(self, scores: Array, reached: Array, bound: Bound) -> Array:
        """Return Phi (n, 1) from all potentials (n, p) and the latched flags (n, K)."""
        n, total = reached.shape
        all_before = np.cumprod(reached, -1)
        count = all_before.sum(-1).astype(int)
        progress = scores[:, bound.places["progress"]]
        progress = progress.clip(0.0, MAX_PROGRESS)
        # NO_PROGRESS picks the last column, 0; so does a count of K
        nothing = np.zeros((n, 1))
        progress = np.concatenate([progress, nothing], -1)
        columns = np.append(bound.places["own_progress"], NO_PROGRESS)
        rows = np.arange(n)
        rho = progress[rows, columns[count]]
        phi = self.scale * (count + rho - total)
        return np.asarray(phi[:, None])

    def apply(self, step: Step, bound: Bound) -> None:
        done = bound.places["done"]
        done_before = step.before[:, done] >= 0.5
        done_after = step.after[:, done] >= 0.5
        first = step.first[:, None]
        reached = np.where(
            first,
            done_before.astype(np.float64),
            bound.memory["reached"],
        )
        reached_now = np.maximum(reached, done_after)
        bound.memory["reached"] = reached_now
        before = self.phi(step.before, reached, bound)
        after = self.phi(step.after, reached_now, bound)
        if self.pay == "gain":
            paid = after - before
        else:
            paid = shape_potentials(before, after, step.terminated, step.gamma)
        step.put(bound.places["used"], 0.0)
        step.put(bound.over, paid)


class _StepScores(OverColumns):
    """A transform over scores of a step in 0 .. 1: a term, or a potential's value after it."""

    place = 1

    @staticmethod
    def score(step: Step, bound: Bound) -> Array:
        """Return the scores (n, m) of the step."""
        scores = np.concatenate([step.terms, step.after], -1)
        return scores[:, bound.over]


class Clip(_StepScores):
    """A step's score pays nothing above `eta` and costs the difference below it.

        r = min(q - eta, 0)

    Paper: On Designing Effective RL Reward at Training Time, arXiv 2410.15115 (Clip)

    Use: step scores that must not be farmed, on episodes that do not end early: every step costs
    something or pays nothing
    """

    kind: Literal["clip"] = "clip"
    eta: Share

    def apply(self, step: Step, bound: Bound) -> None:
        below = self.score(step, bound) - self.eta
        step.put(bound.over, np.minimum(below, 0.0))


class Delta(_StepScores):
    """A step's score minus the next one's, so the sum from a step onwards is that step's score.

        r_t = q_t - q_(t+1), the last but one q, the last 0 (at a truncation q)

    Paper: On Designing Effective RL Reward at Training Time, arXiv 2410.15115 (Delta)

    Use: step scores that must not pay for repetition, with gamma near 1; for gamma < 1 a potential
    is the better form

    The next score is known one step later, and is then charged to the step that it belongs to
    (`Step.late`), in the rollout buffer of an on-policy learner. Charged to the next step instead,
    an action's own score would be in no return of its own. The last step of a rollout has no next
    score yet: the learner learns nothing from it (trainer/deferred.py).
    """

    bounded = "yes"
    state = "per episode"
    needs_future = True
    off_policy = False
    kind: Literal["delta"] = "delta"
    scale: Positive = 1.0

    def initial_row(self, bound: Bound) -> Arrays:
        return {"before": np.zeros(len(bound.over))}

    def apply(self, step: Step, bound: Bound) -> None:
        assert step.late is not None
        now = self.score(step, bound)
        first = step.first[:, None]
        done = step.done[:, None]
        terminated = step.terminated[:, None] > 0
        # At a truncation no score follows, and none is left out of the sum.
        own = np.where(done & ~terminated, now, 0.0)
        following = np.where(done & terminated, 0.0, now)
        late = np.where(first, 0.0, bound.memory["before"] - following)
        step.put(bound.over, self.scale * own)
        step.late[:, bound.over] = self.scale * late
        bound.memory["before"] = now
