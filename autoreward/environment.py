"""From a card to a gymnasium environment whose observation is one vector: the card's fields, then what the policy needs besides.

`CardEnvironment` returns float64 vectors `[fields (D) | observation (P)]`, the second part only where the policy's input is the
environment's own observation. It decides success, ends the episode at the card's limit, and hands out the sparse task reward.
Only trainers import this: cards' trusted code runs here.
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

from autoreward.cards import LocatedCard, require_simulator
from autoreward.errors import MISSING, REFUSED, UserError
from autoreward.state import Array, State, resolve
from autoreward.task import Metric, TaskCard, all_hold


class CardProblem(UserError):
    """The card and its environment do not fit together; the message names the key of the card."""

    def __init__(self, message: str, hint: str = "mend the card, then: autoreward envs check CARD") -> None:
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
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise UserError(f"the card {card.card.name!r} needs {error.name or error}, not installed here", "autoreward envs show " + card.card.name, MISSING) from None
    except Exception as error:
        raise CardProblem(f"code: {card.code.name} fails at import: {type(error).__name__}: {error}") from error
    return module


def function(card: LocatedCard, code: ModuleType | None, where: str, name: str) -> Callable[..., Any]:
    """A function of the card's code; CardProblem where there is none of that name."""
    found = getattr(code, name, None) if code else None
    if not callable(found):
        raise CardProblem(f"{where}: there is no function {name}() in " + (f"{card.code.name}" if card.code else "the card's code (it has no `code:`)"))
    return found


def bare_environment(card: LocatedCard, code: ModuleType | None, render_mode: str | None = None) -> gym.Env[Any, Any]:
    """The environment as its makers wrote it, without a time limit of its own where gymnasium would add one.

    `render_mode` is asked for where the maker takes one; whether it was granted says the environment's own `render_mode`.
    """
    made = card.card.environment
    try:
        if made.factory:
            place, _, name = made.factory.partition(":")
            maker = function(card, code, "environment.factory", name) if place == "here" else getattr(importlib.import_module(place), name)
            drawn = {"render_mode": render_mode} if render_mode and "render_mode" in inspect.signature(maker).parameters else {}
            return maker(**drawn, **made.kwargs)
        assert made.id is not None
        return gym.make(made.id, max_episode_steps=-1, disable_env_checker=True, render_mode=render_mode, **made.kwargs)
    except UserError:
        raise
    except gym.error.Error as error:
        raise CardProblem(f"environment.id: {error}") from None
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise CardProblem(f"environment: {type(error).__name__}: {error}") from error


