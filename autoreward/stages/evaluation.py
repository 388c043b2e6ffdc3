"""Evaluation: true success on fresh seeds, the program absent; pooled over training seeds; and the ranking, by it alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autoreward.files import read
from autoreward.records import EvaluateJob, Evaluation, Purpose, RunHeader, Score, TrainingDone
from autoreward.task import TaskCard


def job(header: RunHeader, trainings: Sequence[Path], outs: Sequence[Path], seeds: Sequence[int], purpose: Purpose, record: int = 0) -> EvaluateJob:
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
    """One Evaluation from the scores of several training seeds. Training seeds, not episodes, are the unit of evidence."""
    from autoreward.stats import interval

    refused = [t for t in trainings if t.refusal]
    if refused:
        verdict = refused[0].refusal
        return Evaluation(ok=False, steps=tuple(t.steps for t in trainings), why=f"refused during training: {verdict.message if verdict else ''}")
    scores = tuple(s for s in (read(out, Score) for out in outs) if s)
    steps80 = tuple(t.steps_to_80 for t in trainings)
    steps = tuple(t.steps for t in trainings)
    kept = all(_kept(card, s) for s in scores)
    metric = sum(s.metrics[card.metric.name] for s in scores) / len(scores) if card.metric and scores else None
    if card.success is None:
        return Evaluation(scores=scores, metric=metric, steps=steps, constraints_kept=kept)
    counts = [(s.successes or 0, s.episodes) for s in scores]
    low, high = interval(counts)
    rate = sum(k for k, _ in counts) / max(1, sum(n for _, n in counts))
    return Evaluation(scores=scores, success=rate, low=low, high=high, metric=metric, steps_to_80=steps80, steps=steps, constraints_kept=kept)


def _kept(card: TaskCard, score: Score) -> bool:
    for constraint in card.constraints:
        value = score.metrics.get(constraint.metric.name)
        if value is not None and ((constraint.at_most is not None and value > constraint.at_most) or (constraint.at_least is not None and value < constraint.at_least)):
            return False
    return True


def rank_key(card: TaskCard, evaluation: Evaluation, name: str) -> tuple[float | str, ...]:
    """Smaller is better: constraints kept, success by lower bound, metric, fewer steps to 80%, then the id (never finishing order)."""
    never = 10.0**12
    worst = max((s if s is not None else never) for s in evaluation.steps_to_80) if evaluation.steps_to_80 else never
    metric = evaluation.metric or 0.0
    if card.metric and card.metric.direction == "maximize":
        metric = -metric
    return (not evaluation.ok, not evaluation.constraints_kept, -(round(evaluation.low, 2) if evaluation.low is not None else 0.0), metric, worst, name)
