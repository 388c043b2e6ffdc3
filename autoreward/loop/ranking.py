"""Ranking: what became of every candidate, in order, by evaluation alone.

Choices depend on candidates' ids and records, never on the order in which trainings finish.
"""

from __future__ import annotations

from collections.abc import Sequence

from autoreward.loop.context import RunContext
from autoreward.loop.stages import training
from autoreward.rewards.composition import chosen
from autoreward.store.candidate import CandidateFolder
from autoreward.store.records import (
    Analysis,
    Evaluation,
    Feedback,
    Outcome,
    OutcomeStatus,
    RunHeader,
    Verdict,
)
from autoreward.tasks.card import TaskCard

# The order of groups in a ranking: agents that were evaluated, failed trainings, rejected drafts.
STATUS_ORDER: tuple[OutcomeStatus, ...] = ("evaluated", "failed", "rejected")
# Steps to 80% success of an agent that never reached it.
NEVER = 10.0**12

Key = tuple[float | str, ...]


def feedback_of(context: RunContext, iteration: int) -> Feedback:
    """All outcomes up to an iteration, best first: what the next designer reads."""
    outcomes = [
        outcome_of(context.run.header, candidate)
        for candidate in context.run.candidates()
        if candidate.iteration <= iteration
    ]
    return Feedback(iteration=iteration, outcomes=ranked(context.card.card, outcomes))


def ranked(card: TaskCard, outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """The outcomes, best first."""
    return tuple(sorted(outcomes, key=lambda outcome: _outcome_key(card, outcome)))


def _outcome_key(card: TaskCard, outcome: Outcome) -> Key:
    group = STATUS_ORDER.index(outcome.status)
    name = f"{outcome.iteration:03d}{outcome.candidate}"
    if outcome.evaluation is None:
        # Within a group, outcomes with an evaluation come first.
        return (group, 1.0, name)
    return (group, 0.0, *rank_key(card, outcome.evaluation, name))


def rank_key(card: TaskCard, evaluation: Evaluation, name: str) -> Key:
    """A sort key; smaller is better.

    In this order: no failed agent, fewer constraints broken, success by the lower end of its
    interval, the metric by the worse end of its interval, fewer steps to 80% success, the id.
    """
    success = round(evaluation.low, 2) if evaluation.low is not None else 0.0
    return (
        not evaluation.ok,
        len(evaluation.broken),
        -success,
        _metric_key(card, evaluation),
        _slowest(evaluation),
        name,
    )


def _metric_key(card: TaskCard, evaluation: Evaluation) -> float:
    low = evaluation.metric_low
    high = evaluation.metric_high
    if card.metric is None or low is None or high is None:
        return 0.0
    return -low if card.metric.direction == "maximize" else high


def _slowest(evaluation: Evaluation) -> float:
    """Steps that the slowest agent took to 80% success."""
    steps = [NEVER if s is None else float(s) for s in evaluation.steps_to_80]
    return max(steps, default=NEVER)


def outcome_of(header: RunHeader, candidate: CandidateFolder) -> Outcome:
    """What became of one candidate, from its files."""
    trainings = candidate.trainings()
    first = candidate.first_training
    return Outcome(
        iteration=candidate.iteration,
        candidate=candidate.name,
        program=candidate.program,
        composition=chosen(header, candidate.composition_path).data(),
        status=_status(candidate),
        verdicts=_verdicts(candidate),
        evaluation=candidate.evaluation,
        curve=training.curve(first),
        terms=trainings[0].terms if trainings else (),
        windows=training.windows(first),
        analysis=_shown_analysis(candidate),
        notes=first.notes,
    )


def _status(candidate: CandidateFolder) -> OutcomeStatus:
    if not candidate.accepted:
        return "rejected"
    evaluation = candidate.evaluation
    return "evaluated" if evaluation and evaluation.ok else "failed"


def _verdicts(candidate: CandidateFolder) -> tuple[Verdict, ...]:
    """Everything that was found about the program, by the critic, the check and trainings."""
    found: list[Verdict] = []
    if review := candidate.review:
        found += review.verdicts
    if check := candidate.check:
        found += check.verdicts
    for done in candidate.trainings():
        if done.refusal:
            found.append(done.refusal)
    return tuple(found)


def _shown_analysis(candidate: CandidateFolder) -> Analysis | None:
    analysis = candidate.analysis
    return analysis if analysis and analysis.shown_to_designer else None
