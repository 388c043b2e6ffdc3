"""What counts: success where the environment plainly says it, its own return where that is dense;
otherwise asked for, with the lines to edit.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from autoreward.drafting.fields import Drafted
from autoreward.store.survey import InfoKey, Survey

PLAIN = (
    "is_success",
    "success",
    "goal_reached",
    "is_goal",
    "solved",
    "task_success",
    "reached_goal",
    "won",
)
LOOKS = re.compile(
    r"success|solved|goal_?reached|reached_?goal|is_goal|completed?$|(^|_)won$", re.I
)


@dataclass
class OutcomeDraft:
    """Lines of the card for what counts and for hints, what is wanted of the person, and how
    success ends an episode, in words.
    """

    lines: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    wants: list[tuple[str, str]] = field(default_factory=list)
    asks_hints: bool = True
    ends: str = ""


def success_key(keys: tuple[InfoKey, ...]) -> InfoKey | None:
    """The key of `info` that plainly says success: a flag with such a name."""
    flags = [k for k in keys if k.kind == "flag"]
    plain = [k for name in PLAIN for k in flags if k.name == name]
    return next(iter(plain), next((k for k in flags if LOOKS.search(k.name)), None))


def outcome(survey: Survey, fields: list[Drafted]) -> OutcomeDraft:
    """success, metric, hints."""
    out = OutcomeDraft()
    names = {f.source.removeprefix("obs."): f for f in fields if f.source.startswith("obs.")}
    goal = (
        (names["achieved_goal"], names["desired_goal"])
        if {"achieved_goal", "desired_goal"} <= names.keys()
        else None
    )
    key = success_key(survey.info)
    if key:
        seen = "seen true" if key.ever else "never true in random play"
        out.lines = [
            "success:",
            f"  info: {key.name}",
            f"  means: {json.dumps(f'the environment says so: info[{key.name!r}] ({seen}). The episode ends at once.')}",
        ]
        out.ends = "success; "
    else:
        _ask(survey, fields, goal, out)
    out.hints = _hints(survey, fields, goal, out)
    return out


def _ask(
    survey: Survey, fields: list[Drafted], goal: tuple[Drafted, Drafted] | None, out: OutcomeDraft
) -> None:
    """No success is to be seen: the environment's return where it is dense, the lines to uncomment
    else.
    """
    dense = survey.reward.manner == "dense"
    condition, why = _example(survey, fields, goal)
    low, high = _range(survey)
    metric = f"metric: {{name: own_return, of: return, reduce: sum, range: [{low}, {high}]}}"
    flips = [k.name for k in survey.info if k.flips and k.kind == "flag"]
    if dense:
        out.lines = [
            "task_reward: environment",
            f"{metric}   # a proposal: the environment's own reward, which is dense",
            f"# success: {condition}   # {why}",
        ]
        out.wants.append(
            (
                "metric:",
                "nothing says when the task is done; its own dense return is proposed as the metric: keep it, or put a success in its place",
            )
        )
        out.wants.append(
            (
                "success:",
                "a success, where there is one: uncomment, edit, and take out task_reward above it",
            )
        )
        return
    out.lines = [f"# success: {condition}   # {why}"]
    out.lines += [
        f"# success: {{info: {name}}}   # info[{name!r}] was true only where an episode ended"
        for name in flips
    ]
    out.lines += ["# task_reward: environment", f"# {metric}"]
    what = {
        "none": "was never anything but 0",
        "constant": f"was always {survey.reward.high:g}",
        "sparse": "took at most three values, or was nearly always 0",
    }[survey.reward.manner]
    out.wants.append(
        (
            "success:",
            f"say when the task is done: uncomment and edit; the environment's reward {what}, and nothing else says it",
        )
    )
    out.wants.append(
        (
            "task_reward:",
            "or, where the sum of the environment's own reward is what you want: uncomment this line and the next, and no success",
        )
    )


def _example(
    survey: Survey, fields: list[Drafted], goal: tuple[Drafted, Drafted] | None
) -> tuple[str, str]:
    """A success of the card's form with fields of this card, and why it may be right."""
    if goal:
        return (
            f"{{when: [{{field: {goal[0].name}, op: within, other: {goal[1].name}, value: 0.05}}]}}",
            "how near is near enough?",
        )
    for column, value in survey.goal.items():
        owner = next((f for f in fields if column in f.columns), None)
        if owner and len(owner.columns) == 1:
            return (
                f'{{when: [{{field: {owner.name}, op: "==", value: {value:g}}}]}}',
                f"so it was in all {survey.rewarded_ends} episodes that ended rewarded, and nowhere else",
            )
    some = _typical(fields, survey)
    return (
        f'{{when: [{{field: {some}, op: ">=", value: 1.0}}]}}',
        "an example: which field, and how much?",
    )


def _typical(fields: list[Drafted], survey: Survey) -> str:
    """A field that varies, named if possible."""
    columns = survey.columns
    order = sorted(
        fields,
        key=lambda f: (
            f.by == "nobody",
            f.name.startswith("previous_"),
            f.by == "info",
            len(f.columns) != 1,
        ),
    )
    varying = [f for f in order if any(not columns[c].constant for c in f.columns)]
    first = (varying or order)[0]
    return first.name + ("[0]" * len(first.shape))


def _range(survey: Survey) -> tuple[str, str]:
    """From the least to the most that an episode of the limit's length could bring, by the rewards
    that were seen; rounded outward.
    """
    limit = survey.limit or max([*survey.terminated, *survey.truncated], default=500)
    if survey.reward.manner == "sparse" and survey.terminated and survey.reward.nonzero < 0.5:
        return f"{min(0.0, survey.reward.low):g}", f"{max(1.0, survey.reward.high):g}"
    low, high = min(0.0, survey.reward.low) * limit, max(0.0, survey.reward.high) * limit
    # what counts as solved is not the most that can be had
    hoped = (
        2 * survey.reward.threshold
        if survey.reward.threshold and survey.reward.threshold > 0
        else high
    )
    low, high = min([low, *survey.reward.returns]), max([high, hoped, *survey.reward.returns])
    return (
        f"{_outward(low):g}",
        f"{_outward(high) if _outward(high) > _outward(low) else _outward(low) + 1:g}",
    )


def _outward(value: float) -> float:
    import math

    if value == 0:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(abs(value)))
    return math.copysign(math.ceil(abs(value) / unit * 2) / 2 * unit, value)


def _hints(
    survey: Survey, fields: list[Drafted], goal: tuple[Drafted, Drafted] | None, out: OutcomeDraft
) -> list[str]:
    if goal:
        out.asks_hints = False
        return [
            "hints:",
            f"  - near: {{a: {goal[0].name}, b: {goal[1].name}}}   # what achieved_goal and desired_goal mean",
        ]
    some = _typical(fields, survey)
    return [
        "# hints:   # what you know of the way: offline/search needs it, a language model sees it with --hints only",
        f"#   - raise: {some}",
        f"#   - lower: {some}",
        f"#   - near: {{a: {some}, b: 0.0}}",
        f"#   - hold: {{when: [{{field: {some}, op: within, value: 0.2}}], steps: 100}}",
    ]


def endings(survey: Survey, limit: int, begins: str) -> str:
    """How an episode ends, in words."""
    own = ""
    lengths = survey.terminated
    if lengths:
        own = f"an end of the environment's own (in random play {len(lengths)} of {len(lengths) + len(survey.truncated) + survey.cut} episodes, after {min(lengths)} to {max(lengths)} steps); "
    return f"{begins}{own}{'or ' if begins or own else ''}the limit of {limit} steps"
