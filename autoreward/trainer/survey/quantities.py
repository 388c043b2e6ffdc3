"""Everything that a MuJoCo simulation knows of itself at one state, as a vector with labels: what
observation columns are compared with.

Values are read from `data` as it stands when the environment has answered, so that positions that
lag half a step behind (as MuJoCo leaves them after `mj_step`) are compared with what the
environment itself saw.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoreward.state import Array

AXES, QUATERNION = ("x", "y", "z"), ("w", "x", "y", "z")
# MuJoCo's spatial vectors: rotation first
SIX = ("rx", "ry", "rz", "x", "y", "z")
# attributes that may hold the observation itself
OWN_MEMORY = re.compile(
    r"obs|state|prev|last|init|cache|buffer|action|reward|ctrl|low|high|space|pos_range|mean|std",
    re.I,
)
# numbers of one attribute of the environment
MOST_ATTRIBUTES = 64


@dataclass(frozen=True)
class Label:
    """One candidate.

    `tier` is how far-fetched it is; `family` groups what may be subtracted: positions along x,
    velocities along y, ...; `angle`: sine and cosine make sense.
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


def simulation(env: Any) -> tuple[Any, Any] | None:
    """(MjModel, MjData) of the environment or of one that it holds; None where there is none."""
    mujoco = sys.modules.get("mujoco")
    if mujoco is None:
        return None
    seen: list[Any] = [env.unwrapped]
    for depth in range(3):
        for thing in seen:
            model, data = getattr(thing, "model", None), getattr(thing, "data", None)
            if isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData):
                return model, data
        if depth < 2:
            seen = [
                getattr(v, "unwrapped", v)
                for thing in seen
                for v in getattr(thing, "__dict__", {}).values()
                if hasattr(v, "__dict__") and not isinstance(v, type)
            ][:100]
    return None


