"""Arms: agents to train and score, each a program (or none) with a seed and a folder; side by
side, and only what is not there yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoreward.annotation.annotator import Annotator
from autoreward.loop.engine import Job
from autoreward.loop.stages import evaluation, training
from autoreward.loop.tools import Tools
from autoreward.methods import Judging
from autoreward.rewards.composition import chosen
from autoreward.rewards.signals import PLAIN
from autoreward.store.jobs import Annotated, TrainJob
from autoreward.store.run import CandidateFolder


@dataclass(frozen=True)
class AgentSpec:
    """`label` is what people see; `program` None: the sparse task reward alone; `out`: where the
    training leaves its files.

    `composition` as data, {}: the plain sum; controls are always composed plainly, of the terms of
    reward().
    """

    label: str
    program: Path | None
    out: Path
    seed: int
    composition: dict[str, Any] = field(default_factory=dict)
    signal: str = PLAIN
    settings: dict[str, str] = field(default_factory=dict)
    judging: Judging | None = None


def candidate_arm(
    tools: Tools,
    candidate: CandidateFolder,
    seed: int,
    label: str | None = None,
    out: Path | None = None,
) -> AgentSpec:
    """An agent on a candidate's program, by the method's signal, composed as the candidate is;
    without an `out` in its own folder.
    """
    header, method = tools.run.header, tools.method
    place = out or candidate.path / "5-training" / f"seed-{seed}"
    own, check = method.own(header.settings), candidate.check
    judged = (
        method.judging(tools.card.card, candidate.program, tuple(t.name for t in check.terms), own)
        if method.judging and check
        else None
    )
    return AgentSpec(
        label or candidate.id,
        candidate.program_path,
        place,
        seed,
        chosen(header, candidate.composition_path).data(),
        method.signal,
        own,
        judged,
    )


def train_arms(tools: Tools, arms: Sequence[AgentSpec], stage: str) -> None:
    """Trainings of every arm that has none."""
    todo = {f"{arm.label} seed {arm.seed}": arm for arm in arms if training.done(arm.out) is None}
    if todo:
        tools.say(stage, "begins to train", agents=list(todo))
        with ExitStack() as stack:
            asked = _annotators(tools, todo, stack)
            tools.engine.run(
                [(label, _job(tools, arm)) for label, arm in todo.items()], tools.progress, asked
            )


def _job(tools: Tools, arm: AgentSpec) -> TrainJob:
    made = training.job(
        tools.run.header,
        arm.program,
        arm.seed,
        arm.out,
        composition=arm.composition,
        signal=arm.signal,
        settings=arm.settings,
    )
    if arm.judging is None:
        return made
    truth = tuple(
        tuple(c.model_dump(mode="json", exclude_none=True) for c in conditions)
        for conditions in arm.judging.truth
    )
    simulated = bool(getattr(tools.annotator.model, "simulated", False))
    return made.model_copy(
        update={
            "annotated": Annotated(
                labels=arm.judging.labels, wait=arm.judging.wait, truth=truth, tells=simulated
            )
        }
    )


def _annotators(tools: Tools, todo: dict[str, AgentSpec], stack: ExitStack) -> dict[str, Annotator]:
    """Who answers the captions of which training: one for each candidate, whose trainings share
    what was asked.
    """
    by: dict[Path, Annotator] = {}
    found: dict[str, Annotator] = {}
    for label, arm in todo.items():
        if arm.judging is None or arm.program is None:
            continue
        if arm.program not in by:
            folder, place = arm.program.parent, tools.run.path / "labels"
            by[arm.program] = stack.enter_context(
                Annotator(
                    tools.annotator,
                    tools.prompts,
                    f"{tools.method.name}/annotator/judge",
                    arm.judging.variables,
                    arm.judging.labels,
                    place,
                    folder / "annotation.json",
                    shared=tools.controls.parent / "labels",
                    iteration=int(folder.parent.name.removeprefix("iteration-")),
                    candidate=folder.name.removeprefix("candidate-"),
                    say=tools.say,
                )
            )
        found[label] = by[arm.program]
    return found


def score_arms(tools: Tools, arms: Sequence[AgentSpec], purpose: str, record: int = 0) -> None:
    """Scores of every trained policy that has none, in at most `jobs` processes."""
    todo = [
        a
        for a in arms
        if not (a.out / "score.json").exists()
        and (done := training.done(a.out))
        and done.refusal is None
    ]
    jobs: list[tuple[str, Job]] = []
    for k in range(min(tools.engine.jobs, len(todo))):
        share = todo[k :: tools.engine.jobs]
        kind = "confirmation" if purpose == "confirmation" else "evaluation"
        job = evaluation.job(
            tools.run.header,
            [a.out for a in share],
            [a.out / "score.json" for a in share],
            [a.seed for a in share],
            kind,  # type: ignore[arg-type]
            record,
        )
        jobs.append((f"evaluation of {', '.join(dict.fromkeys(a.label for a in share))}", job))
    tools.engine.run(jobs, tools.progress)
