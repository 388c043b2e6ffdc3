"""Estimates the calls, tokens and cost of a run before it starts. caller.py enforces limits."""

from __future__ import annotations

from typing import Any

from autoreward.models.connection import connect
from autoreward.models.model import ModelOptions
from autoreward.store.records import RunHeader

# Reply tokens, from recorded runs: a program with its reasoning; a review or an explanation.
PROGRAM_TOKENS = 1500
RECORD_TOKENS = 500


def estimate(
    header: RunHeader, prompt: str, options: ModelOptions, calls: tuple[int, int], before: int = 0
) -> dict[str, Any]:
    """Return the calls, tokens and dollars that a run will need. For --dry-run.

    `prompt` is the first designer prompt; later ones carry feedback and are taken as twice as
    long. `calls` are a language model's calls in one iteration, at least and at most; `before` are
    those that prepare the first iteration.
    """
    model = connect(header.model, options)
    drafts = header.iterations * header.candidates
    least, most = (header.iterations * n + before for n in calls)
    # Reviews, analyses and preparing calls.
    others = least - drafts
    first = model.tokens(prompt)
    revised = 2 * first * (drafts - header.candidates)
    prompt_tokens = first * header.candidates + revised + others * first
    completion_tokens = PROGRAM_TOKENS * drafts + RECORD_TOKENS * others
    cost = model.price(prompt_tokens, completion_tokens)
    found: dict[str, Any] = {
        "model": header.model,
        "calls": least,
        "calls_at_most": most,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "cost_dollars": None if cost is None else round(cost, 4),
    }
    limit = header.limits.max_cost
    if limit is not None and cost:
        found["candidates_for_max_cost"] = int(limit / (cost / drafts))
    return found
