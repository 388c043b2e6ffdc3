"""A task card as the plain data that `runtime.Task` holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autoreward.tasks.card import Field, TaskCard
from autoreward.tasks.criteria import Success
from autoreward.tasks.runtime import SuccessRule, Task


def plain_task(
    card: TaskCard,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    *,
    all_fields: bool = False,
) -> Task:
    """Return the card's task.

    It has the fields that programs see and those that success reads, or with `all_fields` every
    field of the card. `functions` holds the card's trusted functions by name.
    """
    fields = card.fields if all_fields else _needed_fields(card)
    return Task(
        fields=tuple((f.name, f.source, tuple(f.shape)) for f in fields),
        offered=tuple(f.name for f in card.fields if f.reward),
        row=tuple(card.action.row),
        integer=card.action.integer,
        limit=card.environment.limit,
        gamma=card.training.gamma,
        own_reward=card.task_reward == "environment",
        episodic_return=card.episodic_return,
        success=_success_rule(card.success) if card.success else None,
        functions=dict(functions or {}),
    )


def _success_rule(success: Success) -> SuccessRule:
    return SuccessRule(
        when=tuple(condition.as_tuple() for condition in success.when),
        info=success.info,
        predicate=success.predicate,
        ends_episode=success.ends_episode,
        latches=success.latches,
    )


def _needed_fields(card: TaskCard) -> tuple[Field, ...]:
    """Return the fields that programs or success read; a predicate may read any."""
    success = card.success
    if success and success.predicate:
        return card.fields
    read_by_success = set()
    for condition in success.when if success else ():
        for reference in (condition.field, condition.other):
            if reference:
                read_by_success.add(reference.split("[")[0])
    return tuple(f for f in card.fields if f.reward or f.name in read_by_success)
