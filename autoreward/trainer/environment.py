"""From a card to a gymnasium environment whose observation is one vector.

`CardEnvironment` returns float64 vectors `[fields (D) | observation (P)]`, the second part only if
the policy's input is the environment's own observation. Fields, success, endings and the task
reward are those of `tasks/runtime.py`. Only trainers import this module: a card's trusted code
runs here.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from importlib.machinery import SOURCE_SUFFIXES, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from autoreward.annotation.captions import MAX_CAPTIONS, Captions
from autoreward.errors import MISSING, REFUSED, UserError
from autoreward.state import Array, State, resolve
from autoreward.tasks.card import Action, Environment, TaskCard
from autoreward.tasks.criteria import Metric
from autoreward.tasks.find import LocatedCard, require_simulator
from autoreward.tasks.plain_task import plain_task
from autoreward.tasks.runtime import (
    EnvironmentState,
    EpisodeTracker,
    FieldError,
    FieldReader,
    Task,
)
from autoreward.tasks.source import parse_source
from autoreward.trainer.wrappers import flat_observation

NO_NUMBERS = np.empty(0)


class CardProblem(UserError):
    """The card and its environment do not fit; the message begins with the key of the card."""

    def __init__(
        self, message: str, hint: str = "fix the card, then: autoreward envs check CARD"
    ) -> None:
        super().__init__(message, hint, REFUSED)


class SourceLoader(SourceFileLoader):
    """Imports a file from its source and never from `__pycache__`.

    A run directory may come from another machine. Its copy of the code is compared with the user's
    own, and compiled code beside it need not have anything to do with that source.
    """

    def get_code(self, fullname: str) -> CodeType:
        """Compile the source."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def trusted_code(card: LocatedCard) -> ModuleType | None:
    """Import the card's Python file; None if it has none.

    Raises CardProblem if the file is missing or fails, UserError if a module it needs is missing.
    """
    if card.code is None:
        return None
    if not card.code.is_file():
        raise CardProblem(f"code: the file {card.code} does not exist")
    if card.code.suffix not in SOURCE_SUFFIXES:
        raise CardProblem(f"code: {card.code} is not a Python file")
    name = f"autoreward_card_{card.code.stem}"
    loader = SourceLoader(name, str(card.code))
    spec = importlib.util.spec_from_file_location(name, card.code, loader=loader)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    origin = card.code_origin
    if origin:
        # A run's copy of the code: the files beside the original are not copied.
        module.__file__ = str(origin)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise UserError(
            f"the card {card.card.name!r} needs {error.name or error}, which is not installed",
            f"autoreward envs show {card.card.name}",
            MISSING,
        ) from None
    except Exception as error:
        raise CardProblem(
            f"code: {card.code.name} fails at import: {type(error).__name__}: {error}"
        ) from error
    return module


def function(card: LocatedCard, code: ModuleType | None, key: str, name: str) -> Callable[..., Any]:
    """Return a function of the card's code.

    Raises CardProblem if it does not exist; `key` is the key of the card that names it.
    """
    found = getattr(code, name, None) if code else None
    if callable(found):
        return found
    place = card.code.name if card.code else "the card's code (it has no `code:`)"
    raise CardProblem(f"{key}: no function {name}() in {place}")


def captions_of(
    card: LocatedCard, code: ModuleType | None, max_captions: int = MAX_CAPTIONS
) -> Captions:
    """Return the captions of a card, written by its trusted function if it names one."""
    caption = card.card.caption
    writer = None
    if caption and caption.function:
        writer = function(card, code, "caption.function", caption.function)
    return Captions(card.card, writer, max_captions)


def bare_environment(
    card: LocatedCard, code: ModuleType | None, render_mode: str | None = None
) -> gym.Env[Any, Any]:
    """Make the card's environment without wrappers, and without gymnasium's own time limit.

    `render_mode` is passed if the maker takes one; the environment's own `render_mode` says whether
    it was granted.
    """
    return construct(
        card.card.environment,
        lambda name: function(card, code, "environment.factory", name),
        render_mode,
    )


def construct(
    environment: Environment,
    find_function: Callable[[str], Callable[..., Any]],
    render_mode: str | None = None,
) -> gym.Env[Any, Any]:
    """Make what `environment:` names; `find_function` looks up functions of the card's own code.

    Raises CardProblem if that fails, UserError if a module is missing.
    """
    try:
        if environment.factory:
            return _from_factory(environment, find_function, render_mode)
        assert environment.id is not None
        return gym.make(
            environment.id,
            max_episode_steps=-1,
            disable_env_checker=True,
            render_mode=render_mode,
            **environment.kwargs,
        )
    except UserError:
        raise
    except gym.error.Error as error:
        raise CardProblem(f"environment.id: {error}") from None
    except ImportError as error:
        package = f"the package that provides {error.name!r}" if error.name else "what it needs"
        raise UserError(
            f"environment: {error}",
            f"install {package}; if it is your own module, run autoreward from a directory where "
            "it can be imported",
            MISSING,
        ) from error
    except Exception as error:
        raise CardProblem(f"environment: {type(error).__name__}: {error}") from error


