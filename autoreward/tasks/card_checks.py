"""What makes a task card inconsistent, beyond the types of its keys.

Each check returns a message that begins with the key of the card, or None.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoreward.tasks.caption import Slot
    from autoreward.tasks.card import TaskCard
    from autoreward.tasks.criteria import Condition
    from autoreward.tasks.hints import Hint, Near

# algorithms with a replay buffer of single transitions, which hindsight needs
OFF_POLICY = ("SAC", "TD3", "DQN", "TQC", "CrossQ", "QRDQN")
# hyperparameters that change the replay buffer, which hindsight replaces
BUFFER_HYPERPARAMETERS = (
    "n_steps",
    "optimize_memory_usage",
    "replay_buffer_class",
    "replay_buffer_kwargs",
)


def card_problem(card: TaskCard) -> str | None:
    """Return the first problem of a card, None if it is consistent."""
    checks: tuple[Callable[[TaskCard], str | None], ...] = (
        _duplicate_problem,
        _reward_problem,
        _reference_problem,
        _goal_problem,
        _hindsight_problem,
        _caption_problem,
    )
    for check in checks:
        problem = check(card)
        if problem:
            return problem
    return None


def _duplicate_problem(card: TaskCard) -> str | None:
    """Find field and metric names that are given twice."""
    fields = _duplicates(field.name for field in card.fields)
    if fields:
        return f"fields: duplicate names: {', '.join(fields)}"
    metrics = [card.metric] if card.metric else []
    metrics += [constraint.metric for constraint in card.constraints]
    names = _duplicates(metric.name for metric in metrics)
    if names:
        return f"constraints: duplicate metric names: {', '.join(names)}"
    return None


def _duplicates(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once, sorted."""
    every = list(names)
    return sorted({name for name in every if every.count(name) > 1})


def _reward_problem(card: TaskCard) -> str | None:
    """Check that success, metric and task reward fit together."""
    if card.success is None and card.metric is None:
        return (
            "success: a card needs `success`, or `metric`, or both; agents are compared only by "
            "these"
        )
    if card.success is None and card.task_reward == "success":
        return "task_reward: a card without `success` needs `task_reward: environment`"
    if card.episodic_return and card.task_reward != "environment":
        return (
            "episodic_return: the task reward is the success, which is given only once anyway; "
            "remove it, or set `task_reward: environment`"
        )
    return None


def _reference_problem(card: TaskCard) -> str | None:
    """Check that every reference to a field names one."""
    names = [field.name for field in card.fields]
    for key, reference in _references(card):
        name = reference.split("[")[0]
        if name in names:
            continue
        close = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(names)}"
        return f"{key}: unknown field {reference!r}; {hint}"
    return None


def _goal_problem(card: TaskCard) -> str | None:
    """Check that success depends on the goal, and that both its fields have one shape."""
    if card.goal is None:
        return None
    fields = {field.name: field for field in card.fields}
    achieved = fields[card.goal.achieved]
    desired = fields[card.goal.desired]
    if achieved is desired:
        return f"goal: achieved and desired are both {achieved.name!r}; name two fields"
    if achieved.shape != desired.shape:
        return (
            f"goal: {achieved.name} has the shape {list(achieved.shape)}, {desired.name} "
            f"{list(desired.shape)}; they must have the same shape"
        )
    if card.success and card.success.when:
        named = {name.split("[")[0] for name in _condition_fields(card.success.when)}
        if desired.name not in named:
            return (
                f"success.when: no condition names goal.desired, {desired.name!r}, so another goal "
                "would change nothing"
            )
    return None


def _hindsight_problem(card: TaskCard) -> str | None:
    """Check that stored transitions can be re-evaluated under another goal, if hindsight is on."""
    training = card.training
    if not training.her:
        return None
    problem = _hindsight_training_problem(card) or _hindsight_task_problem(card)
    return f"{problem}; or remove training.her" if problem else None


