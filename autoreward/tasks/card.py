"""Task cards: what a task is, as data.

A card is `envs/<family>/<task>.yaml`, with an optional trusted Python file beside it (`code:`),
which only trainers import. Nothing in the YAML is evaluated as an expression. Where cards are
found: cards.py.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, model_validator
from pydantic import Field as _

from autoreward.tasks.caption import Caption
from autoreward.tasks.criteria import CardPart, Condition, Constraint, Metric, Name, Ref, Success
from autoreward.tasks.source import SOURCE_PATTERN, parse_source

if TYPE_CHECKING:
    from autoreward.state import Layout


# keys that format 1 did not have at first: at their defaults a card is what it was, and runs of it
# go on
LATER = ("episodic_return", "goal", "caption")
# algorithms that read a rollout's rewards only once it is whole
ROLLOUTS = ("PPO", "A2C", "TRPO")
# algorithms with a buffer of single transitions, which hindsight needs
OFF_POLICY = ("SAC", "TD3", "DQN", "TQC", "CrossQ", "QRDQN")


class Environment(CardPart):
    """How to make the environment: a gymnasium id (`Hopper-v5`, `module:Id`), or a factory
    `pkg.mod:make` (`here:make` = the card's `code`).
    """

    id: str | None = None
    factory: str | None = None
    kwargs: dict[str, Any] = {}
    limit: int = _(gt=0, description="episode limit in steps; reaching it is a truncation")
    extra: str | None = _(
        None, description="the extra of this distribution that brings the simulator, e.g. minigrid"
    )
    needs: tuple[str, ...] = _((), description="modules that must be importable")

    @model_validator(mode="after")
    def _one(self) -> Environment:
        if (self.id is None) == (self.factory is None):
            raise ValueError("give exactly one of `id` and `factory`")
        return self


class Action(CardPart):
    """What the agent does: `type` and `shape` as the environment has them, and the meaning in
    words.
    """

    type: Literal["discrete", "box", "multidiscrete", "multibinary"]
    n: int | None = _(None, description="discrete: number of actions")
    nvec: tuple[int, ...] | None = None
    shape: tuple[int, ...] = _((), description="box, multibinary: shape of one action")
    low: float = -1.0
    high: float = 1.0
    meaning: str

    @property
    def row(self) -> tuple[int, ...]:
        """Shape of one action as programs get it: () for discrete."""
        return (
            ()
            if self.type == "discrete"
            else (len(self.nvec or ()),)
            if self.type == "multidiscrete"
            else self.shape
        )

    @property
    def integer(self) -> bool:
        return self.type != "box"


class Field(CardPart):
    """One named quantity. `source` says where it comes from:

    `"0:3"` or `"7"` columns of the (flattened) observation vector; `"obs"` the whole observation as
    it is, `"obs.KEY"` a key of a Dict (`obs.a.b` nested, `obs.0` of a Tuple), `"obs.KEY[0:3]"`
    columns of it; `"info.KEY"` a key of `info`; `"state.FUNCTION"` a function `f(env) -> number or
    array` of the card's `code`.
    """

    name: Name
    source: str = _(pattern=SOURCE_PATTERN)
    shape: tuple[int, ...] = ()
    unit: str = "-"
    range: str = ""
    meaning: str = ""
    policy: bool = _(True, description="seen by the policy")
    reward: bool = _(True, description="offered to reward programs")


def numbers(text: str) -> list[float]:
    """The numbers in a field's range, as `0 .. 14` gives 0 and 14."""
    return [float(n) for n in re.findall(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", text)]


class Policy(CardPart):
    """What the policy sees: the observation, the card's fields, or a trusted function
    `features(state) -> (n, k)` of `code`.
    """

    input: str = "observation"
    normalize: bool = False


class Goal(CardPart):
    """Of a task whose goal changes from episode to episode: the field of what is achieved, and the
    field of what is wanted.

    Success is about the two of them, and no other field holds or depends on `desired`: a transition
    is judged anew by changing that field.
    """

    achieved: Name
    desired: Name


class EvaluationMode(CardPart):
    mode: Literal["stochastic", "deterministic"] = "stochastic"
    episodes: int = _(default=100, gt=0)
    envs: int = _(default=25, gt=0)


class TrainingConfig(CardPart):
    """How an agent is trained: the algorithm, its tuned hyperparameters (SB3's own names), and the
    steps.
    """

    algorithm: str = _("PPO", description="PPO, A2C, SAC, TD3, DQN, or one of sb3-contrib by name")
    steps: int = _(gt=0)
    n_envs: int = _(32, gt=0)
    gamma: float = _(0.99, gt=0, le=1)
    net: tuple[int, ...] = (64, 64)
    hyperparameters: dict[str, Any] = {}
    her: int = _(
        0,
        ge=0,
        le=100,
        description="hindsight: how many stored transitions are judged with a goal reached later, for each one as it was; needs `goal`; 0: none",
    )
    solved: float = _(
        0.95, description="stop early when this success rate of training episodes is held"
    )


class Near(CardPart):
    """Bring `a` to `b` (a field, or numbers).

    `axis_aligned` = moves go along axes, so the Manhattan distance is the way.
    """

    a: Ref
    b: Ref | tuple[float, ...] | float
    axis_aligned: bool = False


class Subgoal(CardPart):
    """An ordered stage: reached when `when` holds; on the way to it `near`, where there is one,
    should shrink.
    """

    name: Name
    when: tuple[Condition, ...] = _(min_length=1)
    near: Near | None = None


class Hold(CardPart):
    """Keep the conditions true for `steps` steps in a row; `count` names a field that counts them,
    where there is one.
    """

    when: tuple[Condition, ...] = _(min_length=1)
    steps: int = _(gt=0)
    count: Ref | None = None


class Waypoints(CardPart):
    """Places that `field` passes in order, before the last `to` (a field), where there is one."""

    field: Ref
    points: tuple[tuple[float, ...], ...] = _(min_length=1)
    to: Ref | None = None


class Hint(CardPart):
    """What a person knew beforehand, one of five kinds; data, no code, no coefficients."""

    near: Near | None = None
    increase: Ref | None = _(None, alias="raise")
    decrease: Ref | None = _(None, alias="lower")
    hold: Hold | None = None
    subgoals: tuple[Subgoal, ...] | None = None
    waypoints: Waypoints | None = None

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @property
    def kind(self) -> str:
        return next(
            k
            for k in ("near", "increase", "decrease", "hold", "subgoals", "waypoints")
            if getattr(self, k) is not None
        )

    @model_validator(mode="after")
    def _one(self) -> Hint:
        given = [k for k in type(self).model_fields if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(
                "a hint is exactly one of near, raise, lower, hold, subgoals, waypoints"
            )
        return self


class TaskCard(CardPart):
    """Everything the loop knows of a task. See envs/README.md for a commented example."""

    format: Literal[1] = 1
    name: Annotated[str, _(pattern=r"^[A-Za-z0-9][\w.\-]*$")]
    title: str
    description: str
    code: str | None = _(
        None, description="trusted Python file beside the card; imported by trainers only"
    )
    environment: Environment
    action: Action
    fields: tuple[Field, ...] = _(min_length=1)
    policy: Policy = Policy()
    goal: Goal | None = _(
        None, description="which fields are achieved and desired, for tasks with many goals"
    )
    task_reward: Literal["success", "environment"] = "success"
    episodic_return: bool = _(
        False,
        description="the environment's reward is held back, and given as its sum on an episode's last step",
    )
    success: Success | None = None
    metric: Metric | None = None
    constraints: tuple[Constraint, ...] = ()
    endings: str = _("", description="how an episode ends, in words")
    evaluation: EvaluationMode = EvaluationMode()
    training: TrainingConfig
    human: str | None = _(
        None, description="a human-written reward program beside the card, for comparison"
    )
    hints: tuple[Hint, ...] = ()
    caption: Caption | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_fields(cls, data: Any) -> Any:
        """`fields: {base_pos: "0:3"}` is short for a list of mappings; the shape follows from the
        slice.
        """
        if isinstance(data, dict) and isinstance(data.get("fields"), dict):
            spelled = [
                {"name": k, **({"source": str(v)} if isinstance(v, (str, int)) else (v or {}))}
                for k, v in data["fields"].items()
            ]
            data = {**data, "fields": spelled}
        if isinstance(data, dict) and isinstance(data.get("fields"), list):
            data = {**data, "fields": [_with_shape(f) for f in data["fields"]]}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> TaskCard:
        names = [f.name for f in self.fields]
        if len(set(names)) < len(names):
            raise ValueError(
                f"fields: a name stands twice: {sorted({n for n in names if names.count(n) > 1})}"
            )
        if self.success is None and self.metric is None:
            raise ValueError(
                "success: a card needs `success`, or `metric`, or both: without one nothing says which agent is better"
            )
        measured = [
            m.name
            for m in [
                *([self.metric] if self.metric else []),
                *(c.metric for c in self.constraints),
            ]
        ]
        if len(set(measured)) < len(measured):
            raise ValueError(
                f"constraints: a metric's name stands twice: {sorted({n for n in measured if measured.count(n) > 1})}"
            )
        if self.success is None and self.task_reward == "success":
            raise ValueError(
                "task_reward: a card without `success` needs `task_reward: environment`"
            )
        if self.episodic_return and self.task_reward != "environment":
            raise ValueError(
                "episodic_return: the task reward is the success, which comes once as it is; leave it out, or `task_reward: environment`"
            )
        known = set(names)
        for where, ref in _references(self):
            if ref.split("[")[0] not in known:
                close = difflib.get_close_matches(ref.split("[")[0], known, 1)
                raise ValueError(
                    f"{where}: no field {ref!r}"
                    + (
                        f"; did you mean {close[0]!r}?"
                        if close
                        else f"; the fields are {', '.join(names)}"
                    )
                )
        if why := _goal_problem(self) or _hindsight_problem(self):
            raise ValueError(why)
        self._captioned()
        return self

    def _captioned(self) -> None:
        """The placeholders of `caption.template` are fields offered to reward programs, and their
        components are there.
        """
        shapes = {f.name: f.shape for f in self.fields if f.reward}
        for slot in self.caption.slots if self.caption else ():
            if slot.side == "action":
                continue
            if slot.field not in shapes:
                hidden = any(f.name == slot.field for f in self.fields)
                close = difflib.get_close_matches(slot.field, shapes, 1)
                why = (
                    "is not offered to reward programs (`reward: false`), so no model is told it"
                    if hidden
                    else "is no field"
                )
                raise ValueError(
                    f"caption.template: {slot.words} {why}"
                    + (
                        f"; did you mean {close[0]!r}?"
                        if close and not hidden
                        else f"; there are {', '.join(shapes)}"
                    )
                )
            shape = shapes[slot.field]
            if len(slot.index) > len(shape) or any(
                k >= n for k, n in zip(slot.index, shape, strict=False)
            ):
                raise ValueError(
                    f"caption.template: {slot.words}: {slot.field} has shape {list(shape)}"
                )

    @property
    def layout(self) -> Layout:
        """All fields, in card order: what trainers extract, features and success read."""
        return _layout(self.fields)

    @property
    def reward_layout(self) -> Layout:
        """The fields offered to reward programs, in card order."""
        return _layout(tuple(f for f in self.fields if f.reward))

    def digest(self) -> str:
        """Identity of the card's content, as 12 hex digits (its trusted code is added by
        `LocatedCard`).
        """
        unset: dict[str, Any] = {
            k: True
            for k in LATER
            if getattr(self, k) == type(self).model_fields[k].get_default(call_default_factory=True)
        }
        unset |= {} if self.training.her else {"training": {"her": True}}
        return hashlib.sha256(
            self.model_dump_json(by_alias=True, exclude=unset).encode()
        ).hexdigest()[:12]


def _goal_problem(card: TaskCard) -> str | None:
    """What is wrong with `goal`, None where nothing is."""
    if card.goal is None:
        return None
    field = {f.name: f for f in card.fields}
    achieved, desired = field[card.goal.achieved], field[card.goal.desired]
    if achieved is desired:
        return f"goal: achieved and desired are both {achieved.name!r}; name two fields"
    if achieved.shape != desired.shape:
        return f"goal: {achieved.name} has the shape {list(achieved.shape)}, {desired.name} {list(desired.shape)}; one has to fit in the other's place"
    named = {ref.split("[")[0] for where, ref in _references(card) if where == "success.when"}
    if card.success and card.success.when and desired.name not in named:
        return f"success.when: no condition names goal.desired, {desired.name!r}; another goal would change nothing"
    return None


def _hindsight_problem(card: TaskCard) -> str | None:
    """Why the card's stored transitions cannot be judged under another goal, None where they can
    or need not.
    """
    training, off = card.training, "; or leave training.her out"
    if not training.her:
        return None
    if card.goal is None:
        return "training.her: which goals? add `goal: {achieved: FIELD, desired: FIELD}`" + off
    if training.algorithm not in OFF_POLICY:
        return (
            f"training.her: {training.algorithm} keeps no transitions that could be judged again; {', '.join(OFF_POLICY)} do"
            + off
        )
    if taken := sorted(
        {"n_steps", "optimize_memory_usage", "replay_buffer_class", "replay_buffer_kwargs"}
        & training.hyperparameters.keys()
    ):
        return (
            f"training.hyperparameters.{taken[0]}: training.her brings a buffer of its own, of single transitions; leave {taken[0]} out"
            + off
        )
    if card.policy.input == "observation":
        return (
            "policy.input: the goal cannot be changed within the environment's own observation; `input: fields`, or a function features(state) of `code`"
            + off
        )
    if card.policy.input == "fields" and not next(
        f.policy for f in card.fields if f.name == card.goal.desired
    ):
        return (
            f"goal.desired: the policy does not see {card.goal.desired!r}, so it cannot tell goals apart; leave its `policy: false` out"
            + off
        )
    if card.success is None or card.success.info is not None:
        return "success: under another goal only `when` and `predicate` can be judged again" + off
    if card.task_reward == "environment":
        return (
            "task_reward: the environment's own reward is known for the goal it had alone; `task_reward: success`"
            + off
        )
    return None


def _layout(fields: tuple[Field, ...]) -> Layout:
    from autoreward.state import Layout

    return Layout(tuple(f.name for f in fields), tuple(f.shape for f in fields))


def _with_shape(field: Any) -> Any:
    """Add the shape that follows from a slice, as `"0:3"` or `obs.KEY[0:3]`, if none is given."""
    if not isinstance(field, dict) or "shape" in field:
        return field
    if not isinstance(field.get("source"), (str, int)):
        return field
    source = str(field["source"])
    columns = parse_source(source).columns
    if ":" in source and columns.stop is not None and columns.stop > columns.start:
        return {**field, "source": source, "shape": [columns.stop - columns.start]}
    return {**field, "source": source}


def _references(card: TaskCard) -> list[tuple[str, str]]:
    """Every field reference outside `fields`, with the place it stands at."""
    found: list[tuple[str, str]] = []

    def conditions(where: str, items: tuple[Condition, ...]) -> None:
        for c in items:
            found.append((where, c.field))
            if c.other:
                found.append((where, c.other))

    def near(where: str, n: Near | None) -> None:
        if n:
            found.append((where, n.a))
            if isinstance(n.b, str):
                found.append((where, n.b))

    if card.goal:
        found += [("goal.achieved", card.goal.achieved), ("goal.desired", card.goal.desired)]
    if card.success:
        conditions("success.when", card.success.when)
    for metric in [card.metric, *(c.metric for c in card.constraints)]:
        if metric and metric.of.startswith("field."):
            found.append((f"metric {metric.name}", metric.of[6:]))
    for i, hint in enumerate(card.hints):
        where = f"hints[{i}]"
        near(where, hint.near)
        for ref in (hint.increase, hint.decrease):
            if ref:
                found.append((where, ref))
        if hint.hold:
            conditions(where, hint.hold.when)
            if hint.hold.count:
                found.append((where, hint.hold.count))
        for sub in hint.subgoals or ():
            conditions(f"{where}.{sub.name}", sub.when)
            near(f"{where}.{sub.name}", sub.near)
        if hint.waypoints:
            found.append((where, hint.waypoints.field))
            if hint.waypoints.to:
                found.append((where, hint.waypoints.to))
    return found
