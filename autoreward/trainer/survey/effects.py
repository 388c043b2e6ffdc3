"""Which columns each action moves: the same episode replayed from the same seed, with another
action at its last step.

Copies of an environment are not to be had in general; a seed is. Where the same seed and actions do
not give the same states, nothing can be said, and that itself is a finding.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from autoreward.state import Array
from autoreward.store.survey import Leaf
from autoreward.trainer.survey.playing import Play, leaf_values, reset, step

# states that actions are compared in
PLACES = 6
# steps before each of them
LONGEST = 12
MOST_ACTIONS = 24
# of the largest effect, both as shares of what the column varies; less is told to be none
SHARE = 0.2
# steps and time in all
BUDGET, SECONDS = 3000, 20.0


def choices(space: Any) -> tuple[Any, list[list[Any]]]:
    """A neutral action, and for each part of the action (a value of Discrete, a component else)
    the actions that try it.
    """
    if isinstance(space, spaces.Discrete):
        return None, [[a] for a in range(min(int(space.n), MOST_ACTIONS))]
    if isinstance(space, spaces.Box):
        low = np.where(np.isfinite(space.low), space.low, -1.0)
        high = np.where(np.isfinite(space.high), space.high, 1.0)
        middle = np.clip(np.zeros(space.shape), low, high).astype(space.dtype)
        return middle, [
            [_with(middle, k, low), _with(middle, k, high)]
            for k in range(min(middle.size, MOST_ACTIONS))
        ]
    sizes = (
        np.asarray(space.nvec).ravel()
        if isinstance(space, spaces.MultiDiscrete)
        else np.full(int(np.prod(space.shape)), 2)
    )
    zero = np.zeros(space.shape, space.dtype)
    return zero, [
        [_with(zero, k, np.full(space.shape, v)) for v in sorted({1, int(n) - 1})]
        for k, n in enumerate(sizes[:MOST_ACTIONS])
    ]


def _with(base: Array, k: int, values: Array) -> Array:
    out = base.copy()
    out.ravel()[k] = values.ravel()[k]
    return out


def effects(
    env: gym.Env[Any, Any], leaves: Sequence[Leaf], played: Play, seed: int
) -> tuple[Array, bool]:
    """((parts, C) of bool: the part moves the column, reproducible).

    For Discrete: relative to staying; for others, to the neutral action.
    """
    neutral, tries = choices(env.action_space)
    width = played.after.shape[1]
    spread = np.nanstd(played.after, axis=0) + 1e-12
    strength = np.zeros((len(tries), width))
    random = np.random.default_rng(seed)
    taken, began = 0, time.monotonic()
    for place in range(PLACES):
        before = int(random.integers(0, LONGEST))
        prefix = [env.action_space.sample() for _ in range(before)]

        def outcome(
            action: Any, place: int = place, prefix: list[Any] = prefix
        ) -> tuple[Array, Array] | None:
            nonlocal taken
            observation, _ = reset(env, seed + place)
            for held in prefix:
                observation, _, terminated, truncated, _ = step(env, held)
                taken += 1
                if terminated or truncated:
                    return None
            now = leaf_values(observation, leaves)
            taken += 1
            return now, leaf_values(step(env, action)[0], leaves)

        base = outcome(neutral if neutral is not None else 0)
        again = outcome(neutral if neutral is not None else 0)
        if base is None or again is None:
            continue
        if not np.allclose(base[1], again[1], rtol=1e-6, atol=1e-9, equal_nan=True):
            return np.zeros((len(tries), width), bool), False
        for k, actions in enumerate(tries):
            for action in actions:
                found = outcome(action)
                if found is not None:
                    other = base[1] if neutral is not None else found[0]
                    strength[k] = np.maximum(
                        strength[k], np.nan_to_num(np.abs(found[1] - other) / spread)
                    )
        if taken > BUDGET or time.monotonic() - began > SECONDS:
            break
    strongest = strength.max(axis=1, keepdims=True)
    return (strength > SHARE * strongest) & (strength > 1e-6), True