def _hindsight_training_problem(card: TaskCard) -> str | None:
    """Check the goal, the algorithm and its hyperparameters."""
    algorithm = card.training.algorithm
    if card.goal is None:
        return "training.her: needs `goal: {achieved: FIELD, desired: FIELD}`"
    if algorithm not in OFF_POLICY:
        return (
            f"training.her: {algorithm} keeps no transitions that could be relabelled; use one of "
            f"{', '.join(OFF_POLICY)}"
        )
    taken = sorted(set(BUFFER_HYPERPARAMETERS) & card.training.hyperparameters.keys())
    if taken:
        return (
            f"training.hyperparameters.{taken[0]}: training.her uses its own buffer of single "
            f"transitions; remove {taken[0]}"
        )
    return None


def _hindsight_task_problem(card: TaskCard) -> str | None:
    """Check that policy, success and reward can be evaluated under another goal."""
    assert card.goal is not None
    if card.policy.input == "observation":
        return (
            "policy.input: the goal inside the environment's own observation cannot be changed; "
            "use `input: fields`, or a function features(state) of `code`"
        )
    hidden = [field.name for field in card.fields if not field.policy]
    if card.policy.input == "fields" and card.goal.desired in hidden:
        return (
            f"goal.desired: the policy does not see {card.goal.desired!r}, so it cannot tell goals "
            "apart; remove its `policy: false`"
        )
    if card.success is None or card.success.info is not None:
        return "success: only `when` and `predicate` can be evaluated under another goal"
    if card.task_reward == "environment":
        return (
            "task_reward: the environment's own reward is known only for the original goal; set "
            "`task_reward: success`"
        )
    return None


def _caption_problem(card: TaskCard) -> str | None:
    """Check that placeholders of `caption.template` name fields that programs see."""
    for slot in card.caption.slots if card.caption else ():
        problem = _slot_problem(card, slot) if slot.side != "action" else None
        if problem:
            return f"caption.template: {slot.words} {problem}"
    return None


def _slot_problem(card: TaskCard, slot: Slot) -> str | None:
    """Check one placeholder: its field is offered, and its component exists."""
    shapes = {field.name: field.shape for field in card.fields if field.reward}
    if slot.field not in shapes:
        if any(field.name == slot.field for field in card.fields):
            return (
                "is not offered to reward programs (`reward: false`), so models do not see it; "
                f"the fields are {', '.join(shapes)}"
            )
        close = difflib.get_close_matches(slot.field, shapes, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(shapes)}"
        return f"is not a field; {hint}"
    shape = shapes[slot.field]
    out_of_range = any(k >= n for k, n in zip(slot.index, shape, strict=False))
    if len(slot.index) > len(shape) or out_of_range:
        return f"is out of range: {slot.field} has shape {list(shape)}"
    return None


def _references(card: TaskCard) -> Iterator[tuple[str, str]]:
    """Yield every field reference outside `fields`, with the key of the card that holds it."""
    if card.goal:
        yield "goal.achieved", card.goal.achieved
        yield "goal.desired", card.goal.desired
    if card.success:
        for name in _condition_fields(card.success.when):
            yield "success.when", name
    metrics = [card.metric, *(constraint.metric for constraint in card.constraints)]
    for metric in metrics:
        if metric and metric.of.startswith("field."):
            yield f"metric {metric.name}", metric.of.removeprefix("field.")
    for i, hint in enumerate(card.hints):
        yield from _hint_references(f"hints[{i}]", hint)


def _hint_references(key: str, hint: Hint) -> Iterator[tuple[str, str]]:
    """Yield every field reference of one hint."""
    names = _near_fields(hint.near)
    names += [name for name in (hint.increase, hint.decrease) if name]
    if hint.hold:
        names += _condition_fields(hint.hold.when)
        if hint.hold.count:
            names.append(hint.hold.count)
    if hint.waypoints:
        names.append(hint.waypoints.field)
        if hint.waypoints.to:
            names.append(hint.waypoints.to)
    for name in names:
        yield key, name
    for subgoal in hint.subgoals or ():
        for name in _condition_fields(subgoal.when) + _near_fields(subgoal.near):
            yield f"{key}.{subgoal.name}", name


def _condition_fields(conditions: tuple[Condition, ...]) -> list[str]:
    """Return the fields that conditions name."""
    names: list[str] = []
    for condition in conditions:
        names.append(condition.field)
        if condition.other:
            names.append(condition.other)
    return names


def _near_fields(near: Near | None) -> list[str]:
    """Return the fields that a `near` names."""
    if near is None:
        return []
    return [near.a, near.b] if isinstance(near.b, str) else [near.a]
