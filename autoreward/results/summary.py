"""A run summarized, for people and for `--json`. Reads files; writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoreward.models.caller import recorded, spent
from autoreward.results.origin import begun
from autoreward.results.origin import lines as origin_lines
from autoreward.store.candidate import CandidateFolder
from autoreward.store.records import Evaluation
from autoreward.store.run import Run, RunFolder


def summary(path: Path) -> dict[str, Any]:
    """Everything worth telling, as plain data: what the run is, every candidate and what became of
    it, the confirmation, the price.
    """
    run = Run(path)
    header, final = run.header, run.final
    return {
        "name": path.name,
        "path": str(path),
        "task": header.task,
        "model": header.model,
        "method": header.method,
        "compose": header.compose,
        "seed": header.seed,
        "sandbox": header.sandbox,
        "judged_by": (header.settings.get("annotator") or header.model)
        if header.settings.get("judge") == "model"
        else "",
        "own_reward": header.card.get("task_reward") == "environment",
        "created": header.created,
        "state": "done" if final else "running" if _held(run.lock_path) else "stopped",
        "hints_used": final.hints_used if final else header.hints_used,
        "origin": begun(run),
        "candidates": (candidates := [_candidate(c) for c in run.candidates()]),
        "alone": _alone(candidates),
        "final": {**final.model_dump(mode="json"), "program": final.program} if final else None,
        "usage": spent(recorded(run.calls_path)).model_dump(),
    }


def _held(lock: Path) -> bool:
    if not lock.exists():
        return False
    from filelock import FileLock, Timeout

    try:
        with FileLock(str(lock), timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _candidate(folder: CandidateFolder) -> dict[str, Any]:
    result, review, checked, trainings = (
        folder.evaluation,
        folder.review,
        folder.check,
        folder.trainings(),
    )
    analysis = folder.analysis
    verdicts = (
        *(review.verdicts if review else ()),
        *(checked.verdicts if checked else ()),
        *(t.refusal for t in trainings if t.refusal),
    )
    if not folder.drafted:
        state = "drafting"
    elif not folder.accepted:
        state = "rejected"
    elif result is None:
        state = "training" if trainings or folder.trainings_path.exists() else "accepted"
    else:
        state = "evaluated" if result.ok else "failed"
    return {
        "id": folder.id,
        "state": state,
        "program": str(folder.program_path) if folder.program else None,
        "repairs": len(folder.rejected_drafts()),
        "reviewed_by": review.by if review else None,
        "review_alone": review.model_skipped_because if review else "",
        "success": result.success if result else None,
        "low": result.low if result else None,
        "high": result.high if result else None,
        "metric": result.metric if result else None,
        "metric_low": result.metric_low if result else None,
        "metric_high": result.metric_high if result else None,
        "broken": list(result.broken) if result else [],
        "steps": list(result.steps) if result else [],
        "steps_to_80": list(result.steps_to_80) if result else [],
        "why": result.why
        if result and not result.ok
        else "; ".join(v.message for v in verdicts if v.severity == "refuse")
        if state == "rejected"
        else "",
        "terms": [
            {"name": t.name, "kind": t.kind, "share": t.share, "unseen": list(t.unseen)}
            for t in checked.terms
        ]
        if checked
        else [],
        "warnings": [f"{v.kind}: {v.message}" for v in verdicts if v.severity == "warn"],
        "findings": [f"{d.kind}: {d.words}" for d in analysis.diagnostics] if analysis else [],
        "explained_by": analysis.by if analysis else None,
        "analysis_alone": analysis.model_skipped_because if analysis else "",
        "analysis_told": analysis.shown_to_designer if analysis else None,
        "causes": list(analysis.causes) if analysis else [],
        "signal": list(folder.notes),
        "measures": [f"{m.what}: {m.words()}" for m in analysis.measures] if analysis else [],
    }


def _alone(candidates: list[dict[str, Any]]) -> dict[str, str]:
    """What worked without a model -> why, in words; from the candidates' records."""
    critic = next((c["review_alone"] for c in candidates if c["review_alone"]), "")
    analyst = next((c for c in candidates if c["analysis_alone"]), None)
    found = {"critic": f"the linter alone: {critic}"} if critic else {}
    if analyst:
        kept = (
            ""
            if analyst["analysis_told"]
            else "; the findings are kept here, and no designer was told them"
        )
        found["analyzer"] = f"code alone: {analyst['analysis_alone']}{kept}"
    return found


