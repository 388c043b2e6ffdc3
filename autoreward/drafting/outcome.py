"""What counts: the card's success or metric, and its hints.

Success is taken over if the environment reports it plainly, and the environment's own return if
that is dense. Otherwise the user is asked for it, with lines to uncomment and edit.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field

from autoreward.drafting.drafted import DraftedField
from autoreward.store.survey import InfoKey, Survey

# keys of info that plainly report success, the plainest first
SUCCESS_KEYS = (
    "is_success",
    "success",
    "goal_reached",
    "is_goal",
    "solved",
    "task_success",
    "reached_goal",
    "won",
)
LIKE_SUCCESS = re.compile(
    r"success|solved|goal_?reached|reached_?goal|is_goal|completed?$|(^|_)won$",
    re.I,
)
# steps of an episode that nothing is known of
DEFAULT_LENGTH = 500
# what random play showed of a reward that is not dense
REWARD_WORDS = {
    "none": "was always 0",
    "constant": "was always {high:g}",
    "sparse": "took at most three values, or was nearly always 0",
}
Goal = tuple[DraftedField, DraftedField]


@dataclass
class OutcomeDraft:
    """Lines of the card for what counts, and for hints.

    `requests` are what the user is asked for: (start of the line it concerns, words). `endings`
    says how success ends an episode.
    """

    lines: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    asks_for_hints: bool = True
    endings: str = ""


def success_key(keys: tuple[InfoKey, ...]) -> InfoKey | None:
    """The key of `info` that plainly reports success: a flag with such a name."""
    flags = [key for key in keys if key.kind == "flag"]
    for name in SUCCESS_KEYS:
        for key in flags:
            if key.name == name:
                return key
    for key in flags:
        if LIKE_SUCCESS.search(key.name):
            return key
    return None


def outcome(survey: Survey, fields: list[DraftedField]) -> OutcomeDraft:
    """Success or metric, and hints."""
    out = OutcomeDraft()
    goal = _goal(fields)
    key = success_key(survey.info)
    if key:
        seen = "true at times in random play" if key.ever else "never true in random play"
        means = (
            f"the environment reports it: info[{key.name!r}] ({seen}). The episode ends at once."
        )
        out.lines = [
            "success:",
            f"  info: {key.name}",
            f"  means: {json.dumps(means)}",
        ]
        out.endings = "success; "
    elif survey.reward.manner == "dense":
        _propose_return(survey, fields, goal, out)
    else:
        _ask_for_success(survey, fields, goal, out)
    if goal:
        out.asks_for_hints = False
        out.hints = _goal_hint(goal)
    else:
        out.hints = _hint_examples(typical(fields, survey))
    return out


def _goal(fields: list[DraftedField]) -> Goal | None:
    """The fields of a goal environment: what is achieved, and what is desired."""
    by_source = {f.source: f for f in fields}
    achieved = by_source.get("obs.achieved_goal")
    desired = by_source.get("obs.desired_goal")
    return (achieved, desired) if achieved and desired else None


def _metric(survey: Survey) -> str:
    low, high = _range_of_return(survey)
    return f"metric: {{name: own_return, of: return, reduce: sum, range: [{low}, {high}]}}"


def _propose_return(
    survey: Survey,
    fields: list[DraftedField],
    goal: Goal | None,
    out: OutcomeDraft,
) -> None:
    """The environment's own return is dense: propose it as the metric."""
    condition, why = _example(survey, fields, goal)
    out.lines = [
        "task_reward: environment",
        f"{_metric(survey)}   # proposed: the environment's own reward is dense",
        f"# success: {condition}   # {why}",
    ]
    out.requests = [
        (
            "metric:",
            "nothing in the environment says when the task is done, so its own dense return is "
            "proposed as the metric: keep it, or define a success instead",
        ),
        (
            "success:",
            "if the task can be completed: uncomment this line, edit it, and remove task_reward "
            "above it",
        ),
    ]


def _ask_for_success(
    survey: Survey,
    fields: list[DraftedField],
    goal: Goal | None,
    out: OutcomeDraft,
) -> None:
    """Nothing says when the task is done: give lines to uncomment."""
    condition, why = _example(survey, fields, goal)
    out.lines = [f"# success: {condition}   # {why}"]
    for key in survey.info:
        if key.flips and key.kind == "flag":
            out.lines.append(
                f"# success: {{info: {key.name}}}   # info[{key.name!r}] was true only when an "
                "episode ended"
            )
    out.lines += [
        "# task_reward: environment",
        f"# {_metric(survey)}",
    ]
    reward = REWARD_WORDS[survey.reward.manner].format(high=survey.reward.high)
    out.requests = [
        (
            "success:",
            f"say when the task is done: uncomment this line and edit it; the environment's "
            f"reward {reward}, and nothing else reports success",
        ),
        (
            "task_reward:",
            "or, if the sum of the environment's own reward is what you want: uncomment this line "
            "and the next, and leave success out",
        ),
    ]


