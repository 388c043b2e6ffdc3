"""The run directory: where each of its files is, and the only code that writes most of them.

    RUN/run.yaml               what decides the run (RunHeader)
    RUN/task/                  the run's own copy of the task card and its Python file
    RUN/events.jsonl           what happened, one line each
    RUN/calls/                 every model call, written before its reply is used
    RUN/labels/                answers of the annotator, for methods that ask one
    RUN/probes.npz, .json      recorded transitions for `check`
    RUN/origin/                with --from: the file that was given, and the program made of it
    RUN/iteration-I/           candidate-a/, ... (candidate.py), then feedback.json
    RUN/leaders.json           the best candidates, on more training seeds
    RUN/final/AGENT/seed-S/    trainings of the confirmation; AGENT is winner, sparse or human
    RUN/final.json
    RUN/best/program.py        the best program so far; composition.yaml, unless a plain sum
    RUN/report.html

Files are the state: each fact is in one file, each file has one writer and is complete or absent.
File names are spelled only here, in candidate.py and in training.py; other modules ask for paths.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from autoreward.errors import LOCKED, MISSING, REFUSED, UserError
from autoreward.store.candidate import ITERATION_PREFIX, CandidateFolder, candidate_folders
from autoreward.store.io import read, read_bytes_safely, write
from autoreward.store.records import Event, Feedback, Final, Leaders, Outcome, RunHeader
from autoreward.store.training import TrainingFolder, training_folders

HEADER_NAME = "run.yaml"
PROGRAM_NAME = "program.py"


def call_path(calls: Path, iteration: int, name: str) -> Path:
    """Return the file of one model call. `name` holds its candidate, agent and attempt."""
    return calls / f"{ITERATION_PREFIX}{iteration}" / f"{name}.json"


def call_paths(calls: Path) -> list[Path]:
    """Return the files of all recorded model calls, in order."""
    return sorted(calls.glob(f"{ITERATION_PREFIX}*/*.json"))


def labels_name(model: str, digest: str) -> str:
    """Return the name of the file with a model's labels; `digest` stands for what it was asked.

    Readable, and different for models whose names differ only in other characters.
    """
    readable = re.sub(r"[^A-Za-z0-9.=,_-]+", "-", model)[:60]
    short_hash = hashlib.sha256(model.encode()).hexdigest()[:6]
    return f"{readable}-{short_hash}-{digest}.jsonl"


class RunFolder:
    """Paths of a run directory; nothing is read, and the directory need not be a run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def is_run(self) -> bool:
        return self.header_path.is_file()

    @property
    def header_path(self) -> Path:
        return self.path / HEADER_NAME

    @property
    def task_path(self) -> Path:
        """The folder of the run's own copy of its card."""
        return self.path / "task"

    @property
    def lock_path(self) -> Path:
        return self.path / ".lock"

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def calls_path(self) -> Path:
        return self.path / "calls"

    @property
    def labels_path(self) -> Path:
        return self.path / "labels"

    @property
    def probes_path(self) -> Path:
        return self.path / "probes.npz"

    @property
    def probes_report_path(self) -> Path:
        return self.path / "probes.json"

    @property
    def given_path(self) -> Path:
        """The file that `--from` named, as it was."""
        return self.path / "origin" / "given.py"

    @property
    def original_path(self) -> Path:
        """The program made of the given file; empty if it could not be made mechanically."""
        return self.path / "origin" / PROGRAM_NAME

    @property
    def origin_path(self) -> Path:
        return self.path / "origin" / "origin.json"

    def feedback_path(self, iteration: int) -> Path:
        return self.path / f"{ITERATION_PREFIX}{iteration}" / "feedback.json"

    @property
    def leaders_path(self) -> Path:
        return self.path / "leaders.json"

    @property
    def final_path(self) -> Path:
        return self.path / "final.json"

    def final_trainings_path(self, agent: str) -> Path:
        """The trainings of one agent of the confirmation: `winner`, `sparse` or `human`."""
        return self.path / "final" / agent

    def final_training(self, agent: str, seed: int) -> TrainingFolder:
        return TrainingFolder.of_seed(self.final_trainings_path(agent), seed)

    @property
    def best_program_path(self) -> Path:
        return self.path / "best" / PROGRAM_NAME

    @property
    def best_composition_path(self) -> Path:
        """Exists only if the best program's terms are not simply added up."""
        return self.path / "best" / "composition.yaml"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"


