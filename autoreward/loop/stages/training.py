"""Training: the jobs that trainers take, and the curves that they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoreward.rewards.signals import PLAIN
from autoreward.store.io import read_arrays
from autoreward.store.jobs import TrainJob
from autoreward.store.records import RunHeader
from autoreward.store.training import TrainingFolder

# (steps, success rate, mean episode length) of one window of a training.
Window = tuple[int, float | None, float | None]


def job(
    header: RunHeader,
    program: Path | None,
    seed: int,
    folder: TrainingFolder,
    *,
    record_rewards: int = 0,
    composition: dict[str, Any] | None = None,
    signal: str = PLAIN,
    settings: dict[str, str] | None = None,
) -> TrainJob:
    """Ask for one agent at the header's steps, device and sandbox.

    `program` is None for the sparse task reward. `composition` is data; None is the plain sum.
    `signal` and its `settings` are the method's; a baseline has neither.
    """
    return TrainJob(
        card=header.card_path,
        program=str(program) if program else None,
        seed=seed,
        out=str(folder.path),
        steps=header.steps,
        composition=composition or {},
        episodic_return=header.episodic_return,
        signal=signal,
        settings=settings or {},
        device=header.device,
        threads=header.threads,
        sandbox=header.sandbox,
        record_rewards=record_rewards,
        tensorboard=header.settings.get("tensorboard", "off") == "on",
    )


def curve(folder: TrainingFolder) -> tuple[Window, ...]:
    """The training's windows in order, empty if it left no curve.

    The rate and the length are None for a window in which no episode ended. On a card without a
    success, the mean of its metric takes the place of the rate.
    """
    import numpy as np

    data = _curve_arrays(folder)
    if not data:
        return ()

    rates = data["success"]
    if "metric" in data and np.isnan(rates).all():
        rates = data["metric"]
    return tuple(
        (int(steps), _number(rate), _number(length))
        for steps, rate, length in zip(data["steps"], rates, data["length"], strict=True)
    )


def windows(folder: TrainingFolder) -> dict[str, tuple[float | None, ...]]:
    """Term -> its mean sum per episode in each window of `curve`, empty if none was kept."""
    data = _curve_arrays(folder)
    if "terms" not in data or "names" not in data:
        return {}

    found = {}
    for name, column in zip(data["names"], data["terms"].T, strict=True):
        found[str(name)] = tuple(_number(value) for value in column)
    return found


def _curve_arrays(folder: TrainingFolder) -> dict[str, Any]:
    return read_arrays(folder.curve_path) if folder.curve_path.exists() else {}


def _number(value: Any) -> float | None:
    """A plain number; None if it is not finite, as in a window in which no episode ended."""
    import math

    return float(value) if math.isfinite(value) else None
