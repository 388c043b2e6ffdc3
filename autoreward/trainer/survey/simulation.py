"""Finds the MuJoCo simulation that an environment holds, and the names it has for its parts."""

from __future__ import annotations

import sys
from typing import Any

# how many objects deep the simulation is looked for, and how many are looked at on each level
SEARCH_DEPTH = 3
MAX_OBJECTS = 100


def simulation(env: Any) -> tuple[Any, Any] | None:
    """(MjModel, MjData) of the environment, or of an object that it holds; None without MuJoCo."""
    mujoco = sys.modules.get("mujoco")
    if mujoco is None:
        return None
    level: list[Any] = [env.unwrapped]
    for depth in range(SEARCH_DEPTH):
        if depth:
            level = [held for thing in level for held in _held_by(thing)][:MAX_OBJECTS]
        for thing in level:
            model = getattr(thing, "model", None)
            data = getattr(thing, "data", None)
            if isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData):
                return model, data
    return None


def _held_by(thing: Any) -> list[Any]:
    """The objects in a thing's attributes; an environment without its wrappers."""
    held = []
    for value in getattr(thing, "__dict__", {}).values():
        if hasattr(value, "__dict__") and not isinstance(value, type):
            held.append(getattr(value, "unwrapped", value))
    return held


def name_of(model: Any, kind: str, k: int) -> str:
    """The model's name of its k-th body, joint, site, ...; `body3` if it has none."""
    mujoco = sys.modules["mujoco"]
    object_type = getattr(mujoco.mjtObj, f"mjOBJ_{kind.upper()}")
    return mujoco.mj_id2name(model, object_type, k) or f"{kind}{k}"


def actuator_names(model: Any) -> tuple[str, ...]:
    """A name for every actuator: its own, else that of the joint it moves.

    Empty if any actuator has neither.
    """
    mujoco = sys.modules["mujoco"]
    names = []
    for k in range(model.nu):
        name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_ACTUATOR, k)
        moves_a_joint = model.actuator_trntype[k] == 0
        if not name and moves_a_joint:
            joint = int(model.actuator_trnid[k, 0])
            name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_JOINT, joint)
        if not name:
            return ()
        names.append(name)
    return tuple(names)
