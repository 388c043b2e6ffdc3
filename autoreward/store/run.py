"""The run directory: where every file of a run lies, how files are written, and who may write.

    RUN/run.yaml                what decides the run (RunHeader)         RUN/events.jsonl   what happened, a line each
    RUN/probes.npz, .json       recorded transitions for `check`         RUN/calls/         every model call, before its reply is used
    RUN/iteration-I/candidate-a/
        tries/N-designer.{py,json}   refused drafts, with the reason
        1-designer.py  2-critic.json  3-check.json  4-screening.json  (1-composition.json: where the designer chose one)
        5-training/seed-S/{curve.npz,policy.safetensors,done.json}  6-evaluation.json  6-episodes.npz  7-analyzer.json
    RUN/iteration-I/feedback.json    RUN/leaders.json    RUN/final/{winner,sparse,human}/seed-S/    RUN/final.json
    RUN/best/program.py              RUN/report.html      RUN/origin/ (with --from: origin.py)

Files are the state: one truth, one writer, each file whole or absent. A candidate is refused where
a record says `ok: false`.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autoreward.errors import LOCKED, MISSING, REFUSED, UserError
from autoreward.store.files import plain, read, text, write
from autoreward.store.records import (
    Check,
    Evaluation,
    Event,
    Feedback,
    Final,
    Refused,
    Review,
    RunHeader,
    TrainingDone,
)


class CandidateFolder:
    """Paths and records of one candidate; `iteration-I/candidate-x/`."""

    def __init__(self, run: Path, iteration: int, name: str) -> None:
        self.iteration, self.name = iteration, name
        self.path = run / f"iteration-{iteration}" / f"candidate-{name}"

    @property
    def id(self) -> str:
        """`1a`: iteration and letter; what people and choices call it."""
        return f"{self.iteration}{self.name}"

    @property
    def program_path(self) -> Path:
        return self.path / "1-designer.py"

    @property
    def composition_path(self) -> Path:
        """There only where the designer chose one."""
        return self.path / "1-composition.json"

    @property
    def program(self) -> str:
        return text(self.program_path)

    def refused_drafts(self) -> list[Refused]:
        """The refused drafts in order; their number is the next attempt's number."""
        found: list[Refused] = []
        while (
            record := read(self.path / "tries" / f"{len(found)}-designer.json", Refused)
        ) is not None:
            found.append(record)
        return found

    def refused_program(self, attempt: int) -> str:
        return text(self.path / "tries" / f"{attempt}-designer.py")

    @property
    def review(self) -> Review | None:
        return read(self.path / "2-critic.json", Review)

    @property
    def check(self) -> Check | None:
        return read(self.path / "3-check.json", Check)

    def training(self, seed: int) -> TrainingDone | None:
        return read(self.path / "5-training" / f"seed-{seed}" / "done.json", TrainingDone)

    @property
    def first_training(self) -> Path:
        """The folder of the training that every candidate has."""
        return next(
            iter(
                sorted(
                    self.path.glob("5-training/seed-*"),
                    key=lambda p: int(p.name.removeprefix("seed-")),
                )
            ),
            self.path / "5-training",
        )

    def trainings(self) -> list[TrainingDone]:
        done = [
            read(p, TrainingDone) for p in sorted(self.path.glob("5-training/seed-*/done.json"))
        ]
        return sorted((d for d in done if d), key=lambda d: d.seed)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the method's signal says of the first training; nothing where it has nothing to
        say.
        """
        path = self.first_training / "signal.json"
        try:
            return tuple(str(note)[:500] for note in json.loads(plain(path)).get("notes", ()))
        except FileNotFoundError:
            return ()
        except (ValueError, AttributeError, TypeError) as error:
            raise UserError(
                f"{path} is damaged: {error}",
                "move its folder away, then: autoreward resume",
                REFUSED,
            ) from None

    @property
    def evaluation(self) -> Evaluation | None:
        return read(self.path / "6-evaluation.json", Evaluation)

    @property
    def drafted(self) -> bool:
        """The designer's part has ended, with a program that passed or with a refusal."""
        review, check = self.review, self.check
        return (review is not None and not review.ok) or check is not None

    @property
    def accepted(self) -> bool:
        review, check = self.review, self.check
        return bool(review and review.ok and check and check.ok)


