"""Where a run began from somebody's own reward: how it was taken, and what the winner changed,
with the success of both.
"""

from __future__ import annotations

import difflib
from typing import Any

from autoreward.store.files import read
from autoreward.store.records import Origin
from autoreward.store.run import Run

TAKEN = {
    "program": "taken as it is",
    "function": "called row by row, as it is",
    "port": "ported by the Designer",
}


def begun(run: Run) -> dict[str, Any] | None:
    """File, how it was taken, the search's success of candidate 1a and of the winner, and the
    difference of their programs; None without --from.
    """
    if run.header.origin is None:
        return None
    origin = read(run.origin_path, Origin)
    first, final = run.candidate(1, "a"), run.final
    name = (
        final.winner
        if final
        else next(
            (
                f"{b.iteration}{b.candidate}"
                for k in range(run.header.iterations, 0, -1)
                if (f := run.feedback(k)) and (b := f.best)
            ),
            None,
        )
    )
    winner = next((c for c in run.candidates() if c.id == name), None)
    diff = ""
    if winner and winner.id != first.id:
        diff = "\n".join(
            difflib.unified_diff(
                first.program.splitlines(),
                winner.program.splitlines(),
                f"1a ({run.header.origin})",
                f"{winner.id} (the best)",
                lineterm="",
            )
        )
    return {
        "file": run.header.origin,
        **(origin.model_dump() if origin else {"kind": None}),
        "began": first.evaluation.model_dump(mode="json") if first.evaluation else None,
        "winner": winner.id if winner else None,
        "reached": winner.evaluation.model_dump(mode="json")
        if winner and winner.evaluation
        else None,
        "diff": diff,
    }


def lines(data: dict[str, Any] | None, rate: Any) -> list[str]:
    """For a terminal; `rate` puts an evaluation into words."""
    if data is None:
        return []
    out = ["", f"began from {data['file']}: {TAKEN.get(data['kind'], 'not read yet')}"]
    if data.get("compared"):
        out.append(
            f"the port gives the same numbers on {data['compared']} recorded transitions but for {data['difference']:.3g} (values up to {data['largest']:.3g})"
        )
    if data.get("uncompared"):
        out.append(f"the port could not be compared with the original: {data['uncompared']}")
    out.append(f"it reached {rate(data['began'])}")
    if data["winner"] == "1a":
        out.append("and no other program was better")
    elif data["winner"]:
        out += [
            f"the best, {data['winner']}, reached {rate(data['reached'])}; its difference:",
            "",
            *data["diff"].splitlines(),
        ]
    return out
