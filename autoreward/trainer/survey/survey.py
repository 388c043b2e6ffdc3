"""Plays an unknown environment at random, seeded, and reports what it is: spaces, ranges, endings,
reward, `info`, documentation.

The environment is the user's own code and runs here, in a trainer. Nothing is guessed: what is
reported was seen or declared.
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
from autoreward.store.files import write
from autoreward.store.survey import ActionSpace, Column, Kind, Leaf, Reward, Survey, SurveyJob
from autoreward.tasks.card import Environment
from autoreward.trainer.environment import CardProblem, FlatAction, construct, parts_of
from autoreward.trainer.survey.effects import effects
from autoreward.trainer.survey.playing import Play, leaf_values, play
from autoreward.trainer.survey.relations import relations

# numbers of one leaf; more is an image, or nothing that a reward program should read
LARGEST = 4096
# numbers of a Box of three dimensions that is still a table and no image
SMALL_GRID = 1024
UNBOUNDED = 1e6
# characters of documentation, and of source
MOST_TEXT = 60_000


def survey(job: SurveyJob) -> None:
    """Write the `Survey` to `job.out`.

    CardProblem where the environment cannot be made, played or trained on.
    """
    env = construct(
        Environment(
            id=job.id, factory=job.factory, kwargs=job.kwargs, limit=1, extra=None, needs=()
        ),
        _no_card,
    )
    if not isinstance(env, gym.Env):
        raise CardProblem(
            f"environment: this is {type(env).__module__}.{type(env).__name__}, no gymnasium.Env",
            "an environment of the old gym: wrap it with shimmy; of another kind: write a factory that returns a gymnasium.Env",
        )
    action = _action(env)
    flat = FlatAction(env) if isinstance(env.action_space, (spaces.Dict, spaces.Tuple)) else env
    leaves = _leaves(env.observation_space)
    spec = gym.spec(job.id.rpartition(":")[2]) if job.id else env.spec
    limit = spec.max_episode_steps if spec else None
    seed = stream_seed("probe", job.seed)
    try:
        began = time.perf_counter()
        played = play(flat, leaves, job.steps, seed, limit)
        speed = played.steps / max(1e-6, time.perf_counter() - began)
        moved, reproducible = effects(flat, leaves, played, seed)
        matches = _matches(flat, leaves, seed)
    except CardProblem:
        raise
    except Exception as error:
        raise CardProblem(
            f"environment: it fails while it is played at random: {type(error).__name__}: {error} ({_place(error)})",
            "mend the environment",
        ) from error
    report = Survey(
        title=job.id or job.factory or "",
        id=job.id,
        factory=job.factory,
        kwargs=job.kwargs,
        observation=str(env.observation_space)[:2000],
        leaves=tuple(_filled(leaves, played, moved, matches)),
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
        rewarded_ends=played.ends[1],
        failed_ends=played.ends[0],
        goal=_goal(played),
        doc=_doc(env),
        source=_source(env),
        packages=_packages(env),
        mujoco=bool(matches) or _simulates(env),
        notes=tuple(played.notes),
    )
    # an environment that cannot close has told all the same
    with suppress(Exception):
        env.close()
    write(Path(job.out), report)


def _no_card(name: str) -> Any:
    raise CardProblem(
        f"environment.factory: `here:{name}` means a card's own Python file, and there is no card yet",
        "name the module: --factory my_module:make",
    )


def _place(error: BaseException) -> str:
    """File and line of the last frame."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "-"


def _action(env: gym.Env[Any, Any]) -> ActionSpace:
    space: Any = env.action_space
    parts: tuple[str, ...] = ()
    text = str(space)[:500]
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        parts = tuple(
            path + (f"[{k}]" if size > 1 else "")
            for path, leaf in parts_of(space)
            for size in [_numbers(leaf)]
            for k in range(size)
        )
        space = FlatAction(env).action_space
    else:
        parts = _actuators(env, space)
    if isinstance(space, spaces.Discrete):
        if int(space.start):
            raise CardProblem(
                f"action: {space} begins at {int(space.start)}; agents are trained on 0 .. n-1",
                "wrap the environment in one whose Discrete action begins at 0",
            )
        return ActionSpace(type="discrete", n=int(space.n), space=text)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return ActionSpace(
            type="multidiscrete", nvec=tuple(map(int, space.nvec)), parts=parts, space=text
        )
    if isinstance(space, spaces.MultiBinary):
        return ActionSpace(type="multibinary", shape=tuple(space.shape), parts=parts, space=text)
    if isinstance(space, spaces.Box):
        return ActionSpace(
            type="box",
            shape=tuple(space.shape),
            low=_bounds(space.low),
            high=_bounds(space.high),
            parts=parts,
            space=text,
        )
    raise CardProblem(
        f"action: {type(space).__name__} cannot be trained on; Discrete, MultiDiscrete, MultiBinary, Box, and Dict and Tuple of them can"
    )


