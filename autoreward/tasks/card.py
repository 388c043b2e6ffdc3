"""Task cards: what a task is, as data.

A card is `envs/<family>/<task>.yaml`, with an optional trusted Python file beside it (`code:`) that
only trainers import. Nothing in the YAML is evaluated as an expression. `find.py` says where cards
are looked for, `card_checks.py` what makes one inconsistent.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field as _
from pydantic import model_validator

from autoreward.tasks.caption import Caption
from autoreward.tasks.card_checks import card_problem
from autoreward.tasks.criteria import CardPart, Constraint, Metric, Name, Success
from autoreward.tasks.hints import Hint
from autoreward.tasks.source import SOURCE_PATTERN, parse_source

if TYPE_CHECKING:
    from autoreward.state import Layout


# Fields added after format 1 shipped. The digest leaves them out at their defaults, so that older
# runs can still be resumed.
DIGEST_EXEMPT_FIELDS = ("episodic_return", "goal", "caption")
# algorithms that read the rewards of a rollout only once it is complete
ROLLOUTS = ("PPO", "A2C", "TRPO")


class Environment(CardPart):
    """How to make the environment: a gymnasium id, or a factory.

    An id is `Hopper-v5` or `module:Id`; a factory is `pkg.mod:make`, or `here:make` for a function
    of the card's `code`.
    """

    id: str | None = None
    factory: str | None = None
    kwargs: dict[str, Any] = {}
    limit: int = _(gt=0, description="episode limit in steps; reaching it truncates the episode")
    extra: str | None = _(
        None, description="the extra of autoreward-rl that installs the simulator, e.g. minigrid"
    )
    needs: tuple[str, ...] = _((), description="modules that must be importable")

    @model_validator(mode="after")
    def _require_one_maker(self) -> Environment:
        if (self.id is None) == (self.factory is None):
            raise ValueError("give exactly one of `id` and `factory`")
        return self


class Action(CardPart):
    """The action space, as the environment has it, and what an action means in words."""

    type: Literal["discrete", "box", "multidiscrete", "multibinary"]
    n: int | None = _(None, description="discrete: number of actions")
    nvec: tuple[int, ...] | None = None
    shape: tuple[int, ...] = _((), description="box, multibinary: shape of one action")
    low: float = -1.0
    high: float = 1.0
    meaning: str

    @property
    def row(self) -> tuple[int, ...]:
        """The shape of one action as programs get it: () for discrete."""
        if self.type == "discrete":
            return ()
        if self.type == "multidiscrete":
            return (len(self.nvec or ()),)
        return self.shape

    @property
    def integer(self) -> bool:
        """True if actions are integers."""
        return self.type != "box"


class Field(CardPart):
    """One named quantity.

    `source` says where it comes from: `"0:3"` or `"7"`, columns of the flattened observation;
    `"obs"` the whole observation, `"obs.KEY"` a key of a Dict (`obs.a.b` nested, `obs.0` of a
    Tuple); `"info.KEY"` a key of `info`; either with `[0:3]` for columns of it; `"state.FUNCTION"`
    a function `f(env) -> number or array` of the card's `code`. `shape` is that of one value.
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
    """Return the numbers in a field's range: `0 .. 14` gives 0 and 14."""
    return [float(n) for n in re.findall(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", text)]


class Policy(CardPart):
    """What the policy sees.

    `input` is `observation`, `fields` (the card's), or the name of a trusted function
    `features(state) -> (n, k)` of `code`. `normalize`: by running mean and variance.
    """

    input: str = "observation"
    normalize: bool = False


class Goal(CardPart):
    """The two fields of a task whose goal changes from episode to episode: achieved and desired.

    Success depends on these two, and no other field contains or depends on `desired`: hindsight
    re-evaluates a transition under another goal by changing that field.
    """

    achieved: Name
    desired: Name


class EvaluationMode(CardPart):
    """How agents are evaluated: whether the policy samples, and over how many episodes."""

    mode: Literal["stochastic", "deterministic"] = "stochastic"
    episodes: int = _(default=100, gt=0)
    envs: int = _(default=25, gt=0)


class TrainingConfig(CardPart):
    """How an agent is trained. `hyperparameters` have the names that stable-baselines3 uses."""

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
        description="hindsight: transitions relabelled with a goal reached later, for each one "
        "kept as it was; needs `goal`; 0 turns it off",
    )
    solved: float = _(0.95, description="stop early once training episodes hold this success rate")


class TaskCard(CardPart):
    """Everything the loop knows about a task. envs/README.md has a commented example.

    Raises pydantic's ValidationError if the card is inconsistent (`card_checks.py`).
    """

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
        None, description="the achieved and the desired field, for tasks with many goals"
    )
    task_reward: Literal["success", "environment"] = "success"
    episodic_return: bool = _(
        False,
        description="withhold the environment's reward, and give its sum on the last step",
    )
    success: Success | None = None
    metric: Metric | None = None
    constraints: tuple[Constraint, ...] = ()
    endings: str = _("", description="how an episode ends, in plain language")
    evaluation: EvaluationMode = EvaluationMode()
    training: TrainingConfig
    human: str | None = _(
        None, description="a human-written reward program beside the card, for comparison"
    )
    hints: tuple[Hint, ...] = ()
    caption: Caption | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand_short_fields(cls, data: Any) -> Any:
        """Expand `fields: {base_pos: "0:3"}` to a list of mappings; a slice gives the shape."""
        if not isinstance(data, dict):
            return data
        fields = data.get("fields")
        if isinstance(fields, dict):
            fields = [_named_field(name, value) for name, value in fields.items()]
        if isinstance(fields, list):
            data = {**data, "fields": [_with_shape(field) for field in fields]}
        return data

    @model_validator(mode="after")
    def _require_consistency(self) -> TaskCard:
        problem = card_problem(self)
        if problem:
            raise ValueError(problem)
        return self

    @property
    def layout(self) -> Layout:
        """All fields in card order: what trainers read, and what features and success may use."""
        return _layout(self.fields)

    @property
    def reward_layout(self) -> Layout:
        """The fields offered to reward programs, in card order."""
        return _layout(tuple(field for field in self.fields if field.reward))

    def digest(self) -> str:
        """Return the identity of the card's content as 12 hex digits.

        `LocatedCard.digest` adds its trusted code.
        """
        excluded: dict[str, Any] = {}
        for name in DIGEST_EXEMPT_FIELDS:
            default = type(self).model_fields[name].get_default(call_default_factory=True)
            if getattr(self, name) == default:
                excluded[name] = True
        if not self.training.her:
            excluded["training"] = {"her": True}
        content = self.model_dump_json(by_alias=True, exclude=excluded)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def _layout(fields: tuple[Field, ...]) -> Layout:
    # numpy is imported on use, so that commands that only read cards start fast
    from autoreward.state import Layout

    return Layout(tuple(f.name for f in fields), tuple(f.shape for f in fields))


def _named_field(name: str, value: Any) -> dict[str, Any]:
    """Return a field of the short form, `name: source` or `name: {source: ...}`, as a mapping."""
    if isinstance(value, (str, int)):
        return {"name": name, "source": str(value)}
    return {"name": name, **(value or {})}


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
