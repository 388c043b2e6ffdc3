"""Seeded random play of an unknown environment, and what was observed: states, rewards, `info`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from autoreward.state import Array
from autoreward.store.survey import InfoKey, Leaf
from autoreward.trainer.environment import CardProblem

# Each action is repeated a random number of times: otherwise random play stays where it began.
MAX_REPEATS = 16
# steps that are played in any case, and seconds after which a slow environment has shown enough
MIN_STEPS = 500
MAX_SECONDS = 40.0
# Steps after which an episode is cut; fewer once one was cut, so that many starts are seen.
CUT_AFTER = 1000
CUT_LATER_AFTER = 200
MAX_INFO_SIZE = 64
# keys of info that gymnasium's wrappers write
WRAPPER_KEYS = (
    "TimeLimit.truncated",
    "episode",
    "_episode",
    "terminal_observation",
    "final_observation",
    "final_info",
)


def leaf_values(observation: Any, leaves: Sequence[Leaf]) -> Array:
    """All columns (C,) float64 of the leaves that are kept, in order.

    Raises CardProblem if the observation has another size than its space.
    """
    parts = []
    for leaf in leaves:
        if leaf.kind is None:
            continue
        value = observation
        for key in leaf.path.split(".") if leaf.path else ():
            value = _item(value, key)
        value = np.asarray(value, np.float64).ravel()
        if value.size != len(leaf.columns):
            raise CardProblem(
                f"observation: obs.{leaf.path or '(whole)'} has {value.size} numbers, but its "
                f"space {leaf.space} promises {len(leaf.columns)}",
                "fix the environment's observation_space",
            )
        parts.append(value)
    return np.concatenate(parts)


def _item(value: Any, key: str) -> Any:
    """An item of a Tuple, or of a Dict whose keys may be whole numbers."""
    if isinstance(value, (tuple, list)):
        return value[int(key)]
    return value[key] if key in value else value[int(key)]


def reset(env: gym.Env[Any, Any], seed: int | None = None) -> tuple[Any, dict[str, Any]]:
    """reset(). Raises CardProblem if the environment has the interface of the old gym."""
    result = env.reset(seed=seed)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise CardProblem(
            "environment: reset() must return (observation, info); this one uses the old "
            "gym interface",
            "wrap the environment with shimmy, or return both",
        )
    return result


def step(env: gym.Env[Any, Any], action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    """step(). Raises CardProblem for the old gym's interface and for a reward that is no number."""
    result = env.step(action)
    if not (isinstance(result, tuple) and len(result) == 5):
        count = len(result) if isinstance(result, tuple) else 1
        raise CardProblem(
            "environment: step() must return five values (observation, reward, terminated, "
            f"truncated, info); this one returns {count}",
            "wrap the environment with shimmy, or return all five",
        )
    observation, reward, terminated, truncated, info = result
    value = np.asarray(reward, np.float64)
    if value.size != 1:
        raise CardProblem(
            f"environment: step() returns a reward of shape {value.shape}; it must be one number",
            "use a factory that wraps the environment and returns a scalar reward",
        )
    if not np.isfinite(value).all():
        raise CardProblem(
            f"environment: step() returns a reward that is {value}",
            "fix the environment's reward",
        )
    return (
        observation,
        float(value.item()),
        bool(terminated),
        bool(truncated),
        info,
    )


class Play:
    """What random play showed.

    before, after: (T, C) consecutive states; first: (T,) the transition starts an episode. Episodes
    are counted by how they ended, with their lengths.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[Array, Array, bool]] = []
        self.rewards: list[float] = []
        self.returns: list[float] = []
        # by step: whether the episode terminated with it
        self.ended: list[bool] = []
        self.terminated: list[int] = []
        self.truncated: list[int] = []
        self.cut = 0
        # episodes that terminated without a reward at their last step, and with one
        self.failed_ends = 0
        self.rewarded_ends = 0
        self.notes: list[str] = []
        # key -> (value, whether the episode terminated) of each step that had it
        self._info: dict[str, list[tuple[Any, bool]]] = {}
        self._keys_at_every_reset: set[str] | None = None

    @property
    def steps(self) -> int:
        return len(self.rows)

    def finish(self) -> None:
        """Make arrays of the recorded rows."""
        self.before = np.array([row[0] for row in self.rows])
        self.after = np.array([row[1] for row in self.rows])
        self.first = np.array([row[2] for row in self.rows])

    def record_info(self, info: dict[str, Any], ended: bool) -> None:
        """One step's info."""
        for key, value in info.items():
            if isinstance(key, str) and key not in WRAPPER_KEYS:
                self._info.setdefault(key, []).append((_as_numbers(value), ended))

    def record_reset_info(self, info: dict[str, Any]) -> None:
        """One reset's info."""
        keys = {key for key in info if isinstance(key, str)}
        if self._keys_at_every_reset is None:
            self._keys_at_every_reset = keys
        else:
            self._keys_at_every_reset &= keys

    def record_end(
        self,
        length: int,
        total: float,
        reward: float,
        how: str,
    ) -> None:
        """The end of an episode: `terminated`, `truncated` or `cut`."""
        self.returns.append(total)
        if how == "terminated":
            self.terminated.append(length)
            if reward > 0:
                self.rewarded_ends += 1
            else:
                self.failed_ends += 1
        elif how == "truncated":
            self.truncated.append(length)
        else:
            self.cut += 1

    def info(self) -> tuple[InfoKey, ...]:
        """The keys of info, sorted by name."""
        return tuple(self._describe(name, said) for name, said in sorted(self._info.items()))

    def _describe(self, name: str, said: list[tuple[Any, bool]]) -> InfoKey:
        always = name in (self._keys_at_every_reset or ()) and len(said) == self.steps
        table = _as_table([value for value, _ in said])
        if table is None:
            return InfoKey(name=name, kind="other", always=always)
        size = table.shape[1]
        flag = size == 1 and bool(np.isin(table, (0, 1)).all())
        at_end = np.array([ended for _, ended in said])
        true = table[:, 0] == 1
        ever = flag and bool(true.any())
        return InfoKey(
            name=name,
            kind=_kind(size, flag),
            size=size,
            low=float(table.min()),
            high=float(table.max()),
            always=always,
            flips=ever and not bool((true & ~at_end).any()),
            ever=ever,
            same_as=self._same_column(table[:, 0]) if always and not flag and size == 1 else "",
        )

    def _same_column(self, values: Array) -> str:
        """The first column of the observation with these values; "" if none has them."""
        if np.ptp(values) <= 0:
            return ""
        for c in range(self.after.shape[1]):
            if np.allclose(self.after[:, c], values, rtol=1e-5, atol=1e-7):
                return str(c)
        return ""


