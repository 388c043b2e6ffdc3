"""Draft cards of environments that nobody prepared, edit them, check them, and design on them.

    python benchmarks/own.py [NAME ...] [--design]

Each card is drafted by `envs new` without a model, edited in at most ten lines, and checked by
`envs check`. The edits are data here, (old, new) in the drafted text: what a person would change.
With --design a small `design` with offline/search follows on every card, up to its report: too
small to reach anything, large enough to go through every stage.

Needs gymnasium[mujoco,box2d], gymnasium-robotics, metaworld, highway-env and
flappy-bird-gymnasium; environments of packages that are not installed are skipped.
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

MAX_EDITED_LINES = 10
HEAD = ("environment", "kind", "fields", "new s", "left", "edited lines", "check", "design")
METRIC = (("# task_reward: environment", "task_reward: environment"), ("# metric: ", "metric: "))


def hint(text: str) -> tuple[tuple[str, str], ...]:
    """Return the edits that uncomment `hints:` and put one hint below it."""
    return (("# hints:", "hints:"), ("#   - raise: ", f"  - {text}   # "))


@dataclass(frozen=True)
class Trial:
    """One environment: its name on the command line, its kind, and what is edited in its card."""

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
    """Run the command line without a language model."""
    return subprocess.run(
        [sys.executable, "-m", "autoreward", *words],
        cwd=cwd,
        env={**os.environ, "AUTOREWARD_MODEL": ""},
        capture_output=True,
        text=True,
        timeout=900,
    )


def edited(text: str, edits: tuple[tuple[str, str], ...]) -> tuple[str, list[str]]:
    """Return the text with the edits, and the lines that are new in it."""
    new = text
    for old, put in edits:
        if old not in new:
            raise SystemExit(f"the card does not contain {old!r}")
        new = new.replace(old, put, 1)
    difference = difflib.ndiff(text.splitlines(), new.splitlines())
    return new, [line[2:] for line in difference if line.startswith("+ ")]


def last_lines(output: str) -> str:
    return " ".join(output.strip().splitlines()[-2:])[:300]


def print_row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def design(trial: Trial, card: str, place: Path) -> tuple[bool, str]:
    """Run a small design on the card; return whether it reached its report, and a sentence."""
    started = time.monotonic()
    small = ("--iterations", "1", "--candidates", "1", "--final-seeds", "1")
    steps = ("--steps", str(trial.steps))
    done = autoreward("design", card, *small, *steps, "--name", trial.name, cwd=place)
    report = place / "runs" / trial.name / "report.html"
    if done.returncode == 0 and report.is_file():
        return True, f"report after {time.monotonic() - started:.0f} s"
    return False, last_lines(done.stderr)


def attempt(trial: Trial, place: Path, designs: bool) -> tuple[bool, list[str]]:
    """Draft, edit and check one card, and print its row.

    Returns whether everything worked, and the edited lines.
    """
    card = f"{trial.name}.yaml"
    started = time.monotonic()
    drafted = autoreward("envs", "new", *trial.words, "--out", card, cwd=place)
    seconds = time.monotonic() - started
    if drafted.returncode:
        print_row(trial.name, trial.kind, last_lines(drafted.stderr), "", "", "", "", "")
        return False, []
    text, lines = edited((place / card).read_text(), trial.edits)
    (place / card).write_text(text)
    checked = autoreward("envs", "check", card, cwd=place)
    accepted = checked.returncode == 0
    good = accepted and len(lines) <= MAX_EDITED_LINES
    design_result = "-"
    if designs and good:
        good, design_result = design(trial, card, place)
    output = drafted.stdout.splitlines()
    fields = next(line for line in output if line.startswith("fields"))
    print_row(
        trial.name,
        trial.kind,
        fields.split(maxsplit=1)[1],
        f"{seconds:.0f}",
        drafted.stdout.count(f"{card}:"),
        len(lines),
        "accepted" if accepted else last_lines(checked.stdout + checked.stderr),
        design_result,
    )
    return good, lines


def main(words: list[str]) -> int:
    names = [word for word in words if not word.startswith("-")]
    designs = "--design" in words
    print_row(*HEAD)
    print_row(*["---"] * len(HEAD))
    failed = 0
    all_lines = []
    with tempfile.TemporaryDirectory() as folder:
        for trial in TRIALS:
            if names and trial.name not in names:
                continue
            if trial.needs and find_spec(trial.needs) is None:
                skipped = f"skipped: {trial.needs} is not installed"
                print_row(trial.name, trial.kind, skipped, "", "", "", "", "")
                continue
            good, lines = attempt(trial, Path(folder), designs)
            failed += not good
            all_lines += [f"{trial.name}: {line}" for line in lines]
    print("\nedited lines\n" + "\n".join(all_lines))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