def _example(
    survey: Survey,
    fields: list[DraftedField],
    goal: Goal | None,
) -> tuple[str, str]:
    """A success with fields of this card, and why it may be the right one."""
    if goal:
        achieved, desired = goal
        return (
            f"{{when: [{{field: {achieved.name}, op: within, other: {desired.name}, "
            "value: 0.05}]}",
            "how near is near enough?",
        )
    for column, value in survey.goal.items():
        for f in fields:
            if f.columns == (column,):
                return (
                    f'{{when: [{{field: {f.name}, op: "==", value: {value:g}}}]}}',
                    f"true at the end of all {survey.rewarded_ends} rewarded episodes, and "
                    "nowhere else",
                )
    return (
        f'{{when: [{{field: {typical(fields, survey)}, op: ">=", value: 1.0}}]}}',
        "an example: which field, and how much?",
    )


def typical(fields: list[DraftedField], survey: Survey) -> str:
    """A field that varies, for examples; one with a name if possible."""

    def unlikely(f: DraftedField) -> tuple[bool, ...]:
        return (
            f.named_by == "nobody",
            f.name.startswith("previous_"),
            f.named_by == "info",
            len(f.columns) != 1,
        )

    columns = survey.columns
    ranked = sorted(fields, key=unlikely)
    chosen = ranked[0]
    for f in ranked:
        if any(not columns[c].constant for c in f.columns):
            chosen = f
            break
    return chosen.name + "[0]" * len(chosen.shape)


def _range_of_return(survey: Survey) -> tuple[str, str]:
    """The least and the most that an episode could bring, by the rewards seen; rounded outward."""
    reward = survey.reward
    if reward.manner == "sparse" and survey.terminated and reward.nonzero < 0.5:
        # rewarded once, at the end
        return (
            f"{min(0.0, reward.low):g}",
            f"{max(1.0, reward.high):g}",
        )
    longest = max(
        [*survey.terminated, *survey.truncated],
        default=DEFAULT_LENGTH,
    )
    limit = survey.limit or longest
    low = min([min(0.0, reward.low) * limit, *reward.returns])
    high = max([max(0.0, reward.high) * limit, *reward.returns])
    if reward.threshold and reward.threshold > 0:
        # more is possible than what counts as solved
        high = max(high, 2 * reward.threshold)
    lowest = round_outward(low)
    highest = round_outward(high)
    if highest <= lowest:
        highest = lowest + 1
    return f"{lowest:g}", f"{highest:g}"


def round_outward(value: float) -> float:
    """To one and a half digits, away from 0: 3.2 -> 3.5, -41 -> -45."""
    if value == 0:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(abs(value)))
    return math.copysign(math.ceil(abs(value) / unit * 2) / 2 * unit, value)


def _goal_hint(goal: Goal) -> list[str]:
    achieved, desired = goal
    return [
        "hints:",
        f"  - near: {{a: {achieved.name}, b: {desired.name}}}   "
        "# what achieved_goal and desired_goal mean",
    ]


def _hint_examples(name: str) -> list[str]:
    return [
        "# hints:   # what you know of how to do the task: offline/search needs it, a language "
        "model sees it only with --hints",
        f"#   - raise: {name}",
        f"#   - lower: {name}",
        f"#   - near: {{a: {name}, b: 0.0}}",
        f"#   - hold: {{when: [{{field: {name}, op: within, value: 0.2}}], steps: 100}}",
    ]


def endings(survey: Survey, limit: int, first: str) -> str:
    """How an episode ends, in words; `first` is what success adds."""
    parts = first
    lengths = survey.terminated
    if lengths:
        episodes = len(lengths) + len(survey.truncated) + survey.cut
        parts += (
            f"the environment's own termination (in random play {len(lengths)} of {episodes} "
            f"episodes, after {min(lengths)} to {max(lengths)} steps); "
        )
    if parts:
        return f"{parts}or the limit of {limit} steps"
    return f"the limit of {limit} steps"