class Run:
    """An opened run directory. Reading needs no lock; writing does (`with run.locked():`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "run.yaml").is_file():
            raise UserError(
                f"{path} is no run directory (it has no run.yaml)", "autoreward runs list"
            )
        self.header = self._header()

    def _header(self) -> RunHeader:
        import yaml

        try:
            data = yaml.safe_load(plain(self.path / "run.yaml"))
            if isinstance(data, dict) and data.get("format") != 1:
                raise UserError(
                    f"{self.path}/run.yaml: format {data.get('format')!r} is not known to this version",
                    "update autoreward",
                    REFUSED,
                )
            return RunHeader.model_validate(data)
        except (yaml.YAMLError, ValidationError) as error:
            raise UserError(
                f"{self.path}/run.yaml is damaged: {str(error).splitlines()[0]}",
                "restore it from a copy",
                REFUSED,
            ) from None

    @classmethod
    def create(cls, folder: Path, header: RunHeader, name: str | None = None) -> Run:
        """A new directory `folder/TASK-xyz` with its run.yaml."""
        import yaml

        while name is None:
            trial = f"{header.task}-{secrets.token_hex(2)[:3]}"
            name = None if (folder / trial).exists() else trial
        path = folder / name
        if (path / "run.yaml").exists():
            raise UserError(
                f"{path} holds a run already", f"autoreward resume {path}, or choose another --name"
            )
        write(
            path / "run.yaml",
            yaml.safe_dump(
                header.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120
            ),
        )
        return cls(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process works on a run. UserError (exit code 6) when another holds it."""
        from filelock import FileLock, Timeout

        lock = FileLock(str(self.path / ".lock"), timeout=0)
        try:
            with lock:
                yield
        except Timeout:
            raise UserError(
                f"another process is working on {self.path}",
                f"watch it: autoreward runs show {self.path}",
                LOCKED,
            ) from None

    def event(
        self,
        stage: str,
        what: str,
        iteration: int | None = None,
        candidate: str | None = None,
        **data: Any,
    ) -> Event:
        """Append one line to events.jsonl, in one write."""
        event = Event(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            stage=stage,
            what=what,
            iteration=iteration,
            candidate=candidate,
            data=data,
        )
        line = event.model_dump_json(exclude_none=True) + "\n"
        descriptor = os.open(
            self.path / "events.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
        )
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        return event

    def events(self) -> list[Event]:
        """All events; a line cut by a kill is passed over."""
        path, out = self.path / "events.jsonl", []
        for line in plain(path).splitlines() if path.exists() else []:
            try:
                out.append(Event.model_validate(json.loads(line)))
            except (ValueError, ValidationError):
                continue
        return out

    def candidate(self, iteration: int, name: str) -> CandidateFolder:
        return CandidateFolder(self.path, iteration, name)

    def candidates(self) -> list[CandidateFolder]:
        """Every candidate that has a folder, in order of iteration and letter."""
        found = []
        for path in sorted(self.path.glob("iteration-*/candidate-*")):
            found.append(
                CandidateFolder(
                    self.path,
                    int(path.parent.name.removeprefix("iteration-")),
                    path.name.removeprefix("candidate-"),
                )
            )
        return sorted(found, key=lambda c: (c.iteration, c.name))

    def feedback(self, iteration: int) -> Feedback | None:
        return read(self.path / f"iteration-{iteration}" / "feedback.json", Feedback)

    @property
    def final(self) -> Final | None:
        return read(self.path / "final.json", Final)

    def chosen(self, candidate: str | None = None) -> CandidateFolder:
        """The candidate of that id, else the confirmed winner, else the best one so far.

        UserError where there is none.
        """
        everything = self.candidates()
        if candidate is not None:
            found = next((c for c in everything if c.id == candidate), None)
            if found is None:
                raise UserError(
                    f"{self.path} has no candidate {candidate!r}; it has {', '.join(c.id for c in everything) or 'none'}",
                    f"autoreward runs show {self.path}",
                    MISSING,
                )
            return found
        final = self.final
        best = next(
            (f.best for k in range(self.header.iterations, 0, -1) if (f := self.feedback(k))), None
        )
        name = final.winner if final else f"{best.iteration}{best.candidate}" if best else None
        found = next((c for c in everything if c.id == name), None)
        if found is None:
            raise UserError(
                f"{self.path} has no winner yet",
                f"autoreward resume {self.path}, or name one: autoreward runs show {self.path}",
                MISSING,
            )
        return found

    def agent(
        self, candidate: str | None = None, seed: int | None = None, sparse: bool = False
    ) -> Path:
        """The weights of a trained agent: of the confirmed winner (or with `sparse`, of the sparse
        reward), or of that candidate in the search.

        `seed`: of its training; None: the first. UserError where there is no such agent, with those
        that there are.
        """
        if sparse:
            folder = self.path / "final" / "sparse"
        elif candidate is None and (self.path / "final" / "winner").is_dir():
            folder = self.path / "final" / "winner"
        else:
            folder = self.chosen(candidate).path / "5-training"
        found = {
            int(p.parent.name.removeprefix("seed-")): p
            for p in folder.glob("seed-*/policy.safetensors")
            if p.parent.name.removeprefix("seed-").isdigit()
        }
        if not found or (seed is not None and seed not in found):
            there = (
                f"it has seeds {', '.join(map(str, sorted(found)))}"
                if found
                else "none was trained"
            )
            raise UserError(
                f"no trained agent{f' of seed {seed}' if seed is not None else ''} in {folder}; {there}",
                f"autoreward runs show {self.path}",
                MISSING,
            )
        return found[seed if seed is not None else min(found)]


def find_run(name: str, folder: Path | None = None) -> Run:
    """A run by path, by name in ./runs, or `last`: the one changed most recently."""
    folder = folder or Path("runs")
    if name == "last":
        runs = sorted(
            (p.parent for p in folder.glob("*/run.yaml")),
            key=lambda p: (
                (p / "events.jsonl").stat().st_mtime if (p / "events.jsonl").exists() else 0.0
            ),
        )
        if not runs:
            raise UserError(f"no runs in {folder}/", "autoreward design TASK makes one")
        return Run(runs[-1])
    for path in (Path(name), folder / name):
        if (path / "run.yaml").is_file():
            return Run(path)
    raise UserError(
        f"no run {name!r}, neither as a folder nor in {folder}/", "autoreward runs list"
    )