def _numbers(space: Any) -> int:
    return 1 if isinstance(space, spaces.Discrete) else int(np.prod(space.shape or ()))


def _actuators(env: gym.Env[Any, Any], space: Any) -> tuple[str, ...]:
    """MuJoCo's names of the actuators, where there is one for each component."""
    from autoreward.trainer.survey.quantities import simulation

    found = simulation(env)
    if found is None or not isinstance(space, spaces.Box) or found[0].nu != _numbers(space):
        return ()
    import mujoco

    names = [
        mujoco.mj_id2name(found[0], mujoco.mjtObj.mjOBJ_ACTUATOR, k) or ""
        for k in range(found[0].nu)
    ]
    joints = [
        mujoco.mj_id2name(found[0], mujoco.mjtObj.mjOBJ_JOINT, int(found[0].actuator_trnid[k, 0]))
        or ""
        if found[0].actuator_trntype[k] == 0
        else ""
        for k in range(found[0].nu)
    ]
    told = tuple(n or j for n, j in zip(names, joints, strict=True))
    return told if all(told) else ()


def _simulates(env: gym.Env[Any, Any]) -> bool:
    from autoreward.trainer.survey.quantities import simulation

    return simulation(env) is not None


def _bounds(values: Array) -> tuple[float | None, ...]:
    return tuple(
        float(v) if abs(v) < UNBOUNDED else None for v in np.asarray(values, np.float64).ravel()
    )


def _leaves(space: spaces.Space[Any]) -> list[Leaf]:
    """The leaves with their declared bounds; those that a card cannot hold say why they are left
    out.
    """
    found, start, flattens = [], 0, True
    for path, part in parts_of(space):
        name = f"obs.{path}" if path else "the observation"
        shape = tuple(int(n) for n in (part.shape or ()))
        size = int(np.prod(shape))
        kind: Kind | None = None
        why = ""
        if (
            isinstance(part, spaces.Box)
            and len(shape) >= 3
            and (size > SMALL_GRID or (part.dtype == np.uint8 and float(part.high.max()) > 100))
        ):
            why = f"{name} is an image of shape {shape}: rewards here read numbers, not pixels"
        elif isinstance(part, spaces.Box) and size > LARGEST:
            why = f"{name} has {size:,} numbers; more than {LARGEST:,} is too much for a reward program"
        elif isinstance(
            part, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
        ):
            kind = (
                "box"
                if isinstance(part, spaces.Box)
                else "discrete"
                if isinstance(part, spaces.Discrete)
                else "multidiscrete"
                if isinstance(part, spaces.MultiDiscrete)
                else "multibinary"
            )
        else:
            why = f"{name} is {type(part).__name__}: no numbers"
        columns: tuple[Column, ...] = ()
        if kind == "box":
            columns = tuple(
                Column(low=a, high=b)
                for a, b in zip(_bounds(part.low), _bounds(part.high), strict=True)  # type: ignore[attr-defined]
            )
        elif kind == "discrete":
            columns = (Column(low=float(part.start), high=float(part.start + part.n - 1)),)  # type: ignore[attr-defined]
        elif kind == "multidiscrete":
            columns = tuple(Column(low=0.0, high=float(n - 1)) for n in part.nvec.ravel())  # type: ignore[attr-defined]
        elif kind == "multibinary":
            columns = tuple(Column(low=0.0, high=1.0) for _ in range(size))
        found.append(
            Leaf(
                path=path,
                space=str(part)[:200],
                kind=kind,
                shape=shape,
                start=start if flattens else None,
                columns=columns,
                left_out=why,
            )
        )
        try:
            start += spaces.flatdim(part)
        except (NotImplementedError, ValueError):
            flattens = False
    if not flattens:
        found = [leaf.model_copy(update={"start": None}) for leaf in found]
    if not any(leaf.kind for leaf in found):
        raise CardProblem(
            "observation: " + "; ".join(leaf.left_out for leaf in found),
            "wrap the environment in one that also gives the numbers behind it, e.g. as a Dict",
        )
    return found


