"""Recorded transitions for `check`, and what the environment really is, for `envs check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from autoreward.seeds import AGENT_PLACE, SCRIPT_PLACE, stream_seed
from autoreward.state import Array
from autoreward.store.files import write, write_arrays
from autoreward.store.jobs import ProbeJob
from autoreward.tasks.card import TaskCard
from autoreward.tasks.find import load
from autoreward.trainer.environment import trusted_code
from autoreward.trainer.train import environments

ENVIRONMENTS = 8
LONGEST_REPEAT = 16
STEADY, EXTREME = ENVIRONMENTS - 1, ENVIRONMENTS - 2


def probe(job: ProbeJob) -> None:
    """Recorded play in 8 environments: `out` holds (T, 8, ...) arrays, its .json a report.

    Six play random actions, each held for a random while. Two follow scripts that reach what those
    do not: one action for a whole episode, and actions at the ends of their range.
    """
    card = load(Path(job.card))
    venv = environments(card, trusted_code(card), ENVIRONMENTS)
    venv.seed(stream_seed("probe", job.seed))
    venv.action_space.seed(stream_seed("probe", job.seed, AGENT_PLACE))
    random = np.random.default_rng(stream_seed("probe", job.seed, SCRIPT_PLACE))
    width = card.card.layout.width
    steps: list[dict[str, Array]] = []
    lengths: list[int] = []
    problems: list[str] = []
    success_seen, at_once = False, 0
    metrics: dict[str, list[float]] = {}
    vectors, first = np.asarray(venv.reset()), np.ones(ENVIRONMENTS, bool)
    actions = np.array([venv.action_space.sample() for _ in range(ENVIRONMENTS)])
    actions[EXTREME] = _extreme(venv.action_space, actions[EXTREME], random)
    left = random.integers(1, LONGEST_REPEAT, ENVIRONMENTS)
    for _ in range(-(-job.transitions // ENVIRONMENTS)):
        left[STEADY] = int(not first[STEADY])
        for i in np.flatnonzero(left == 0):
            actions[i] = venv.action_space.sample()
        if left[EXTREME] == 0:
            actions[EXTREME] = _extreme(venv.action_space, actions[EXTREME], random)
        left = np.where(left == 0, random.integers(1, LONGEST_REPEAT, ENVIRONMENTS), left) - 1
        after, _, dones, infos = venv.step(actions)
        after = np.asarray(after)
        current, cut, won = after.copy(), np.zeros(ENVIRONMENTS, bool), np.zeros(ENVIRONMENTS, bool)
        for i in np.flatnonzero(dones):
            current[i] = infos[i]["terminal_observation"]
            cut[i] = infos[i].get("TimeLimit.truncated", False)
            won[i] = infos[i]["success"]
            lengths.append(int(infos[i]["length"]))
            at_once += bool(won[i] and infos[i]["length"] == 1)
            for name, value in infos[i]["metrics"].items():
                metrics.setdefault(name, []).append(float(value))
        success_seen = success_seen or bool(won.any())
        step = {
            "prev": vectors[:, :width],
            "action": actions.copy(),
            "curr": current[:, :width],
            "first": first,
            "terminated": dones & ~cut,
            "truncated": cut,
            "success": won,
        }
        steps.append({k: np.array(v) for k, v in step.items()})
        vectors, first = after, dones.copy()
    arrays = {k: np.stack([s[k] for s in steps]) for k in steps[0]}
    fields = _fields(card.card.layout.slices, arrays, problems)
    keys = set[str]().union(*(e.info_keys for e in venv.envs))  # type: ignore[attr-defined]
    problems += _contradictions(card.card, venv.action_space, keys, at_once, len(lengths))
    report = {
        "action": str(venv.action_space),
        "observation": str(venv.envs[0].native_observation_space),  # type: ignore[attr-defined]
        "fields": fields,
        "success_seen": success_seen,
        "metrics": {name: [min(values), max(values)] for name, values in metrics.items()},
        "episode_lengths": lengths,
        "problems": problems,
    }
    venv.close()
    write(Path(job.out).with_suffix(".json"), json.dumps(report, indent=1))
    write_arrays(Path(job.out), arrays)


def _contradictions(
    card: TaskCard, action: Any, info_keys: set[str], at_once: int, episodes: int
) -> list[str]:
    """What the card says and the environment does otherwise, though nothing fails."""
    problems = []
    if (
        isinstance(action, spaces.Box)
        and np.isfinite(action.low).all()
        and np.isfinite(action.high).all()
    ):
        for key, said, real in (
            ("low", card.action.low, float(action.low.min())),
            ("high", card.action.high, float(action.high.max())),
        ):
            if abs(said - real) > 1e-4 * max(1.0, abs(real)):
                problems.append(
                    f"action.{key}: the card says {said:g}, the environment has {real:g}"
                )
    wanted = card.success.info if card.success else None
    if wanted and wanted not in info_keys:
        problems.append(
            f"success.info: no step's info had the key {wanted!r}; "
            + (f"it has {', '.join(sorted(info_keys))}" if info_keys else "it is empty")
        )
    if episodes and at_once == episodes:
        problems.append(
            "success: it holds after the first step of every episode, so it says nothing"
        )
    return problems


def _extreme(space: spaces.Space, action: Array, random: np.random.Generator) -> Array:
    """Each number of a bounded action at one of its ends; any other action as it was drawn."""
    if not (isinstance(space, spaces.Box) and space.is_bounded()):
        return action
    return np.where(random.random(action.shape) < 0.5, space.low, space.high).astype(action.dtype)


def _fields(
    slices: dict[str, tuple[int, int, tuple[int, ...]]],
    arrays: dict[str, Array],
    problems: list[str],
) -> dict[str, Any]:
    found = {}
    for name, (low, high, _) in slices.items():
        values = np.concatenate(
            [arrays["prev"][..., low:high], arrays["curr"][..., low:high]]
        ).reshape(-1, high - low)
        if not np.isfinite(values).all():
            problems.append(
                f"fields.{name}: not finite in {int((~np.isfinite(values)).any(1).sum())} of {len(values)} states"
            )
        constant = bool((values == values[0]).all())
        found[name] = {
            "low": values.min(0).tolist(),
            "high": values.max(0).tolist(),
            "constant": constant,
        }
    if all(f["constant"] for f in found.values()):
        problems.append("fields: no field ever changes; are the sources right?")
    return found
