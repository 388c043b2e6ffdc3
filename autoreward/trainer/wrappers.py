"""Wrappers of a gymnasium environment: named fields, success, and the composed reward.

`Candidate.wrap`, `Candidate.vector`, `Study.evaluate` and exported files use them. The rules are
those of training, because both take them from `tasks/runtime.py`. `results/export.py` copies
this module into the files it writes, so it imports numpy, gymnasium and `runtime` only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from autoreward.state import Array
from autoreward.tasks.runtime import (
    EnvironmentState,
    EpisodeTracker,
    FieldReader,
    RewardSource,
    Task,
    composed,
)

# the key of `info` under which the wrappers report
KEY = "autoreward"
Env = gym.Env[Any, Any]
Space = spaces.Space[Any]
# what `step` and `reset` return
StepReturn = tuple[Any, Any, bool, bool, dict[str, Any]]
ResetReturn = tuple[Any, dict[str, Any]]
View = Callable[[Env], Env]


class TaskWrapper(gym.Wrapper[Any, Any, Any, Any]):
    """An environment with the task's own reward and endings; observations stay as they are.

    The episode ends at the task's limit, and at success if the task says so. `info["autoreward"]`
    holds `fields` (D,), `action` (as programs get it, after a step), `success` (so far, as the task
    counts it) and `task_reward`. Raises ValueError if a trusted function of the task is missing.
    """

    def __init__(self, env: Env, task: Task) -> None:
        super().__init__(env)
        missing = [name for name in task.needed_functions if name not in task.functions]
        if missing:
            raise ValueError(
                f"the task needs {', '.join(missing)} from its card's Python file: "
                f"functions={{'{missing[0]}': ...}}"
            )
        self.task = task
        self.episode = EpisodeTracker(task)
        self.reader = FieldReader(task, lambda: self.env.unwrapped)

    def fields(self, observation: Any, info: dict[str, Any], *, is_initial: bool) -> Array:
        """Return all fields of the task as (D,) float64; `is_initial` is true after a reset.

        Raises ValueError if a field cannot be read: this is not the task's environment then.
        """
        flat = np.empty(0)
        if self.reader.reads_columns:
            flat = flat_observation(self.env.observation_space, observation)
        out = np.empty(self.reader.width)
        state = EnvironmentState(observation, flat, info, is_initial)
        self.reader.read_into(out, state)
        return out

    def reset(
        self,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> ResetReturn:
        observation, info = self.env.reset(seed=seed, options=options)
        self.episode.begin()
        fields = self.fields(observation, info, is_initial=True)
        known = {"fields": fields, "success": False, "task_reward": 0.0}
        return observation, {**info, KEY: known}

    def step(self, action: Any) -> StepReturn:
        # before the step, which may change the action in place
        row = action_row(self.task, self.env.action_space, action)
        observation, reward, terminated, truncated, info = self.env.step(action)
        fields = self.fields(observation, info, is_initial=False)
        step = self.episode.step(fields, float(reward), bool(terminated), bool(truncated), info)
        task_reward = step.reward
        if self.task.own_reward:
            # training reads it from a vector of environments, which holds float32
            task_reward = float(np.float32(task_reward))
        known = {
            "fields": fields,
            "action": row,
            "success": step.success,
            "task_reward": task_reward,
        }
        return observation, task_reward, step.terminated, step.truncated, {**info, KEY: known}


class RewardWrapper(TaskWrapper):
    """An environment with the composed reward in place of the task's.

    `info["autoreward"]["terms"]` holds every term and every shaped potential by name.
    """

    def __init__(self, env: Env, task: Task, source: RewardSource) -> None:
        super().__init__(env, task)
        self.source = source
        self.previous: Array = np.empty(0)
        self.first: Array = np.ones(1, bool)

    def reset(
        self,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> ResetReturn:
        observation, info = super().reset(seed=seed, options=options)
        self.previous = info[KEY]["fields"][None, self.task.picked]
        self.first = np.ones(1, bool)
        return observation, info

    def step(self, action: Any) -> StepReturn:
        observation, task_reward, terminated, truncated, info = super().step(action)
        known = info[KEY]
        current = known["fields"][None, self.task.picked]
        answer = self.source.ask(self.previous, known["action"][None], current, self.first)
        reward, columns = composed(
            self.task, answer, np.array([task_reward]), np.array([terminated])
        )
        known["terms"] = dict(zip(answer[3], columns[0].tolist(), strict=True))
        self.previous = current
        self.first = np.zeros(1, bool)
        return observation, float(reward[0]), terminated, truncated, info


def reward_vec(
    make: Callable[[], Env],
    n: int,
    task: Task,
    source: RewardSource,
    view: View | None = None,
) -> Any:
    """Return n environments as a VecEnv for stable-baselines3, which must be installed.

    The program is asked once per vector step. `view` wraps each environment for what the policy
    sees; the task's fields are read inside of it.
    """
    from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper

    class ProgramVecEnv(VecEnvWrapper):
        def _fields(self, infos: Any) -> Array:
            return np.stack([info[KEY]["fields"][task.picked] for info in infos])

        def reset(self) -> Any:
            observations = self.venv.reset()
            self.previous = self._fields(self.venv.reset_infos)
            self.first = np.ones(n, bool)
            return observations

        def step_wait(self) -> Any:
            observations, task_rewards, dones, infos = self.venv.step_wait()
            actions = np.stack([info[KEY]["action"] for info in infos])
            current = self._fields(infos)
            answer = source.ask(self.previous, actions, current, self.first)

            # where an episode ended, stable-baselines3 has already begun the next one
            terminated = dones.copy()
            following = current.copy()
            for i in np.flatnonzero(dones):
                terminated[i] = not infos[i].get("TimeLimit.truncated", False)
                following[i] = self.venv.reset_infos[i][KEY]["fields"][task.picked]

            task_rewards = np.asarray(task_rewards, np.float64)
            reward, columns = composed(task, answer, task_rewards, terminated)
            for info, values in zip(infos, columns, strict=True):
                info[KEY]["terms"] = dict(zip(answer[3], values.tolist(), strict=True))
            self.previous = following
            self.first = dones.copy()
            return observations, reward.astype(np.float32), dones, infos

    def make_one() -> Env:
        env: Env = TaskWrapper(make(), task)
        if view:
            env = view(env)
        # stable-baselines3 takes no nested observations
        return gym.wrappers.FlattenObservation(env) if _is_nested(env.observation_space) else env

    return ProgramVecEnv(DummyVecEnv([make_one] * n))


def _is_nested(space: Space) -> bool:
    """True for a Tuple, and for a Dict with a Dict or a Tuple inside."""
    if isinstance(space, spaces.Tuple):
        return True
    if not isinstance(space, spaces.Dict):
        return False
    return any(isinstance(part, (spaces.Dict, spaces.Tuple)) for part in space.spaces.values())


def flat_observation(space: Space, observation: Any) -> Array:
    """Return an observation as one float64 vector, as gymnasium flattens it."""
    if not isinstance(space, spaces.Box):
        observation = spaces.flatten(space, observation)
    return np.asarray(observation, np.float64).ravel()


def action_row(task: Task, space: Space, action: Any) -> Array:
    """Return one action as programs get it: of the task's action shape, nested parts one after
    another in the order of the action space.
    """
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        action = np.concatenate(_action_leaves(space, action))
    return np.array(action, np.int64 if task.integer else np.float64).reshape(task.row)


def _action_leaves(space: Space, action: Any) -> list[Array]:
    """Return the parts of a nested action as vectors; a Discrete part counts from 0."""
    if isinstance(space, spaces.Dict):
        pairs = [(part, action[key]) for key, part in space.spaces.items()]
    elif isinstance(space, spaces.Tuple):
        pairs = list(zip(space.spaces, action, strict=True))
    else:
        start = int(space.start) if isinstance(space, spaces.Discrete) else 0
        return [np.ravel(action) - start if start else np.ravel(action)]

    leaves: list[Array] = []
    for part, value in pairs:
        leaves += _action_leaves(part, value)
    return leaves