class Run(RunFolder):
    """An opened run directory. Reading needs no lock; writing does (`with run.locked():`)."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if not self.is_run:
            raise UserError(
                f"{path} is not a run directory: it has no {HEADER_NAME}", "autoreward runs list"
            )
        self.header = self._header()

    def _header(self) -> RunHeader:
        import yaml

        try:
            data = yaml.safe_load(read_bytes_safely(self.header_path))
            if isinstance(data, dict) and data.get("format") != 1:
                raise UserError(
                    f"{self.header_path}: this version cannot read format {data.get('format')!r}",
                    "update autoreward",
                    REFUSED,
                )
            return RunHeader.model_validate(data)
        except (yaml.YAMLError, ValidationError) as error:
            raise UserError(
                f"{self.header_path} is damaged: {str(error).splitlines()[0]}",
                "restore it from a copy",
                REFUSED,
            ) from None

    @classmethod
    def create(
        cls,
        folder: Path,
        header: RunHeader,
        name: str | None = None,
        task_files: Mapping[PurePosixPath, bytes] | None = None,
    ) -> Run:
        """Make a new directory with its header; without a `name` it is called TASK-xyz.

        `task_files` are the run's own copy of its card, by their paths in the task folder; the
        header is written after them, so that a run has all or none.

        Raises UserError if that directory already holds a run.
        """
        import yaml

        while name is None:
            trial = f"{header.task}-{secrets.token_hex(2)[:3]}"
            name = None if (folder / trial).exists() else trial

        place = RunFolder(folder / name)
        if place.is_run:
            raise UserError(
                f"{place.path} already holds a run",
                f"autoreward resume {place.path}, or choose another --name",
            )
        for path, content in (task_files or {}).items():
            write(place.task_path / path, content)
        data = header.model_dump(mode="json")
        write(
            place.header_path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
        )
        return cls(place.path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run's lock, so that only one process works on it.

        Raises UserError (exit code 6) if another process holds it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(str(self.lock_path), timeout=0)
        try:
            with lock:
                yield
        except Timeout:
            raise UserError(
                f"another process is working on {self.path}",
                f"watch it: autoreward runs show {self.path}",
                LOCKED,
            ) from None

    # -- events ------------------------------------------------------------------------------------

    def event(
        self,
        stage: str,
        what: str,
        iteration: int | None = None,
        candidate: str | None = None,
        **data: Any,
    ) -> Event:
        """Append one line to the events, in a single write."""
        event = Event(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            stage=stage,
            what=what,
            iteration=iteration,
            candidate=candidate,
            data=data,
        )
        line = event.model_dump_json(exclude_none=True) + "\n"
        descriptor = os.open(self.events_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        return event

    def events(self) -> list[Event]:
        """All events in order. A line that a kill cut short is skipped."""
        if not self.events_path.exists():
            return []

        found = []
        for line in read_bytes_safely(self.events_path).splitlines():
            try:
                found.append(Event.model_validate(json.loads(line)))
            except (ValueError, ValidationError):
                continue
        return found

    # -- candidates --------------------------------------------------------------------------------

    def candidate(self, iteration: int, name: str) -> CandidateFolder:
        return CandidateFolder(self.path, iteration, name)

    def candidates(self) -> list[CandidateFolder]:
        """Every candidate that has a folder, in order of iteration and letter."""
        return candidate_folders(self.path)

    def find_candidate(self, name: str | None) -> CandidateFolder | None:
        """The candidate of that id, such as `1a`; None if there is none."""
        for candidate in self.candidates():
            if candidate.id == name:
                return candidate
        return None

    def chosen(self, candidate: str | None = None) -> CandidateFolder:
        """The candidate of that id, else the confirmed winner, else the best one so far.

        Raises UserError if there is none.
        """
        if candidate is not None:
            return self._named(candidate)

        found = self.find_candidate(self._best_id())
        if found is None:
            raise UserError(
                f"{self.path} has no winner yet",
                f"autoreward resume {self.path}, or name one: autoreward runs show {self.path}",
                MISSING,
            )
        return found

    def _named(self, candidate: str) -> CandidateFolder:
        found = self.find_candidate(candidate)
        if found is None:
            known = ", ".join(c.id for c in self.candidates()) or "none"
            raise UserError(
                f"{self.path} has no candidate {candidate!r}; it has {known}",
                f"autoreward runs show {self.path}",
                MISSING,
            )
        return found

    def _best_id(self) -> str | None:
        final = self.final
        if final is not None:
            return final.winner
        best = self.best
        return best.id if best else None

    # -- feedback, leaders, final ------------------------------------------------------------------

    def feedback(self, iteration: int) -> Feedback | None:
        """What became of every candidate up to an iteration, each with its program's text."""
        feedback = read(self.feedback_path(iteration), Feedback)
        if feedback is None:
            return None
        outcomes = tuple(self._with_program(outcome) for outcome in feedback.outcomes)
        return feedback.model_copy(update={"outcomes": outcomes})

    def _with_program(self, outcome: Outcome) -> Outcome:
        """The outcome with its program; runs of earlier versions wrote it into the outcome."""
        if outcome.program:
            return outcome
        candidate = self.candidate(outcome.iteration, outcome.candidate)
        return outcome.model_copy(update={"program": candidate.program})

    def write_feedback(self, feedback: Feedback) -> None:
        write(self.feedback_path(feedback.iteration), feedback)

    @property
    def best(self) -> Outcome | None:
        """The best outcome of the latest iteration that has feedback; None if there is none."""
        for iteration in range(self.header.iterations, 0, -1):
            feedback = self.feedback(iteration)
            if feedback is not None:
                return feedback.best
        return None

    @property
    def leaders(self) -> Leaders | None:
        return read(self.leaders_path, Leaders)

    def write_leaders(self, leaders: Leaders) -> None:
        write(self.leaders_path, leaders)

    @property
    def final(self) -> Final | None:
        """The run's result, with the winner's program; None while the run is not done."""
        final = read(self.final_path, Final)
        if final is None or final.program:
            return final
        winner = self.find_candidate(final.winner)
        return final.model_copy(update={"program": winner.program if winner else ""})

    def write_final(self, final: Final) -> None:
        """Write the result, which ends the run."""
        write(self.final_path, final)

    def write_best(self, program: str, composition: str | None) -> None:
        """Keep a program as the best so far, as `autoreward train` takes it.

        `composition` is YAML text, or None if the program's terms are simply added up.
        """
        write(self.best_program_path, program)
        # The program that was best before may have had one.
        self.best_composition_path.unlink(missing_ok=True)
        if composition is not None:
            write(self.best_composition_path, composition)

    # -- agents ------------------------------------------------------------------------------------

    def agent(
        self, candidate: str | None = None, seed: int | None = None, sparse: bool = False
    ) -> Path:
        """The weights of a trained agent.

        Without arguments this is an agent of the confirmed winner (of the best candidate, if
        nothing is confirmed yet); with `sparse`, one trained on the sparse task reward; with
        `candidate`, one that the search trained. `seed` is its training seed, by default the first.

        Raises UserError if there is no such agent, and names those that there are.
        """
        folder = self._agents_path(candidate, sparse)
        found = {}
        for training in training_folders(folder):
            if training.policy_path.exists():
                found[training.seed] = training.policy_path

        if not found or (seed is not None and seed not in found):
            wanted = f" of seed {seed}" if seed is not None else ""
            known = f"it has seeds {', '.join(map(str, found))}" if found else "none was trained"
            raise UserError(
                f"no trained agent{wanted} in {folder}; {known}",
                f"autoreward runs show {self.path}",
                MISSING,
            )
        return found[seed] if seed is not None else next(iter(found.values()))

    def _agents_path(self, candidate: str | None, sparse: bool) -> Path:
        if sparse:
            return self.final_trainings_path("sparse")
        confirmed = self.final_trainings_path("winner")
        if candidate is None and confirmed.is_dir():
            return confirmed
        return self.chosen(candidate).trainings_path