class Quantities:
    """`labels` and `read()` -> (K,) float64 in the same order."""

    def __init__(self, env: Any) -> None:
        found = simulation(env)
        assert found is not None
        self.env, (self.model, self.data) = env.unwrapped, found
        self.labels: list[Label] = []
        self.parts: list[Callable[[], Any]] = []
        self.step = float(
            getattr(self.env, "dt", 0)
            or self.model.opt.timestep * getattr(self.env, "n_substeps", 1)
        )
        self._joints()
        self._places()
        self._others()
        self._attributes()

    def read(self) -> Array:
        return np.concatenate([np.asarray(part(), np.float64).ravel() for part in self.parts])

    def _name(self, kind: str, k: int) -> str:
        mujoco = sys.modules["mujoco"]
        return (
            mujoco.mj_id2name(self.model, getattr(mujoco.mjtObj, f"mjOBJ_{kind.upper()}"), k)
            or f"{kind}{k}"
        )

    def _add(self, values: Callable[[], Any], labels: list[Label]) -> None:
        if labels:
            self.parts.append(values)
            self.labels += labels

    def _joints(self) -> None:
        """qpos and qvel by joint, the forces on each degree of freedom, and velocities as
        displacements per step.
        """
        model, data = self.model, self.data
        kinds = ("free", "ball", "slide", "hinge")
        position: list[Label] = []
        velocity: list[Label] = []
        for j in range(model.njnt):
            name, kind = self._name("joint", j), kinds[model.jnt_type[j]]
            q, v = int(model.jnt_qposadr[j]), int(model.jnt_dofadr[j])
            if kind == "free":
                position += [
                    Label(
                        f"{name}_position",
                        a,
                        f"qpos of joint {name}: {a} position",
                        "m",
                        "qpos",
                        q + i,
                        0,
                        f"position {a}",
                    )
                    for i, a in enumerate(AXES)
                ]
                velocity += [
                    Label(
                        f"{name}_linear_velocity",
                        a,
                        f"qvel of joint {name}: velocity along {a}",
                        "m/s",
                        "qvel",
                        v + i,
                        0,
                        f"velocity {a}",
                    )
                    for i, a in enumerate(AXES)
                ]
            if kind in ("free", "ball"):
                q, v = (q + 3, v + 3) if kind == "free" else (q, v)
                position += [
                    Label(
                        f"{name}_quaternion",
                        a,
                        f"qpos of joint {name}: {a} of its quaternion",
                        "-",
                        "qpos",
                        q + i,
                        0,
                    )
                    for i, a in enumerate(QUATERNION)
                ]
                velocity += [
                    Label(
                        f"{name}_angular_velocity",
                        a,
                        f"qvel of joint {name}: rotation about its {a}",
                        "rad/s",
                        "qvel",
                        v + i,
                        0,
                    )
                    for i, a in enumerate(AXES)
                ]
            if kind in ("slide", "hinge"):
                unit, word = ("m", "position") if kind == "slide" else ("rad", "angle")
                position.append(
                    Label(
                        f"{name}_{word}",
                        "",
                        f"qpos of joint {name} ({kind})",
                        unit,
                        "qpos",
                        q,
                        0,
                        angle=kind == "hinge",
                    )
                )
                velocity.append(
                    Label(
                        f"{name}_velocity",
                        "",
                        f"qvel of joint {name} ({kind})",
                        f"{unit}/s",
                        "qvel",
                        v,
                        0,
                    )
                )
        self._add(lambda: data.qpos, position)
        self._add(lambda: data.qvel, velocity)
        per_step = [
            Label(
                f"{label.name}_per_step",
                label.index,
                f"{label.of}, times the step of {self.step:g} s",
                label.unit.partition("/")[0],
                "qvel*dt",
                label.row,
                3,
            )
            for label in velocity
        ]
        self._add(lambda: data.qvel * self.step, per_step)
        for force, word in (
            ("qfrc_actuator", "actuator_force"),
            ("qfrc_constraint", "constraint_force"),
            ("qfrc_passive", "passive_force"),
            ("qfrc_bias", "bias_force"),
            ("qacc", "acceleration"),
        ):
            labels = [
                Label(
                    f"{re.sub('_(linear_|angular_)?velocity$', '', v.name)}_{word}",
                    v.index,
                    f"{force}{v.of[4:]}",
                    "-",
                    force,
                    v.row,
                    1,
                )
                for v in velocity
            ]
            self._add(lambda force=force: getattr(data, force), labels)  # type: ignore[misc]

    def _places(self) -> None:
        """Positions, orientations and velocities of bodies, sites and geoms."""
        model, data = self.model, self.data
        for kind, count, where, turned, tier in (
            ("body", model.nbody, "xpos", "xmat", 1),
            ("site", model.nsite, "site_xpos", "site_xmat", 1),
            ("geom", model.ngeom, "geom_xpos", "geom_xmat", 2),
        ):
            names = [(k, self._name(kind, k)) for k in range(count)]
            labels = [
                Label(
                    f"{n}_position",
                    a,
                    f"{a} position of {kind} {n}",
                    "m",
                    where,
                    3 * k + i,
                    tier,
                    f"position {a}" if tier == 1 else "",
                )
                for k, n in names
                for i, a in enumerate(AXES)
            ]
            self._add(lambda where=where: getattr(data, where), labels)  # type: ignore[misc]
            labels = [
                Label(
                    f"{n}_rotation",
                    f"{i}{j}",
                    f"rotation matrix of {kind} {n}, row {i}, column {j}",
                    "-",
                    turned,
                    9 * k + 3 * i + j,
                    tier + 1,
                )
                for k, n in names
                for i in range(3)
                for j in range(3)
            ]
            self._add(lambda turned=turned: getattr(data, turned), labels)  # type: ignore[misc]
            if tier == 1:
                labels = [
                    Label(
                        f"{n}_euler",
                        a,
                        f"rotation of {kind} {n} about {a} (Euler angles, xyz)",
                        "rad",
                        "euler",
                        3 * k + i,
                        2,
                        angle=True,
                    )
                    for k, n in names
                    for i, a in enumerate(AXES)
                ]
                self._add(lambda turned=turned: euler(getattr(data, turned)), labels)  # type: ignore[misc]
                self._velocities(kind, names)
        labels = [
            Label(
                f"{n}_quaternion",
                a,
                f"{a} of the quaternion of body {n}",
                "-",
                "xquat",
                4 * k + i,
                1,
            )
            for k, n in ((k, self._name("body", k)) for k in range(model.nbody))
            for i, a in enumerate(QUATERNION)
        ]
        self._add(lambda: data.xquat, labels)

    def _velocities(self, kind: str, names: list[tuple[int, str]]) -> None:
        """By the Jacobian, in the world's axes; and the same per step."""
        mujoco = sys.modules["mujoco"]
        jacobian = mujoco.mj_jacBody if kind == "body" else mujoco.mj_jacSite
        linear, angular = np.zeros((3, self.model.nv)), np.zeros((3, self.model.nv))

        def values() -> Array:
            out = np.empty((len(names), 6))
            for k, _ in names:
                jacobian(self.model, self.data, linear, angular, k)
                out[k, :3], out[k, 3:] = linear @ self.data.qvel, angular @ self.data.qvel
            return out

        for scale, tier, suffix, told in (
            (1.0, 1, "", ""),
            (self.step, 2, "_per_step", f", times the step of {self.step:g} s"),
        ):
            labels = []
            for k, n in names:
                unit = ("m/s", "rad/s") if not suffix else ("m", "rad")
                labels += [
                    Label(
                        f"{n}_velocity{suffix}",
                        a,
                        f"velocity of {kind} {n} along {a}{told}",
                        unit[0],
                        f"xvelp{suffix}",
                        6 * k + i,
                        tier,
                        f"velocity{suffix} {a}",
                    )
                    for i, a in enumerate(AXES)
                ]
                labels += [
                    Label(
                        f"{n}_angular_velocity{suffix}",
                        a,
                        f"rotation of {kind} {n} about {a}{told}",
                        unit[1],
                        f"xvelr{suffix}",
                        6 * k + 3 + i,
                        tier,
                        f"rotation{suffix} {a}",
                    )
                    for i, a in enumerate(AXES)
                ]
            self._add(lambda scale=scale: values() * scale, labels)  # type: ignore[misc]

    def _others(self) -> None:
        """Sensors, controls, and what MuJoCo keeps for each body: inertia, spatial velocity,
        forces, centres of mass.
        """
        model, data = self.model, self.data
        bodies = [(k, self._name("body", k)) for k in range(model.nbody)]
        sensors = []
        for s in range(model.nsensor):
            size, start, name = (
                int(model.sensor_dim[s]),
                int(model.sensor_adr[s]),
                self._name("sensor", s),
            )
            sensors += [
                Label(
                    name,
                    str(i) if size > 1 else "",
                    f"sensor {name}" + (f"[{i}]" if size > 1 else ""),
                    "-",
                    "sensordata",
                    start + i,
                    1,
                )
                for i in range(size)
            ]
        self._add(lambda: data.sensordata, sensors)
        self._add(
            lambda: data.ctrl,
            [
                Label(f"{n}_control", "", f"control of actuator {n}", "-", "ctrl", k, 1)
                for k in range(model.nu)
                for n in [self._name("actuator", k)]
            ],
        )
        self._add(
            lambda: data.actuator_force,
            [
                Label(f"{n}_force", "", f"force of actuator {n}", "-", "actuator_force", k, 2)
                for k in range(model.nu)
                for n in [self._name("actuator", k)]
            ],
        )
        ten = ("xx", "yy", "zz", "xy", "xz", "yz", "mx", "my", "mz", "mass")
        for what, index, words, tier in (
            ("cinert", ten, "inertia", 2),
            ("cvel", SIX, "spatial velocity", 2),
            ("cfrc_ext", SIX, "external contact force", 2),
            ("cfrc_int", SIX, "force from its parent", 3),
            ("xipos", AXES, "centre of mass", 2),
            ("subtree_com", AXES, "centre of mass with all below it", 2),
            ("subtree_linvel", AXES, "velocity of the centre of mass with all below it", 2),
        ):
            labels = [
                Label(
                    f"{n}_{what}",
                    a,
                    f"{words} ({what}) of body {n}: {a}",
                    "-",
                    what,
                    len(index) * k + i,
                    tier,
                )
                for k, n in bodies
                for i, a in enumerate(index)
            ]
            self._add(lambda what=what: getattr(data, what), labels)  # type: ignore[misc]
        self._add(
            lambda: [data.time], [Label("time", "", "the simulation's time", "s", "time", 0, 2)]
        )

    def _attributes(self) -> None:
        """Small arrays of numbers that the environment itself keeps, such as a goal; not those
        that may hold the observation.
        """
        for key in sorted(vars(self.env)):
            value = getattr(self.env, key, None)
            if (
                not isinstance(value, np.ndarray)
                or value.dtype.kind != "f"
                or not 0 < value.size <= MOST_ATTRIBUTES
                or OWN_MEMORY.search(key)
            ):
                continue
            name, size = key.strip("_"), value.size
            axes = AXES if size == 3 else tuple(map(str, range(size))) if size > 1 else ("",)
            labels = [
                Label(
                    name,
                    a,
                    f"the environment's own {key}" + (f"[{i}]" if size > 1 else ""),
                    "-",
                    "attribute",
                    i,
                    1,
                    f"position {a}" if size == 3 else "",
                )
                for i, a in enumerate(axes)
            ]

            def values(key: str = key, size: int = size) -> Array:
                now = np.asarray(getattr(self.env, key), np.float64).ravel()
                return now if now.size == size else np.full(size, np.nan)

            self._add(values, labels)


def euler(matrices: Array) -> Array:
    """(n, 3) angles about x, y, z of rotation matrices (n, 9), in the convention of mujoco-py and
    gymnasium-robotics.
    """
    m = np.asarray(matrices, np.float64).reshape(-1, 3, 3)
    cy = np.sqrt(m[:, 2, 2] ** 2 + m[:, 1, 2] ** 2)
    good = cy > 4 * np.finfo(np.float64).eps
    x = np.where(good, -np.arctan2(m[:, 1, 2], m[:, 2, 2]), 0.0)
    z = np.where(good, -np.arctan2(m[:, 0, 1], m[:, 0, 0]), -np.arctan2(-m[:, 1, 0], m[:, 1, 1]))
    return np.stack([x, -np.arctan2(-m[:, 0, 2], cy), z], 1)