class FlatAction(gym.ActionWrapper[Any, Any, Any]):
    """Dict and Tuple actions as one vector: parts all Discrete become MultiDiscrete, parts all Box become one Box; anything mixed is refused."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.parts = list(env.action_space.spaces.values() if isinstance(env.action_space, spaces.Dict) else env.action_space.spaces)  # type: ignore[attr-defined]
        if all(isinstance(p, spaces.Discrete) for p in self.parts):
            self.action_space = spaces.MultiDiscrete([int(p.n) for p in self.parts])
        elif all(isinstance(p, spaces.Box) for p in self.parts):
            self.action_space = spaces.Box(np.concatenate([p.low.ravel() for p in self.parts]), np.concatenate([p.high.ravel() for p in self.parts]), dtype=np.float32)
        else:
            raise CardProblem(f"action: the parts of {type(env.action_space).__name__} are mixed; all Discrete or all Box can be trained")

    def action(self, action: Any) -> Any:
        out, at = [], 0
        for part in self.parts:
            size = 1 if isinstance(part, spaces.Discrete) else int(np.prod(part.shape))
            piece = action[at : at + size]
            out.append(int(piece[0]) if isinstance(part, spaces.Discrete) else np.asarray(piece, part.dtype).reshape(part.shape))
            at += size
        inner = self.env.action_space
        return dict(zip(inner.spaces, out, strict=True)) if isinstance(inner, spaces.Dict) else tuple(out)


def check_spaces(card: TaskCard, env: gym.Env[Any, Any]) -> None:
    """CardProblem where the card's action and the environment's differ, or where something cannot be trained on."""
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
        raise CardProblem(f"action: the environment's action space {type(space).__name__} cannot be trained on")
    if real != said:
        raise CardProblem(f"action: the card says {said[0]} {said[1]}, the environment has {real[0]} {real[1]}")
    seen = env.observation_space
    images = [s for s in (seen.spaces.values() if isinstance(seen, spaces.Dict) else [seen]) if isinstance(s, spaces.Box) and len(s.shape) >= 3]
    if images and card.policy.input == "observation":
        raise CardProblem(f"policy.input: the observation holds an image of shape {images[0].shape}; policies that see images are not supported, name fields or features instead")


class CardEnvironment(gym.Env[Array, Any]):
    """One environment of a card. `info` is empty but at the end of an episode: success, metrics, length."""

    def __init__(self, card: LocatedCard, code: ModuleType | None, render_mode: str | None = None) -> None:
        require_simulator(card.card)
        self.card, self.layout = card.card, card.card.layout
        env = bare_environment(card, code, render_mode)
        self.render_mode, self.metadata = env.render_mode, env.metadata
        self.env = FlatAction(env) if isinstance(env.action_space, (spaces.Dict, spaces.Tuple)) else env
        check_spaces(self.card, self.env)
        self.inner_space = self.env.observation_space
        self.sources = [(f, self._source(card, code, f.name, f.source), *self.layout.slices[f.name][:2]) for f in self.card.fields]
        self.predicate = function(card, code, "success.predicate", self.card.success.predicate) if self.card.success and self.card.success.predicate else None
        self.own = self.card.policy.input == "observation"
        self.plain = isinstance(self.inner_space, spaces.Box)
        self.width = self.layout.width + (spaces.flatdim(self.inner_space) if self.own else 0)
        self.observation_space = spaces.Box(-np.inf, np.inf, (self.width,), np.float64)
        self.action_space = self.env.action_space
        self.metrics = ([self.card.metric] if self.card.metric else []) + [c.metric for c in self.card.constraints]
        self.steps = 0

    def _source(self, card: LocatedCard, code: ModuleType | None, name: str, source: str) -> Callable[[Any, Array, dict[str, Any]], Any]:
        kind, _, rest = source.partition(".")
        if kind == "obs" and rest:
            keys = rest.split(".")

            def from_key(observation: Any, flat: Array, info: dict[str, Any]) -> Any:
                for key in keys:
                    observation = observation[int(key) if key.isdigit() and isinstance(observation, (tuple, list)) else key]
                return observation

            return from_key
        if kind == "info" and rest:
            return lambda observation, flat, info: info[rest] if rest in info else 0.0 if self.steps == 0 else _missing(rest)
        if kind == "state" and rest:
            maker = function(card, code, f"fields.{name}", rest)
            return lambda observation, flat, info: maker(self.env.unwrapped)
        start, colon, end = source.partition(":")
        low, high = int(start), int(end) if colon else int(start) + 1
        return lambda observation, flat, info: flat[low:high]

    def _vector(self, observation: Any, info: dict[str, Any]) -> Array:
        flat = np.asarray(observation, np.float64).ravel() if self.plain else np.asarray(spaces.flatten(self.inner_space, observation), np.float64)
        out = np.empty(self.width)
        for field, source, start, end in self.sources:
            try:
                value = np.asarray(source(observation, flat, info), np.float64).ravel()
            except Exception as error:
                raise CardProblem(f"fields.{field.name}: source {field.source!r}: {type(error).__name__}: {error}") from error
            if value.size != end - start:
                raise CardProblem(f"fields.{field.name}: source {field.source!r} gives {value.size} numbers, shape {list(field.shape)} needs {end - start}")
            out[start:end] = value
        if self.own:
            out[self.layout.width :] = flat
        return out

    def _succeeds(self, vector: Array, info: dict[str, Any]) -> bool:
        success = self.card.success
        if success is None:
            return False
        if success.info:
            return bool(info.get(success.info, False))
        state = State(vector[None, : self.layout.width], self.layout)
        return bool(all_hold(success.when, state)[0]) if success.when else bool(np.asarray(self.predicate(state))[0])  # type: ignore[misc]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        observation, info = self.env.reset(seed=seed)
        self.steps, self.reached, self.succeeding, self.own_return = 0, False, False, 0.0
        self.values: dict[str, list[float]] = {m.name: [] for m in self.metrics}
        return self._vector(observation, info), {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        observation, own_reward, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        self.own_return += float(own_reward)
        vector = self._vector(observation, info)
        now = self._succeeds(vector, info)
        new = now and not self.reached
        self.reached, self.succeeding = self.reached or now, now
        success = self.card.success
        if new and success and success.ends_episode:
            terminated = True
        truncated = not terminated and (bool(truncated) or self.steps >= self.card.environment.limit)
        for metric in self.metrics:
            if metric.of != "return":
                self.values[metric.name].append(self._value(metric, vector, info))
        reward = float(own_reward) if self.card.task_reward == "environment" else float(new)
        out: dict[str, Any] = {}
        if terminated or truncated:
            won = self.reached if success is None or success.latches else self.succeeding
            out = {"success": won, "length": self.steps, "metrics": {m.name: self._reduced(m) for m in self.metrics}}
        return vector, reward, bool(terminated), truncated, out

    def _value(self, metric: Metric, vector: Array, info: dict[str, Any]) -> float:
        kind, _, rest = metric.of.partition(".")
        if kind == "info":
            if rest not in info:
                raise CardProblem(f"metric {metric.name}: info has no key {rest!r}; it has {sorted(info)}")
            return float(info[rest])
        return float(resolve(State(vector[None, : self.layout.width], self.layout), rest)[0])

    def _reduced(self, metric: Metric) -> float:
        if metric.of == "return":
            return self.own_return
        values = np.asarray(self.values[metric.name])
        return float(values[-1] if metric.reduce == "last" else getattr(np, metric.reduce)(values))

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        self.env.close()


def _missing(key: str) -> Any:
    raise KeyError(f"info has no key {key!r} after a step")
