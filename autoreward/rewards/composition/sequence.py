"""A composition: an ordered list of transforms, as data, with the rules that it must keep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from autoreward.rewards.composition.combining import Ensemble, Signs
from autoreward.rewards.composition.gating import Gate, Lagrange, Penalties, Switch
from autoreward.rewards.composition.shaping import Best, Clip, Delta, Gain, Milestones, Potential
from autoreward.rewards.composition.transform import (
    Bound,
    Columns,
    Positive,
    Transform,
    UnsuitableComposition,
)
from autoreward.rewards.composition.weighing import Difficulty, Normalize, Weights
from autoreward.tasks.card import TaskCard

KINDS: tuple[type[Transform], ...] = (
    Potential,
    Gain,
    Best,
    Milestones,
    Clip,
    Delta,
    Normalize,
    Weights,
    Difficulty,
    Gate,
    Switch,
    Penalties,
    Lagrange,
    Ensemble,
    Signs,
)
# a union of the same classes, spelled out for the type checker
Item = Annotated[
    Potential
    | Gain
    | Best
    | Milestones
    | Clip
    | Delta
    | Normalize
    | Weights
    | Difficulty
    | Gate
    | Switch
    | Penalties
    | Lagrange
    | Ensemble
    | Signs,
    Field(discriminator="kind"),
]
# the `place` of the transforms that come first
SHAPING = 1
ORDER = (
    "potential, gain, best, milestones, clip, delta; normalize; weights; difficulty; "
    "gate, switch, penalties, lagrange; ensemble; signs"
)
ONCE = ("weights", "signs", "normalize", "lagrange")

# They use a rollout's rewards once and forget them, so a reward may change between rollouts.
ON_POLICY = ("PPO", "A2C", "TRPO", "RecurrentPPO", "MaskablePPO")
# Their rollout buffer can be given a reward one step late (trainer/deferred.py).
DEFERRING = ("PPO", "A2C", "TRPO")
NEEDS_EPISODE = (
    "needs the whole episode, which relabelling (training.her) changes: stored steps are "
    "evaluated again one by one, as if another goal had been wanted"
)


class Composition(BaseModel):
    """How a program's terms become the reward.

    The `transforms` are applied in order; the reward is the sum of the columns that are left, plus
    `task_reward` times the task reward. Potentials that no transform shapes are shaped with the
    learner's gamma. Without transforms the reward is the plain sum of terms and shaped potentials.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    task_reward: Positive = 1.0
    transforms: tuple[Item, ...] = Field(default=(), max_length=20)

    @model_validator(mode="after")
    def _order(self) -> Composition:
        """Reject lists that are wrong for every program.

        The message starts with the field: `transforms.` and the position in the list, from 0.
        """
        for k, first in enumerate(self.transforms):
            for j, later in enumerate(self.transforms[k + 1 :], k + 1):
                if later.place < first.place:
                    raise ValueError(
                        f"transforms.{j}: {later.kind!r} cannot come after {first.kind!r}; "
                        f"the order is {ORDER}"
                    )
                reason = conflict(first, later)
                if reason:
                    raise ValueError(f"transforms.{j}: {reason}")
        return self

    @property
    def plain(self) -> bool:
        """True for the default: the plain sum, with a task reward of weight 1."""
        return not self.transforms and self.task_reward == 1.0

    def weights_by_name(self) -> dict[str, float] | None:
        """Return the weights by name if the composition has nothing else; {} for the plain sum.

        None if it has more. For callers that can only weigh terms.
        """
        if not self.transforms:
            return {}
        only = self.transforms[0]
        if len(self.transforms) > 1 or not isinstance(only, Weights):
            return None
        if (only.dense, only.sparse, only.potentials) != (1.0, 1.0, 1.0):
            return None
        return dict(only.weights)

    def data(self) -> dict[str, Any]:
        """Return plain data without defaults; `Composition.model_validate` reads it back."""
        data: dict[str, Any] = {}
        if self.task_reward != 1.0:
            data["task_reward"] = self.task_reward
        if self.transforms:
            data["transforms"] = [
                {"kind": t.kind, **t.model_dump(mode="json", exclude_defaults=True)}
                for t in self.transforms
            ]
        return data

    def bind(self, columns: Columns) -> list[tuple[Transform, Bound]]:
        """Return every transform with its columns.

        Raises UnsuitableComposition if the program does not have what the list names, or if two
        transforms shape one column.
        """
        all_bound: list[tuple[Transform, Bound]] = []
        shaped_by: dict[str, str] = {}
        late: set[int] = set()
        for transform in self.transforms:
            bound = transform.bind(columns)
            if transform.place == SHAPING:
                for name in _shaped_names(bound, columns):
                    if name in shaped_by:
                        raise UnsuitableComposition(
                            f"{transform.kind} and {shaped_by[name]} both shape {name!r}",
                            "shape each term once: name others in `over`",
                        )
                    shaped_by[name] = transform.kind
            if transform.needs_future:
                late |= set(bound.over.tolist())
            elif transform.place > SHAPING and not transform.scales:
                _require_on_time(transform, bound, late)
            all_bound.append((transform, bound))
            columns = bound.columns
        return all_bound

    def require(self, card: TaskCard, memory: bool = False) -> None:
        """Raise UnsuitableComposition if it does not work with the task's learner or success.

        `memory`: the program has MEMORY.
        """
        hindsight = card.training.her
        if memory and hindsight:
            raise UnsuitableComposition(
                f"MEMORY {NEEDS_EPISODE}",
                "compute every term only from prev, action and curr: a gain "
                "gap(prev) - gap(curr), or potential(state); or use a card without training.her",
                "needs-episode",
            )
        for transform in self.transforms:
            self._require_learner(transform, card)
            if isinstance(transform, Switch) and card.success is None:
                raise UnsuitableComposition(
                    f"switch depends on the success rate, and the task {card.name} has no success",
                    "use gate, which waits for a term",
                )
            if isinstance(transform, Clip):
                self._require_worth_finishing(transform, card)

    def _require_learner(self, transform: Transform, card: TaskCard) -> None:
        """Raise UnsuitableComposition if stored rewards would become wrong."""
        algorithm = card.training.algorithm
        if transform.state != "none" and card.training.her:
            raise UnsuitableComposition(
                f"{transform.kind} {NEEDS_EPISODE}",
                "leave it out, or use a card without training.her",
            )
        if transform.needs_future and algorithm not in DEFERRING:
            raise UnsuitableComposition(
                f"{transform.kind} pays a part of a reward to the step before, in a rollout, and "
                f"{algorithm} has no rollout in which that can be done",
                f"use a card that trains with {', '.join(DEFERRING)}, or leave it out",
            )
        if not transform.off_policy and algorithm not in ON_POLICY:
            raise UnsuitableComposition(
                f"{transform.kind} changes between rollouts, but {algorithm} keeps rewards in a "
                "buffer, where old ones would not change",
                f"use a card that trains with {', '.join(ON_POLICY)}, or leave it out",
            )

    def _require_worth_finishing(self, clip: Clip, card: TaskCard) -> None:
        """Raise UnsuitableComposition if ending the episode early pays more than success."""
        if card.success is None or not card.success.ends_episode:
            return
        limit = card.environment.limit
        cost = clip.eta * limit
        if card.task_reward == "success" and self.task_reward > cost:
            return
        raise UnsuitableComposition(
            f"clip may cost {cost:.3g} over {limit} steps, and an episode may end earlier: "
            f"a success worth {self.task_reward:g} does not outweigh that",
            f"use eta below {self.task_reward / limit:.3g}, or a larger task_reward",
        )

    def warnings(self, columns: Columns) -> Iterator[str]:
        """Yield what may be intended but breaks a promise of one of the transforms."""
        kinds = {transform.kind for transform in self.transforms}
        potentials = set(columns.potentials)
        for transform in self.transforms:
            kind = transform.kind
            if isinstance(transform, Lagrange) and "normalize" not in kinds:
                yield (
                    f"{kind} adds terms of different scales: put `normalize` before it, "
                    "so that they share a scale"
                )
            bounds_sums = kinds & {"gain", "best", "milestones"}
            if isinstance(transform, Signs) and potentials and not bounds_sums:
                yield (
                    f"the sign of the shaped {columns.potentials[0]!r} is not a potential: "
                    "creeping forward and jumping back pays; put `best` (best-so-far gains) before"
                )
            changes_factor = isinstance(transform, (Normalize, Difficulty, Gate, Switch))
            if changes_factor and "potential" in kinds and potentials & _names(transform, columns):
                yield (
                    f"{kind} is over a shaped potential: the optimal policy may change while the "
                    "factor changes"
                )


