"""The folder of one training: the files that a trainer leaves, and the scores of its agent.

    seed-S/job.json             what the trainer was asked to do
           curve.npz            training episodes over time
           policy.safetensors   the agent's weights
           composition.json     what the composition learned, if it learns
           signal.json          what the method's signal reports (signal.safetensors: its weights)
           labels.jsonl         labels of transitions, in the order in which they took effect
           rewards.npz          recorded rewards, for tests
           done.json            written last: the folder is complete
           score.json, .npz     the agent on fresh episodes, and the first of these episodes

This is the only module that spells these names. Trainers use it too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autoreward.errors import REFUSED, UserError
from autoreward.store.io import read, read_bytes_safely, write, write_arrays
from autoreward.store.records import Score, TrainingDone

PREFIX = "seed-"
# Characters of one note; it was written by a trainer, but a run may come from a stranger.
MAX_NOTE = 500


class TrainingFolder:
    """Paths and records of one training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_seed(cls, parent: Path, seed: int) -> TrainingFolder:
        """The folder of that training seed below `parent`."""
        return cls(parent / f"{PREFIX}{seed}")

    @property
    def seed(self) -> int | None:
        """The training seed in the folder's name, None if the name holds none."""
        digits = self.path.name.removeprefix(PREFIX)
        return int(digits) if digits.isdigit() else None

    @property
    def job_path(self) -> Path:
        return self.path / "job.json"

    @property
    def curve_path(self) -> Path:
        return self.path / "curve.npz"

    @property
    def policy_path(self) -> Path:
        return self.path / "policy.safetensors"

    @property
    def composition_path(self) -> Path:
        return self.path / "composition.json"

    @property
    def signal_path(self) -> Path:
        return self.path / "signal.json"

    @property
    def signal_weights_path(self) -> Path:
        return self.path / "signal.safetensors"

    @property
    def labels_path(self) -> Path:
        return self.path / "labels.jsonl"

    @property
    def rewards_path(self) -> Path:
        return self.path / "rewards.npz"

    @property
    def tensorboard_path(self) -> Path:
        return self.path / "tensorboard"

    @property
    def done_path(self) -> Path:
        return self.path / "done.json"

    @property
    def score_path(self) -> Path:
        return self.path / "score.json"

    @property
    def episodes_path(self) -> Path:
        """Recorded episodes of the evaluation, until the candidate's folder takes them."""
        return episodes_beside(self.score_path)

    @property
    def done(self) -> TrainingDone | None:
        """The training's result, None while the folder is incomplete.

        An incomplete training starts again from step 0 with its seed.
        """
        return read(self.done_path, TrainingDone)

    @property
    def score(self) -> Score | None:
        return read(self.score_path, Score)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the method's signal reports about this training, empty if it reports nothing."""
        try:
            data: Any = json.loads(read_bytes_safely(self.signal_path))
            return tuple(str(note)[:MAX_NOTE] for note in data.get("notes", ()))
        except FileNotFoundError:
            return ()
        except (ValueError, AttributeError, TypeError) as error:
            raise UserError(
                f"{self.signal_path} is damaged: {error}",
                "move its folder away, then: autoreward resume",
                REFUSED,
            ) from None

    # -- writers -----------------------------------------------------------------------------------

    def write_curve(self, arrays: dict[str, Any]) -> None:
        write_arrays(self.curve_path, arrays)

    def write_score(self, score: Score) -> None:
        write(self.score_path, score)

    def write_done(self, done: TrainingDone) -> None:
        """Write the result, which completes the folder."""
        write(self.done_path, done)


def episodes_beside(score: Path) -> Path:
    """Where the evaluation that writes `score` records its episodes."""
    return score.with_suffix(".npz")


def job_beside(out: Path) -> Path:
    """Where a job that leaves `out` is written for its trainer."""
    return out.with_suffix(".job.json")


def errors_beside(job: Path) -> Path:
    """Where a trainer's standard error goes while it works on `job`."""
    return job.with_suffix(".stderr")


def report_beside(probes: Path) -> Path:
    """Where the trainer that records `probes` reports what it saw."""
    return probes.with_suffix(".json")


def training_folders(parent: Path) -> list[TrainingFolder]:
    """The trainings below a folder, in order of their seeds."""
    found = []
    for path in parent.glob(f"{PREFIX}*"):
        folder = TrainingFolder(path)
        if folder.seed is not None:
            found.append((folder.seed, folder))
    return [folder for _, folder in sorted(found, key=lambda pair: pair[0])]
