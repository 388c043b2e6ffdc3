"""Cards of environments that nobody prepared: `envs new` without a model, at most ten edited
lines, `envs check`, and a whole small design.

    python benchmarks/own.py [NAME ...] [--design]      needs gymnasium[mujoco,box2d], gymnasium-robotics, metaworld, highway-env, flappy-bird-gymnasium; what is missing is skipped

The edits stand here as data: what a person would change, (old, new) on the drafted text. With
--design a small `design` with offline/search follows on every card, to its report; too small to
reach anything, large enough to go through every stage.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

METRIC = (("# task_reward: environment", "task_reward: environment"), ("# metric: ", "metric: "))


def hint(text: str) -> tuple[tuple[str, str], ...]:
    """Uncomment `hints:` and put one hint below it."""
    return (("# hints:", "hints:"), ("#   - raise: ", f"  - {text}   # "))


@dataclass(frozen=True)
class Trial:
    """One environment: how it is named on the command line, what kind it is, and what is edited."""

    name: str
    words: tuple[str, ...]
    kind: str
    edits: tuple[tuple[str, str], ...] = ()
    needs: str = ""
    steps: int = 2048


TRIALS = (
    Trial(
        "acrobot",
        ("--env-id", "Acrobot-v1"),
        "discrete; return as metric",
        (*METRIC, *hint("lower: cosine_theta1")),
    ),
    Trial(
        "frozenlake",
        ("--env-id", "FrozenLake-v1"),
        "discrete both ways; success found by chance",
        (("# success: ", "success: "), *hint("near: {a: state, b: 15.0}")),
    ),
    Trial(
        "taxi",
        ("--env-id", "Taxi-v4"),
        "discrete; return as metric",
        (*METRIC, *hint("raise: state")),
    ),
    Trial(
        "blackjack",
        ("--env-id", "Blackjack-v1"),
        "Tuple; return as metric",
        (*METRIC, *hint("raise: part_0")),
    ),
    Trial(
        "pendulum", ("--env-id", "Pendulum-v1"), "Box; without success", hint("raise: x_cos_theta")
    ),
    Trial(
        "reacher",
        ("--env-id", "Reacher-v5"),
        "MuJoCo; without success",
        hint("near: {a: fingertip_position_minus_target_position, b: [0, 0]}"),
        "mujoco",
    ),
    Trial(
        "fetchreach",
        ("--env-id", "gymnasium_robotics:FetchReach-v4"),
        "Dict",
        (),
        "gymnasium_robotics",
    ),
    Trial(
        "handreach",
        ("--env-id", "gymnasium_robotics:HandReach-v3"),
        "Dict of 93",
        (),
        "gymnasium_robotics",
    ),
    Trial(
        "door",
        ("--env-id", "gymnasium_robotics:AdroitHandDoor-v1"),
        "Box of 39",
        hint("raise: door_hinge_angle"),
        "gymnasium_robotics",
    ),
    Trial(
        "lander",
        ("--env-id", "LunarLander-v3"),
        "unnamed Box of 8; without success",
        (*hint("near: {a: x1, b: 0.0}"),),
        "Box2D",
    ),
    Trial(
        "walker",
        ("--env-id", "BipedalWalker-v3"),
        "unnamed Box of 24; without success",
        hint("raise: x2"),
        "Box2D",
    ),
    Trial(
        "bird",
        ("--env-id", "flappy_bird_gymnasium:FlappyBird-v0"),
        "unnamed Box of 180",
        (*METRIC, *hint("raise: x0_to_179[0]")),
        "flappy_bird_gymnasium",
    ),
    Trial(
        "parking",
        ("--env-id", "highway_env:parking-v0"),
        "Dict, slow",
        (("  limit: ", "  limit: 100   # "),),
        "highway_env",
        512,
    ),
    Trial(
        "reach",
        ("--env-id", "metaworld:Meta-World/MT1", "--kwargs", '{"env_name": "reach-v3"}'),
        "unnamed Box of 39",
        hint("near: {a: hand_position, b: [0.0, 0.8, 0.2]}"),
        "metaworld",
    ),
)


def autoreward(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "autoreward", *words],
        cwd=cwd,
        env={**os.environ, "AUTOREWARD_MODEL": ""},
        capture_output=True,
        text=True,
        timeout=900,
    )


def edited(text: str, edits: tuple[tuple[str, str], ...]) -> tuple[str, list[str]]:
    """The text with the edits, and the lines that are new in it."""
    new = text
    for old, put in edits:
        if new.count(old) < 1:
            raise SystemExit(f"there is no {old!r} in the card")
        new = new.replace(old, put, 1)
    return new, [
        line[2:]
        for line in difflib.ndiff(text.splitlines(), new.splitlines())
        if line.startswith("+ ")
    ]


def main(words: list[str]) -> int:
    chosen, designs = [w for w in words if not w.startswith("-")], "--design" in words
    print(
        "| environment | kind | fields | new s | left | edited lines | check | design |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    failed = 0
    told = []
    with tempfile.TemporaryDirectory() as folder:
        for trial in TRIALS:
            if chosen and trial.name not in chosen:
                continue
            if trial.needs and find_spec(trial.needs) is None:
                print(
                    f"| {trial.name} | {trial.kind} | skipped: {trial.needs} is not installed | | | | | |"
                )
                continue
            place, card = Path(folder), f"{trial.name}.yaml"
            began = time.monotonic()
            made = autoreward("envs", "new", *trial.words, "--out", card, cwd=place)
            seconds = time.monotonic() - began
            if made.returncode:
                print(
                    f"| {trial.name} | {trial.kind} | {made.stderr.strip().splitlines()[-2:]} | | | | | |"
                )
                failed += 1
                continue
            text, lines = edited((place / card).read_text(), trial.edits)
            (place / card).write_text(text)
            checked = autoreward("envs", "check", card, cwd=place)
            good = checked.returncode == 0 and len(lines) <= 10
            design = "-"
            if designs and good:
                began = time.monotonic()
                done = autoreward(
                    "design",
                    card,
                    "--iterations",
                    "1",
                    "--candidates",
                    "1",
                    "--final-seeds",
                    "1",
                    "--steps",
                    str(trial.steps),
                    "--name",
                    trial.name,
                    cwd=place,
                )
                report = place / "runs" / trial.name / "report.html"
                good = done.returncode == 0 and report.is_file()
                design = (
                    f"report after {time.monotonic() - began:.0f} s"
                    if good
                    else " ".join(done.stderr.strip().splitlines()[-2:])[:300]
                )
            failed += not good
            fields = next(
                line for line in made.stdout.splitlines() if line.startswith("fields")
            ).split(maxsplit=1)[1]
            left = made.stdout.count(f"{card}:")
            said = (
                "accepted"
                if checked.returncode == 0
                else (checked.stdout + checked.stderr).strip().splitlines()[-2][:200]
            )
            print(
                f"| {trial.name} | {trial.kind} | {fields} | {seconds:.0f} | {left} | {len(lines)} | {said} | {design} |",
                flush=True,
            )
            told += [f"{trial.name}: {line}" for line in lines]
    print("\nedited lines\n" + "\n".join(told))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
