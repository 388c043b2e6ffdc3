"""The starting point of a run with `--from`: the user's own reward, and what the winner changed."""

from __future__ import annotations

import difflib
from typing import Any

from autoreward.results.scores import score_words
from autoreward.store.candidate import CandidateFolder
from autoreward.store.io import read
from autoreward.store.records import Origin
from autoreward.store.run import Run

# how the file became candidate 1a
TAKEN = {
    "program": "used directly",
    "function": "called row by row",
    "port": "ported by the designer",
}


def origin_summary(run: Run) -> dict[str, Any] | None:
    """File, how it was taken, and the scores of candidate 1a and of the best, with a diff.

    None for a run without --from.
    """
    if run.header.origin is None:
        return None
    origin = read(run.origin_path, Origin)
    first = run.candidate(1, "a")
    best = _best(run)
    data: dict[str, Any] = {"file": run.header.origin}
    data |= origin.model_dump() if origin else {"kind": None}
    data["began"] = _evaluation(first)
    data["winner"] = best.id if best else None
    data["reached"] = _evaluation(best) if best else None
    data["diff"] = _diff(run, first, best) if best else ""
    return data


def _best(run: Run) -> CandidateFolder | None:
    """The winner; while there is none, the best of the last finished iteration."""
    final = run.final
    wanted = None
    if final:
        wanted = final.winner
    else:
        for iteration in range(run.header.iterations, 0, -1):
            feedback = run.feedback(iteration)
            if feedback and feedback.best:
                wanted = f"{feedback.best.iteration}{feedback.best.candidate}"
                break
    for candidate in run.candidates():
        if candidate.id == wanted:
            return candidate
    return None


def _evaluation(
    candidate: CandidateFolder,
) -> dict[str, Any] | None:
    evaluation = candidate.evaluation
    return evaluation.model_dump(mode="json") if evaluation else None


def _diff(run: Run, first: CandidateFolder, best: CandidateFolder) -> str:
    if best.id == first.id:
        return ""
    lines = difflib.unified_diff(
        first.program.splitlines(),
        best.program.splitlines(),
        f"1a ({run.header.origin})",
        f"{best.id} (the best)",
        lineterm="",
    )
    return "\n".join(lines)


def origin_lines(data: dict[str, Any] | None) -> list[str]:
    """The starting point for a terminal."""
    if data is None:
        return []
    taken = TAKEN.get(data["kind"], "not read yet")
    lines = ["", f"started from {data['file']}: {taken}"]
    if data.get("compared"):
        lines.append(
            f"the port differs by at most {data['difference']:.3g} on {data['compared']} recorded "
            f"transitions (values up to {data['largest']:.3g})"
        )
    if data.get("uncompared"):
        lines.append(f"the port could not be compared with the original: {data['uncompared']}")
    lines.append(f"score of 1a, the original: {score_words(data['began'])}")
    if data["winner"] == "1a":
        lines.append("no other program did better")
    elif data["winner"]:
        lines += [
            f"score of {data['winner']}, the best: {score_words(data['reached'])}",
            "what it changes:",
            "",
            *data["diff"].splitlines(),
        ]
    return lines
