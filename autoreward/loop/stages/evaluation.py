"""Evaluation: agents scored on fresh seeds without the program, pooled over training seeds.

Training seeds, not episodes, are the unit of evidence (stats.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoreward.seeds import Purpose
from autoreward.store.jobs import EvaluateJob
from autoreward.store.records import Evaluation, RunHeader, Score
from autoreward.store.training import TrainingFolder
from autoreward.tasks.card import TaskCard
from autoreward.tasks.criteria import Metric


def job(
    header: RunHeader,
    trainings: Sequence[TrainingFolder],
    seeds: Sequence[int],
    purpose: Purpose,
    record: int = 0,
) -> EvaluateJob:
    """Ask for scores of the agents in `trainings`, each written to its folder.

    `record` episodes of each are written beside its score.
    """
    return EvaluateJob(
        card=header.card_path,
        policies=tuple(str(training.policy_path) for training in trainings),
        outs=tuple(str(training.score_path) for training in trainings),
        seeds=tuple(seeds),
        purpose=purpose,
        record=record,
    )


def pool(card: TaskCard, trainings: Sequence[TrainingFolder]) -> Evaluation:
    """Make one Evaluation of several trainings. Those that are incomplete do not count.

    A program that failed during one training fails as a whole.
    """
    complete = [done for training in trainings if (done := training.done)]
    steps = tuple(done.steps for done in complete)
    for done in complete:
        if done.refusal:
            why = f"rejected during training: {done.refusal.message}"
            return Evaluation(ok=False, steps=steps, why=why)

    scores = tuple(score for training in trainings if (score := training.score))
    measured = _measured(card, scores)
    if card.success is None:
        return Evaluation(scores=scores, steps=steps, **measured)

    return Evaluation(
        scores=scores,
        steps_to_80=tuple(done.steps_to_80 for done in complete),
        steps=steps,
        **_success(scores),
        **measured,
    )


def _success(scores: Sequence[Score]) -> dict[str, Any]:
    """The success rate over all episodes, and its interval over training seeds."""
    from autoreward.stats import interval

    counts = [(score.successes or 0, score.episodes) for score in scores]
    low, high = interval(counts)
    successes = sum(k for k, _ in counts)
    episodes = sum(n for _, n in counts)
    return {"success": successes / max(1, episodes), "low": low, "high": high}


def _measured(card: TaskCard, scores: Sequence[Score]) -> dict[str, Any]:
    """The card's metric with its interval, and the constraints that the agents broke on average."""
    if not scores:
        return {}

    found: dict[str, Any] = {}
    if card.metric:
        found |= _metric(card.metric, scores)
    broken = []
    for constraint in card.constraints:
        value = _mean(constraint.metric.name, scores)
        if not constraint.holds(value):
            broken.append(f"{constraint.words()}: {value:.4g}")
    found["broken"] = tuple(broken)
    found["constraints_kept"] = not broken
    return found


def _metric(metric: Metric, scores: Sequence[Score]) -> dict[str, Any]:
    """The mean of a metric with its interval, and a note if values left the card's range."""
    from autoreward.stats import bounded_mean

    least, most = metric.range
    by_seed = [score.values or (score.metrics[metric.name],) for score in scores]
    low, high = bounded_mean(by_seed, least, most)
    found: dict[str, Any] = {
        "metric": _mean(metric.name, scores),
        "metric_low": low,
        "metric_high": high,
    }
    outside = sum(not least <= value <= most for score in scores for value in score.values)
    if outside:
        found["why"] = (
            f"{metric.name} left the card's range {least:g} .. {most:g} in {outside} episodes; "
            "the interval counts such values as the nearer end of the range"
        )
    return found


def _mean(name: str, scores: Sequence[Score]) -> float:
    """The mean of a metric over all episodes."""
    total = sum(score.metrics[name] * score.episodes for score in scores)
    return total / sum(score.episodes for score in scores)