def rate(result: Evaluation | dict[str, Any] | None) -> str:
    """`97% (93% to 99%), 80% after 65k, 70k steps; metric 3.1 (2.9 to 3.3); breaks energy at most
    4: 5.2`
    """
    if result is None:
        return "-"
    data = result.model_dump() if isinstance(result, Evaluation) else result
    parts = []
    if data.get("success") is not None:
        parts.append(f"{data['success']:.0%} ({data['low']:.0%} to {data['high']:.0%})")
        reached = [
            f"{s / 1000:.0f}k" if s is not None else "never" for s in data.get("steps_to_80", ())
        ]
        if reached:
            parts.append(
                "80% never reached"
                if set(reached) == {"never"}
                else f"80% after {', '.join(reached)} steps"
            )
    if data.get("metric") is not None:
        between = (
            f" ({data['metric_low']:.4g} to {data['metric_high']:.4g})"
            if data.get("metric_low") is not None
            else ""
        )
        parts.append(f"metric {data['metric']:.4g}{between}")
    parts += [f"breaks {words}" for words in data.get("broken", ())]
    parts += [data["why"]] if parts and data.get("why") else []
    return "; ".join(parts) or data.get("why") or "-"


def called(arm: str, data: dict[str, Any]) -> str:
    """An arm's name: where the task's reward is the environment's own, `sparse` would be the wrong
    word.
    """
    return "own" if arm == "sparse" and data["own_reward"] else arm


def judged(data: dict[str, Any]) -> list[str]:
    """Who judged transitions while agents trained; a simulated judge is called one."""
    simulated = (
        ": no model, but the card's own predicates with a given share of errors"
        if data["judged_by"].startswith("simulated/")
        else ""
    )
    return [f"judged   by {data['judged_by']}{simulated}"] if data["judged_by"] else []


def seeing(data: dict[str, Any]) -> list[str]:
    """Which of the winner's terms use fields that the policy does not see; nothing where none
    does.
    """
    terms: list[dict[str, Any]] = next(
        (c["terms"] for c in data["candidates"] if c["id"] == data["final"]["winner"]), []
    )
    hidden = [f"{t['name']} uses {', '.join(t['unseen'])}" for t in terms if t["unseen"]]
    rest = ", ".join(t["name"] for t in terms if not t["unseen"])
    return (
        [
            f"terms    {'; '.join(hidden)}, which the policy does not see"
            + (f"; {rest} use only what it sees" if rest else "")
        ]
        if hidden
        else []
    )


def lines(data: dict[str, Any]) -> list[str]:
    """The summary for a terminal."""
    usage = data["usage"]
    price = "unknown" if usage["cost"] is None else f"${usage['cost']:.4f}"
    out = [
        f"{data['name']}: {data['task']}, {data['model']}, {data['method']}{'' if data['compose'] == 'plain' else ', composed: ' + data['compose']}, seed {data['seed']}, {data['state']}",
        f"calls {usage['calls']}, tokens {usage['prompt_tokens'] + usage['completion_tokens']:,}, price {price}",
    ]
    out += judged(data)
    if data["sandbox"] != "default":
        out.append(f"sandbox {data['sandbox']}")
    out += [f"{part:<8} {why}" for part, why in data["alone"].items()]
    out.append("")
    for c in data["candidates"]:
        repairs = (
            f", {c['repairs']} refused draft{'s' if c['repairs'] > 1 else ''}"
            if c["repairs"]
            else ""
        )
        out.append(
            f"{c['id']:<4} {c['state']:<10} {rate(c) if c['success'] is not None or c['metric'] is not None else c['why']}{repairs}"
        )
        out += [
            f"       {text}"
            for text in [*c["signal"], *c["measures"][:2], *c["findings"][:3], *c["causes"][:2]]
        ]
    out += origin_lines(data["origin"], rate)
    if data["final"]:
        out += [
            "",
            f"winner {data['final']['winner'] or 'none: ' + data['final']['why']}"
            + (", hints of the card were used" if data["hints_used"] else ""),
        ]
        out += [
            f"{called(arm, data):<8} {rate(result)}"
            for arm, result in data["final"]["arms"].items()
        ]
        if data["final"]["winner"]:
            out.append(f"program  {RunFolder(Path(data['path'])).best_program_path}")
            out += seeing(data)
    elif data["state"] == "stopped":
        out += ["", f"next: autoreward resume {data['path']}"]
    return out
