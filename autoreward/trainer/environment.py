"""From a card to a gymnasium environment whose observation is one vector: the card's fields, then
what the policy needs besides.

`CardEnvironment` returns float64 vectors `[fields (D) | observation (P)]`, the second part only
where the policy's input is the environment's own observation. It decides success, ends the episode
at the card's limit, and hands out the task reward: the sparse one, the environment's own, or its
sum at the end of an episode. Only trainers import this: cards' trusted code runs here.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from autoreward.annotation.captions import MAX_CAPTIONS, Captions
from autoreward.errors import MISSING, REFUSED, UserError
from autoreward.state import Array, State, resolve
from autoreward.tasks.card import Environment, TaskCard
from autoreward.tasks.criteria import Metric
from autoreward.tasks.find import LocatedCard, require_simulator
from autoreward.tasks.plain_task import plain_task
from autoreward.tasks.source import parse_source
from autoreward.tasks.standalone import (
    EnvironmentState,
    EpisodeTracker,
    FieldError,
    FieldReader,
    Task,
)
from autoreward.trainer.wrappers import flat_observation

NOTHING = np.empty(0)


class CardProblem(UserError):
    """The card and its environment do not fit together; the message names the key of the card."""

    def __init__(
        self, message: str, hint: str = "mend the card, then: autoreward envs check CARD"
    ) -> None:
        super().__init__(message, hint, REFUSED)


def trusted_code(card: LocatedCard) -> ModuleType | None:
    """The card's Python file, imported; None where it has none."""
    if card.code is None:
        return None
    if not card.code.is_file():
        raise CardProblem(f"code: there is no file {card.code} beside the card")
    spec = importlib.util.spec_from_file_location(f"autoreward_card_{card.code.stem}", card.code)
    if spec is None or spec.loader is None:
        raise CardProblem(f"code: {card.code} is no Python file")
    module = importlib.util.module_from_spec(spec)
    if origin := card.code_origin:
        # A run's copy of the code: the files beside the original are not copied.
        module.__file__ = str(origin)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise UserError(
            f"the card {card.card.name!r} needs {error.name or error}, not installed here",
            "autoreward envs show " + card.card.name,
            MISSING,
        ) from None
    except Exception as error:
        raise CardProblem(
            f"code: {card.code.name} fails at import: {type(error).__name__}: {error}"
        ) from error
    return module


def function(
    card: LocatedCard, code: ModuleType | None, where: str, name: str
) -> Callable[..., Any]:
    """A function of the card's code; CardProblem where there is none of that name."""
    found = getattr(code, name, None) if code else None
    if not callable(found):
        raise CardProblem(
            f"{where}: there is no function {name}() in "
            + (f"{card.code.name}" if card.code else "the card's code (it has no `code:`)")
        )
    return found


def captions_of(
    card: LocatedCard, code: ModuleType | None, max_captions: int = MAX_CAPTIONS
) -> Captions:
    """The captions of a card, written by its trusted function where it names one."""
    made = card.card.caption
    return Captions(
        card.card,
        function(card, code, "caption.function", made.function) if made and made.function else None,
        max_captions,
    )


def bare_environment(
    card: LocatedCard, code: ModuleType | None, render_mode: str | None = None
) -> gym.Env[Any, Any]:
    """The environment as its makers wrote it, without a time limit of its own where gymnasium
    would add one.

    `render_mode` is asked for where the maker takes one; whether it was granted says the
    environment's own `render_mode`.
    """
    return construct(
        card.card.environment,
        lambda name: function(card, code, "environment.factory", name),
        render_mode,
    )


def construct(
    made: Environment, here: Callable[[str], Callable[..., Any]], render_mode: str | None = None
) -> gym.Env[Any, Any]:
    """Make what `environment:` names; `here` looks up functions of the card's own code.

    CardProblem where that fails.
    """
    try:
        if made.factory:
            place, _, name = made.factory.partition(":")
            maker = here(name) if place == "here" else getattr(importlib.import_module(place), name)
            drawn = (
                {"render_mode": render_mode}
                if render_mode and "render_mode" in inspect.signature(maker).parameters
                else {}
            )
            return maker(**drawn, **made.kwargs)
        assert made.id is not None
        return gym.make(
            made.id,
            max_episode_steps=-1,
            disable_env_checker=True,
            render_mode=render_mode,
            **made.kwargs,
        )
    except UserError:
        raise
    except gym.error.Error as error:
        raise CardProblem(f"environment.id: {error}") from None
    except ImportError as error:
        raise UserError(
            f"environment: {error}",
            f"pip install what brings {error.name or 'it'}; a module of your own must be importable from this folder",
            MISSING,
        ) from error
    except Exception as error:
        raise CardProblem(f"environment: {type(error).__name__}: {error}") from error


