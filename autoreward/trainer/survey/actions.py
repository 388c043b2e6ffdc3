"""The action space of an environment, as agents are trained on it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from autoreward.store.survey import ActionSpace
from autoreward.trainer.environment import (
    CardProblem,
    FlatAction,
    parts_of,
)
from autoreward.trainer.survey.leaves import bounds
from autoreward.trainer.survey.simulation import (
    actuator_names,
    simulation,
)

MAX_TEXT = 500


def action_space(env: gym.Env[Any, Any]) -> ActionSpace:
    """The action space; Dict and Tuple are flattened.

    Raises CardProblem if agents cannot be trained on it.
    """
    space: Any = env.action_space
    text = str(space)[:MAX_TEXT]
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        parts = _part_names(space)
        space = FlatAction(env).action_space
    else:
        parts = _actuator_names(env, space)
    if isinstance(space, spaces.Discrete):
        return _discrete(space, text)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        nvec = tuple(map(int, space.nvec))
        return ActionSpace(
            type="multidiscrete",
            nvec=nvec,
            parts=parts,
            space=text,
        )
    if isinstance(space, spaces.MultiBinary):
        shape = tuple(space.shape)
        return ActionSpace(
            type="multibinary",
            shape=shape,
            parts=parts,
            space=text,
        )
    if isinstance(space, spaces.Box):
        return ActionSpace(
            type="box",
            shape=tuple(space.shape),
            low=bounds(space.low),
            high=bounds(space.high),
            parts=parts,
            space=text,
        )
    raise CardProblem(
        f"action: agents cannot be trained on {type(space).__name__}; they can on Discrete, "
        "MultiDiscrete, MultiBinary, Box, and Dict and Tuple of these"
    )


def _discrete(space: spaces.Discrete, text: str) -> ActionSpace:
    if int(space.start):
        raise CardProblem(
            f"action: {space} starts at {int(space.start)}; agents are trained on 0 .. n-1",
            "wrap the environment in one whose Discrete action starts at 0",
        )
    return ActionSpace(type="discrete", n=int(space.n), space=text)


def _part_names(space: spaces.Space[Any]) -> tuple[str, ...]:
    """A name for every component of a Dict or Tuple."""
    names = []
    for path, leaf in parts_of(space):
        size = _size(leaf)
        for k in range(size):
            names.append(f"{path}[{k}]" if size > 1 else path)
    return tuple(names)


def _size(space: Any) -> int:
    if isinstance(space, spaces.Discrete):
        return 1
    return int(np.prod(space.shape or ()))


def _actuator_names(env: gym.Env[Any, Any], space: Any) -> tuple[str, ...]:
    """MuJoCo's names of the actuators, if there is one for each component."""
    found = simulation(env)
    if found is None or not isinstance(space, spaces.Box):
        return ()
    model, _ = found
    return actuator_names(model) if model.nu == _size(space) else ()
