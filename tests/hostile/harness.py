"""What the conformance suite shares: a card, probes made without an environment, a program's way
through lint and check, and each sandbox.

A case is data: a name, the program, the class that lint must name ("" = passes), the classes that
check may name ("" = accepted), and its benign twin: the nearest legitimate program, which both must
accept.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from autoreward.loop.stages.check import check
from autoreward.rewards.linter import lint
from autoreward.sandbox.outside.worker import ProgramRejected, Template, Worker
from autoreward.store.io import write_arrays
from autoreward.store.records import Verdict
from autoreward.tasks.card import TaskCard

CARD = TaskCard.model_validate(
    {
        "name": "arena",
        "title": "An arena",
        "description": "A point on a plane takes a key to a gate.",
        "environment": {"factory": "here:Arena", "limit": 100},
        "action": {"type": "box", "shape": [2], "meaning": "push"},
        "fields": [
            {"name": "pos", "source": "0:2", "shape": [2], "unit": "m", "range": "-1 .. 1"},
            {"name": "goal", "source": "2:4", "shape": [2], "unit": "m", "range": "-1 .. 1"},
            {"name": "vel", "source": "4:6", "shape": [2], "unit": "m/s", "range": "-0.2 .. 0.2"},
            {"name": "quat", "source": "6:10", "shape": [4], "unit": "unit quaternion"},
            {"name": "has_key", "source": "10", "unit": "flag", "range": "0 .. 1"},
            {"name": "room", "source": "11", "unit": "code", "range": "0 .. 3"},
        ],
        "success": {"when": [{"field": "has_key", "op": ">=", "value": 1}], "ends_episode": False},
        "training": {"steps": 1000, "n_envs": 12},
    }
)
HEAD = "import numpy as np\n\n"
# The shipped profiles with less patience, so that what hangs or is slow is found sooner.
PATIENCE = {"default": "quick", "bwrap": "quick-bwrap", "unsafe": "unsafe"}
SANDBOXES = ("template", "cold", "bwrap")
# seconds of wall time that no case may take, on a loaded machine, at the patience below
LIMIT = 12.0
WALL, CPU = 2.0, 0.3


@dataclass(frozen=True)
class Case:
    name: str
    text: str
    lint: str
    check: str
    twin: str

    def __str__(self) -> str:
        return self.name


def reward(body: str, before: str = "") -> str:
    """A program whose reward() has this body."""
    return (
        HEAD
        + before
        + ("\n\n" if before else "")
        + "def reward(prev, action, curr, memory):\n"
        + "".join(f"    {line}\n" for line in body.splitlines())
    )


GOOD = reward(
    'return {"closer": np.linalg.norm(prev.pos - prev.goal, axis=-1) - np.linalg.norm(curr.pos - curr.goal, axis=-1)}'
)


def case(name: str, text: str, lint: str, check: str, twin: str = GOOD) -> Case:
    """`text` and `twin` may be bodies of reward()."""
    return Case(name, _whole(text), lint, check, _whole(twin))


def _whole(text: str) -> str:
    return text if "def reward(" in text or "def potential(" in text else reward(text)


def transitions(steps: int, n: int = 8, seed: int = 0) -> dict[str, np.ndarray]:
    """Recorded transitions (T, n, ...) of a point that is pushed about, as a probe job leaves
    them.
    """
    random = np.random.default_rng(seed)
    action = random.uniform(-1, 1, (steps, n, 2))
    pos, vel = random.uniform(-1, 1, (n, 2)), np.zeros((n, 2))
    goal, angle, key = random.uniform(-1, 1, (n, 2)), random.uniform(-3, 3, n), np.zeros(n)

    def state() -> np.ndarray:
        quat = np.stack([np.cos(angle / 2), np.zeros(n), np.zeros(n), np.sin(angle / 2)], 1)
        return np.concatenate(
            [pos, goal, vel, quat, key[:, None], (np.floor(2 * pos[:, :1] + 2)).clip(0, 3)], 1
        )

    parts: dict[str, list[np.ndarray]] = {"prev": [], "curr": [], "first": [], "terminated": []}
    first = np.ones(n, bool)
    for t in range(steps):
        parts["prev"].append(state())
        vel = 0.8 * vel + 0.04 * action[t]
        pos, angle, key = (
            np.clip(pos + vel, -1, 1),
            angle + 0.1,
            np.where(random.random(n) < 0.05, 1.0, key),
        )
        parts["curr"].append(state())
        parts["first"].append(first)
        done = random.random(n) < 0.05
        parts["terminated"].append(done & (random.random(n) < 0.5))
        pos, vel, key, first = (
            np.where(done[:, None], random.uniform(-1, 1, (n, 2)), pos),
            np.where(done[:, None], 0.0, vel),
            np.where(done, 0.0, key),
            done,
        )
    return {"action": action, **{k: np.stack(v) for k, v in parts.items()}}


def save(path: Path, steps: int) -> Path:
    write_arrays(path, transitions(steps))
    return path


@dataclass(frozen=True)
class Bench:
    """Where programs are tried: recorded transitions, and a template to fork from."""

    probes: Path
    template: Template
    patient: bool = False

    def refusals(self, text: str, sandbox: str = "template") -> tuple[list[Verdict], list[Verdict]]:
        """(lint's, check's). Check runs whatever lint says: the linter is no wall."""
        begun, before = time.monotonic(), children()
        profile = {"bwrap": "bwrap", "unsafe": "unsafe"}.get(sandbox, "default")
        result = check(
            text,
            CARD,
            self.probes,
            profile if self.patient else PATIENCE[profile],
            None if sandbox == "cold" else self.template,
        )
        assert time.monotonic() - begun < LIMIT, "it hung longer than its limit"
        assert children() <= before | {self.template._process.pid}, "a process was left behind"
        return [v for v in lint(text, CARD.reward_layout) if v.severity == "refuse"], [
            v for v in result.verdicts if v.severity == "refuse"
        ]

    def run(self, text: str, sandbox: str, steps: int = 1) -> tuple[str, np.ndarray]:
        """One question: (class of refusal or "", terms)."""
        profile = {"bwrap": "quick-bwrap", "unsafe": "unsafe"}.get(sandbox, "quick")
        made = transitions(steps, 4)
        try:
            with Worker(
                text,
                CARD.reward_layout,
                CARD.action,
                profile=profile,
                template=None if sandbox in ("cold", "bwrap") else self.template,
            ) as worker:
                return "", worker.ask(
                    made["prev"], made["action"], made["curr"], made["first"]
                ).terms
        except ProgramRejected as error:
            assert error.verdict.message
            return error.verdict.kind, np.zeros(0)


def children() -> set[int]:
    """Processes of ours that are alive, grandchildren too."""
    return {
        p.pid
        for p in psutil.Process(os.getpid()).children(recursive=True)
        if p.status() != psutil.STATUS_ZOMBIE
    }


def hasty_profiles(folder: Path) -> None:
    """`sandboxes/quick*.toml` in `folder`, for a process that stands there."""
    (folder / "sandboxes").mkdir()
    for backend, name in (("kernel", "quick"), ("bwrap", "quick-bwrap"), ("limits", "unsafe")):
        (folder / "sandboxes" / f"{name}.toml").write_text(
            f'backend = "{backend}"\nmemory_mb = 1024\ncall_cpu_seconds = {CPU}\nwall_seconds = {WALL}\n'
        )


def available(sandbox: str) -> str:
    if sandbox == "bwrap" and not shutil.which("bwrap"):
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    return sandbox


def must_be_refused(bench: Bench, case: Case, sandbox: str = "template") -> list[Verdict]:
    """The classes are the expected ones; every refusal has a message that a reader can act on."""
    read, ran = bench.refusals(case.text, sandbox)
    kinds = [v.kind for v in read]
    assert case.lint in kinds if case.lint else kinds == [], (
        f"lint says {[(v.kind, v.message) for v in read]}"
    )
    ended = [v.kind for v in ran]
    assert (set(ended) & set(case.check.split("|"))) if ended else ("" in case.check.split("|")), (
        f"check says {[(v.kind, v.message) for v in ran]}"
    )
    for verdict in read + ran:
        assert (
            verdict.message
            and len(verdict.message) < 600
            and verdict.message.isprintable()
            and verdict.hint.isprintable()
        ), verdict
    return read + ran


def must_be_accepted(bench: Bench, text: str, sandbox: str = "template") -> None:
    read, ran = bench.refusals(text, sandbox)
    assert [(v.kind, v.line, v.message) for v in read + ran] == []


def twins(cases: list[Case]) -> list[tuple[str, str]]:
    """(name, text) of every benign twin once."""
    return [
        (next(c.name for c in cases if c.twin == text), text)
        for text in dict.fromkeys(c.twin for c in cases)
    ]
