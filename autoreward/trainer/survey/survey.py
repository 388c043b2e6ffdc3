"""Plays an unknown environment at random, seeded, and reports what it is.

The report has spaces, ranges, endings, reward, `info` and documentation. The environment is the
user's own code and runs here, in a trainer. Nothing is guessed: what is reported was seen or
declared.
"""

from __future__ import annotations

import inspect
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from autoreward.seeds import stream_seed
from autoreward.state import Array
from autoreward.store.io import write
from autoreward.store.survey import (
    Leaf,
    Match,
    Reward,
    Survey,
    SurveyJob,
)
from autoreward.tasks.card import Environment
from autoreward.trainer.environment import (
    CardProblem,
    FlatAction,
    construct,
)
from autoreward.trainer.survey.actions import action_space
from autoreward.trainer.survey.effects import effects
from autoreward.trainer.survey.leaves import (
    leaves_of,
    with_what_was_seen,
)
from autoreward.trainer.survey.playing import (
    Play,
    leaf_values,
    play,
)
from autoreward.trainer.survey.simulation import simulation

# characters of the observation space's text
MAX_SPACE_TEXT = 2000
# characters of documentation, and of source
MAX_TEXT = 60_000
# rewarded episode ends that make a common value telling
MIN_REWARDED_ENDS = 3
# packages that autoreward itself requires
OWN_PACKAGES = {
    "gymnasium",
    "numpy",
    "autoreward",
    "stable_baselines3",
}


def survey(job: SurveyJob) -> None:
    """Write the `Survey` to `job.out`.

    Raises CardProblem if the environment cannot be made, played or trained on.
    """
    env = _make(job)
    action = action_space(env)
    leaves = leaves_of(env.observation_space)
    spec = gym.spec(job.id.rpartition(":")[2]) if job.id else env.spec
    limit = spec.max_episode_steps if spec else None
    seed = stream_seed("probe", job.seed)
    try:
        played, speed, moved, reproducible, matches = _explore(env, leaves, job.steps, seed, limit)
    except CardProblem:
        raise
    except Exception as error:
        raise CardProblem(
            "environment: it fails during random play: "
            f"{type(error).__name__}: {error} ({_place(error)})",
            "fix the environment",
        ) from error
    report = Survey(
        title=job.id or job.factory or "",
        id=job.id,
        factory=job.factory,
        kwargs=job.kwargs,
        observation=str(env.observation_space)[:MAX_SPACE_TEXT],
        leaves=tuple(with_what_was_seen(leaves, played, moved, matches)),
        action=action,
        reward=_reward(played, spec.reward_threshold if spec else None),
        info=played.info(),
        limit=limit,
        terminated=tuple(played.terminated),
        truncated=tuple(played.truncated),
        cut=played.cut,
        steps=played.steps,
        steps_per_second=round(speed, 1),
        reproducible=reproducible,
        rewarded_ends=played.rewarded_ends,
        failed_ends=played.failed_ends,
        goal=_goal(played),
        doc=_doc(env),
        source=_source(env),
        packages=_packages(env),
        mujoco=simulation(env) is not None,
        notes=tuple(played.notes),
    )
    # the report is complete, even if the environment cannot be closed
    with suppress(Exception):
        env.close()
    write(Path(job.out), report)


def _make(job: SurveyJob) -> gym.Env[Any, Any]:
    """The environment. Raises CardProblem if it is none that gymnasium knows."""
    described = Environment(
        id=job.id,
        factory=job.factory,
        kwargs=job.kwargs,
        limit=1,
        extra=None,
        needs=(),
    )
    env = construct(described, _no_card)
    if not isinstance(env, gym.Env):
        raise CardProblem(
            f"environment: this is {type(env).__module__}.{type(env).__name__}, not a "
            "gymnasium.Env",
            "wrap an old gym environment with shimmy; for another kind, write a factory "
            "that returns a gymnasium.Env",
        )
    return env


