"""A run in summary, for people and for `--json`. Reads files; writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autoreward.models.caller import recorded, spent
from autoreward.results.origin import (
    origin_lines,
    origin_summary,
)
from autoreward.results.scores import (
    agent_name,
    calls_words,
    score_words,
)
from autoreward.store.candidate import CandidateFolder
from autoreward.store.records import (
    Evaluation,
    RunHeader,
    Verdict,
)
from autoreward.store.run import Run, RunFolder

# an evaluation's fields in a candidate's summary
SCORES = (
    "success",
    "low",
    "high",
    "metric",
    "metric_low",
    "metric_high",
)
# lines that are shown of each candidate
MAX_MEASURES = 2
MAX_FINDINGS = 3
MAX_CAUSES = 2


def summary(path: Path) -> dict[str, Any]:
    """A run as plain data: its settings, every candidate's fate, the confirmation, the cost."""
    run = Run(path)
    header = run.header
    final = run.final
    candidates = [_candidate(folder) for folder in run.candidates()]
    return {
        "name": path.name,
        "path": str(path),
        "task": header.task,
        "model": header.model,
        "method": header.method,
        "compose": header.compose,
        "seed": header.seed,
        "sandbox": header.sandbox,
        "judged_by": _annotator(header),
        "own_reward": header.card.get("task_reward") == "environment",
        "created": header.created,
        "state": _run_state(run),
        "hints_used": final.hints_used if final else header.hints_used,
        "origin": origin_summary(run),
        "candidates": candidates,
        "alone": _without_model(candidates),
        "final": {
            **final.model_dump(mode="json"),
            "program": final.program,
        }
        if final
        else None,
        "usage": spent(recorded(run.calls_path)).model_dump(),
    }


def _annotator(header: RunHeader) -> str:
    """The model that labels transitions during training; "" if none does."""
    if header.settings.get("judge") != "model":
        return ""
    return header.settings.get("annotator") or header.model


def _run_state(run: Run) -> str:
    if run.final:
        return "done"
    return "running" if _is_locked(run.lock_path) else "stopped"


def _is_locked(lock: Path) -> bool:
    if not lock.exists():
        return False
    from filelock import FileLock, Timeout

    try:
        with FileLock(str(lock), timeout=0):
            return False
    except (Timeout, OSError):
        return True


# -- one candidate ---------------------------------------------------------------------------------


def _candidate(folder: CandidateFolder) -> dict[str, Any]:
    result = folder.evaluation
    review = folder.review
    check = folder.check
    analysis = folder.analysis
    verdicts = list(_verdicts(folder))
    state = _candidate_state(folder, result)
    data: dict[str, Any] = {
        "id": folder.id,
        "state": state,
        "program": str(folder.program_path) if folder.program else None,
        "repairs": len(folder.rejected_drafts()),
        "reviewed_by": review.by if review else None,
        "review_alone": review.model_skipped_because if review else "",
    }
    for name in SCORES:
        data[name] = getattr(result, name) if result else None
    data["broken"] = list(result.broken) if result else []
    data["steps"] = list(result.steps) if result else []
    data["steps_to_80"] = list(result.steps_to_80) if result else []
    data["why"] = _why_out(state, result, verdicts)
    data["terms"] = []
    for term in check.terms if check else ():
        data["terms"].append(
            {
                "name": term.name,
                "kind": term.kind,
                "share": term.share,
                "unseen": list(term.unseen),
            }
        )
    data["warnings"] = [f"{v.kind}: {v.message}" for v in verdicts if v.severity == "warn"]
    data["findings"] = []
    data["measures"] = []
    if analysis:
        data["findings"] = [f"{d.kind}: {d.words}" for d in analysis.diagnostics]
        data["measures"] = [f"{m.what}: {m.words()}" for m in analysis.measures]
    data["explained_by"] = analysis.by if analysis else None
    data["analysis_alone"] = analysis.model_skipped_because if analysis else ""
    data["analysis_told"] = analysis.shown_to_designer if analysis else None
    data["causes"] = list(analysis.causes) if analysis else []
    data["signal"] = list(folder.notes)
    return data


def _verdicts(folder: CandidateFolder) -> Iterable[Verdict]:
    """What critic, check and training found, in this order."""
    if folder.review:
        yield from folder.review.verdicts
    if folder.check:
        yield from folder.check.verdicts
    for training in folder.trainings():
        if training.refusal:
            yield training.refusal


