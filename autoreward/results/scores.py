"""Scores in words: how an agent, its success, its metric, intervals and costs are shown.

The terminal's tables, the live view and the report share these, so that a number reads the same
everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoreward.store.records import Evaluation, Score

# An evaluation, or the fields of one as plain data.
EvaluationData = Evaluation | Mapping[str, Any]


def agent_name(agent: str, own_reward: bool) -> str:
    """The name an agent is shown under.

    The baseline `sparse` is called `own` if the task's reward is the environment's own.
    """
    return "own" if agent == "sparse" and own_reward else agent


def interval(low: float, high: float, form: str) -> str:
    """`93% to 99%`; `form` is the format of a number."""
    return f"{low:{form}} to {high:{form}}"


def success_words(success: float, low: float | None, high: float | None) -> str:
    """`97% (93% to 99%)`: a success rate, with its interval if there is one."""
    return _with_interval(success, low, high, ".0%")


def metric_words(metric: float, low: float | None, high: float | None) -> str:
    """`3.1 (2.9 to 3.3)`."""
    return _with_interval(metric, low, high, ".4g")


def _with_interval(
    value: float,
    low: float | None,
    high: float | None,
    form: str,
) -> str:
    if low is None or high is None:
        return f"{value:{form}}"
    return f"{value:{form}} ({interval(low, high, form)})"


def steps_to_80_words(steps: Sequence[int | None]) -> str:
    """`80% after 65k, never steps`: when each agent first reached 80% success."""
    if all(n is None for n in steps):
        return "80% never reached"
    each = ["never" if n is None else f"{n / 1000:.0f}k" for n in steps]
    return f"80% after {', '.join(each)} steps"


def score_words(result: EvaluationData | None) -> str:
    """An evaluation on one line.

    `97% (93% to 99%); 80% after 65k, 70k steps; metric 3.1 (2.9 to 3.3); breaks energy at most 4:
    5.2`
    """
    if result is None:
        return "-"
    data = result.model_dump() if isinstance(result, Evaluation) else result
    parts = []
    if data.get("success") is not None:
        parts.append(success_words(data["success"], data["low"], data["high"]))
        if data.get("steps_to_80"):
            parts.append(steps_to_80_words(data["steps_to_80"]))
    if data.get("metric") is not None:
        low = data.get("metric_low")
        high = data.get("metric_high")
        parts.append(f"metric {metric_words(data['metric'], low, high)}")
    parts += [f"breaks {constraint}" for constraint in data.get("broken", ())]
    if data.get("why"):
        parts.append(data["why"])
    return "; ".join(parts) or "-"


def detailed_score_words(result: Evaluation) -> str:
    """An evaluation on several lines, with the interval's level and each seed's score."""
    if not result.ok:
        return result.why
    parts = []
    if result.success is not None:
        between = interval(result.low or 0.0, result.high or 0.0, ".0%")
        seeds = " ".join(seed_words(score) for score in result.scores)
        parts.append(f"success {result.success:.0%} (95% interval {between}; by seed {seeds})")
        parts.append(steps_to_80_words(result.steps_to_80))
    if result.metric is not None:
        between = interval(
            result.metric_low or 0.0,
            result.metric_high or 0.0,
            ".4g",
        )
        seeds = " ".join(_mean_words(score.values) for score in result.scores)
        parts.append(f"metric {result.metric:.4g} (95% interval {between}; by seed {seeds})")
    lines = ["; ".join(parts)]
    lines += [f"  breaks a constraint: {constraint}" for constraint in result.broken]
    if result.why:
        lines.append(f"  {result.why}")
    return "\n".join(lines)


def seed_words(score: Score) -> str:
    """One agent's success rate; its mean metric if the task has no success."""
    if score.successes is not None:
        return f"{score.successes / score.episodes:.2f}"
    return _mean_words(score.values)


def _mean_words(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.4g}" if values else "-"


def calls_words(usage: Mapping[str, Any]) -> str:
    """`calls 12, tokens 23,895, price $0.0123`."""
    tokens = usage["prompt_tokens"] + usage["completion_tokens"]
    price = "unknown" if usage["cost"] is None else f"${usage['cost']:.4f}"
    return f"calls {usage['calls']}, tokens {tokens:,}, price {price}"