def _no_card(name: str) -> Any:
    raise CardProblem(
        f"environment.factory: `here:{name}` means a card's own Python file, and there is no card "
        "yet",
        "name the module: --factory my_module:make",
    )


def _explore(
    env: gym.Env[Any, Any],
    leaves: list[Leaf],
    steps: int,
    seed: int,
    limit: int | None,
) -> tuple[Play, float, Array, bool, dict[int, Match]]:
    """Random play, its steps per second, effects of actions, reproducibility, and matches."""
    nested = isinstance(env.action_space, (spaces.Dict, spaces.Tuple))
    flat = FlatAction(env) if nested else env
    started = time.perf_counter()
    played = play(flat, leaves, steps, seed, limit)
    speed = played.steps / max(1e-6, time.perf_counter() - started)
    moved, reproducible = effects(flat, leaves, played, seed)
    return (
        played,
        speed,
        moved,
        reproducible,
        _matches(flat, leaves, seed),
    )


def _matches(env: gym.Env[Any, Any], leaves: list[Leaf], seed: int) -> dict[int, Match]:
    """Columns explained by the simulation's own quantities; empty without MuJoCo."""
    if simulation(env) is None:
        return {}
    from autoreward.trainer.survey.matcher import match

    return match(
        env,
        lambda observation: leaf_values(observation, leaves),
        seed,
    )


def _place(error: BaseException) -> str:
    """File and line of the last frame."""
    trace = error.__traceback__
    if trace is None:
        return "-"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def _reward(played: Play, threshold: float | None) -> Reward:
    """The environment's own reward; `threshold` is what its registration counts as solved."""
    values = np.asarray(played.rewards)
    return Reward(
        low=float(values.min()),
        high=float(values.max()),
        distinct=len(np.unique(np.round(values, 9))),
        nonzero=float((values != 0).mean()),
        returns=tuple(played.returns),
        threshold=threshold,
    )


def _goal(played: Play) -> dict[int, float]:
    """Columns that had one value at every rewarded end of an episode, and nowhere else.

    An end counts if the episode terminated with the highest reward that was seen.
    """
    rewards = np.asarray(played.rewards)
    highest = rewards == rewards.max()
    won = np.asarray(played.ended) & highest & (rewards > 0)
    if won.sum() < MIN_REWARDED_ENDS or highest[~won].any():
        return {}
    found = {}
    for c in range(played.after.shape[1]):
        after = played.after[:, c]
        value = after[won][0]
        at_every_end = (after[won] == value).all()
        elsewhere = (after[~won] == value).any() or (played.before[:, c] == value).any()
        if at_every_end and not elsewhere:
            found[c] = float(value)
    return found


def _doc(env: gym.Env[Any, Any]) -> str:
    """The docstring of the environment's class, or of its module."""
    kind = type(env.unwrapped)
    doc = kind.__doc__ or getattr(sys.modules.get(kind.__module__), "__doc__", None)
    return inspect.cleandoc(doc or "")[:MAX_TEXT]


def _source(env: gym.Env[Any, Any]) -> str:
    """The source of the environment's class, without its docstring.

    The user sees it before it is sent anywhere.
    """
    kind = type(env.unwrapped)
    try:
        text = inspect.getsource(kind)
    except (OSError, TypeError):
        return ""
    if kind.__doc__:
        text = text.replace(kind.__doc__, "...", 1)
    return text[:MAX_TEXT]


def _packages(env: gym.Env[Any, Any]) -> tuple[str, ...]:
    """Installed packages that the environment's classes come from, sorted, without our own."""
    names = {cls.__module__.partition(".")[0] for cls in type(env.unwrapped).__mro__}
    installed = set()
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None) or ""
        if "site-packages" in file:
            installed.add(name)
    if simulation(env) is not None:
        installed.add("mujoco")
    return tuple(sorted(installed - OWN_PACKAGES))
