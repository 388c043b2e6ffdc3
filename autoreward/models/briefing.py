"""What models read about a task and about earlier candidates, as plain data for templates.

A card appears without its hints, and outcomes as numbers that a reader can follow. `variables`
says which agent gets which of these values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoreward.rewards.composition import KINDS, Composition, yaml_of
from autoreward.store.records import Analysis, Feedback, Outcome, TermCurve
from autoreward.tasks.card import Action, TaskCard
from autoreward.tasks.criteria import Condition, Metric
from autoreward.tasks.hints import Hint, Near

# Rows of a training curve in a prompt: more cost tokens and say no more.
CURVE_ROWS = 10
# Evaluated candidates that are shown in full; the others get a line.
SHOWN_IN_FULL = 2
OBSERVED = {
    "observation": "the environment's own observation",
    "fields": "the fields",
}


def task(card: TaskCard) -> dict[str, Any]:
    """Return the variable `task`: the card without its hints."""
    return {
        "title": card.title,
        "description": card.description.strip(),
        "success": _success(card),
        "metric": _metric(card.metric) if card.metric else "",
        "constraints": [
            f"{c.words()} on average ({c.metric.reduce} of {c.metric.of} over an episode)"
            for c in card.constraints
        ],
        "ends_at_success": bool(card.success and card.success.ends_episode),
        "endings": card.endings,
        "limit": card.environment.limit,
        "own_reward": card.task_reward == "environment",
        "episodic_return": card.episodic_return,
        "action": {
            "type": card.action.type,
            "shape": _action_shape(card.action),
            "meaning": card.action.meaning,
        },
        "fields": _fields(card),
        "policy": _policy_input(card),
        "relabelled": card.goal.desired if card.goal and card.training.her else "",
        "training": {
            "algorithm": card.training.algorithm,
            "steps": card.training.steps,
            "n_envs": card.training.n_envs,
            "gamma": card.training.gamma,
        },
    }


def _success(card: TaskCard) -> str:
    if card.success is None:
        return ""
    return card.success.means or _all_of(card.success.when)


def _all_of(conditions: Sequence[Condition]) -> str:
    return " and ".join(c.words() for c in conditions)


def _metric(metric: Metric) -> str:
    low, high = metric.range
    return (
        f"{metric.reduce} of {metric.of} over an episode, to {metric.direction}, "
        f"about {low:g} .. {high:g}"
    )


def _action_shape(action: Action) -> str:
    if action.type == "discrete":
        return "(n,) integers"
    row = ", ".join(map(str, action.row))
    values = "integers" if action.integer else f"floats in {action.low:g} .. {action.high:g}"
    return f"(n, {row}) {values}"


def _fields(card: TaskCard) -> list[dict[str, Any]]:
    """Return the fields that a reward program may read."""
    found = []
    for field in card.fields:
        if not field.reward:
            continue
        hidden = "" if field.policy else " (the policy does not see this)"
        found.append(
            {
                "name": field.name,
                "shape": list(field.shape),
                "unit": field.unit,
                "range": field.range,
                "meaning": field.meaning + hidden,
            }
        )
    return found


def _policy_input(card: TaskCard) -> str:
    observed = OBSERVED.get(card.policy.input, "features computed from the fields")
    if card.policy.normalize:
        return f"{observed}, normalized by running mean and deviation"
    return observed


def hints(card: TaskCard, shown: bool) -> list[str]:
    """Return the variable `hints`: a sentence for each hint of the card, none unless `shown`."""
    return [_hint(h) for h in card.hints] if shown else []


def _hint(hint: Hint) -> str:
    if hint.near:
        return _near(hint.near)
    if hint.increase:
        return f"raise {hint.increase}"
    if hint.decrease:
        return f"lower {hint.decrease}"
    if hint.hold:
        return f"keep {_all_of(hint.hold.when)} for {hint.hold.steps} steps"
    if hint.subgoals:
        return f"subgoals in order: {_subgoals(hint)}"
    assert hint.waypoints is not None
    path = ", ".join(map(str, hint.waypoints.points))
    then = f", then {hint.waypoints.to}" if hint.waypoints.to else ""
    return f"{hint.waypoints.field} passes {path}{then}"


def _subgoals(hint: Hint) -> str:
    parts = []
    for subgoal in hint.subgoals or ():
        near = f", {_near(subgoal.near)}" if subgoal.near else ""
        parts.append(f"{subgoal.name} ({_all_of(subgoal.when)}{near})")
    return "; ".join(parts)


def _near(near: Near) -> str:
    axes = " (moves go along the axes)" if near.axis_aligned else ""
    return f"bring {near.a} to {near.b}{axes}"


def transforms() -> list[dict[str, Any]]:
    """Return the variable `transforms`: every kind that a designer may choose, from its class."""
    found = []
    for kind in KINDS:
        parts = []
        for name, field in kind.model_fields.items():
            if name == "kind":
                continue
            parts.append(name if field.is_required() else f"{name}: {field.default}")
        name = kind.model_fields["kind"].default
        found.append({"kind": name, "fields": ", ".join(parts), **kind.words()})
    return found


def composition(chosen: Composition | None) -> str:
    """Return the variable `composition`: its YAML, and what each of its transforms does.

    Empty for the plain sum.
    """
    if chosen is None or chosen.plain:
        return ""
    lines = [f"```yaml\n{yaml_of(chosen).strip()}\n```", ""]
    for transform in chosen.transforms:
        words = transform.words()
        line = f"- {transform.kind}: {words['title']} {words['equation']}"
        if line not in lines:
            lines.append(line)
    return "\n".join(lines).strip()


def feedback(shown: Feedback | None, with_hints: bool) -> list[dict[str, Any]]:
    """Return the variable `feedback`: all outcomes, best first, the first ones in full."""
    if shown is None:
        return []
    evaluated = [_id(o) for o in shown.outcomes if o.status == "evaluated"]
    full = evaluated[:SHOWN_IN_FULL]
    return [outcome(o, with_hints, _id(o) in full) for o in shown.outcomes]


def _id(shown: Outcome) -> str:
    return f"{shown.iteration}{shown.candidate}"


def outcome(shown: Outcome, with_hints: bool, full: bool = True) -> dict[str, Any]:
    """Return one item of `feedback`.

    `full` marks an outcome that templates show with its program and numbers. Findings that were
    computed from the card's hints are left out unless `with_hints`.
    """
    result = shown.evaluation
    return {
        "id": _id(shown),
        "full": full,
        "program": shown.program,
        "composition": _yaml(shown),
        "status": shown.status,
        "success": result.success if result else None,
        "metric": result.metric if result else None,
        "broken": list(result.broken) if result else [],
        "why": result.why if result else "",
        "steps": max(result.steps) if result and result.steps else None,
        "steps_to_80": next(iter(result.steps_to_80), None) if result else None,
        "verdicts": [
            {"kind": v.kind, "severity": v.severity, "line": v.line, "message": v.message}
            for v in shown.verdicts
        ],
        "curve": _curve(shown.curve),
        "terms": [_term(t, shown.windows.get(t.name, ())) for t in shown.terms],
        **_findings(shown.analysis, with_hints),
        "notes": list(shown.notes),
    }


def _yaml(shown: Outcome) -> str:
    if not shown.composition:
        return ""
    return yaml_of(Composition.model_validate(shown.composition))


def _findings(analysis: Analysis | None, with_hints: bool) -> dict[str, Any]:
    """Return what the analyzer found; the same keys, empty, if it has not run."""
    if analysis is None:
        return {"endings": {}, "parts": [], "diagnostics": [], "causes": [], "suggestions": []}
    parts = (("successful", analysis.successes), ("unsuccessful", analysis.failures))
    return {
        "endings": analysis.endings,
        "parts": [(name, part.model_dump()) for name, part in parts if part],
        "diagnostics": [
            {"kind": d.kind, "words": d.words}
            for d in analysis.diagnostics
            if with_hints or not d.from_hints
        ],
        "causes": list(analysis.causes),
        "suggestions": list(analysis.suggestions),
    }


def _curve(curve: Sequence[tuple[int, float | None, float | None]]) -> list[dict[str, Any]]:
    """Return at most CURVE_ROWS rows: means over neighbouring windows.

    A mean is None if no episode ended in any of its windows.
    """
    rows = []
    for part in _neighbours(curve):
        rows.append(
            {
                "steps": part[-1][0],
                "success": _mean([success for _, success, _ in part]),
                "length": _mean([length for _, _, length in part]),
            }
        )
    return rows


def _term(term: TermCurve, windows: Sequence[float | None]) -> dict[str, Any]:
    """Return a term over training: means over the same windows as `curve`, and its extremes."""
    known = [v for v in windows if v is not None]
    return {
        "name": term.name,
        "sum": term.episode_sum,
        "first": term.first_window_sum,
        "share": term.share,
        "curve": [_mean(part) for part in _neighbours(windows)],
        "most": max(known, default=None),
        "mean": _mean(known),
        "least": min(known, default=None),
    }


def _neighbours(windows: Sequence[Any]) -> list[Sequence[Any]]:
    """Split windows into at most CURVE_ROWS runs of neighbours."""
    stride = max(1, -(-len(windows) // CURVE_ROWS))
    return [windows[k : k + stride] for k in range(0, len(windows), stride)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None
