"""Finds which columns each action moves, by replaying an episode with another last action.

Environments cannot be copied in general, but they can be seeded: the same episode is replayed from
the same seed. If the same seed and actions give different states, nothing can be said, which is
itself worth knowing.
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
from autoreward.trainer.survey.playing import (
    Play,
    leaf_values,
    reset,
    step,
)

# states that actions are compared in, and the most steps before one
PLACES = 6
MAX_STEPS_BEFORE = 12
MAX_ACTIONS = 24
# An effect is measured in spreads of its column; less than this share of an action's largest
# effect counts as none.
MIN_SHARE = 0.2
MIN_EFFECT = 1e-6
# steps and seconds in all
MAX_STEPS = 3000
MAX_SECONDS = 20.0


def choices(space: Any) -> tuple[Any, list[list[Any]]]:
    """A neutral action, and the actions that try each part of the action.

    A part is a value of Discrete, else a component. Discrete has no neutral action: it is None.
    """
    if isinstance(space, spaces.Discrete):
        return None, [[a] for a in range(min(int(space.n), MAX_ACTIONS))]
    if isinstance(space, spaces.Box):
        return _box_choices(space)
    if isinstance(space, spaces.MultiDiscrete):
        sizes = np.asarray(space.nvec).ravel()
    else:
        sizes = np.full(int(np.prod(space.shape)), 2)
    zero = np.zeros(space.shape, space.dtype)
    tries = []
    for k, n in enumerate(sizes[:MAX_ACTIONS]):
        values = sorted({1, int(n) - 1})
        tries.append([_with(zero, k, np.full(space.shape, value)) for value in values])
    return zero, tries


def _box_choices(
    space: spaces.Box,
) -> tuple[Any, list[list[Any]]]:
    """The action nearest to 0; each component at its lowest and highest."""
    low = np.where(np.isfinite(space.low), space.low, -1.0)
    high = np.where(np.isfinite(space.high), space.high, 1.0)
    middle = np.clip(np.zeros(space.shape), low, high).astype(space.dtype)
    parts = range(min(middle.size, MAX_ACTIONS))
    return middle, [[_with(middle, k, low), _with(middle, k, high)] for k in parts]


def _with(base: Array, k: int, values: Array) -> Array:
    out = base.copy()
    out.ravel()[k] = values.ravel()[k]
    return out


class _Replay:
    """Episodes from a seed, the same each time if the environment is reproducible."""

    def __init__(self, env: gym.Env[Any, Any], leaves: Sequence[Leaf]) -> None:
        self.env = env
        self.leaves = leaves
        self.steps = 0

    def outcome(
        self,
        seed: int,
        prefix: Sequence[Any],
        action: Any,
    ) -> tuple[Array, Array] | None:
        """Columns (C,) before and after the action; None if the prefix ends the episode."""
        observation, _ = reset(self.env, seed)
        for earlier in prefix:
            observation, _, terminated, truncated, _ = step(self.env, earlier)
            self.steps += 1
            if terminated or truncated:
                return None
        before = leaf_values(observation, self.leaves)
        self.steps += 1
        after = leaf_values(step(self.env, action)[0], self.leaves)
        return before, after


def effects(
    env: gym.Env[Any, Any],
    leaves: Sequence[Leaf],
    played: Play,
    seed: int,
) -> tuple[Array, bool]:
    """Which columns each part of the action moves (parts, C), and whether play is reproducible.

    An effect is relative to the state before for Discrete, else to the neutral action's outcome.
    """
    neutral, tries = choices(env.action_space)
    width = played.after.shape[1]
    spread = np.nanstd(played.after, axis=0) + 1e-12
    strength = np.zeros((len(tries), width))
    random = np.random.default_rng(seed)
    replay = _Replay(env, leaves)
    started = time.monotonic()
    for place in range(PLACES):
        length = int(random.integers(0, MAX_STEPS_BEFORE))
        prefix = [env.action_space.sample() for _ in range(length)]
        reference = neutral if neutral is not None else 0
        base = replay.outcome(seed + place, prefix, reference)
        again = replay.outcome(seed + place, prefix, reference)
        if base is None or again is None:
            continue
        if not np.allclose(
            base[1],
            again[1],
            rtol=1e-6,
            atol=1e-9,
            equal_nan=True,
        ):
            return np.zeros((len(tries), width), bool), False
        for k, actions in enumerate(tries):
            for action in actions:
                found = replay.outcome(seed + place, prefix, action)
                if found is None:
                    continue
                before, after = found
                other = base[1] if neutral is not None else before
                effect = np.nan_to_num(np.abs(after - other) / spread)
                strength[k] = np.maximum(strength[k], effect)
        if replay.steps > MAX_STEPS or time.monotonic() - started > MAX_SECONDS:
            break
    strongest = strength.max(axis=1, keepdims=True)
    moves = (strength > MIN_SHARE * strongest) & (strength > MIN_EFFECT)
    return moves, True