def parts_of(space: spaces.Space[Any]) -> list[tuple[str, spaces.Space[Any]]]:
    """The leaves of a nested Dict or Tuple with their paths (`a.b`, `0`), in the order gymnasium
    flattens them; a leaf is itself, at "".
    """
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        inner = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        return [
            (f"{key}.{path}" if path else str(key), leaf)
            for key, part in inner
            for path, leaf in parts_of(part)
        ]
    return [("", space)]


class FlatAction(gym.ActionWrapper[Any, Any, Any]):
    """Nested Dict and Tuple actions as one vector: whole numbers become one MultiDiscrete, all Box
    become one Box; anything mixed is refused.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.leaves = parts_of(env.action_space)
        parts = [leaf for _, leaf in self.leaves]
        if all(
            isinstance(p, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary))
            for p in parts
        ):
            self.action_space = spaces.MultiDiscrete([n for p in parts for n in _choices(p)])
        elif all(isinstance(p, spaces.Box) for p in parts):
            self.action_space = spaces.Box(
                np.concatenate([p.low.ravel() for p in parts]),  # type: ignore[attr-defined]
                np.concatenate([p.high.ravel() for p in parts]),  # type: ignore[attr-defined]
                dtype=np.float32,
            )
        else:
            raise CardProblem(
                f"action: the parts of {type(env.action_space).__name__} are mixed; all Discrete or all Box can be trained"
            )

    def action(self, action: Any) -> Any:
        at, out = 0, list[Any]()
        for _, part in self.leaves:
            size = 1 if isinstance(part, spaces.Discrete) else int(np.prod(part.shape or ()))
            piece = np.asarray(action[at : at + size])
            out.append(
                int(piece[0]) + int(part.start)
                if isinstance(part, spaces.Discrete)
                else piece.astype(part.dtype).reshape(part.shape)
            )
            at += size
        pieces = iter(out)

        def rebuilt(space: spaces.Space[Any]) -> Any:
            if isinstance(space, spaces.Dict):
                return {key: rebuilt(part) for key, part in space.spaces.items()}
            return (
                tuple(rebuilt(part) for part in space.spaces)
                if isinstance(space, spaces.Tuple)
                else next(pieces)
            )

        return rebuilt(self.env.action_space)


def _choices(part: Any) -> list[int]:
    """How many values each number of a discrete part takes."""
    if isinstance(part, spaces.Discrete):
        return [int(part.n)]
    return (
        [int(n) for n in part.nvec.ravel()]
        if isinstance(part, spaces.MultiDiscrete)
        else [2] * int(np.prod(part.shape))
    )


def check_spaces(card: TaskCard, env: gym.Env[Any, Any]) -> None:
    """CardProblem where the card's action and the environment's differ, or where something cannot
    be trained on.
    """
    space, action = env.action_space, card.action
    real: tuple[Any, ...]
    said: tuple[Any, ...]
    if isinstance(space, spaces.Discrete):
        real, said = ("discrete", int(space.n)), (action.type, action.n)
    elif isinstance(space, spaces.Box):
        real, said = ("box", tuple(space.shape)), (action.type, tuple(action.shape))
    elif isinstance(space, spaces.MultiDiscrete):
        real, said = ("multidiscrete", tuple(map(int, space.nvec))), (action.type, action.nvec)
    elif isinstance(space, spaces.MultiBinary):
        real, said = ("multibinary", tuple(space.shape)), (action.type, tuple(action.shape))
    else:
        raise CardProblem(
            f"action: the environment's action space {type(space).__name__} cannot be trained on"
        )
    if real != said:
        raise CardProblem(
            f"action: the card says {said[0]} {said[1]}, the environment has {real[0]} {real[1]}"
        )
    seen = env.observation_space
    images = [
        s
        for s in (seen.spaces.values() if isinstance(seen, spaces.Dict) else [seen])
        if isinstance(s, spaces.Box) and len(s.shape) >= 3
    ]
    if images and card.policy.input == "observation":
        raise CardProblem(
            f"policy.input: the observation holds an image of shape {images[0].shape}; policies that see images are not supported, name fields or features instead"
        )


def trusted_task(card: LocatedCard, code: ModuleType | None) -> Task:
    """Return the card's task with all its fields and trusted functions.

    Raises CardProblem if the card names a function that its code does not have.
    """
    functions: dict[str, Callable[..., Any]] = {}
    for field in card.card.fields:
        source = parse_source(field.source)
        if source.origin == "state":
            key = f"fields.{field.name}"
            functions[source.name] = function(card, code, key, source.name)
    success = card.card.success
    if success and success.predicate:
        key = "success.predicate"
        functions[success.predicate] = function(card, code, key, success.predicate)
    return plain_task(card.card, functions, all_fields=True)


class CardEnvironment(gym.Env[Array, Any]):
    """One environment of a card, as trainers step it.

    Observations are float64 vectors of the card's fields, followed by the environment's own
    observation if the policy's input is that. `info` is empty except at the end of an episode:
    success, metrics, length. If the return is withheld (`episodic_return`), every step's `info`
    also holds `dense`, the reward before withholding: trainers measure with it; programs and
    policies never see it.
    """

    def __init__(
        self, card: LocatedCard, code: ModuleType | None, render_mode: str | None = None
    ) -> None:
        require_simulator(card.card)
        self.card = card.card
        self.layout = card.card.layout
        env = bare_environment(card, code, render_mode)
        self.render_mode = env.render_mode
        self.metadata = env.metadata
        is_nested = isinstance(env.action_space, (spaces.Dict, spaces.Tuple))
        self.env = FlatAction(env) if is_nested else env
        check_spaces(self.card, self.env)
        self.action_space = self.env.action_space
        self.native_observation_space = self.env.observation_space

        self.task = trusted_task(card, code)
        self.reader = FieldReader(self.task, lambda: self.env.unwrapped)
        self.episode = EpisodeTracker(self.task)
        self.observes_natively = self.card.policy.input == "observation"
        self.needs_flat = self.observes_natively or self.reader.reads_columns
        self.width = self.layout.width
        if self.observes_natively:
            self.width += spaces.flatdim(self.native_observation_space)
        self.observation_space = spaces.Box(-np.inf, np.inf, (self.width,), np.float64)

        metrics = [self.card.metric] if self.card.metric else []
        self.metrics = metrics + [constraint.metric for constraint in self.card.constraints]
        self.values: dict[str, list[float]] = {}
        # every key that a step's info had, if success is one of them
        self.info_keys: set[str] = set()

    def _vector(self, observation: Any, info: dict[str, Any], *, is_initial: bool) -> Array:
        """Return `[fields | observation]`; CardProblem if a field's source does not fit."""
        flat = NOTHING
        if self.needs_flat:
            flat = flat_observation(self.native_observation_space, observation)
        out = np.empty(self.width)
        state = EnvironmentState(observation, flat, info, is_initial)
        try:
            self.reader.read_into(out, state)
        except FieldError as error:
            raise CardProblem(str(error)) from error
        if self.observes_natively:
            out[self.layout.width :] = flat
        return out

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        observation, info = self.env.reset(seed=seed)
        self.episode.begin()
        self.values = {metric.name: [] for metric in self.metrics}
        return self._vector(observation, info, is_initial=True), {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        vector = self._vector(observation, info, is_initial=False)
        fields = vector[: self.layout.width]
        step = self.episode.step(fields, float(reward), bool(terminated), bool(truncated), info)
        if self.task.success is not None and self.task.success.info:
            self.info_keys |= info.keys()
        for metric in self.metrics:
            if metric.of != "return":
                self.values[metric.name].append(self._value(metric, fields, info))

        out: dict[str, Any] = {}
        if self.task.episodic_return:
            out["dense"] = step.dense_reward
        if step.terminated or step.truncated:
            out["success"] = step.success
            out["length"] = self.episode.steps
            out["metrics"] = {metric.name: self._reduced(metric) for metric in self.metrics}
        return vector, step.reward, step.terminated, step.truncated, out

    def _value(self, metric: Metric, fields: Array, info: dict[str, Any]) -> float:
        """Return a metric's value at one step, from `info` or a field."""
        origin, _, name = metric.of.partition(".")
        if origin == "info":
            if name not in info:
                raise CardProblem(
                    f"metric {metric.name}: info has no key {name!r}; it has {sorted(info)}"
                )
            return float(info[name])
        return float(resolve(State(fields[None], self.layout), name)[0])

    def _reduced(self, metric: Metric) -> float:
        """Return a metric's value of the episode."""
        if metric.of == "return":
            return self.episode.environment_return
        values = np.asarray(self.values[metric.name])
        if metric.reduce == "last":
            return float(values[-1])
        return float(getattr(np, metric.reduce)(values))

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        self.env.close()
