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
from autoreward.tasks.card import Environment, TaskCard, parted
from autoreward.tasks.criteria import Metric, all_hold
from autoreward.tasks.find import LocatedCard, require_simulator

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


class CardEnvironment(gym.Env[Array, Any]):
    """One environment of a card.

    `info` is empty but at the end of an episode: success, metrics, length.

    Where the return is held back (`episodic_return`) it holds at every step what was, `dense`: for
    measuring, in trainers alone; no program and no policy sees it.
    """

    def __init__(
        self, card: LocatedCard, code: ModuleType | None, render_mode: str | None = None
    ) -> None:
        require_simulator(card.card)
        self.card, self.layout = card.card, card.card.layout
        env = bare_environment(card, code, render_mode)
        self.render_mode, self.metadata = env.render_mode, env.metadata
        self.env = (
            FlatAction(env) if isinstance(env.action_space, (spaces.Dict, spaces.Tuple)) else env
        )
        check_spaces(self.card, self.env)
        self.inner_space = self.env.observation_space
        self.sources = [
            (
                f,
                self._source(card, code, f.name, f.source, f.shape),
                *self.layout.slices[f.name][:2],
            )
            for f in self.card.fields
        ]
        self.predicate = (
            function(card, code, "success.predicate", self.card.success.predicate)
            if self.card.success and self.card.success.predicate
            else None
        )
        self.own = self.card.policy.input == "observation"
        # text and images, where nobody asks for them, need no vector
        self.flattens = self.own or any(f.source[0].isdigit() for f in self.card.fields)
        self.plain = isinstance(self.inner_space, spaces.Box)
        self.width = self.layout.width + (spaces.flatdim(self.inner_space) if self.own else 0)
        self.observation_space = spaces.Box(-np.inf, np.inf, (self.width,), np.float64)
        self.action_space = self.env.action_space
        self.metrics = ([self.card.metric] if self.card.metric else []) + [
            c.metric for c in self.card.constraints
        ]
        self.steps, self.info_keys = 0, set[str]()

    def _source(
        self,
        card: LocatedCard,
        code: ModuleType | None,
        name: str,
        source: str,
        shape: tuple[int, ...],
    ) -> Callable[[Any, Array, dict[str, Any]], Any]:
        source, columns = parted(source)
        kind, _, rest = source.partition(".")
        if kind == "obs":
            keys = rest.split(".") if rest else []

            def from_key(observation: Any, flat: Array, info: dict[str, Any]) -> Any:
                for key in keys:
                    observation = observation[
                        int(key)
                        if key.isdigit() and isinstance(observation, (tuple, list))
                        else key
                    ]
                return np.asarray(observation, np.float64).ravel()[columns]

            return from_key
        if kind == "info" and rest:

            def from_info(observation: Any, flat: Array, info: dict[str, Any]) -> Any:
                if rest not in info and self.steps == 0:
                    # many environments say something only after a step
                    return np.zeros(shape)
                return np.asarray(
                    info[rest] if rest in info else _missing(rest), np.float64
                ).ravel()[columns]

            return from_info
        if kind == "state" and rest:
            maker = function(card, code, f"fields.{name}", rest)
            return lambda observation, flat, info: maker(self.env.unwrapped)
        return lambda observation, flat, info: flat[columns]

    def _vector(self, observation: Any, info: dict[str, Any]) -> Array:
        flat = (
            np.asarray(observation, np.float64).ravel()
            if self.plain
            else np.asarray(spaces.flatten(self.inner_space, observation), np.float64)
            if self.flattens
            else NOTHING
        )
        out = np.empty(self.width)
        for field, source, start, end in self.sources:
            try:
                value = np.asarray(source(observation, flat, info), np.float64).ravel()
            except Exception as error:
                raise CardProblem(
                    f"fields.{field.name}: source {field.source!r}: {type(error).__name__}: {error}"
                ) from error
            if value.size != end - start:
                raise CardProblem(
                    f"fields.{field.name}: source {field.source!r} gives {value.size} numbers, shape {list(field.shape)} needs {end - start}"
                )
            out[start:end] = value
        if self.own:
            out[self.layout.width :] = flat
        return out

    def _succeeds(self, vector: Array, info: dict[str, Any]) -> bool:
        success = self.card.success
        if success is None:
            return False
        if success.info:
            self.info_keys |= info.keys()
            return bool(info.get(success.info, False))
        state = State(vector[None, : self.layout.width], self.layout)
        return (
            bool(all_hold(success.when, state)[0])
            if success.when
            else bool(np.asarray(self.predicate(state))[0])  # type: ignore[misc]
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
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
        truncated = not terminated and (
            bool(truncated) or self.steps >= self.card.environment.limit
        )
        for metric in self.metrics:
            if metric.of != "return":
                self.values[metric.name].append(self._value(metric, vector, info))
        reward = float(own_reward) if self.card.task_reward == "environment" else float(new)
        out: dict[str, Any] = {}
        if self.card.episodic_return:
            out["dense"] = reward
            reward = self.own_return if terminated or truncated else 0.0
        if terminated or truncated:
            won = self.reached if success is None or success.latches else self.succeeding
            out |= {
                "success": won,
                "length": self.steps,
                "metrics": {m.name: self._reduced(m) for m in self.metrics},
            }
        return vector, reward, bool(terminated), truncated, out

    def _value(self, metric: Metric, vector: Array, info: dict[str, Any]) -> float:
        kind, _, rest = metric.of.partition(".")
        if kind == "info":
            if rest not in info:
                raise CardProblem(
                    f"metric {metric.name}: info has no key {rest!r}; it has {sorted(info)}"
                )
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
