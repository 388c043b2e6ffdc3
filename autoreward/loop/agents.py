"""Agents: each is trained on one program (or none) with one seed, then scored on fresh episodes.

Callers pass a list of agent specs. Missing trainings and scores are computed in parallel, existing
ones are reused.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoreward.annotation.annotator import Annotator
from autoreward.annotation.labels import AnnotatorService
from autoreward.loop.context import RunContext
from autoreward.loop.engine import Engine, Job, Progress
from autoreward.loop.stages import evaluation, training
from autoreward.methods import Judging
from autoreward.rewards.composition import chosen
from autoreward.rewards.signals import PLAIN
from autoreward.seeds import Purpose
from autoreward.store.candidate import CandidateFolder
from autoreward.store.jobs import LabelRequest, TrainJob
from autoreward.store.records import Evaluation, RunHeader
from autoreward.store.training import TrainingFolder
from autoreward.tasks.card import TaskCard


@dataclass(frozen=True)
class AgentSpec:
    """One agent: its program, its training seed, and the folder of its files.

    `label` is what people see. `program` is None for the sparse task reward. `composition` is data,
    empty for the plain sum; baselines always add up the terms of reward(). `candidate` is the one
    whose program it is, which shares its labels among its agents.
    """

    label: str
    program: Path | None
    folder: TrainingFolder
    seed: int
    composition: dict[str, Any] = field(default_factory=dict)
    signal: str = PLAIN
    settings: dict[str, str] = field(default_factory=dict)
    judging: Judging | None = None
    candidate: CandidateFolder | None = None

    @property
    def name(self) -> str:
        """The label of its training, with the seed."""
        return f"{self.label} seed {self.seed}"


def candidate_agent(
    context: RunContext,
    candidate: CandidateFolder,
    seed: int,
    *,
    label: str | None = None,
    folder: TrainingFolder | None = None,
) -> AgentSpec:
    """An agent on a candidate's program, with the method's signal and the candidate's composition.

    Without a `folder` it is trained in the candidate's own.
    """
    header = context.run.header
    method = context.method
    settings = method.own(header.settings)
    check = candidate.check
    judging = None
    if method.judging and check:
        terms = tuple(term.name for term in check.terms)
        judging = method.judging(context.card.card, candidate.program, terms, settings)

    return AgentSpec(
        label=label or candidate.id,
        program=candidate.program_path,
        folder=folder or candidate.training_folder(seed),
        seed=seed,
        composition=chosen(header, candidate.composition_path).data(),
        signal=method.signal,
        settings=settings,
        judging=judging,
        candidate=candidate,
    )


def evaluate_agents(
    context: RunContext,
    agents: Sequence[AgentSpec],
    *,
    stage: str,
    purpose: Purpose,
    record: int = 0,
) -> None:
    """Train and score the agents of a run, with an annotator for methods that ask for labels.

    `stage` is where the trainings are reported. `record` episodes of every score are kept.
    """
    header = context.run.header
    missing = [agent for agent in agents if agent.folder.done is None]
    if missing:
        context.say(stage, "started", agents=[agent.name for agent in missing])
        with ExitStack() as stack:
            annotators = _annotators(context, missing, stack)
            jobs: list[tuple[str, Job]] = [
                (agent.name, _annotated_job(context, agent)) for agent in missing
            ]
            context.engine.run(jobs, context.progress, annotators)
    score_agents(context.engine, header, agents, purpose, context.progress, record)


def train_agents(
    engine: Engine, header: RunHeader, agents: Sequence[AgentSpec], progress: Progress | None
) -> None:
    """Train every agent whose folder is incomplete; no labels are asked for."""
    jobs: list[tuple[str, Job]] = [
        (agent.name, training_job(header, agent)) for agent in agents if agent.folder.done is None
    ]
    engine.run(jobs, progress)


def score_agents(
    engine: Engine,
    header: RunHeader,
    agents: Sequence[AgentSpec],
    purpose: Purpose,
    progress: Progress | None,
    record: int = 0,
) -> None:
    """Score every trained agent that has no score, in at most `engine.jobs` processes."""
    unscored = [agent for agent in agents if _needs_score(agent)]
    jobs: list[tuple[str, Job]] = []
    for k in range(min(engine.jobs, len(unscored))):
        share = unscored[k :: engine.jobs]
        labels = dict.fromkeys(agent.label for agent in share)
        job = evaluation.job(
            header,
            [agent.folder for agent in share],
            [agent.seed for agent in share],
            purpose,
            record,
        )
        jobs.append((f"evaluation of {', '.join(labels)}", job))
    engine.run(jobs, progress)


def _needs_score(agent: AgentSpec) -> bool:
    if agent.folder.score_path.exists():
        return False
    done = agent.folder.done
    return done is not None and done.refusal is None


def pooled(card: TaskCard, agents: Sequence[AgentSpec]) -> Evaluation:
    """One evaluation of all these agents; those that are not trained do not count."""
    return evaluation.pool(card, [agent.folder for agent in agents])


# -- jobs ------------------------------------------------------------------------------------------


def training_job(header: RunHeader, agent: AgentSpec) -> TrainJob:
    """What a trainer is asked for: that agent, at the header's steps, device and sandbox."""
    return training.job(
        header,
        agent.program,
        agent.seed,
        agent.folder,
        composition=agent.composition,
        signal=agent.signal,
        settings=agent.settings,
    )


def _annotated_job(context: RunContext, agent: AgentSpec) -> TrainJob:
    job = training_job(context.run.header, agent)
    judging = agent.judging
    if judging is None:
        return job

    truth = tuple(
        tuple(condition.model_dump(mode="json", exclude_none=True) for condition in conditions)
        for conditions in judging.truth
    )
    annotated = LabelRequest(
        labels=judging.labels,
        wait=judging.wait,
        truth=truth,
        tells=bool(getattr(context.annotator.model, "simulated", False)),
    )
    return job.model_copy(update={"annotated": annotated})


def _annotators(
    context: RunContext, agents: Sequence[AgentSpec], stack: ExitStack
) -> dict[str, AnnotatorService]:
    """Who answers the captions of which training: by its name, an annotator.

    The agents of a candidate share one, so that no caption is asked about twice.
    """
    by_candidate: dict[str, Annotator] = {}
    found: dict[str, AnnotatorService] = {}
    for agent in agents:
        if agent.judging is None or agent.candidate is None:
            continue
        candidate = agent.candidate
        if candidate.id not in by_candidate:
            annotator = _annotator(context, candidate, agent.judging)
            by_candidate[candidate.id] = stack.enter_context(annotator)
        found[agent.name] = by_candidate[candidate.id]
    return found


def _annotator(context: RunContext, candidate: CandidateFolder, judging: Judging) -> Annotator:
    return Annotator(
        context.annotator,
        context.prompts,
        f"{context.method.name}/annotator/judge",
        judging.variables,
        judging.labels,
        context.run.labels_path,
        candidate.annotation_path,
        shared=context.cache / "labels",
        iteration=candidate.iteration,
        candidate=candidate.name,
        say=context.say,
    )