def _kind(size: int, flag: bool) -> Any:
    if flag:
        return "flag"
    return "number" if size == 1 else "array"


def _as_table(values: list[Array | None]) -> Array | None:
    """Values of one info key as (T, size); None if they are not finite numbers of one size."""
    rows = [value.ravel() for value in values if value is not None]
    sizes = {row.size for row in rows}
    if len(rows) < len(values) or len(sizes) > 1 or 0 in sizes:
        return None
    table = np.array(rows, np.float64)
    return table if np.isfinite(table).all() else None


def _as_numbers(value: Any) -> Array | None:
    """The numbers of a value of `info`; None if it has none, or too many."""
    if isinstance(value, (str, bytes, dict)) or value is None:
        return None
    try:
        found = np.asarray(value)
    except ValueError:
        return None
    if found.dtype.kind not in "biuf" or found.size > MAX_INFO_SIZE:
        return None
    return found.astype(np.float64)


def play(
    env: gym.Env[Any, Any],
    leaves: Sequence[Leaf],
    steps: int,
    seed: int,
    limit: int | None,
) -> Play:
    """Play `steps` random actions, each repeated a random number of times.

    If an episode does not end by itself, later ones are cut sooner, so that many starts are seen.
    """
    played = Play()
    env.action_space.seed(seed)
    player = _Player(
        env,
        leaves,
        limit,
        played,
        np.random.default_rng(seed),
    )
    player.start(*reset(env, seed))
    started = time.monotonic()
    while played.steps < steps:
        if played.steps >= MIN_STEPS and time.monotonic() - started >= MAX_SECONDS:
            break
        player.step()
    if not played.returns:
        played.returns.append(player.total)
    played.finish()
    return played


class _Player:
    """Plays one episode after another."""

    def __init__(
        self,
        env: gym.Env[Any, Any],
        leaves: Sequence[Leaf],
        limit: int | None,
        played: Play,
        random: np.random.Generator,
    ) -> None:
        self.env = env
        self.leaves = leaves
        self.limit = limit
        self.played = played
        self.random = random

    def start(self, observation: Any, info: dict[str, Any]) -> None:
        """An episode starts with what reset() returned."""
        self.played.record_reset_info(info)
        self.columns = leaf_values(observation, self.leaves)
        self.length = 0
        self.total = 0.0
        self.repeats_left = 0

    def step(self) -> None:
        """One step, and the next episode's start if it ends this one."""
        if self.repeats_left == 0:
            self.action = self.env.action_space.sample()
            self.repeats_left = int(self.random.integers(1, MAX_REPEATS))
        self.repeats_left -= 1
        observation, reward, terminated, truncated, info = step(self.env, self.action)
        after = leaf_values(observation, self.leaves)
        played = self.played
        played.rows.append((self.columns, after, self.length == 0))
        played.rewards.append(reward)
        played.ended.append(terminated)
        played.record_info(info, terminated)
        self.columns = after
        self.length += 1
        self.total += reward
        if terminated:
            played.record_end(self.length, self.total, reward, "terminated")
        elif truncated:
            played.record_end(self.length, self.total, reward, "truncated")
        elif self.length >= self._cut_after():
            played.record_end(self.length, self.total, reward, "cut")
        else:
            return
        self.start(*reset(self.env))

    def _cut_after(self) -> int:
        if self.played.cut:
            return CUT_LATER_AFTER
        return self.limit or CUT_AFTER