def _filled(leaves: list[Leaf], played: Play, moved: Array, matches: dict[int, Any]) -> list[Leaf]:
    """The leaves with what was seen of each column."""
    told, at, out = relations(played.before, played.after, played.first), 0, []
    for leaf in leaves:
        columns = []
        for k, column in enumerate(leaf.columns):
            values = np.concatenate([played.before[:, at + k], played.after[:, at + k]])
            finite = values[np.isfinite(values)]
            if len(finite) < len(values):
                played.notes.append(
                    f"obs{f'.{leaf.path}' if leaf.path else ''}[{k}] was not finite in {len(values) - len(finite)} of {len(values)} states"
                )
            seen = (
                {"seen_low": float(finite.min()), "seen_high": float(finite.max())}
                if len(finite)
                else {}
            )
            columns.append(
                column.model_copy(
                    update={
                        **seen,
                        "constant": bool(len(finite) and (finite == finite[0]).all()),
                        "integer": bool(len(finite) and (finite == np.round(finite)).all()),
                        "actions": tuple(int(i) for i in np.flatnonzero(moved[:, at + k])),
                        "relation": told.get(at + k, ""),
                        "match": matches.get(at + k),
                    }
                )
            )
        at += len(leaf.columns)
        out.append(leaf.model_copy(update={"columns": tuple(columns)}))
    return out


def _matches(env: gym.Env[Any, Any], leaves: list[Leaf], seed: int) -> dict[int, Any]:
    """Columns explained by the simulator's own quantities; empty where there is no MuJoCo in it."""
    from autoreward.trainer.survey.matcher import match
    from autoreward.trainer.survey.quantities import simulation

    return (
        match(env, lambda observation: leaf_values(observation, leaves), seed)
        if simulation(env)
        else {}
    )


def _reward(played: Play, threshold: float | None) -> Reward:
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
    """Columns that had one value wherever an episode ended by itself with the highest reward, and
    that value nowhere else.
    """
    rewards, ended = np.asarray(played.rewards), np.asarray(played.ended)
    won = ended & (rewards == rewards.max()) & (rewards > 0)
    if won.sum() < 3 or (rewards[~won] == rewards.max()).any():
        return {}
    found = {}
    for c in range(played.after.shape[1]):
        value = played.after[won, c][0]
        if (
            (played.after[won, c] == value).all()
            and not (played.after[~won, c] == value).any()
            and not (played.before[:, c] == value).any()
        ):
            found[c] = float(value)
    return found


def _doc(env: gym.Env[Any, Any]) -> str:
    """The docstring of the environment's class, or of its module."""
    kind = type(env.unwrapped)
    found = kind.__doc__ or getattr(sys.modules.get(kind.__module__), "__doc__", None) or ""
    return inspect.cleandoc(found)[:MOST_TEXT]


def _source(env: gym.Env[Any, Any]) -> str:
    """The source of the environment's class, without its docstring; shown before it is sent
    anywhere.
    """
    try:
        text = inspect.getsource(type(env.unwrapped))
    except (OSError, TypeError):
        return ""
    doc = type(env.unwrapped).__doc__
    return (text.replace(doc, "...", 1) if doc else text)[:MOST_TEXT]


def _packages(env: gym.Env[Any, Any]) -> tuple[str, ...]:
    """Installed packages that the environment's classes come from, but for what autoreward brings
    itself.
    """
    names = {k.__module__.partition(".")[0] for k in type(env.unwrapped).__mro__}
    installed = {
        n for n in names if "site-packages" in (getattr(sys.modules.get(n), "__file__", None) or "")
    }
    return tuple(
        sorted(
            (installed | ({"mujoco"} if _simulates(env) else set()))
            - {"gymnasium", "numpy", "autoreward", "stable_baselines3"}
        )
    )
