"""Record transitions for `check`, and report what the environment is like, for `envs check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from autoreward.seeds import AGENT_PLACE, SCRIPT_PLACE, stream_seed
from autoreward.state import Array
from autoreward.store.io import write, write_arrays
from autoreward.store.jobs import ProbeJob
from autoreward.store.training import report_beside
from autoreward.tasks.card import TaskCard
from autoreward.tasks.find import load
from autoreward.trainer.environment import trusted_code
from autoreward.trainer.train import environments

ENVIRONMENTS = 8
# random actions are repeated for fewer steps than this
MAX_REPEAT = 16
# the environments that follow a script
STEADY = ENVIRONMENTS - 1
EXTREME = ENVIRONMENTS - 2


def probe(job: ProbeJob) -> None:
    """Play in 8 environments, and write (T, 8, ...) arrays to `out` and a report to its .json.

    Six environments take random actions, each repeated for a random number of steps. Two follow
    scripts that reach what random play does not: one action for a whole episode, and actions at the
    ends of their range.
    """
    card = load(Path(job.card))
    venv = environments(card, trusted_code(card), ENVIRONMENTS)
    venv.seed(stream_seed("probe", job.seed))
    venv.action_space.seed(stream_seed("probe", job.seed, AGENT_PLACE))
    random = np.random.default_rng(stream_seed("probe", job.seed, SCRIPT_PLACE))
    recording = ProbeRecording(card.card.layout.width, np.asarray(venv.reset()))
    script = ActionScript(venv.action_space, random)
    for _ in range(-(-job.transitions // ENVIRONMENTS)):
        actions = script.next(recording.first)
        after, _, dones, infos = venv.step(actions)
        recording.add(actions, np.asarray(after), dones, infos)

    arrays = recording.arrays()
    problems: list[str] = []
    fields = _fields(card.card.layout.slices, arrays, problems)
    played: list[Any] = venv.envs
    keys = set[str]().union(*(env.info_keys for env in played))
    problems += _contradictions(card.card, venv.action_space, keys, recording)
    report = {
        "action": str(venv.action_space),
        "observation": str(played[0].native_observation_space),
        "fields": fields,
        "success_seen": bool(arrays["success"].any()),
        "metrics": {name: [min(v), max(v)] for name, v in recording.metrics.items()},
        "episode_lengths": recording.lengths,
        "problems": problems,
    }
    venv.close()
    write(report_beside(Path(job.out)), json.dumps(report, indent=1))
    write_arrays(Path(job.out), arrays)


class ActionScript:
    """Which action each environment takes next."""

    def __init__(self, space: spaces.Space[Any], random: np.random.Generator) -> None:
        self.space = space
        self.random = random
        self.actions = np.array([space.sample() for _ in range(ENVIRONMENTS)])
        self.actions[EXTREME] = _extreme(space, self.actions[EXTREME], random)
        # steps for which each environment repeats its action
        self.left = random.integers(1, MAX_REPEAT, ENVIRONMENTS)

    def next(self, first: Array) -> Array:
        """Return the next actions; `first` (8,) marks environments that begin an episode."""
        # changes its action only where an episode begins
        self.left[STEADY] = int(not first[STEADY])
        for i in np.flatnonzero(self.left == 0):
            self.actions[i] = self.space.sample()
        if self.left[EXTREME] == 0:
            self.actions[EXTREME] = _extreme(self.space, self.actions[EXTREME], self.random)
        repeats = self.random.integers(1, MAX_REPEAT, ENVIRONMENTS)
        self.left = np.where(self.left == 0, repeats, self.left) - 1
        return self.actions.copy()


class ProbeRecording:
    """The recorded steps, and what became of the episodes."""

    def __init__(self, width: int, vectors: Array) -> None:
        self.width = width
        self.vectors = vectors
        self.first = np.ones(ENVIRONMENTS, bool)
        self.steps: list[dict[str, Array]] = []
        self.lengths: list[int] = []
        # episodes that succeeded with their first step
        self.immediate_successes = 0
        self.metrics: dict[str, list[float]] = {}

    def add(self, actions: Array, after: Array, dones: Array, infos: Any) -> None:
        """Record one step of all environments."""
        current = after.copy()
        truncated = np.zeros(ENVIRONMENTS, bool)
        success = np.zeros(ENVIRONMENTS, bool)
        for i in np.flatnonzero(dones):
            info = infos[i]
            current[i] = info["terminal_observation"]
            truncated[i] = info.get("TimeLimit.truncated", False)
            success[i] = info["success"]
            self._end_episode(info)
        step = {
            "prev": self.vectors[:, : self.width],
            "action": actions,
            "curr": current[:, : self.width],
            "first": self.first,
            "terminated": dones & ~truncated,
            "truncated": truncated,
            "success": success,
        }
        self.steps.append({name: np.array(values) for name, values in step.items()})
        self.vectors = after
        self.first = dones.copy()

    def _end_episode(self, info: dict[str, Any]) -> None:
        length = int(info["length"])
        self.lengths.append(length)
        self.immediate_successes += bool(info["success"]) and length == 1
        for name, value in info["metrics"].items():
            self.metrics.setdefault(name, []).append(float(value))

    def arrays(self) -> dict[str, Array]:
        """Return every kind of array as (T, 8, ...)."""
        names = self.steps[0].keys()
        return {name: np.stack([step[name] for step in self.steps]) for name in names}


def _contradictions(
    card: TaskCard, action: Any, info_keys: set[str], recording: ProbeRecording
) -> list[str]:
    """Return in what the card and the environment differ, although nothing fails."""
    problems = []
    if isinstance(action, spaces.Box) and action.is_bounded():
        ends = {
            "low": (card.action.low, float(action.low.min())),
            "high": (card.action.high, float(action.high.max())),
        }
        for key, (claimed, real) in ends.items():
            tolerance = 1e-4 * max(1.0, abs(real))
            if abs(claimed - real) > tolerance:
                problems.append(
                    f"action.{key}: the card says {claimed:g}, the environment has {real:g}"
                )
    wanted = card.success.info if card.success else None
    if wanted and wanted not in info_keys:
        found = f"it has {', '.join(sorted(info_keys))}" if info_keys else "it is empty"
        problems.append(f"success.info: no step's info had the key {wanted!r}; {found}")
    episodes = len(recording.lengths)
    if episodes and recording.immediate_successes == episodes:
        problems.append("success: true after the first step of every episode, so it is meaningless")
    return problems


def _extreme(space: spaces.Space, action: Array, random: np.random.Generator) -> Array:
    """Return each number of a bounded action at one of its ends; other actions unchanged."""
    if not (isinstance(space, spaces.Box) and space.is_bounded()):
        return action
    return np.where(random.random(action.shape) < 0.5, space.low, space.high).astype(action.dtype)


def _fields(
    slices: dict[str, tuple[int, int, tuple[int, ...]]],
    arrays: dict[str, Array],
    problems: list[str],
) -> dict[str, Any]:
    """Return each field's range in the recording, and append what is wrong to `problems`."""
    found = {}
    for name, (low, high, _) in slices.items():
        values = np.concatenate(
            [arrays["prev"][..., low:high], arrays["curr"][..., low:high]]
        ).reshape(-1, high - low)
        if not np.isfinite(values).all():
            affected = int((~np.isfinite(values)).any(1).sum())
            problems.append(f"fields.{name}: not finite in {affected} of {len(values)} states")
        constant = bool((values == values[0]).all())
        found[name] = {
            "low": values.min(0).tolist(),
            "high": values.max(0).tolist(),
            "constant": constant,
        }
    if all(f["constant"] for f in found.values()):
        problems.append("fields: no field ever changes; check the sources")
    return found
