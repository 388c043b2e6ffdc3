"""A composition: an ordered list of transforms, as data, with the order and the conflicts that it
must keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from autoreward.rewards.composition.combining import Ensemble, Signs
from autoreward.rewards.composition.gating import Gate, Lagrange, Penalties, Switch
from autoreward.rewards.composition.shaping import Best, Clip, Delta, Gain, Milestones, Potential
from autoreward.rewards.composition.transform import (
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
# the place of what is first in a list
SHAPING = 1
# one reward per rollout, then forgotten: what changes between rollouts is right
ON_POLICY = ("PPO", "A2C", "TRPO", "RecurrentPPO", "MaskablePPO")
NEEDS_EPISODE = "needs the whole episode, which relabelling (training.her) changes: stored steps are judged one by one, as if another goal had been wanted"
ORDER = "potential, gain, best, milestones, clip, delta; normalize; weights; difficulty; gate, switch, penalties, lagrange; ensemble; signs"


class Composition(BaseModel):
    """What becomes of a program's terms: `transforms` in order, then their sum, and the task
    reward times `task_reward`, which is always there.

    Potentials that no transform shapes are shaped by us. No transforms: the plain sum of terms and
    shaped potentials.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    task_reward: Positive = 1.0
    transforms: tuple[Item, ...] = Field(default=(), max_length=20)

    @model_validator(mode="after")
    def _order(self) -> Composition:
        """Refuse what no program could make right.

        ValueError names the number of the transform in the list, from 0, as its field.
        """
        for k, item in enumerate(self.transforms):
            for j, later in enumerate(self.transforms[k + 1 :], k + 1):
                if later.place < item.place:
                    raise ValueError(
                        f"transforms.{j}: {later.kind!r} stands after {item.kind!r}; the order is {ORDER}"
                    )
                if why := conflict(item, later):
                    raise ValueError(f"transforms.{j}: {why}")
        return self

    @property
    def plain(self) -> bool:
        """Whether it is what was always done: the plain sum, task reward 1."""
        return not self.transforms and self.task_reward == 1.0

    def weights_by_name(self) -> dict[str, float] | None:
        """Weights by name where they are all that it has, {} for the plain sum; None where it has
        more. For whoever can weigh, and nothing else.
        """
        if not self.transforms:
            return {}
        only = self.transforms[0]
        plain = (
            len(self.transforms) == 1
            and isinstance(only, Weights)
            and (only.dense, only.sparse, only.potentials) == (1.0, 1.0, 1.0)
        )
        return dict(only.weights) if plain and isinstance(only, Weights) else None

    def data(self) -> dict[str, Any]:
        """As plain data, defaults left out: `Composition.model_validate` gives it back."""
        shown = [
            {"kind": t.kind, **t.model_dump(mode="json", exclude_defaults=True)}
            for t in self.transforms
        ]
        return {
            **({} if self.task_reward == 1.0 else {"task_reward": self.task_reward}),
            **({"transforms": shown} if shown else {}),
        }

    def bind(self, columns: Columns) -> list[tuple[Transform, Any]]:
        """Every transform with its columns.

        UnsuitableComposition where the program does not have what the list names.
        """
        bound: list[tuple[Transform, Any]] = []
        shaped: dict[str, str] = {}
        for transform in self.transforms:
            found = transform.bind(columns)
            if transform.place == SHAPING:
                for name in {
                    columns.names[k]
                    for purpose in ("columns", "used")
                    for k in found.at.get(purpose, ())
                }:
                    if name in shaped:
                        raise UnsuitableComposition(
                            f"{transform.kind} and {shaped[name]} both shape {name!r}",
                            "one shaping for each term: name others in `over`",
                        )
                    shaped[name] = transform.kind
            bound.append((transform, found))
            columns = found.columns
        return bound

    def require(self, card: TaskCard, memory: bool = False) -> None:
        """UnsuitableComposition where the task cannot serve it: its learner, its success.

        `memory`: the program that it composes remembers (MEMORY).
        """
        if memory and card.training.her:
            raise UnsuitableComposition(
                f"MEMORY {NEEDS_EPISODE}",
                "every term from prev, action and curr alone: a gain gap(prev) - gap(curr), or potential(state); or a card without training.her",
                "needs-episode",
            )
        for transform in self.transforms:
            algorithm = card.training.algorithm
            if transform.state != "none" and card.training.her:
                raise UnsuitableComposition(
                    f"{transform.kind} {NEEDS_EPISODE}",
                    "leave it out, or a card without training.her",
                )
            if not transform.off_policy and algorithm not in ON_POLICY:
                raise UnsuitableComposition(
                    f"{transform.kind} changes between rollouts, and {algorithm} keeps rewards in a buffer, where old ones would stay as they were",
                    f"a card that trains with {', '.join(ON_POLICY)}, or leave it out",
                )
            if isinstance(transform, Switch) and card.success is None:
                raise UnsuitableComposition(
                    f"switch goes by the success rate, and the task {card.name} has no success",
                    "gate waits for a term instead",
                )
            if (
                isinstance(transform, Clip)
                and card.success is not None
                and card.success.ends_episode
                and not self._worth_finishing(transform, card)
            ):
                worst = transform.eta * card.environment.limit
                raise UnsuitableComposition(
                    f"clip may cost {worst:.3g} over {card.environment.limit} steps, and an episode may end before: a success of {self.task_reward:g} does not outweigh it",
                    f"eta below {self.task_reward / card.environment.limit:.3g}, or a larger task_reward",
                )

    def _worth_finishing(self, clip: Clip, card: TaskCard) -> bool:
        return (
            card.task_reward == "success" and self.task_reward > clip.eta * card.environment.limit
        )

    def warnings(self, columns: Columns) -> Iterator[str]:
        """What may be meant, and is worth saying: promises that do not hold any more."""
        named = {t.kind for t in self.transforms}
        for transform in self.transforms:
            if isinstance(transform, (Lagrange, Ensemble)) and "normalize" not in named:
                yield f"{transform.kind} adds up terms as they are: put `normalize` before it, so that they share a scale"
            if (
                isinstance(transform, Signs)
                and columns.potentials
                and not named & {"gain", "best", "milestones"}
            ):
                yield f"signs of the shaped {columns.potentials[0]!r} are no potential: creeping forward and jumping back pays; use best-so-far gains (`best`) before it"
            if (
                isinstance(transform, (Normalize, Difficulty, Gate, Switch))
                and "potential" in named
                and set(columns.potentials) & _touched(transform, columns)
            ):
                yield f"{transform.kind} over a shaped potential: what is best may change while its factor changes"


def conflict(first: Transform, later: Transform) -> str | None:
    """Why the two cannot be in one list, in this order; None where they can."""
    pair = (first.kind, later.kind)
    if pair == ("normalize", "signs"):
        return "signs throw away the scale that normalize gives: leave one of them out"
    if pair == ("potential", "signs"):
        return "the sign of a shaped potential is no potential, so what is best would change: `best` before signs keeps the sum bounded"
    if pair == ("potential", "ensemble"):
        return "an ensemble's minimum or variance of shaped potentials is no potential, so what is best would change"
    if first.kind == later.kind and first.kind in ("weights", "signs", "normalize", "lagrange"):
        return f"{first.kind} stands twice: one of them says all"
    return None


def _touched(transform: Transform, columns: Columns) -> set[str]:
    over = getattr(transform, "over", ())
    return set(columns.group(over) if isinstance(over, str) else over)
