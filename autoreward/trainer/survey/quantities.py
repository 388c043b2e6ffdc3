"""Everything a MuJoCo simulation knows of one state, as one labelled vector.

The columns of an observation are compared with it (matcher.py). Values are read from `data` as they
stand after the environment has answered: after `mj_step`, MuJoCo leaves positions that lag half a
step behind, and the environment itself saw the same ones.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from autoreward.state import Array
from autoreward.trainer.survey.joints import (
    AXES,
    JOINT_FORCES,
    QUATERNION,
    Quantity,
    displacements,
    joint_forces,
    joint_quantities,
    vector,
)
from autoreward.trainer.survey.simulation import (
    name_of,
    simulation,
)

# MuJoCo's spatial vectors: rotation first
SPATIAL = ("rx", "ry", "rz", "x", "y", "z")
INERTIA = (
    "xx",
    "yy",
    "zz",
    "xy",
    "xz",
    "yz",
    "mx",
    "my",
    "mz",
    "mass",
)
# what has a place: kind, its number in the model, arrays of positions and rotations, and tier
PLACED = (
    ("body", "nbody", "xpos", "xmat", 1),
    ("site", "nsite", "site_xpos", "site_xmat", 1),
    ("geom", "ngeom", "geom_xpos", "geom_xmat", 2),
)
# arrays of MjData with one vector per body: components, words, and tier
BODY_ARRAYS = (
    ("cinert", INERTIA, "inertia", 2),
    ("cvel", SPATIAL, "spatial velocity", 2),
    ("cfrc_ext", SPATIAL, "external contact force", 2),
    ("cfrc_int", SPATIAL, "force from its parent", 3),
    ("xipos", AXES, "centre of mass", 2),
    (
        "subtree_com",
        AXES,
        "centre of mass with all below it",
        2,
    ),
    (
        "subtree_linvel",
        AXES,
        "velocity of the centre of mass with all below it",
        2,
    ),
)
# attributes that may hold the observation itself
MAY_HOLD_OBSERVATION = re.compile(
    r"obs|state|prev|last|init|cache|buffer|action|reward|ctrl|low|high|space|pos_range|mean|std",
    re.I,
)
MAX_ATTRIBUTE_SIZE = 64


class Quantities:
    """All quantities of an environment's simulation.

    `labels` says what each is; `read()` returns their values (K,) float64 in the same order.
    """

    def __init__(self, env: Any) -> None:
        found = simulation(env)
        assert found is not None
        self.env = env.unwrapped
        self.model, self.data = found
        self.labels: list[Quantity] = []
        self.readers: list[Callable[[], Any]] = []
        self.step = self._seconds_per_step()
        self._add_joints()
        for kind, count, places, turns, tier in PLACED:
            names = self._names(kind, getattr(self.model, count))
            self._add_places(kind, names, places, turns, tier)
        self._add_body_quaternions()
        self._add_sensors()
        self._add_actuators()
        self._add_body_arrays()
        time = Quantity(
            "time",
            "",
            "the simulation's time",
            "s",
            "time",
            0,
            2,
        )
        self._add(lambda: [self.data.time], [time])
        self._add_attributes()

    def read(self) -> Array:
        """The values (K,) of the present state."""
        parts = [np.asarray(reader(), np.float64).ravel() for reader in self.readers]
        return np.concatenate(parts)

    def _seconds_per_step(self) -> float:
        step = getattr(self.env, "dt", 0)
        if not step:
            step = self.model.opt.timestep * getattr(self.env, "n_substeps", 1)
        return float(step)

    def _names(self, kind: str, count: int) -> list[str]:
        return [name_of(self.model, kind, k) for k in range(count)]

    def _add(self, read: Callable[[], Any], labels: list[Quantity]) -> None:
        if labels:
            self.readers.append(read)
            self.labels += labels

    def _add_array(self, array: str, labels: list[Quantity]) -> None:
        """An array of MjData, read anew each time."""
        self._add(lambda: getattr(self.data, array), labels)

    def _add_joints(self) -> None:
        """qpos and qvel, displacements per step, and forces on each degree of freedom."""
        positions, velocities = joint_quantities(self.model)
        self._add_array("qpos", positions)
        self._add_array("qvel", velocities)
        moved = displacements(velocities, self.step)
        self._add(lambda: self.data.qvel * self.step, moved)
        for array, ending in JOINT_FORCES:
            self._add_array(array, joint_forces(velocities, array, ending))

    def _add_places(
        self,
        kind: str,
        names: list[str],
        places: str,
        turns: str,
        tier: int,
    ) -> None:
        """Positions and orientations of bodies, sites or geoms; velocities of what is likely."""
        labels: list[Quantity] = []
        family = "position {axis}" if tier == 1 else ""
        for k, name in enumerate(names):
            words = f"{{axis}} position of {kind} {name}"
            labels += vector(
                f"{name}_position",
                AXES,
                words,
                "m",
                places,
                3 * k,
                tier,
                family,
            )
        self._add_array(places, labels)
        self._add_array(
            turns,
            _rotation_matrices(kind, names, turns, tier + 1),
        )
        if tier > 1:
            return
        labels = []
        for k, name in enumerate(names):
            words = f"rotation of {kind} {name} about {{axis}} (Euler angles, xyz)"
            labels += vector(
                f"{name}_euler",
                AXES,
                words,
                "rad",
                "euler",
                3 * k,
                2,
                angle=True,
            )
        self._add(lambda: euler(getattr(self.data, turns)), labels)
        self._add_velocities(kind, names)

    def _add_velocities(self, kind: str, names: list[str]) -> None:
        """Velocities in the world's axes, by the Jacobian; and the same per step."""
        mujoco = sys.modules["mujoco"]
        jacobian = mujoco.mj_jacBody if kind == "body" else mujoco.mj_jacSite
        linear = np.zeros((3, self.model.nv))
        angular = np.zeros((3, self.model.nv))

        def read() -> Array:
            out = np.empty((len(names), 6))
            for k in range(len(names)):
                jacobian(self.model, self.data, linear, angular, k)
                out[k, :3] = linear @ self.data.qvel
                out[k, 3:] = angular @ self.data.qvel
            return out

        self._add(read, _velocities(kind, names, "", "", 1))
        note = f", times the step of {self.step:g} s"
        per_step = _velocities(kind, names, "_per_step", note, 2)
        self._add(lambda: read() * self.step, per_step)

    def _add_body_quaternions(self) -> None:
        labels: list[Quantity] = []
        for k, name in enumerate(self._names("body", self.model.nbody)):
            words = f"{{axis}} of the quaternion of body {name}"
            labels += vector(
                f"{name}_quaternion",
                QUATERNION,
                words,
                "-",
                "xquat",
                4 * k,
                1,
            )
        self._add_array("xquat", labels)

    def _add_sensors(self) -> None:
        labels: list[Quantity] = []
        for k, name in enumerate(self._names("sensor", self.model.nsensor)):
            size = int(self.model.sensor_dim[k])
            start = int(self.model.sensor_adr[k])
            if size > 1:
                axes = tuple(map(str, range(size)))
                words = f"sensor {name}[{{axis}}]"
            else:
                axes = ("",)
                words = f"sensor {name}"
            labels += vector(name, axes, words, "-", "sensordata", start, 1)
        self._add_array("sensordata", labels)

    def _add_actuators(self) -> None:
        controls = []
        forces = []
        for k, name in enumerate(self._names("actuator", self.model.nu)):
            words = f"control of actuator {name}"
            controls.append(
                Quantity(
                    f"{name}_control",
                    "",
                    words,
                    "-",
                    "ctrl",
                    k,
                    1,
                )
            )
            words = f"force of actuator {name}"
            forces.append(
                Quantity(
                    f"{name}_force",
                    "",
                    words,
                    "-",
                    "actuator_force",
                    k,
                    2,
                )
            )
        self._add_array("ctrl", controls)
        self._add_array("actuator_force", forces)

    def _add_body_arrays(self) -> None:
        """Inertia, spatial velocity, forces and centres of mass of each body."""
        names = self._names("body", self.model.nbody)
        for array, axes, what, tier in BODY_ARRAYS:
            labels: list[Quantity] = []
            for k, name in enumerate(names):
                words = f"{what} ({array}) of body {name}: {{axis}}"
                labels += vector(
                    f"{name}_{array}",
                    axes,
                    words,
                    "-",
                    array,
                    len(axes) * k,
                    tier,
                )
            self._add_array(array, labels)

    def _add_attributes(self) -> None:
        """Small arrays of floats that the environment itself keeps, such as a goal."""
        for key in sorted(vars(self.env)):
            value = getattr(self.env, key, None)
            if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
                continue
            if 0 < value.size <= MAX_ATTRIBUTE_SIZE and not MAY_HOLD_OBSERVATION.search(key):
                self._add_attribute(key, value.size)

    def _add_attribute(self, key: str, size: int) -> None:
        indices = tuple(map(str, range(size))) if size > 1 else ("",)
        labels = []
        for k, index in enumerate(indices):
            words = f"the environment's own {key}"
            axis = AXES[k] if size == 3 else index
            label = Quantity(
                key.strip("_"),
                axis,
                f"{words}[{index}]" if size > 1 else words,
                "-",
                "attribute",
                k,
                1,
                f"position {axis}" if size == 3 else "",
            )
            labels.append(label)

        def read() -> Array:
            now = np.asarray(getattr(self.env, key), np.float64).ravel()
            return now if now.size == size else np.full(size, np.nan)

        self._add(read, labels)


