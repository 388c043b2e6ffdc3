"""The corridor with a signal that asks, trained for real in processes of their own."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autoreward.annotation.annotator import Annotator
from autoreward.loop.engine import Engine
from autoreward.models.briefing import task
from autoreward.models.caller import Caller
from autoreward.models.templates import Prompts
from autoreward.store.jobs import LabelRequest, TrainJob
from autoreward.store.records import Limits
from autoreward.tasks.find import find

sys.path.insert(0, str(Path(__file__).parent))

from judging import NAMES, PROGRAM, SIGNAL, TRUTH


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal `judged` as an installed package brings one, for trainers too."""
    place = tmp_path / "packages"
    (place / "judging-1.0.dist-info").mkdir(parents=True)
    (place / "judging_signal.py").write_text(SIGNAL)
    (place / "judging-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: judging\nVersion: 1.0\n"
    )
    (place / "judging-1.0.dist-info" / "entry_points.txt").write_text(
        "[autoreward.signals]\njudged = judging_signal:Judged\n"
    )
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{place}:{root}")
    (tmp_path / "program.py").write_text(PROGRAM)


@pytest.fixture
def job(tmp_path: Path, judged: None) -> Callable[..., TrainJob]:
    """job("a", seed=0, wait=True): a small training into that folder."""

    def made(name: str, seed: int = 0, steps: int = 3072, **asked) -> TrainJob:
        annotated = LabelRequest(**{"labels": NAMES, "truth": TRUTH, **asked})
        return TrainJob(
            card=str(find("corridor").path),
            program=str(tmp_path / "program.py"),
            seed=seed,
            out=str(tmp_path / name),
            steps=steps,
            signal="judged",
            annotated=annotated,
        )

    return made


@pytest.fixture
def annotator(tmp_path: Path) -> Callable[..., Annotator]:
    """annotator(model): calls below RUN/calls, labels below RUN/labels."""

    def made(model, run: str = "run", limits: Limits | None = None, **options) -> Annotator:
        subgoals = [
            {"name": NAMES[0], "means": "cell rises above 2"},
            {"name": NAMES[1], "means": "cell reaches exit"},
        ]
        place = tmp_path / run
        caller = Caller(model, place / "calls", limits or Limits(), retries=1)
        return Annotator(
            caller,
            Prompts(),
            "calm/annotator/judge",
            {"task": task(find("corridor").card), "subgoals": subgoals},
            NAMES,
            place / "labels",
            place / "annotation.json",
            **options,
        )

    return made


@pytest.fixture
def train() -> Callable[..., None]:
    """train(annotator, job, ...): side by side, in processes of their own, as the loop does."""

    def run(answers, *jobs: TrainJob, progress=None) -> None:
        labels = [(f"t{k}", j) for k, j in enumerate(jobs)]
        Engine(len(jobs)).run(
            labels, progress, {label: answers for label, _ in labels} if answers else None
        )

    return run