def conflict(first: Transform, later: Transform) -> str | None:
    """Return why the two cannot be in one list in this order; None if they can."""
    pair = (first.kind, later.kind)
    if pair == ("normalize", "signs"):
        return "signs discard the scale that normalize gives: leave out one of them"
    if pair == ("potential", "signs"):
        return (
            "the sign of a shaped potential is not a potential, so the optimal policy would "
            "change: use `best` before signs, which keeps the sum bounded"
        )
    if pair == ("potential", "ensemble"):
        return (
            "the minimum or variance of shaped potentials is not a potential, so the optimal "
            "policy would change"
        )
    if first.kind == later.kind and first.kind in ONCE:
        return f"{first.kind} can appear only once"
    return None


def _shaped_names(bound: Bound, columns: Columns) -> set[str]:
    """Return the names of the columns that a shaping transform shapes or uses up."""
    positions = [*bound.over, *bound.places.get("used", ())]
    # milestones pay into a column that they add
    return {columns.names[k] for k in positions if k < len(columns.names)}


def _require_on_time(transform: Transform, bound: Bound, late: set[int]) -> None:
    """Raise UnsuitableComposition if a transform is over columns that are paid one step late."""
    touched = {int(k) for k in bound.over}
    for purpose in ("factors", "others", "sparse", "dense", "key"):
        touched |= {int(k) for k in bound.places.get(purpose, ())}
    if both := sorted(touched & late):
        name = bound.columns.names[both[0]]
        raise UnsuitableComposition(
            f"{transform.kind} is over {name!r}, of which delta pays a part to the step before",
            "only weights can scale it: name other columns in `over`",
        )


def _names(transform: Transform, columns: Columns) -> set[str]:
    """Return the names of the columns that a transform is over."""
    over = getattr(transform, "over", ())
    return set(columns.group(over) if isinstance(over, str) else over)
