"""Count the varying columns of MuJoCo environments that the matcher names, and those named wrongly.

    [SEED=0] python benchmarks/match.py [ID ...]

The truth is written down here for each environment from its documentation and source: which array
each column was taken from. A column counts as wrong if the explanation is another quantity and the
right one is not among the alternatives, and as ambiguous if the right one is listed beside others
that fit as well. Joints are compared by the model's own names.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from autoreward.tasks.card import Environment
from autoreward.trainer.environment import construct
from autoreward.trainer.survey.leaves import leaves_of
from autoreward.trainer.survey.matcher import match
from autoreward.trainer.survey.playing import leaf_values
from autoreward.trainer.survey.simulation import simulation


@dataclass(frozen=True)
class Truth:
    """Where a column comes from: words that an explanation or an alternative must all contain."""

    words: tuple[str, ...]


class Reader:
    """Describes columns with the model's own names."""

    def __init__(self, env: Any) -> None:
        self.env = env.unwrapped
        found = simulation(env)
        assert found is not None
        self.model = found[0]

    def name(self, kind: str, k: int) -> str:
        return (
            mujoco.mj_id2name(self.model, getattr(mujoco.mjtObj, f"mjOBJ_{kind}"), k)
            or f"{kind.lower()}{k}"
        )

    def _joint(self, address: Any, k: int) -> str:
        return self.name("JOINT", max(j for j in range(self.model.njnt) if address[j] <= k))

    def qpos(self, low: int = 0, end: int | None = None, how: str = "") -> list[Truth]:
        return [
            Truth(
                (f"qpos of joint {self._joint(self.model.jnt_qposadr, k)}", *([how] if how else []))
            )
            for k in range(low, end if end is not None else self.model.nq)
        ]

    def qvel(self, low: int = 0, end: int | None = None) -> list[Truth]:
        return [
            Truth((f"qvel of joint {self._joint(self.model.jnt_dofadr, k)}",))
            for k in range(low, end if end is not None else self.model.nv)
        ]

    def force(self, what: str, low: int = 0, end: int | None = None) -> list[Truth]:
        return [
            Truth((f"{what} of joint {self._joint(self.model.jnt_dofadr, k)}",))
            for k in range(low, end if end is not None else self.model.nv)
        ]

    def bodies(self, what: str, each: int, low: int = 1) -> list[Truth]:
        return [
            Truth((f"({what}) of body {self.name('BODY', k)}:",))
            for k in range(low, self.model.nbody)
            for _ in range(each)
        ]

    def place(self, *names: str, n: int = 3) -> list[Truth]:
        return [Truth((f"{a} position", *names)) for a in "xyz"[:n]]

    def locomotion(self) -> list[Truth]:
        """Describe gymnasium's walkers: qpos without the skipped part, qvel, and for some of them
        arrays that MuJoCo keeps for each body.
        """
        parts = self.env.observation_structure
        out = self.qpos(parts["skipped_qpos"]) + self.qvel()
        for key, each in (("cinert", 10), ("cvel", 6), ("qfrc_actuator", 1), ("cfrc_ext", 6)):
            if parts.get(key):
                out += self.force(key, 6) if key == "qfrc_actuator" else self.bodies(key, each)
        return out


def hand(read: Reader, *sites: str) -> list[Truth]:
    return [t for s in sites for t in read.place(s)]


def any_of(n: int, *words: str) -> list[Truth]:
    return [Truth(words) for _ in range(n)]


def fetch(r: Reader, block: bool) -> list[Truth]:
    grip, ball = "site robot0:grip", "object0"
    goal = any_of(3, "goal")
    velocity = any_of(3, "velocity of", grip, "times the step")
    fingers = [Truth((f"joint robot0:{s}_gripper_finger_joint",)) for s in "rl"]
    if not block:
        return [*r.place(grip), *goal, *r.place(grip), *fingers, *velocity, *fingers]
    rest = [
        *r.place(grip),
        *r.place(ball),
        *r.place(ball, "minus", grip),
        *fingers,
        *any_of(3, ball, "Euler"),
        *any_of(3, "velocity of", ball, "minus", grip),
        *any_of(3, "rotation of", ball),
        *velocity,
        *fingers,
    ]
    return [*r.place(ball), *goal, *rest]


def door(r: Reader) -> list[Truth]:
    n = r.model.nq
    ends = [Truth(("qpos of joint latch",)), Truth(("qpos of joint door_hinge",))]
    return [
        *r.qpos(1, n - 2),
        *ends,
        *r.place("S_grasp"),
        *r.place("S_handle"),
        *r.place("S_grasp", "minus", "S_handle"),
        Truth(("nothing",)),
    ]


def sawyer(r: Reader) -> list[Truth]:
    """Meta-World: hand, gripper, object (position, quaternion), padding; the same one step before;
    the goal.
    """
    # body drawer_link, shifted; its slide is the joint goal_slidey
    handle = [
        Truth(("x position of body drawer",)),
        Truth(("goal_slidey", "plus 0.73")),
        Truth(("nothing",)),
    ]
    now = [
        *r.place("hand"),
        Truth(("nothing",)),
        *handle,
        *any_of(4, "nothing"),
        *any_of(7, "nothing"),
    ]
    before = [Truth(("one step ago", *[w for w in t.words if w != "nothing"])) for t in now]
    return [*now, *before, *any_of(3, "_target_pos")]


