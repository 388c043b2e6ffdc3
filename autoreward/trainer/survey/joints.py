"""What a MuJoCo simulation knows of its joints: positions, velocities, and forces on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from autoreward.trainer.survey.simulation import name_of

AXES = ("x", "y", "z")
QUATERNION = ("w", "x", "y", "z")
JOINT_KINDS = ("free", "ball", "slide", "hinge")
# arrays of MjData with one number per degree of freedom, and the ending of their names
JOINT_FORCES = (
    ("qfrc_actuator", "actuator_force"),
    ("qfrc_constraint", "constraint_force"),
    ("qfrc_passive", "passive_force"),
    ("qfrc_bias", "bias_force"),
    ("qacc", "acceleration"),
)


@dataclass(frozen=True)
class Quantity:
    """One number that the simulation knows, and what it is.

    `of` says what it is in words. `quantity` is the array it comes from and `row` its place there.
    `tier` is how far-fetched it is as an explanation of a column. Quantities of one `family` may be
    subtracted from each other: positions along x, velocities along y, ... `angle`: its sine and
    cosine make sense.
    """

    name: str
    index: str
    of: str
    unit: str
    quantity: str
    row: int
    tier: int
    family: str = ""
    angle: bool = False


def vector(
    name: str,
    axes: tuple[str, ...],
    words: str,
    unit: str,
    quantity: str,
    row: int,
    tier: int,
    family: str = "",
    angle: bool = False,
) -> list[Quantity]:
    """The components of a vector, from `row` on; `{axis}` in `words` and `family` is replaced."""
    found = []
    for k, axis in enumerate(axes):
        component = Quantity(
            name,
            axis,
            words.replace("{axis}", axis),
            unit,
            quantity,
            row + k,
            tier,
            family.replace("{axis}", axis),
            angle,
        )
        found.append(component)
    return found


def joint_quantities(
    model: Any,
) -> tuple[list[Quantity], list[Quantity]]:
    """What the entries of qpos, and of qvel, are."""
    positions: list[Quantity] = []
    velocities: list[Quantity] = []
    for j in range(model.njnt):
        name = name_of(model, "joint", j)
        kind = JOINT_KINDS[model.jnt_type[j]]
        q = int(model.jnt_qposadr[j])
        v = int(model.jnt_dofadr[j])
        if kind == "free":
            positions += _place(name, q)
            velocities += _speed(name, v)
            # its orientation follows its place
            q += 3
            v += 3
        if kind in ("free", "ball"):
            positions += _orientation(name, q)
            velocities += _turning(name, v)
        if kind == "slide":
            positions.append(_scalar(name, "position", kind, "m", "qpos", q))
            velocities.append(_scalar(name, "velocity", kind, "m/s", "qvel", v))
        if kind == "hinge":
            positions.append(_scalar(name, "angle", kind, "rad", "qpos", q))
            velocities.append(_scalar(name, "velocity", kind, "rad/s", "qvel", v))
    return positions, velocities


def _place(joint: str, row: int) -> list[Quantity]:
    return vector(
        f"{joint}_position",
        AXES,
        f"qpos of joint {joint}: {{axis}} position",
        "m",
        "qpos",
        row,
        0,
        "position {axis}",
    )


def _speed(joint: str, row: int) -> list[Quantity]:
    return vector(
        f"{joint}_linear_velocity",
        AXES,
        f"qvel of joint {joint}: velocity along {{axis}}",
        "m/s",
        "qvel",
        row,
        0,
        "velocity {axis}",
    )


def _orientation(joint: str, row: int) -> list[Quantity]:
    return vector(
        f"{joint}_quaternion",
        QUATERNION,
        f"qpos of joint {joint}: {{axis}} of its quaternion",
        "-",
        "qpos",
        row,
        0,
    )


def _turning(joint: str, row: int) -> list[Quantity]:
    return vector(
        f"{joint}_angular_velocity",
        AXES,
        f"qvel of joint {joint}: rotation about its {{axis}}",
        "rad/s",
        "qvel",
        row,
        0,
    )


def _scalar(
    joint: str,
    word: str,
    kind: str,
    unit: str,
    quantity: str,
    row: int,
) -> Quantity:
    return Quantity(
        f"{joint}_{word}",
        "",
        f"{quantity} of joint {joint} ({kind})",
        unit,
        quantity,
        row,
        0,
        angle=word == "angle",
    )


def displacements(velocities: list[Quantity], step: float) -> list[Quantity]:
    """Joint velocities times the environment's step, in seconds."""
    found = []
    for velocity in velocities:
        moved = Quantity(
            f"{velocity.name}_per_step",
            velocity.index,
            f"{velocity.of}, times the step of {step:g} s",
            velocity.unit.partition("/")[0],
            "qvel*dt",
            velocity.row,
            3,
        )
        found.append(moved)
    return found


def joint_forces(velocities: list[Quantity], array: str, ending: str) -> list[Quantity]:
    """One array of MjData that has a number for each degree of freedom."""
    found = []
    for velocity in velocities:
        joint = re.sub("_(linear_|angular_)?velocity$", "", velocity.name)
        force = Quantity(
            f"{joint}_{ending}",
            velocity.index,
            f"{array}{velocity.of.removeprefix('qvel')}",
            "-",
            array,
            velocity.row,
            1,
        )
        found.append(force)
    return found
