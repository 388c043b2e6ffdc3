"""Training: the jobs that trainers take, and what they left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoreward.rewards.signals import PLAIN
from autoreward.store.files import read, read_arrays
from autoreward.store.jobs import TrainJob
from autoreward.store.records import RunHeader, TrainingDone


def job(
    header: RunHeader,
    program: Path | None,
    seed: int,
    out: Path,
    *,
    record_rewards: int = 0,
    composition: dict[str, Any] | None = None,
    signal: str = PLAIN,
    settings: dict[str, str] | None = None,
) -> TrainJob:
    """One agent on one program (None: the sparse task reward alone), at the run's steps, device
    and sandbox; `composition` as data, None: the plain sum.

    `signal` and its `settings`: the method's; a control has none.
    """
    return TrainJob(
        card=header.card_path,
        program=str(program) if program else None,
        seed=seed,
        out=str(out),
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


def done(out: Path) -> TrainingDone | None:
    """What the training in that folder came to; None while it is not whole (it then starts again
    from step 0).
    """
    return read(out / "done.json", TrainingDone)


def curve(out: Path) -> tuple[tuple[int, float | None, float | None], ...]:
    """(steps, success rate of training episodes, mean episode length) per window; None where no
    episode ended.

    On a card without a success the mean of its metric takes the place of the rate.
    """
    import numpy as np

    if not (out / "curve.npz").exists():
        return ()
    data = read_arrays(out / "curve.npz")
    counted = (
        data["metric"] if "metric" in data and np.isnan(data["success"]).all() else data["success"]
    )
    columns = [counted, data["length"]]
    return tuple(
        (int(s), *(None if np.isnan(v) else float(v) for v in row))  # type: ignore[misc]
        for s, *row in zip(data["steps"], *columns, strict=True)
    )


def windows(out: Path) -> dict[str, tuple[float | None, ...]]:
    """Term -> its mean sum per episode in each window of `curve`; None where no episode ended,
    nothing where no terms were kept.
    """
    import numpy as np

    data = read_arrays(out / "curve.npz") if (out / "curve.npz").exists() else {}
    if "terms" not in data or "names" not in data:
        return {}
    return {
        str(name): tuple(float(v) if np.isfinite(v) else None for v in column)
        for name, column in zip(data["names"], data["terms"].T, strict=True)
    }
