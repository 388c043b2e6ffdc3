"""Check: the program runs in the jail over recorded transitions, and what it answers is judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autoreward.composition import shape
from autoreward.records import Check, TermProbe, Verdict
from autoreward.sandbox import Answer, ProgramRefused, Template, Worker
from autoreward.state import Array
from autoreward.task import TaskCard
from autoreward.transitions import columns

SAME = 1e-9  # relative: batched products differ in their last bits


def check(program: str, card: TaskCard, probes: Path, sandbox: str, template: Template | None = None) -> Check:
    """Refused or accepted, with the statistics of every term on the probes. MachineFault where there is no sandbox here."""
    with np.load(probes, allow_pickle=False) as data:
        recorded = {k: data[k] for k in data.files}
    picked = columns(card.layout, card.reward_layout)
    prev, curr = recorded["prev"][..., picked], recorded["curr"][..., picked]
    action, first = recorded["action"], recorded["first"]
    steps, n = first.shape
    try:
        with (
            Worker(program, card.reward_layout, card.action, profile=sandbox, template=template) as worker,
            Worker(program, card.reward_layout, card.action, profile=sandbox, template=template) as other,
        ):
            worker.send(prev, action, curr, first)  # both work at once
            parts = [other.ask(prev[:, rows], action[:, rows], curr[:, rows], first[:, rows]) for rows in _groups(n)]
            answer = worker.receive()
    except ProgramRefused as error:
        return Check(ok=False, verdicts=(error.verdict,), probes=steps * n, sandbox=sandbox)
    if (worker.terms, worker.potentials) != (other.terms, other.potentials):
        message = f"the same transitions gave the terms {', '.join(worker.terms + worker.potentials)}, and in other batches {', '.join(other.terms + other.potentials)}"
        return Check(ok=False, verdicts=(Verdict(kind="names-changed", message=message, hint="return the same names at every call"),), probes=steps * n, sandbox=sandbox)
    names = worker.terms + worker.potentials
    verdicts = _pure(answer, parts, n, names)
    shaped = shape(answer.before, answer.after, recorded["terminated"].astype(np.float64), card.training.gamma)
    values = np.concatenate([answer.terms, shaped], -1).reshape(steps * n, -1)
    probed = _statistics(values, names, worker)
    verdicts += _warnings(values, names, worker, answer, card)
    return Check(ok=all(v.severity == "warn" for v in verdicts), verdicts=tuple(verdicts), terms=probed, memory=worker.memory, probes=steps * n, sandbox=sandbox)


def _groups(n: int) -> list[Array]:
    """The last row alone, and the others backwards."""
    return [np.array([n - 1]), np.arange(n - 1)[::-1]]


def _pure(answer: Answer, parts: list[Answer], n: int, names: tuple[str, ...]) -> list[Verdict]:
    """The same transitions in other batches and another order, in a fresh process, must give the same numbers."""
    mine = np.concatenate([answer.terms, answer.before], -1)
    theirs = np.empty_like(mine)
    for rows, part in zip(_groups(n), parts, strict=True):
        theirs[:, rows] = np.concatenate([part.terms, part.before], -1)
    scale = np.maximum(np.abs(mine).max((0, 1)), 1e-12)
    wrong = [name for name, far in zip(names, (np.abs(mine - theirs).max((0, 1)) / scale > SAME).tolist(), strict=True) if far]
    if not wrong:
        return []
    message = f"{', '.join(wrong)}: the same transitions gave other numbers in batches of other sizes and another order"
    return [Verdict(kind="not-pure", message=message, hint="no randomness, no state outside of memory, and never one row's values for another")]


def _statistics(values: Array, names: tuple[str, ...], worker: Worker) -> tuple[TermProbe, ...]:
    sizes = np.abs(values).sum(0)
    total = float(sizes.sum()) or 1.0
    found = []
    for k, name in enumerate(names):
        column = values[:, k]
        kind = "potential" if name in worker.potentials else "sparse" if name in worker.sparse else "dense"
        found.append(
            TermProbe(
                name=name,
                kind=kind,  # type: ignore[arg-type]
                mean=float(column.mean()),
                std=float(column.std()),
                low=float(column.min()),
                high=float(column.max()),
                nonzero=float((column != 0).mean()),
                share=float(sizes[k] / total),
            )
        )
    return tuple(found)


def _warnings(values: Array, names: tuple[str, ...], worker: Worker, answer: Answer, card: TaskCard) -> list[Verdict]:
    def warn(kind: str, message: str, hint: str = "") -> Verdict:
        return Verdict(kind=kind, severity="warn", message=message, hint=hint)

    found = []
    if len(values) and not np.abs(values).any():
        found.append(warn("silent", "every term is 0 on all probes: a random agent notices nothing", "cover the way from how an episode starts"))
    for k, name in enumerate(names):
        column = values[:, k]
        if name in worker.terms and column.min() > 0 and card.success is not None and card.success.ends_episode:
            message = f"{name!r} pays {column.mean():.3g} at every step on an episode that ends at success: staying may beat finishing"
            found.append(warn("stalling", message, "per-step terms of this kind should be 0 or below, or differences"))
        if np.abs(column).max() * card.environment.limit > 1e4 and np.abs(column).mean() * card.environment.limit > 1e3:
            found.append(warn("scale", f"{name!r} may sum to {np.abs(column).mean() * card.environment.limit:.3g} over an episode; the success bonus is 1", "0.5 .. 5 over an episode"))
    for j, name in enumerate(worker.potentials):
        highest = float(max(answer.before[..., j].max(), answer.after[..., j].max()))
        if highest > 1e-9:
            found.append(warn("potential-above-0", f"potential {name!r} reaches {highest:.3g}: cut to 0 at the end, it makes finishing cost that much", "shift it so that success is 0"))
    for name in sorted(worker.broadcast):
        found.append(warn("broadcast", f"{name!r} came as one number for all rows", "np.full(len(action), value)"))
    return found
