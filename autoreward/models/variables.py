"""What agents are told, as plain data for templates: the card without its hints, and outcomes as
numbers a reader can follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoreward.rewards.composition import KINDS, Composition, yaml_of
from autoreward.store.records import Feedback, Outcome
from autoreward.tasks.card import Hint, Near, TaskCard

CURVE_ROWS = 10
# outcomes told in full; the rest in a line
TOP = 2


def task(card: TaskCard) -> dict[str, Any]:
    """The variable `task` of every template."""
    action = card.action
    rows = (
        "(n,) integers"
        if action.type == "discrete"
        else f"(n, {', '.join(map(str, action.row))}) "
        + ("integers" if action.integer else f"floats in {action.low:g} .. {action.high:g}")
    )
    metric = card.metric
    return {
        "title": card.title,
        "description": card.description.strip(),
        "success": card.success.means
        if card.success and card.success.means
        else " and ".join(c.words() for c in card.success.when)
        if card.success
        else "",
        "metric": f"{metric.reduce} of {metric.of} over an episode, to {metric.direction}, about {metric.range[0]:g} .. {metric.range[1]:g}"
        if metric
        else "",
        "constraints": [
            f"{c.words()} on average ({c.metric.reduce} of {c.metric.of} over an episode)"
            for c in card.constraints
        ],
        "ends_at_success": bool(card.success and card.success.ends_episode),
        "endings": card.endings,
        "limit": card.environment.limit,
        "own_reward": card.task_reward == "environment",
        "episodic_return": card.episodic_return,
        "action": {"type": action.type, "shape": rows, "meaning": action.meaning},
        "fields": [
            {
                "name": f.name,
                "shape": list(f.shape),
                "unit": f.unit,
                "range": f.range,
                "meaning": f.meaning + ("" if f.policy else " (the policy does not see this)"),
            }
            for f in card.fields
            if f.reward
        ],
        "policy": _seen(card),
        "relabelled": card.goal.desired if card.goal and card.training.her else "",
        "training": {
            "algorithm": card.training.algorithm,
            "steps": card.training.steps,
            "n_envs": card.training.n_envs,
            "gamma": card.training.gamma,
        },
    }


def _seen(card: TaskCard) -> str:
    kind = card.policy.input
    what = {"observation": "the environment's own observation", "fields": "the fields"}.get(
        kind, "features computed from the fields"
    )
    return what + (", normalized by running mean and deviation" if card.policy.normalize else "")


def hints(card: TaskCard, shown: bool) -> list[str]:
    """The variable `hints`."""
    return [_hint(h) for h in card.hints] if shown else []


def transforms() -> list[dict[str, Any]]:
    """The variable `transforms`: every kind of transform that a designer may choose, from the
    classes themselves.
    """
    found = []
    for kind in KINDS:
        fields = {n: f for n, f in kind.model_fields.items() if n != "kind"}
        told = ", ".join(n if f.is_required() else f"{n}: {f.default}" for n, f in fields.items())
        found.append({"kind": kind.model_fields["kind"].default, "fields": told, **kind.words()})
    return found


def composition(made: Composition | None) -> str:
    """The variable `composition`: as yaml, and what each of its transforms does; empty for the
    plain sum.
    """
    if made is None or made.plain:
        return ""
    does = dict.fromkeys(
        f"- {t.kind}: {t.words()['title']} {t.words()['equation']}" for t in made.transforms
    )
    return "\n".join([f"```yaml\n{yaml_of(made).strip()}\n```", "", *does]).strip()


def _near(near: Near) -> str:
    return f"bring {near.a} to {near.b}" + (
        " (moves go along the axes)" if near.axis_aligned else ""
    )


def _hint(hint: Hint) -> str:
    if hint.near:
        return _near(hint.near)
    if hint.increase or hint.decrease:
        return f"raise {hint.increase}" if hint.increase else f"lower {hint.decrease}"
    if hint.hold:
        return f"keep {' and '.join(c.words() for c in hint.hold.when)} for {hint.hold.steps} steps"
    if hint.subgoals:
        return "subgoals in order: " + "; ".join(
            f"{s.name} ({' and '.join(c.words() for c in s.when)}"
            + (f", {_near(s.near)}" if s.near else "")
            + ")"
            for s in hint.subgoals
        )
    assert hint.waypoints is not None
    return f"{hint.waypoints.field} passes {', '.join(map(str, hint.waypoints.points))}" + (
        f", then {hint.waypoints.to}" if hint.waypoints.to else ""
    )


def feedback(told: Feedback | None, with_hints: bool) -> list[dict[str, Any]]:
    """The variable `feedback` of the designer's templates: best first, the first ones in full."""
    evaluated = [o for o in told.outcomes if o.status == "evaluated"] if told else []
    full = {f"{o.iteration}{o.candidate}" for o in evaluated[:TOP]}
    return (
        [outcome(o, with_hints, f"{o.iteration}{o.candidate}" in full) for o in told.outcomes]
        if told
        else []
    )