class ProgramFolder:
    """Files of `autoreward train`: one program with its trainings, outside of any run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def program_path(self) -> Path:
        return self.path / PROGRAM_NAME

    @property
    def header_path(self) -> Path:
        return self.path / "header.json"

    @property
    def evaluation_path(self) -> Path:
        return self.path / "evaluation.json"

    def training_folder(self, seed: int) -> TrainingFolder:
        return TrainingFolder.of_seed(self.path, seed)


def run_folders(folder: Path) -> list[RunFolder]:
    """Every run directory directly below `folder`."""
    return [RunFolder(path.parent) for path in folder.glob(f"*/{HEADER_NAME}")]


def find_run(name: str, folder: Path | None = None) -> Run:
    """Find a run by its path, by its name in ./runs, or as `last`, the one that changed last.

    Raises UserError if there is none.
    """
    folder = folder or Path("runs")
    if name == "last":
        return _last_run(folder)
    for path in (Path(name), folder / name):
        if RunFolder(path).is_run:
            return Run(path)
    raise UserError(f"no run {name!r} at that path or in {folder}/", "autoreward runs list")


def _last_run(folder: Path) -> Run:
    runs = sorted(run_folders(folder), key=_changed)
    if not runs:
        raise UserError(f"no runs in {folder}/", "autoreward design TASK creates one")
    return Run(runs[-1].path)


def _changed(run: RunFolder) -> float:
    """When the run last reported something, in seconds since the epoch."""
    return run.events_path.stat().st_mtime if run.events_path.exists() else 0.0
