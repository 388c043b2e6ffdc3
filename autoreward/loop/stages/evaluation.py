"""Evaluation: true success on fresh seeds, the program absent; pooled over training seeds; and the
ranking, by it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoreward.seeds import Purpose
from autoreward.store.files import read
from autoreward.store.jobs import EvaluateJob
from autoreward.store.records import Evaluation, RunHeader, Score, TrainingDone
from autoreward.tasks.card import TaskCard


def job(
    header: RunHeader,
    trainings: Sequence[Path],
    outs: Sequence[Path],
    seeds: Sequence[int],
    purpose: Purpose,
    record: int = 0,
) -> EvaluateJob:
    """Scores for the policies in `trainings`, each at its path in `outs`."""
    return EvaluateJob(
        card=header.card_path,
        policies=tuple(str(t / "policy.safetensors") for t in trainings),
        outs=tuple(map(str, outs)),
        seeds=tuple(seeds),
        purpose=purpose,
        record=record,
    )


def pool(card: TaskCard, outs: Sequence[Path], trainings: Sequence[TrainingDone]) -> Evaluation:
    """One Evaluation from the scores of several training seeds.

    Training seeds, not episodes, are the unit of evidence.
    """
    from autoreward.stats import interval

    refused = [t for t in trainings if t.refusal]
    if refused:
        verdict = refused[0].refusal
        return Evaluation(
            ok=False,
            steps=tuple(t.steps for t in trainings),
            why=f"refused during training: {verdict.message if verdict else ''}",
        )
    scores = tuple(s for s in (read(out, Score) for out in outs) if s)
    steps80 = tuple(t.steps_to_80 for t in trainings)
    steps = tuple(t.steps for t in trainings)
    measured = _measured(card, scores)
    if card.success is None:
        return Evaluation(scores=scores, steps=steps, **measured)
    counts = [(s.successes or 0, s.episodes) for s in scores]
    low, high = interval(counts)
    rate = sum(k for k, _ in counts) / max(1, sum(n for _, n in counts))
    return Evaluation(
        scores=scores,
        success=rate,
        low=low,
        high=high,
        steps_to_80=steps80,
        steps=steps,
        **measured,
    )


def _measured(card: TaskCard, scores: Sequence[Score]) -> dict[str, Any]:
    """The card's metric with its interval, and what constraints the agents broke, on average over
    all seeds.
    """
    from autoreward.stats import bounded_mean

    found: dict[str, Any] = {}
    if not scores:
        return found
    if metric := card.metric:
        low, high = bounded_mean(
            [s.values or (s.metrics[metric.name],) for s in scores], *metric.range
        )
        found = {"metric": _mean(metric.name, scores), "metric_low": low, "metric_high": high}
        outside = sum(not metric.range[0] <= v <= metric.range[1] for s in scores for v in s.values)
        if outside:
            found["why"] = (
                f"{metric.name} left the card's range {metric.range[0]:g} .. {metric.range[1]:g} in {outside} episodes: the interval takes them as its ends"
            )
    broken = tuple(
        f"{c.words()}: {value:.4g}"
        for c in card.constraints
        if not c.holds(value := _mean(c.metric.name, scores))
    )
    found |= {"broken": broken, "constraints_kept": not broken}
    return found


def _mean(name: str, scores: Sequence[Score]) -> float:
    return sum(s.metrics[name] * s.episodes for s in scores) / sum(s.episodes for s in scores)


def rank_key(card: TaskCard, evaluation: Evaluation, name: str) -> tuple[float | str, ...]:
    """Smaller is better: fewer constraints broken, success by its lower bound, the metric by its
    worse bound, fewer steps to 80%, then the id (never finishing order).
    """
    never = 10.0**12
    worst = (
        max((s if s is not None else never) for s in evaluation.steps_to_80)
        if evaluation.steps_to_80
        else never
    )
    metric = 0.0
    if card.metric and evaluation.metric_low is not None and evaluation.metric_high is not None:
        metric = (
            -evaluation.metric_low
            if card.metric.direction == "maximize"
            else evaluation.metric_high
        )
    return (
        not evaluation.ok,
        len(evaluation.broken),
        -(round(evaluation.low, 2) if evaluation.low is not None else 0.0),
        metric,
        worst,
        name,
    )