def _from_factory(
    environment: Environment,
    find_function: Callable[[str], Callable[..., Any]],
    render_mode: str | None,
) -> gym.Env[Any, Any]:
    """Call the factory `module:name`, or `here:name` of the card's own code."""
    module, _, name = (environment.factory or "").partition(":")
    if module == "here":
        maker = find_function(name)
    else:
        maker = getattr(importlib.import_module(module), name)
    kwargs = dict(environment.kwargs)
    if render_mode and "render_mode" in inspect.signature(maker).parameters:
        kwargs = {"render_mode": render_mode, **kwargs}
    return maker(**kwargs)


def parts_of(space: spaces.Space[Any]) -> list[tuple[str, spaces.Space[Any]]]:
    """Return (path, leaf) of a nested Dict or Tuple, in the order gymnasium flattens them.

    Paths are as in `a.b` or `0`; a leaf space is its own part, with the path "".
    """
    if isinstance(space, spaces.Dict):
        children = [(str(key), part) for key, part in space.spaces.items()]
    elif isinstance(space, spaces.Tuple):
        children = [(str(index), part) for index, part in enumerate(space.spaces)]
    else:
        return [("", space)]
    found: list[tuple[str, spaces.Space[Any]]] = []
    for key, part in children:
        for path, leaf in parts_of(part):
            found.append((f"{key}.{path}" if path else key, leaf))
    return found


class FlatAction(gym.ActionWrapper[Any, Any, Any]):
    """Nested Dict and Tuple actions as one vector.

    Discrete parts become one MultiDiscrete, Box parts one Box. Raises CardProblem if both occur.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        parts: list[Any] = [leaf for _, leaf in parts_of(env.action_space)]
        self.parts = parts
        discrete = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
        if all(isinstance(part, discrete) for part in parts):
            choices: list[int] = []
            for part in parts:
                choices += _choices(part)
            self.action_space = spaces.MultiDiscrete(choices)
        elif all(isinstance(part, spaces.Box) for part in parts):
            low = np.concatenate([part.low.ravel() for part in parts])
            high = np.concatenate([part.high.ravel() for part in parts])
            self.action_space = spaces.Box(low, high, dtype=np.float32)
        else:
            kind = type(env.action_space).__name__
            raise CardProblem(
                f"action: the parts of {kind} are mixed; they must be all Discrete or all Box"
            )

    def action(self, action: Any) -> Any:
        """Return the nested action that a vector stands for."""
        values: list[Any] = []
        start = 0
        for part in self.parts:
            is_discrete = isinstance(part, spaces.Discrete)
            size = 1 if is_discrete else int(np.prod(part.shape or ()))
            piece = np.asarray(action[start : start + size])
            if is_discrete:
                values.append(int(piece[0]) + int(part.start))
            else:
                values.append(piece.astype(part.dtype).reshape(part.shape))
            start += size
        return _nested(self.env.action_space, iter(values))


def _nested(space: spaces.Space[Any], values: Iterator[Any]) -> Any:
    """Return the values of a space's leaves in the nesting of the space."""
    if isinstance(space, spaces.Dict):
        return {key: _nested(part, values) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_nested(part, values) for part in space.spaces)
    return next(values)


def _choices(part: Any) -> list[int]:
    """Return how many values each number of a discrete part can take."""
    if isinstance(part, spaces.Discrete):
        return [int(part.n)]
    if isinstance(part, spaces.MultiDiscrete):
        return [int(n) for n in part.nvec.ravel()]
    return [2] * int(np.prod(part.shape))


def check_spaces(card: TaskCard, env: gym.Env[Any, Any]) -> None:
    """Raise CardProblem if the card's action is not the environment's, or cannot be trained on."""
    real = _action_type(env.action_space)
    claimed = _claimed_action_type(card.action)
    if real != claimed:
        raise CardProblem(
            f"action: the card says {claimed[0]} {claimed[1]}, the environment has "
            f"{real[0]} {real[1]}"
        )
    if card.policy.input != "observation":
        return
    observed = env.observation_space
    parts = observed.spaces.values() if isinstance(observed, spaces.Dict) else [observed]
    for part in parts:
        if isinstance(part, spaces.Box) and len(part.shape) >= 3:
            raise CardProblem(
                f"policy.input: the observation contains an image of shape {part.shape}; policies "
                "on images are not supported, use `input: fields` or a features function instead"
            )


def _action_type(space: spaces.Space[Any]) -> tuple[str, Any]:
    """Return the type and the size of an action space; CardProblem for an unknown one."""
    if isinstance(space, spaces.Discrete):
        return "discrete", int(space.n)
    if isinstance(space, spaces.Box):
        return "box", tuple(space.shape)
    if isinstance(space, spaces.MultiDiscrete):
        return "multidiscrete", tuple(int(n) for n in space.nvec)
    if isinstance(space, spaces.MultiBinary):
        return "multibinary", tuple(space.shape)
    raise CardProblem(
        f"action: the environment's action space {type(space).__name__} cannot be trained on"
    )


def _claimed_action_type(action: Action) -> tuple[str, Any]:
    """Return the type and the size that the card gives, as `_action_type`."""
    if action.type == "discrete":
        return action.type, action.n
    if action.type == "multidiscrete":
        return action.type, action.nvec
    return action.type, tuple(action.shape)


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
        flat = NO_NUMBERS
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
