"""The folder of one candidate: its drafts, its program, and what became of it.

    iteration-I/candidate-a/
        tries/N-designer.{py,json}   rejected drafts, each with the reasons
        1-designer.py                the program
        1-composition.json           how its terms are combined, if the designer chose
        2-critic.json  3-check.json  4-screening.json
        5-training/seed-S/           one training each (training.py)
        6-evaluation.json            scores, pooled over training seeds
        6-episodes.npz               recorded episodes of the first training's agent
        7-analyzer.json
        annotation.json              what the annotator was asked, if the method asks one

This is the only module that spells these names. A candidate is rejected if one of its records says
`ok: false`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import BaseModel

from autoreward.store.io import read, text, write
from autoreward.store.records import (
    Analysis,
    Check,
    Evaluation,
    Refused,
    Review,
    Screening,
    TrainingDone,
    Verdict,
)
from autoreward.store.training import TrainingFolder, training_folders

ITERATION_PREFIX = "iteration-"
PREFIX = "candidate-"
PROGRAM_NAME = "1-designer.py"


class CandidateFolder:
    """Paths and records of one candidate, and the only code that writes them."""

    def __init__(self, run: Path, iteration: int, name: str) -> None:
        self.iteration = iteration
        self.name = name
        self.path = run / f"{ITERATION_PREFIX}{iteration}" / f"{PREFIX}{name}"

    @property
    def id(self) -> str:
        """Iteration and letter, such as `1a`: the name that people and records use."""
        return f"{self.iteration}{self.name}"

    # -- paths -------------------------------------------------------------------------------------

    @property
    def program_path(self) -> Path:
        return self.path / PROGRAM_NAME

    @property
    def composition_path(self) -> Path:
        """Exists only if the designer chose a composition."""
        return self.path / "1-composition.json"

    @property
    def review_path(self) -> Path:
        return self.path / "2-critic.json"

    @property
    def check_path(self) -> Path:
        return self.path / "3-check.json"

    @property
    def screening_path(self) -> Path:
        return self.path / "4-screening.json"

    @property
    def trainings_path(self) -> Path:
        return self.path / "5-training"

    @property
    def evaluation_path(self) -> Path:
        return self.path / "6-evaluation.json"

    @property
    def episodes_path(self) -> Path:
        return self.path / "6-episodes.npz"

    @property
    def analysis_path(self) -> Path:
        return self.path / "7-analyzer.json"

    @property
    def annotation_path(self) -> Path:
        return self.path / "annotation.json"

    def _draft_path(self, attempt: int, suffix: str) -> Path:
        return self.path / "tries" / f"{attempt}-designer{suffix}"

    # -- records -----------------------------------------------------------------------------------

    @property
    def program(self) -> str:
        """The program's text, empty if there is none."""
        return text(self.program_path)

    @property
    def review(self) -> Review | None:
        return read(self.review_path, Review)

    @property
    def check(self) -> Check | None:
        return read(self.check_path, Check)

    @property
    def evaluation(self) -> Evaluation | None:
        return read(self.evaluation_path, Evaluation)

    @property
    def analysis(self) -> Analysis | None:
        return read(self.analysis_path, Analysis)

    def rejected_drafts(self) -> list[Refused]:
        """The rejected drafts in order. Their count is the number of the next attempt."""
        found: list[Refused] = []
        while (record := read(self._draft_path(len(found), ".json"), Refused)) is not None:
            found.append(record)
        return found

    def rejected_program(self, attempt: int) -> str:
        return text(self._draft_path(attempt, ".py"))

    @property
    def drafted(self) -> bool:
        """True once drafting has ended, with an accepted program or a rejected candidate."""
        review = self.review
        if review is not None and not review.ok:
            return True
        return self.check is not None

    @property
    def accepted(self) -> bool:
        """True if the critic and the check accepted the program."""
        review = self.review
        check = self.check
        return bool(review and review.ok and check and check.ok)

    # -- trainings ---------------------------------------------------------------------------------

    def training_folder(self, seed: int) -> TrainingFolder:
        return TrainingFolder.of_seed(self.trainings_path, seed)

    @property
    def first_training(self) -> TrainingFolder:
        """The training that every accepted candidate has; its folder may not exist yet."""
        folders = training_folders(self.trainings_path)
        return folders[0] if folders else TrainingFolder(self.trainings_path)

    def trainings(self) -> list[TrainingDone]:
        """Results of the complete trainings, in order of their seeds."""
        results = [folder.done for folder in training_folders(self.trainings_path)]
        return [result for result in results if result is not None]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the method's signal reports about the first training."""
        return self.first_training.notes

    # -- writers -----------------------------------------------------------------------------------

    def accept_draft(
        self, program: str, composition: BaseModel | None, review: Review, check: Check
    ) -> None:
        """Keep a draft that passed the critic and the check."""
        if composition is not None:
            write(self.composition_path, composition)
        write(self.program_path, program)
        write(self.review_path, review)
        write(self.check_path, check)

    def reject_draft(self, attempt: int, program: str, review: Review, check: Check | None) -> None:
        """Keep a draft that did not pass, with the findings of whoever rejected it.

        `check` is None if the critic rejected the draft, so that it was never run.
        """
        write(self._draft_path(attempt, ".py"), program)
        write(self._draft_path(attempt, ".json"), rejection(review, check))

    def reject(self, program: str, review: Review, check: Check | None) -> None:
        """End drafting without an accepted program: the last draft stands, with its findings."""
        if program:
            write(self.program_path, program)
        write(self.review_path, review)
        if check is not None:
            write(self.check_path, check)

    def keep_screening(self, screening: Screening) -> None:
        """Write the screening's verdict, unless there is one."""
        if not self.screening_path.exists():
            write(self.screening_path, screening)

    def remove_trainings(self) -> None:
        """Remove what a report of external trainings left when it was interrupted."""
        shutil.rmtree(self.trainings_path, ignore_errors=True)

    def take_episodes(self, training: TrainingFolder) -> None:
        """Move the episodes that the evaluation recorded from a training's folder to this one."""
        recorded = training.episodes_path
        if not recorded.exists():
            return

        temporary = self.path / ".6-episodes.tmp"
        shutil.copyfile(recorded, temporary)
        temporary.replace(self.episodes_path)
        recorded.unlink()

    def keep_evaluation(self, evaluation: Evaluation) -> None:
        """Write the evaluation, which completes the candidate's agents."""
        write(self.evaluation_path, evaluation)

    def keep_analysis(self, analysis: Analysis) -> None:
        write(self.analysis_path, analysis)


def rejection(review: Review, check: Check | None) -> Refused:
    """Who rejected a draft, and why."""
    if check is None:
        return Refused(stage="critic", verdicts=review.verdicts)
    return Refused(stage="check", verdicts=check.verdicts)


def blocking(verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """The verdicts that rejected a draft: the refusals, or all if none is marked as one."""
    refusals = tuple(verdict for verdict in verdicts if verdict.severity == "refuse")
    return refusals or verdicts


def candidate_folders(run: Path) -> list[CandidateFolder]:
    """Every candidate that has a folder, in order of iteration and letter."""
    found = []
    for path in run.glob(f"{ITERATION_PREFIX}*/{PREFIX}*"):
        iteration = int(path.parent.name.removeprefix(ITERATION_PREFIX))
        found.append(CandidateFolder(run, iteration, path.name.removeprefix(PREFIX)))
    return sorted(found, key=lambda candidate: (candidate.iteration, candidate.name))