def _candidate_state(folder: CandidateFolder, result: Evaluation | None) -> str:
    if not folder.drafted:
        return "drafting"
    if not folder.accepted:
        return "rejected"
    if result:
        return "evaluated" if result.ok else "failed"
    started = folder.trainings() or folder.trainings_path.exists()
    return "training" if started else "accepted"


def _why_out(
    state: str,
    result: Evaluation | None,
    verdicts: list[Verdict],
) -> str:
    """Why a candidate failed or was rejected; "" for all others."""
    if result and not result.ok:
        return result.why
    if state != "rejected":
        return ""
    return "; ".join(v.message for v in verdicts if v.severity == "refuse")


def is_scored(candidate: dict[str, Any]) -> bool:
    """Whether a candidate's summary has a success or a metric."""
    return candidate["success"] is not None or candidate["metric"] is not None


def _without_model(
    candidates: list[dict[str, Any]],
) -> dict[str, str]:
    """Agent -> what worked in place of its model, and why; from the candidates' records."""
    found = {}
    for candidate in candidates:
        why = candidate["review_alone"]
        if why:
            found["critic"] = f"linter only: {why}"
            break
    for candidate in candidates:
        why = candidate["analysis_alone"]
        if why:
            found["analyzer"] = f"code only: {why}"
            if not candidate["analysis_told"]:
                found["analyzer"] += "; its findings are recorded, but no designer sees them"
            break
    return found


# -- lines for people ------------------------------------------------------------------------------


def annotator_lines(data: dict[str, Any]) -> list[str]:
    """Which model labelled transitions during training, if one did; says if it was simulated."""
    name = data["judged_by"]
    if not name:
        return []
    if name.startswith("simulated/"):
        name += ": no model, but the card's own predicates with a given error rate"
    return [f"labels   by {name}"]


def unseen_field_lines(data: dict[str, Any]) -> list[str]:
    """Which of the winner's terms use fields that the policy does not see; empty if none does."""
    terms: list[dict[str, Any]] = []
    for candidate in data["candidates"]:
        if candidate["id"] == data["final"]["winner"]:
            terms = candidate["terms"]
    hidden = [f"{t['name']} uses {', '.join(t['unseen'])}" for t in terms if t["unseen"]]
    if not hidden:
        return []
    line = f"terms    {'; '.join(hidden)}, which the policy does not see"
    others = [t["name"] for t in terms if not t["unseen"]]
    if others:
        verb = "uses" if len(others) == 1 else "use"
        line += f"; {', '.join(others)} {verb} only what it sees"
    return [line]


def lines(data: dict[str, Any]) -> list[str]:
    """The summary for a terminal."""
    composed = "" if data["compose"] == "plain" else f", composed: {data['compose']}"
    out = [
        f"{data['name']}: {data['task']}, {data['model']}, {data['method']}{composed}, "
        f"seed {data['seed']}, {data['state']}",
        calls_words(data["usage"]),
    ]
    out += annotator_lines(data)
    if data["sandbox"] != "default":
        out.append(f"sandbox  {data['sandbox']}")
    out += [f"{agent:<8} {words}" for agent, words in data["alone"].items()]
    out.append("")
    for candidate in data["candidates"]:
        out += _candidate_lines(candidate)
    out += origin_lines(data["origin"])
    if data["final"]:
        out += _final_lines(data)
    elif data["state"] == "stopped":
        out += ["", f"next: autoreward resume {data['path']}"]
    return out


def _candidate_lines(candidate: dict[str, Any]) -> list[str]:
    words = score_words(candidate) if is_scored(candidate) else candidate["why"]
    line = f"{candidate['id']:<4} {candidate['state']:<10} {words}"
    rejected = candidate["repairs"]
    if rejected:
        line += f", {rejected} rejected draft{'s' if rejected > 1 else ''}"
    notes = [
        *candidate["signal"],
        *candidate["measures"][:MAX_MEASURES],
        *candidate["findings"][:MAX_FINDINGS],
        *candidate["causes"][:MAX_CAUSES],
    ]
    return [line, *(f"       {note}" for note in notes)]


def _final_lines(data: dict[str, Any]) -> list[str]:
    final = data["final"]
    winner = f"winner {final['winner'] or 'none: ' + final['why']}"
    if data["hints_used"]:
        winner += ", the card's hints were used"
    out = ["", winner]
    for agent, result in final["arms"].items():
        name = agent_name(agent, data["own_reward"])
        out.append(f"{name:<8} {score_words(result)}")
    if final["winner"]:
        out.append(f"program  {RunFolder(Path(data['path'])).best_program_path}")
        out += unseen_field_lines(data)
    return out
