"""Check: the program runs in the jail over recorded transitions and at the edges of every field,
and what it answers is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from autoreward.rewards.composition import (
    Columns,
    Composition,
    UnsuitableComposition,
    shape_potentials,
)
from autoreward.rewards.signals import PLAIN, Signal, find_signal
from autoreward.sandbox.outside.replay import Transitions, probe_transitions
from autoreward.sandbox.outside.worker import Answer, ProgramRejected, Template, Worker
from autoreward.state import Array
from autoreward.store.files import read_arrays
from autoreward.store.records import Check, TermProbe, Verdict
from autoreward.tasks.card import TaskCard, numbers

# relative: batched products differ in their last bits
SAME = 1e-9
# bytes that a program may keep over half of the probes
KEPT = 16 << 20
# seconds of processor time per vector step
SLOW = 0.002
UNITLESS = {"", "-", "flag", "code"}
# a term that never gets larger
TINY = 1e-6
# one row is asked alone for a third of its steps: a vector step costs the same for one row as for
# many
ALONE = 3
# share of probes at one end of a term's range from which it is saturated
FLAT = 0.95


def check(
    program: str,
    card: TaskCard,
    probes: Path,
    sandbox: str,
    template: Template | None = None,
    composition: Composition | None = None,
    signal: type[Signal] | None = None,
) -> Check:
    """Refused or accepted, with the statistics of every term on the probes.

    MachineFault where there is no sandbox here.
    """
    recorded = read_arrays(probes)
    batch = probe_transitions(card, recorded)
    steps, n = batch.first.shape
    half = steps // 2
    signal_class = signal or find_signal(PLAIN)

    def start() -> Worker:
        return Worker(
            program,
            card.reward_layout,
            card.action,
            entry=signal_class.entry,
            profile=sandbox,
            template=template,
        )

    try:
        with start() as worker:
            worker.send(*batch.steps(0, half))
            # while the first one works, here and below
            with start() as other:
                begun = worker.receive()
                kept = worker.spent()[1]
                worker.send(*batch.steps(half, steps))
                parts = [other.ask(*part) for _, part in _regrouped(batch)]
                ended = worker.receive()
                kept = worker.spent()[1] - kept
                seconds = worker.spent()[0] / steps
                hidden = _unseen(other, card, batch, parts[0])
                differ = [
                    _differ(other, worker, unusual, where)
                    for where, unusual in _unusual(card, batch)
                ]
    except ProgramRejected as error:
        return Check(ok=False, verdicts=(error.verdict,), probes=steps * n, sandbox=sandbox)
    names = worker.terms + worker.potentials
    if names != other.terms + other.potentials:
        message = f"the same transitions gave the terms {', '.join(names)}, and in other batches {', '.join(other.terms + other.potentials)}"
        return Check(
            ok=False,
            verdicts=(
                Verdict(
                    kind="names-changed",
                    message=message,
                    hint="return the same names at every call",
                ),
            ),
            probes=steps * n,
            sandbox=sandbox,
        )
    answer = Answer(*(np.concatenate(both) for both in zip(begun, ended, strict=True)))
    verdicts = _pure(answer, parts, batch, names)
    if not verdicts and (wrong := next(filter(None, differ), None)):
        verdicts.append(wrong)
    if kept > KEPT:
        verdicts.append(
            Verdict(
                kind="memory-growth",
                message=f"it keeps {kept / half / 1000:.0f} kB more at every call",
                hint="no lists or caches that grow; what an episode needs goes into MEMORY",
            )
        )
    if seconds > SLOW:
        verdicts.append(
            Verdict(
                kind="slow-program",
                severity="warn",
                message=f"one vector step takes {1000 * seconds:.1f} ms: training waits for it",
                hint="whole-array numpy, no loops over rows",
            )
        )
    shaped = shape_potentials(
        answer.before, answer.after, recorded["terminated"], card.training.gamma
    )
    values = np.concatenate([answer.terms, shaped], -1).reshape(steps * n, -1)
    probed = tuple(
        t.model_copy(update={"unseen": hidden.get(t.name, ())})
        for t in _statistics(values, names, worker)
    )
    verdicts += (
        _warnings(values, names, worker, answer, card)
        if signal_class.entry == "reward"
        else signal_class.check_answers(card, names, answer.terms, batch.first)
    )
    verdicts += _composed(
        composition or Composition(),
        signal_class.columns(worker.terms, worker.potentials, worker.sparse),
        card,
        worker.memory,
    )
    return Check(
        ok=all(v.severity == "warn" for v in verdicts),
        verdicts=tuple(verdicts),
        terms=probed,
        memory=worker.memory,
        probes=steps * n,
        sandbox=sandbox,
    )


def _composed(
    composition: Composition, columns: Columns, card: TaskCard, memory: bool
) -> list[Verdict]:
    """Whether the program has the terms that its composition names, and the task can serve both."""
    try:
        composition.require(card, memory)
        composition.bind(columns)
    except UnsuitableComposition as error:
        return [Verdict(kind=error.kind, message=error.message, hint=error.hint)]
    return [
        Verdict(kind="composition", severity="warn", message=message)
        for message in composition.warnings(columns)
    ]


def _regrouped(batch: Transitions) -> list[tuple[Array, Transitions]]:
    """Rows and their steps in other company: the last one alone for a while, and the others
    backwards.
    """
    steps, n = batch.first.shape
    alone, others = np.array([n - 1]), np.arange(n - 1)[::-1]
    return [
        (alone, batch.rows(alone).steps(0, -(-steps // ALONE))),
        *([(others, batch.rows(others))] if n > 1 else []),
    ]


def _unseen(
    worker: Worker, card: TaskCard, batch: Transitions, alone: Answer
) -> dict[str, tuple[str, ...]]:
    """Which terms change where a field that the policy does not see takes other values: asked,
    since code can hide what it reads.
    """
    found: dict[str, tuple[str, ...]] = {}
    _, row = _regrouped(batch)[0]
    flat = Transitions(*(part.reshape(-1, *part.shape[2:]) for part in batch))
    for field in card.fields:
        if field.policy or not field.reward:
            continue
        start, end, _ = card.reward_layout.slices[field.name]
        prev, curr = row.prev.copy(), row.curr.copy()
        other = np.random.default_rng(0).permutation(len(flat.curr))[: len(curr)]
        prev[:, 0, start:end], curr[:, 0, start:end] = (
            flat.prev[other, start:end],
            flat.curr[other, start:end],
        )
        answer = worker.ask(*row._replace(prev=prev, curr=curr))
        for k, name in enumerate(worker.terms):
            if not np.allclose(answer.terms[..., k], alone.terms[..., k], rtol=SAME, atol=0):
                found[name] = (*found.get(name, ()), field.name)
        for k, name in enumerate(worker.potentials):
            if not np.allclose(answer.after[..., k], alone.after[..., k], rtol=SAME, atol=0):
                found[name] = (*found.get(name, ()), field.name)
    return found


def _unusual(card: TaskCard, batch: Transitions) -> Iterator[tuple[str, Transitions]]:
    """What recorded transitions may not hold: numbers at the ends of their ranges, nothing that
    moves, two things in one place, larger batches.
    """
    low, high = _ranges(card, batch)
    width = len(low)
    ends = np.repeat(batch.curr[0, :1], 2 * width, axis=0)
    ends[np.arange(width), np.arange(width)], ends[width + np.arange(width), np.arange(width)] = (
        low,
        high,
    )
    base = Transitions(*(np.repeat(part[:1, :1], 2 * width, axis=1) for part in batch))
    yield "where one field is at an end of its range", base._replace(curr=ends[None])
    yield "where one field begins at an end of its range", base._replace(prev=ends[None])
    yield (
        "where a field stays at an end of its range",
        base._replace(prev=ends[None], curr=ends[None]),
    )
    met = _met(card, batch.curr[0, 0])
    if len(met):
        made = Transitions(*(np.repeat(part[:1, :1], len(met), axis=1) for part in batch))
        yield "where two fields are equal", made._replace(curr=met[None])
        yield "where two fields are and stay equal", made._replace(prev=met[None], curr=met[None])
    flat = Transitions(*(part.reshape(-1, *part.shape[2:]) for part in batch))
    for size in (card.training.n_envs, 2 * card.training.n_envs + 1):
        chosen = np.arange(size) * 7 % len(flat.first)
        made = Transitions(*(part[chosen][None] for part in flat))
        starts = np.concatenate([np.ones((1, size), bool), np.zeros((1, size), bool)])
        yield (
            f"in a batch of {size} rows",
            Transitions(*(np.concatenate([part, part]) for part in made))._replace(first=starts),
        )


def _ranges(card: TaskCard, batch: Transitions) -> tuple[Array, Array]:
    """(D,) lowest and highest of every number: as seen, and as the card says where it says two
    numbers.
    """
    seen = np.concatenate([batch.prev, batch.curr]).reshape(-1, batch.prev.shape[-1])
    low, high = seen.min(0), seen.max(0)
    for field in card.fields:
        said = numbers(field.range)
        if field.reward and len(said) == 2:
            start, end, _ = card.reward_layout.slices[field.name]
            low[start:end], high[start:end] = (
                np.minimum(low[start:end], min(said)),
                np.maximum(high[start:end], max(said)),
            )
    return low, high


def _met(card: TaskCard, state: Array) -> Array:
    """(m, D): for every two quantities of one kind, the state where the first has come to the
    second; that is what success looks like.
    """
    slices = card.reward_layout.slices
    fields = [f for f in card.fields if f.reward and f.unit not in UNITLESS]
    found = []
    for k, one in enumerate(fields):
        for two in fields[k + 1 :]:
            if (one.unit, one.shape) == (two.unit, two.shape):
                made = state.copy()
                made[slice(*slices[one.name][:2])] = state[slice(*slices[two.name][:2])]
                found.append(made)
    return np.array(found)


def _differ(worker: Worker, other: Worker, batch: Transitions, where: str) -> Verdict | None:
    """The same rows in one batch, and the other way round with the last one alone.

    A refusal is told with where it was.
    """
    try:
        # both work at once
        worker.send(*batch)
        parts = [other.ask(*part) for _, part in _regrouped(batch)]
        answer = worker.receive()
    except ProgramRejected as error:
        raise ProgramRejected(
            error.verdict.model_copy(update={"message": f"{error.verdict.message} ({where})"})
        ) from None
    return next(
        iter(_pure(answer, parts, batch, worker.terms + worker.potentials, f" ({where})")), None
    )


def _pure(
    answer: Answer, parts: list[Answer], batch: Transitions, names: tuple[str, ...], where: str = ""
) -> list[Verdict]:
    """The same transitions in other batches and another order, in a fresh process, must give the
    same numbers.
    """
    mine = np.concatenate([answer.terms, answer.before, answer.after], -1)
    theirs = mine.copy()
    for (rows, _), part in zip(_regrouped(batch), parts, strict=True):
        theirs[: len(part.terms), rows] = np.concatenate([part.terms, part.before, part.after], -1)
    scale = np.maximum(np.abs(mine).max((0, 1)), 1e-12)
    far = np.abs(mine - theirs).max((0, 1)) / scale > SAME
    wrong = [
        name
        for k, name in enumerate(names)
        if far[k] or (k >= answer.terms.shape[-1] and far[k + answer.before.shape[-1]])
    ]
    if not wrong:
        return []
    message = f"{', '.join(wrong)}: the same transitions gave other numbers in batches of other sizes and another order{where}"
    return [
        Verdict(
            kind="not-pure",
            message=message,
            hint="no randomness, no state outside of memory, and never one row's values for another",
        )
    ]


def _statistics(values: Array, names: tuple[str, ...], worker: Worker) -> tuple[TermProbe, ...]:
    sizes = np.abs(values).sum(0)
    total = float(sizes.sum()) or 1.0
    found = []
    for k, name in enumerate(names):
        column = values[:, k]
        kind = (
            "potential"
            if name in worker.potentials
            else "sparse"
            if name in worker.sparse
            else "dense"
        )
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


def _warnings(
    values: Array, names: tuple[str, ...], worker: Worker, answer: Answer, card: TaskCard
) -> list[Verdict]:
    def warn(kind: str, message: str, hint: str = "") -> Verdict:
        return Verdict(kind=kind, severity="warn", message=message, hint=hint)

    found = []
    if len(values) and not np.abs(values).any():
        found.append(
            warn(
                "silent",
                "every term is 0 on all probes: a random agent notices nothing",
                "cover the way from how an episode starts",
            )
        )
    for k, name in enumerate(names):
        column = values[:, k]
        largest, limit = float(np.abs(column).max()), card.environment.limit
        if largest * limit > 1 and column.min() == column.max() and name in worker.terms:
            message = f"{name!r} is {column[0]:.3g} on every probe: {column[0] * limit:.3g} over {limit} steps, whatever the agent does"
            found.append(
                warn(
                    "constant",
                    message,
                    "a price for time of at most 0.5 over an episode may be constant; anything else should change with the state",
                )
            )
        elif 0 < largest < TINY:
            found.append(
                warn(
                    "tiny",
                    f"{name!r} never exceeds {largest:.1g}: against a success bonus of 1 nobody notices it",
                    "0.5 .. 5 over an episode",
                )
            )
        elif (
            column.min() < column.max()
            and name in worker.terms
            and (column == (end := column[np.abs(column).argmax()])).mean() > FLAT
        ):
            found.append(
                warn(
                    "saturated",
                    f"{name!r} is {end:.3g}, its largest, on {(column == end).mean():.0%} of the probes",
                    "a wider scale, or a gain in place of a level",
                )
            )
        if (
            name in worker.terms
            and column.min() > 0
            and card.success is not None
            and card.success.ends_episode
        ):
            message = f"{name!r} pays {column.mean():.3g} at every step on an episode that ends at success: staying may beat finishing"
            found.append(
                warn(
                    "stalling",
                    message,
                    "per-step terms of this kind should be 0 or below, or differences",
                )
            )
        if largest * limit > 1e4 and np.abs(column).mean() * limit > 1e3:
            found.append(
                warn(
                    "scale",
                    f"{name!r} may sum to {np.abs(column).mean() * limit:.3g} over an episode; the success bonus is 1",
                    "0.5 .. 5 over an episode",
                )
            )
    for j, name in enumerate(worker.potentials):
        highest = float(max(answer.before[..., j].max(), answer.after[..., j].max()))
        if highest > 1e-9:
            found.append(
                warn(
                    "potential-above-0",
                    f"potential {name!r} reaches {highest:.3g}: cut to 0 at the end, it makes finishing cost that much",
                    "shift it so that success is 0",
                )
            )
    for name in sorted(worker.broadcast):
        found.append(
            warn(
                "broadcast",
                f"{name!r} came as one number for all rows",
                "np.full(len(action), value)",
            )
        )
    return found
