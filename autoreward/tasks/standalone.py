"""Wrappers of a gymnasium environment: named fields, true success, and the composed reward.

numpy and gymnasium, and `state.py`.

`export.py` copies this file and `state.py` into the files it writes, so both stay free of
everything else of ours. The same rewards as a training's (`environment.py` and
`trainer/rewards.py`), step by step; tests/results/test_export.py holds them against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from autoreward.state import Array, Layout, State, resolve

# where the wrappers put what they know into `info`
KEY = "autoreward"


@dataclass(frozen=True)
class Task:
    """What the wrappers know of a task.

    `fields`: (name, source, shape), sources as in task cards; `offered`: those that programs see.

    `success`: {"when": ((field, op, value, other, at), ...)} or {"info": key} or {"predicate":
    name}, with "ends_episode" and "latches"; `functions`: trusted Python by name, for fields
    `state.NAME` (takes the environment) and for the predicate (takes a State).
    """

    fields: tuple[tuple[str, str, tuple[int, ...]], ...]
    offered: tuple[str, ...]
    # shape of one action
    row: tuple[int, ...]
    # actions are whole numbers
    integer: bool
    # steps, then the episode is truncated
    limit: int
    # the learner's
    gamma: float
    # the task reward is the environment's own, not 1 at the first success
    own_reward: bool = False
    # its sum, on the last step of an episode alone
    episodic_return: bool = False
    success: dict[str, Any] | None = None
    # of terms, 1 where none is given
    weights: dict[str, float] = field(default_factory=dict)
    task_weight: float = 1.0
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)

    @cached_property
    def layout(self) -> Layout:
        return Layout(
            tuple(name for name, _, _ in self.fields), tuple(shape for _, _, shape in self.fields)
        )

    @cached_property
    def offered_layout(self) -> Layout:
        shapes = {name: shape for name, _, shape in self.fields}
        return Layout(self.offered, tuple(shapes[name] for name in self.offered))

    @cached_property
    def picked(self) -> Array:
        """Columns of the offered fields."""
        parts = [np.arange(*self.layout.slices[name][:2]) for name in self.offered]
        return np.concatenate(parts) if parts else np.zeros(0, int)


class Source(Protocol):
    """Who answers with terms: the program in this process, or behind a jail's wall.

    One stream of steps of the same n rows.
    """

    def ask(
        self, prev: Array, action: Array, curr: Array, first: Array
    ) -> tuple[Array, Array, Array, tuple[str, ...]]:
        """prev, curr (n, D); action (n, *row); first (n,): rows whose memory is reset before.

        Terms (n, k), potentials before and after (n, p), names.
        """
        ...


class Program:
    """The functions of a reward program, and its memory per episode."""

    def __init__(self, defined: dict[str, Any], layout: Layout) -> None:
        self.reward, self.potential = defined.get("reward"), defined.get("potential")
        values = {str(name): np.array(value) for name, value in defined.get("MEMORY", {}).items()}
        self.initial = {
            name: v if v.dtype == bool else v.astype(np.float64) for name, v in values.items()
        }
        self.layout, self.rows = layout, 0
        self.memory: dict[str, Array] = {}
        self.names: tuple[list[str], list[str]] | None = None

    def ask(
        self, prev: Array, action: Array, curr: Array, first: Array
    ) -> tuple[Array, Array, Array, tuple[str, ...]]:
        n = len(curr)
        if n != self.rows:
            self.rows, self.memory = (
                n,
                {
                    name: np.broadcast_to(v, (n, *v.shape)).copy()
                    for name, v in self.initial.items()
                },
            )
        for name, value in self.initial.items():
            if first.any():
                array = np.array(self.memory[name])
                array[first] = value
                self.memory[name] = array
        terms: dict[str, Any] = {}
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        with np.errstate(all="ignore"):
            if self.reward is not None:
                terms = self.reward(
                    State(prev.copy(), self.layout),
                    action.copy(),
                    State(curr.copy(), self.layout),
                    self.memory,
                )
            if self.potential is not None:
                before, after = (
                    self.potential(State(prev, self.layout)),
                    self.potential(State(curr, self.layout)),
                )
        if self.names is None:
            self.names = list(terms), list(before)
        t, p = self.names
        return _columns(terms, t, n), _columns(before, p, n), _columns(after, p, n), (*t, *p)


def _columns(values: dict[str, Any], names: list[str], n: int) -> Array:
    """(n, k) float64; ValueError where a value is not finite or has another shape."""
    out = np.zeros((n, len(names)))
    for k, name in enumerate(names):
        value = np.asarray(values[name], np.float64)
        if value.shape not in ((), (n,)) or not np.isfinite(value).all():
            raise ValueError(
                f"the program's {name!r} is not finite, or has shape {value.shape} instead of ({n},)"
            )
        out[:, k] = value
    return out


def composed(
    task: Task,
    answer: tuple[Array, Array, Array, tuple[str, ...]],
    task_reward: Array,
    terminated: Array,
) -> tuple[Array, Array]:
    """(reward (n,), terms and shaped potentials (n, k + p) before weighing): task reward +
    weighted sum of terms and of gamma * phi(curr) * (1 - terminated) - phi(prev) (Ng, Harada,
    Russell 1999).
    """
    terms, before, after, names = answer
    shaped = task.gamma * after * (1.0 - terminated.astype(np.float64)[:, None]) - before
    columns = np.concatenate([terms, shaped], -1)
    weights = np.array([task.weights.get(name, 1.0) for name in names], np.float64)
    return task.task_weight * task_reward + (columns * weights).sum(-1), columns


class TaskWrapper(gym.Wrapper[Any, Any, Any, Any]):
    """Observations stay as they are.

    The reward is the task's own, the episode ends at the task's limit, and where the task says so
    at success; `info["autoreward"]` holds `fields` (D,), `success` (so far, or now, as the task
    counts it) and `task_reward`.
    """

    def __init__(self, env: gym.Env[Any, Any], task: Task) -> None:
        super().__init__(env)
        self.task, self.steps, self.own_return = task, 0, 0.0
        wanted = [source[6:] for _, source, _ in task.fields if source.startswith("state.")] + [
            name for name in [(task.success or {}).get("predicate")] if name
        ]
        if absent := [name for name in wanted if name not in task.functions]:
            raise ValueError(
                f"the task needs {', '.join(absent)} of its card's Python file: functions={{'{absent[0]}': ...}}"
            )
        self.flat = isinstance(env.observation_space, spaces.Box)

    def _read(self, source: str, observation: Any, vector: Array, info: dict[str, Any]) -> Any:
        kind, _, rest = source.partition(".")
        if kind == "obs" and rest:
            for key in rest.split("."):
                observation = observation[
                    int(key) if key.isdigit() and isinstance(observation, (tuple, list)) else key
                ]
            return observation
        if kind == "info" and rest:
            # a reset may not know it yet
            return info[rest] if self.steps else info.get(rest, 0.0)
        if kind == "state" and rest:
            return self.task.functions[rest](self.env.unwrapped)
        start, colon, end = source.partition(":")
        return vector[int(start) : int(end) if colon else int(start) + 1]

    def fields(self, observation: Any, info: dict[str, Any]) -> Array:
        """(D,) all fields of the task, float64."""
        vector = np.asarray(
            observation if self.flat else spaces.flatten(self.env.observation_space, observation),
            np.float64,
        ).ravel()
        out = np.empty(self.task.layout.width)
        for name, source, _ in self.task.fields:
            start, end, _ = self.task.layout.slices[name]
            value = np.asarray(self._read(source, observation, vector, info), np.float64).ravel()
            if value.size != end - start:
                raise ValueError(
                    f"field {name}: source {source!r} gives {value.size} numbers, not {end - start}: is this the task's environment?"
                )
            out[start:end] = value
        return out

    def _holds(self, fields: Array, info: dict[str, Any]) -> bool:
        success = self.task.success
        if success is None:
            return False
        if success.get("info"):
            return bool(info.get(success["info"], False))
        state = State(fields[None], self.task.layout)
        if success.get("predicate"):
            return bool(np.asarray(self.task.functions[success["predicate"]](state))[0])
        return all(bool(holds(state, *condition)[0]) for condition in success["when"])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self.steps, self.reached, self.own_return = 0, False, 0.0
        return observation, {
            **info,
            KEY: {"fields": self.fields(observation, info), "success": False, "task_reward": 0.0},
        }

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, own_reward, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        fields = self.fields(observation, info)
        now = self._holds(fields, info)
        new, self.reached = now and not self.reached, self.reached or now
        success = self.task.success or {}
        terminated = bool(terminated) or (new and bool(success.get("ends_episode")))
        truncated = not terminated and (bool(truncated) or self.steps >= self.task.limit)
        self.own_return += float(own_reward)
        if self.task.episodic_return:
            own_reward = self.own_return if terminated or truncated else 0.0
        # vectors of environments hold rewards as float32
        reward = float(np.float32(own_reward)) if self.task.own_reward else float(new)
        told = {
            "fields": fields,
            "success": self.reached if success.get("latches", True) else now,
            "task_reward": reward,
        }
        return observation, reward, terminated, truncated, {**info, KEY: told}


class RewardWrapper(TaskWrapper):
    """The composed reward in place of the task's; `info["autoreward"]["terms"]` holds every term,
    and every potential as shaped, by name.
    """

    def __init__(self, env: gym.Env[Any, Any], task: Task, source: Source) -> None:
        super().__init__(env, task)
        self.source = source

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        observation, info = super().reset(seed=seed, options=options)
        self.previous, self.first = info[KEY]["fields"][None, self.task.picked], np.ones(1, bool)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, task_reward, terminated, truncated, info = super().step(action)
        current = info[KEY]["fields"][None, self.task.picked]
        answer = self.source.ask(self.previous, rows(self.task, action)[None], current, self.first)
        reward, columns = composed(
            self.task, answer, np.array([task_reward]), np.array([terminated])
        )
        self.previous, self.first = current, np.zeros(1, bool)
        info[KEY]["terms"] = dict(zip(answer[3], columns[0].tolist(), strict=True))
        return observation, float(reward[0]), terminated, truncated, info


def rows(task: Task, action: Any) -> Array:
    """One action as programs get it: Dict and Tuple actions as one vector, part after part."""
    if isinstance(action, (dict, tuple)):
        action = np.concatenate(
            [np.ravel(part) for part in (action.values() if isinstance(action, dict) else action)]
        )
    return np.asarray(action, np.int64 if task.integer else np.float64).reshape(task.row)


View = Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]


def reward_vec(
    make: Callable[[], gym.Env[Any, Any]],
    n: int,
    task: Task,
    source: Source,
    view: View | None = None,
) -> Any:
    """n environments as a VecEnv for stable-baselines3, which must be installed; the program is
    asked once per vector step.

    `view`: a wrapper around each of them, for what the policy sees; the task's fields are read
    inside of it.
    """
    from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper

    class ProgramVecEnv(VecEnvWrapper):
        def _fields(self, infos: Any) -> Array:
            return np.stack([info[KEY]["fields"][task.picked] for info in infos])

        def reset(self) -> Any:
            observations = self.venv.reset()
            self.previous, self.first = self._fields(self.venv.reset_infos), np.ones(n, bool)
            return observations

        def step_async(self, actions: Array) -> None:
            self.taken = np.stack([rows(task, action) for action in actions])
            self.venv.step_async(actions)

        def step_wait(self) -> Any:
            observations, task_rewards, dones, infos = self.venv.step_wait()
            current, terminated = self._fields(infos), dones.copy()
            following = current.copy()
            # stable-baselines3 has begun the next episode already
            for i in np.flatnonzero(dones):
                terminated[i] = not infos[i].get("TimeLimit.truncated", False)
                following[i] = self.venv.reset_infos[i][KEY]["fields"][task.picked]
            answer = source.ask(self.previous, self.taken, current, self.first)
            reward, columns = composed(
                task, answer, np.asarray(task_rewards, np.float64), terminated
            )
            for info, values in zip(infos, columns, strict=True):
                info[KEY]["terms"] = dict(zip(answer[3], values.tolist(), strict=True))
            self.previous, self.first = following, dones.copy()
            return observations, reward.astype(np.float32), dones, infos

    def one() -> gym.Env[Any, Any]:
        env: gym.Env[Any, Any] = TaskWrapper(make(), task)
        env = view(env) if view else env
        parts = (
            env.observation_space.spaces.values()
            if isinstance(env.observation_space, spaces.Dict)
            else env.observation_space.spaces
            if isinstance(env.observation_space, spaces.Tuple)
            else ()
        )
        nested = isinstance(env.observation_space, spaces.Tuple) or any(
            isinstance(part, (spaces.Dict, spaces.Tuple)) for part in parts
        )
        # stable-baselines3 takes no nested observations
        return gym.wrappers.FlattenObservation(env) if nested else env

    return ProgramVecEnv(DummyVecEnv([one] * n))


def holds(
    state: State,
    name: str,
    op: str,
    value: float | None,
    other: str | None,
    at: tuple[float, ...] | None,
) -> Array:
    """(n,) of bool: a comparison of fields, as task cards have it; `within`: Euclidean distance to
    `other`, `at` or 0 at most `value`.
    """
    left = resolve(state, name)
    if op == "within":
        right = resolve(state, other) if other else np.asarray(at if at is not None else 0.0)
        gap = (left - right).reshape(len(left), -1)
        return np.asarray(np.sqrt((gap * gap).sum(-1)) <= value)
    right = resolve(state, other) if other else np.asarray(value)
    compare = {
        ">=": np.greater_equal,
        "<=": np.less_equal,
        ">": np.greater,
        "<": np.less,
        "==": np.equal,
        "!=": np.not_equal,
    }
    return np.asarray(compare[op](left, right).reshape(len(left), -1).all(-1))
