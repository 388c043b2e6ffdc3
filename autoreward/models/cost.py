"""What a run will ask of its model, and what that costs, before anything is asked."""

from __future__ import annotations

from typing import Any

from autoreward.models.connection import connect
from autoreward.models.model import ModelOptions
from autoreward.store.records import RunHeader


def estimate(
    header: RunHeader, prompt: str, options: ModelOptions, calls: tuple[int, int], before: int = 0
) -> dict[str, Any]:
    """What a run will ask of its model, at the least and at the most, and what that costs; nothing
    is asked. For --dry-run.

    `prompt` is the first designer prompt; later ones carry feedback and are taken as twice as long.
    `calls`: of a language model in one iteration, at the least and at the most; a designer without
    a language asks no critic and no analyzer. `before`: calls that prepare the first iteration's.
    """
    model = connect(header.model, options)
    drafts = header.iterations * header.candidates
    least, most = (header.iterations * n + before for n in calls)
    # reviews and analyses
    others = least - drafts
    first = model.tokens(prompt)
    asked = first * header.candidates + 2 * first * (drafts - header.candidates) + others * first
    answered = 1500 * drafts + 500 * others
    cost = model.price(asked, answered)
    found: dict[str, Any] = {
        "model": header.model,
        "calls": least,
        "calls_at_most": most,
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "cost_dollars": None if cost is None else round(cost, 4),
    }
    limit = header.limits.max_cost
    if limit is not None and cost:
        found["candidates_for_max_cost"] = int(limit / (cost / drafts))
    return found
