"""Seeded random play of an environment that nothing is known of, and what `info` said meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from autoreward.state import Array
from autoreward.store.survey import InfoKey, Leaf
from autoreward.trainer.environment import CardProblem

# an action is held for a random while, else random play stays where it began
LONGEST_HOLD = 16
# steps that are played in any case, and seconds after which a slow environment has shown enough
FEWEST, LONGEST = 500, 40.0
# steps after which an episode is cut; and once one was, the later ones: many beginnings are to be
# seen
WITHOUT_LIMIT, LATER = 1000, 200
OF_OTHERS = (
    "TimeLimit.truncated",
    "episode",
    "_episode",
    "terminal_observation",
    "final_observation",
    "final_info",
)


def leaf_values(observation: Any, leaves: Sequence[Leaf]) -> Array:
    """All columns of all leaves that are kept, as float64, in order."""
    parts = []
    for leaf in leaves:
        if leaf.kind is None:
            continue
        value = observation
        for key in leaf.path.split(".") if leaf.path else ():
            value = value[int(key)] if isinstance(value, (tuple, list)) else _item(value, key)
        value = np.asarray(value, np.float64).ravel()
        if value.size != len(leaf.columns):
            raise CardProblem(
                f"observation: obs.{leaf.path or '(whole)'} has {value.size} numbers, its space {leaf.space} promises {len(leaf.columns)}",
                "mend the environment's observation_space",
            )
        parts.append(value)
    return np.concatenate(parts)


def _item(value: Any, key: str) -> Any:
    """A Dict's item; keys that are whole numbers were written as text."""
    return value[key] if key in value else value[int(key)]


def reset(env: gym.Env[Any, Any], seed: int | None = None) -> tuple[Any, dict[str, Any]]:
    """reset(), in the form of gymnasium; CardProblem for the old gym's."""
    got = env.reset(seed=seed)
    if not (isinstance(got, tuple) and len(got) == 2 and isinstance(got[1], dict)):
        raise CardProblem(
            "environment: reset() must return (observation, info); this is the old gym's interface",
            "wrap the environment with shimmy, or return both",
        )
    return got