TRUTHS: dict[str, Any] = {
    "Ant-v5": Reader.locomotion,
    "HalfCheetah-v5": Reader.locomotion,
    "Hopper-v5": Reader.locomotion,
    "Humanoid-v5": Reader.locomotion,
    "HumanoidStandup-v5": Reader.locomotion,
    "Swimmer-v5": Reader.locomotion,
    "Walker2d-v5": Reader.locomotion,
    "InvertedPendulum-v5": lambda r: r.qpos() + r.qvel(),
    "InvertedDoublePendulum-v5": lambda r: (
        r.qpos(0, 1)
        + r.qpos(1, 3, "sin of")
        + r.qpos(1, 3, "cos of")
        + r.qvel()
        + r.force("qfrc_constraint", 0, 1)
    ),
    "Pusher-v5": lambda r: (
        r.qpos(0, 7) + r.qvel(0, 7) + r.place("tips_arm") + r.place("object") + r.place("goal")
    ),
    "Reacher-v5": lambda r: (
        r.qpos(0, 2, "cos of")
        + r.qpos(0, 2, "sin of")
        + r.qpos(2, 4)
        + r.qvel(0, 2)
        + r.place("fingertip", "minus", "target", n=2)
    ),
    "gymnasium_robotics:FetchReach-v4": lambda r: fetch(r, False),
    "gymnasium_robotics:FetchPush-v4": lambda r: fetch(r, True),
    "gymnasium_robotics:AdroitHandDoor-v1": door,
    "gymnasium_robotics:AntMaze_UMaze-v5": lambda r: [
        *r.qpos(0, 2),
        *r.place("target", n=2),
        *r.qpos(2, 15),
        *r.qvel(0, 14),
        *any_of(78, "(cfrc_ext)"),
    ],
    "metaworld drawer-open-v3": sawyer,
}


def make(name: str) -> Any:
    if name.startswith("metaworld "):
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE as ENVIRONMENTS

        env = ENVIRONMENTS[f"{name.split()[1]}-goal-observable"](seed=0)
        env._freeze_rand_vec = False
        return env
    card = Environment(id=name, limit=1)
    return construct(card, lambda _: None)  # type: ignore[arg-type, return-value]


HEAD = ("environment", "columns", "varying", "named", "share", "ambiguous", "wrong", "seconds")


@dataclass(frozen=True)
class Outcome:
    """What the matcher said about one environment, compared with the truth."""

    truth: list[Truth]
    varying: list[int]
    named: list[int]
    ambiguous: int
    # column and what was said of it
    wrong: dict[int, str]
    seconds: float


def compare(name: str, seed: int) -> Outcome:
    """Run the matcher on an environment."""
    env = make(name)
    leaves = leaves_of(env.observation_space)
    seen: list[Any] = []

    def columns(observation: Any) -> Any:
        seen.append(leaf_values(observation, leaves))
        return seen[-1]

    started = time.perf_counter()
    found = match(env, columns, seed)
    seconds = time.perf_counter() - started
    truth = TRUTHS[name](Reader(env))
    assert len(truth) == len(seen[0]), (name, len(truth), len(seen[0]))
    changes = np.ptp(np.array(seen), axis=0) > 0
    varying = [int(c) for c in np.flatnonzero(changes)]
    wrong = {}
    for column, explanation in found.items():
        texts = [explanation.of, *explanation.also]
        if not any(holds_all(text, truth[column].words) for text in texts):
            wrong[column] = explanation.of
    return Outcome(
        truth=truth,
        varying=varying,
        named=[c for c in varying if c in found],
        ambiguous=sum(bool(explanation.also) for explanation in found.values()),
        wrong=wrong,
        seconds=seconds,
    )


def holds_all(text: str, words: tuple[str, ...]) -> bool:
    return all(word in text for word in words)


def print_row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main(names: list[str]) -> int:
    warnings.filterwarnings("ignore")
    seed = int(os.environ.get("SEED", "0"))
    print_row(*HEAD)
    print_row(*["---"] * len(HEAD))
    varying = named = ambiguous = wrong = 0
    for name in names:
        outcome = compare(name, seed)
        varying += len(outcome.varying)
        named += len(outcome.named)
        ambiguous += outcome.ambiguous
        wrong += len(outcome.wrong)
        print_row(
            name,
            len(outcome.truth),
            len(outcome.varying),
            len(outcome.named),
            f"{len(outcome.named) / len(outcome.varying):.1%}",
            outcome.ambiguous,
            len(outcome.wrong),
            f"{outcome.seconds:.1f}",
        )
        print_problems(outcome)
    print_row("all", "", varying, named, f"{named / varying:.1%}", ambiguous, wrong, "")
    return 1 if wrong else 0


def print_problems(outcome: Outcome) -> None:
    """Print wrong and missing names to stderr."""
    for column, said in outcome.wrong.items():
        right = " ".join(outcome.truth[column].words)
        print(f"  wrong: column {column} is {right}, named as {said}", file=sys.stderr)
    for column in sorted(set(outcome.varying) - set(outcome.named)):
        right = " ".join(outcome.truth[column].words)
        print(f"  not named: column {column} ({right})", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(TRUTHS)))