def _rotation_matrices(
    kind: str,
    names: list[str],
    array: str,
    tier: int,
) -> list[Quantity]:
    labels = []
    for k, name in enumerate(names):
        for i in range(3):
            for j in range(3):
                entry = Quantity(
                    f"{name}_rotation",
                    f"{i}{j}",
                    f"rotation matrix of {kind} {name}, row {i}, column {j}",
                    "-",
                    array,
                    9 * k + 3 * i + j,
                    tier,
                )
                labels.append(entry)
    return labels


def _velocities(
    kind: str,
    names: list[str],
    suffix: str,
    note: str,
    tier: int,
) -> list[Quantity]:
    """Six numbers for each body or site: along and about the world's axes."""
    per = "" if suffix else "/s"
    labels: list[Quantity] = []
    for k, name in enumerate(names):
        labels += vector(
            f"{name}_velocity{suffix}",
            AXES,
            f"velocity of {kind} {name} along {{axis}}{note}",
            f"m{per}",
            f"xvelp{suffix}",
            6 * k,
            tier,
            f"velocity{suffix} {{axis}}",
        )
        labels += vector(
            f"{name}_angular_velocity{suffix}",
            AXES,
            f"rotation of {kind} {name} about {{axis}}{note}",
            f"rad{per}",
            f"xvelr{suffix}",
            6 * k + 3,
            tier,
            f"rotation{suffix} {{axis}}",
        )
    return labels


def euler(matrices: Array) -> Array:
    """Angles (n, 3) about x, y, z of rotation matrices (n, 9).

    The convention is that of mujoco-py and gymnasium-robotics (`mat2euler`).
    """
    m = np.asarray(matrices, np.float64).reshape(-1, 3, 3)
    cosine = np.sqrt(m[:, 2, 2] ** 2 + m[:, 1, 2] ** 2)
    # at a cosine of 0 the angles about x and z are not determined: x is taken as 0
    determined = cosine > 4 * np.finfo(np.float64).eps
    x = np.where(determined, -np.arctan2(m[:, 1, 2], m[:, 2, 2]), 0.0)
    y = -np.arctan2(-m[:, 0, 2], cosine)
    z = np.where(
        determined,
        -np.arctan2(m[:, 0, 1], m[:, 0, 0]),
        -np.arctan2(-m[:, 1, 0], m[:, 1, 1]),
    )
    return np.stack([x, y, z], 1)