def step(env: gym.Env[Any, Any], action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    """step(), in the form of gymnasium; CardProblem for the old gym's."""
    got = env.step(action)
    if not (isinstance(got, tuple) and len(got) == 5):
        raise CardProblem(
            f"environment: step() must return five values (observation, reward, terminated, truncated, info), this gives {len(got) if isinstance(got, tuple) else 1}",
            "wrap the environment with shimmy, or return all five",
        )
    observation, reward, terminated, truncated, info = got
    value = np.asarray(reward, np.float64)
    if value.size != 1:
        raise CardProblem(
            f"environment: step() gives a reward of shape {value.shape}; one number is wanted",
            "a factory that wraps the environment in one with a scalar reward",
        )
    if not np.isfinite(value).all():
        raise CardProblem(
            f"environment: step() gives a reward that is {value}", "mend the environment's reward"
        )
    return observation, float(value.item()), bool(terminated), bool(truncated), info


class Play:
    """What was seen: `before`, `after` (T, C) of consecutive states, `first` (T,), rewards,
    lengths of episodes by their ending.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[Array, Array, bool]] = []
        self.rewards: list[float] = []
        self.returns: list[float] = []
        self.ended: list[bool] = []
        self.terminated: list[int] = []
        self.truncated: list[int] = []
        self.cut = 0
        self.ends = [0, 0]
        self.notes: list[str] = []
        self._info: dict[str, list[tuple[Any, bool]]] = {}
        self._at_reset: set[str] = set()
        self._resets = 0
        self._last: Array = np.empty(0)
        self._columns: dict[str, Array] = {}

    @property
    def steps(self) -> int:
        return len(self.rows)

    def finish(self) -> None:
        self.before, self.after = (
            np.array([r[0] for r in self.rows]),
            np.array([r[1] for r in self.rows]),
        )
        self.first = np.array([r[2] for r in self.rows])

    def hear(self, info: dict[str, Any], ended: bool) -> None:
        """One step's info."""
        for key, value in info.items():
            if isinstance(key, str) and key not in OF_OTHERS:
                self._info.setdefault(key, []).append((_plain(value), ended))

    def hear_reset(self, info: dict[str, Any]) -> None:
        keys = {k for k in info if isinstance(k, str)}
        self._at_reset = keys if not self._resets else self._at_reset & keys
        self._resets += 1

    def info(self) -> tuple[InfoKey, ...]:
        """The keys of info, sorted by name."""
        return tuple(self._key(name, said) for name, said in sorted(self._info.items()))

    def _key(self, name: str, said: list[tuple[Any, bool]]) -> InfoKey:
        always = name in self._at_reset and len(said) == self.steps
        values = [v for v, _ in said]
        if any(v is None for v in values):
            return InfoKey(name=name, kind="other", always=always)
        sizes = {v.size for v in values}
        if len(sizes) > 1 or 0 in sizes:
            return InfoKey(name=name, kind="other", always=always)
        table = np.array([v.ravel() for v in values], np.float64)
        if not np.isfinite(table).all():
            return InfoKey(name=name, kind="other", always=always)
        flag = table.shape[1] == 1 and bool(np.isin(table, (0, 1)).all())
        at_end = np.array([ended for _, ended in said])
        true = table[:, 0] == 1
        same = ""
        if always and not flag and table.shape[1] == 1:
            found = [
                c
                for c in range(self.after.shape[1])
                if np.allclose(self.after[:, c], table[:, 0], rtol=1e-5, atol=1e-7)
            ]
            same = str(found[0]) if found and np.ptp(table[:, 0]) > 0 else ""
        return InfoKey(
            name=name,
            kind="flag" if flag else "number" if table.shape[1] == 1 else "array",
            size=table.shape[1],
            low=float(table.min()),
            high=float(table.max()),
            always=always,
            flips=flag and bool(true.any()) and not bool((true & ~at_end).any()),
            ever=flag and bool(true.any()),
            same_as=same,
        )


def _plain(value: Any) -> Array | None:
    """Numbers of a value of `info`, None where it has none."""
    if isinstance(value, (str, bytes, dict)) or value is None:
        return None
    try:
        found = np.asarray(value)
    except ValueError:
        return None
    return found.astype(np.float64) if found.dtype.kind in "biuf" and found.size <= 64 else None


def play(
    env: gym.Env[Any, Any], leaves: Sequence[Leaf], steps: int, seed: int, limit: int | None
) -> Play:
    """`steps` transitions of random actions, each held for a random while.

    Where an episode does not end by itself, later ones are cut sooner, so that many beginnings are
    seen.
    """
    random, played = np.random.default_rng(seed), Play()
    env.action_space.seed(seed)
    observation, info = reset(env, seed)
    played.hear_reset(info)
    vector, first, length, total, left = leaf_values(observation, leaves), True, 0, 0.0, 0
    action: Any = None
    began = time.monotonic()
    while played.steps < steps and (played.steps < FEWEST or time.monotonic() - began < LONGEST):
        if left == 0:
            action, left = env.action_space.sample(), int(random.integers(1, LONGEST_HOLD))
        left -= 1
        observation, reward, terminated, truncated, info = step(env, action)
        after = leaf_values(observation, leaves)
        length, total = length + 1, total + reward
        played.rows.append((vector, after, first))
        played.rewards.append(reward)
        played.ended.append(terminated)
        played.hear(info, terminated)
        vector, first = after, False
        over = length >= (LATER if played.cut else limit or WITHOUT_LIMIT)
        if terminated or truncated or over:
            played.returns.append(total)
            if terminated:
                played.terminated.append(length)
                played.ends[int(reward > 0)] += 1
            elif truncated:
                played.truncated.append(length)
            else:
                played.cut += 1
            observation, info = reset(env)
            played.hear_reset(info)
            vector, first, length, total, left = leaf_values(observation, leaves), True, 0, 0.0, 0
    if not played.returns:
        played.returns.append(total)
    played.finish()
    return played