def outcome(told: Outcome, with_hints: bool, full: bool = True) -> dict[str, Any]:
    """One outcome; `full` False leaves out program and numbers."""
    result, analysis = told.evaluation, told.analysis
    return {
        "id": f"{told.iteration}{told.candidate}",
        "full": full,
        "program": told.program,
        "composition": yaml_of(Composition.model_validate(told.composition))
        if told.composition
        else "",
        "status": told.status,
        "success": result.success if result else None,
        "metric": result.metric if result else None,
        "broken": list(result.broken) if result else [],
        "why": result.why if result else "",
        "steps": max(result.steps) if result and result.steps else None,
        "steps_to_80": next(iter(result.steps_to_80), None) if result else None,
        "verdicts": [
            {"kind": v.kind, "severity": v.severity, "line": v.line, "message": v.message}
            for v in told.verdicts
        ],
        "curve": _pooled(told.curve),
        "terms": [
            {
                "name": t.name,
                "sum": t.episode_sum,
                "first": t.first_window_sum,
                "share": t.share,
                **_over(told.windows.get(t.name, ())),
            }
            for t in told.terms
        ],
        "endings": analysis.endings if analysis else {},
        "parts": [
            (name, p.model_dump())
            for name, p in (("successful", analysis.successes), ("unsuccessful", analysis.failures))
            if p
        ]
        if analysis
        else [],
        "diagnostics": [
            {"kind": d.kind, "words": d.words}
            for d in analysis.diagnostics
            if with_hints or not d.from_hints
        ]
        if analysis
        else [],
        "causes": list(analysis.causes) if analysis else [],
        "suggestions": list(analysis.suggestions) if analysis else [],
        "notes": list(told.notes),
    }


def _pooled(curve: Sequence[tuple[int, float | None, float | None]]) -> list[dict[str, Any]]:
    """At most CURVE_ROWS rows: means over neighbouring windows, None where no episode ended in any
    of them.
    """
    stride = max(1, -(-len(curve) // CURVE_ROWS))
    rows = []
    for k in range(0, len(curve), stride):
        part = curve[k : k + stride]
        rows.append(
            {
                "steps": part[-1][0],
                "success": _mean([success for _, success, _ in part]),
                "length": _mean([length for _, _, length in part]),
            }
        )
    return rows


def _over(windows: Sequence[float | None]) -> dict[str, Any]:
    """A term over training: means over the same neighbouring windows as `curve`, then most, mean
    and least of all windows.
    """
    stride, known = max(1, -(-len(windows) // CURVE_ROWS)), [v for v in windows if v is not None]
    pooled = [_mean(windows[k : k + stride]) for k in range(0, len(windows), stride)]
    return {
        "curve": pooled,
        "most": max(known, default=None),
        "mean": _mean(known),
        "least": min(known, default=None),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None
