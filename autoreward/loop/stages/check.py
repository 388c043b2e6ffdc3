"""Check: the program runs in the sandbox over the probes, and its answers are examined.

It runs over recorded transitions and over unusual ones (loop/purity.py); its terms are measured
(loop/term_findings.py). A program that passes gives finite numbers, the same for the same
transitions, and fits the composition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoreward.loop.purity import hidden_inputs, impure, impure_on_unusual, regrouped
from autoreward.loop.term_findings import term_statistics, term_warnings
from autoreward.rewards.composition import (
    Columns,
    Composition,
    UnsuitableComposition,
    shape_potentials,
)
from autoreward.rewards.signals import PLAIN, Signal, find_signal
from autoreward.sandbox.outside.replay import Transitions, probe_transitions
from autoreward.sandbox.outside.worker import Answer, ProgramRejected, Template, Worker
from autoreward.store.io import read_arrays
from autoreward.store.records import Check, TermProbe, Verdict
from autoreward.tasks.card import TaskCard

# Bytes by which a program may grow over half of the probes.
MAX_GROWTH_BYTES = 16 << 20
# Seconds of processor time per vector step above which training waits for the program.
SLOW_SECONDS = 0.002


@dataclass(frozen=True)
class _Run:
    """What a program did in two reward workers, which have ended."""

    worker: Worker
    other: Worker
    answer: Answer
    # Its answers about the regrouped rows.
    parts: list[Answer]
    # The first verdict about every set of unusual transitions.
    unusual: list[Verdict]
    # Term -> fields that it depends on and the policy does not see.
    hidden: dict[str, tuple[str, ...]]
    # Over the second half of the probes.
    growth_bytes: int
    seconds_per_step: float

    @property
    def names(self) -> tuple[str, ...]:
        return self.worker.terms + self.worker.potentials


def check(
    program: str,
    card: TaskCard,
    probes: Path,
    sandbox: str,
    template: Template | None = None,
    composition: Composition | None = None,
    signal: type[Signal] | None = None,
) -> Check:
    """Accept or reject a program, with the statistics of every term on the probes.

    `probes` is the file of recorded transitions, `signal` the class of the method's signal.
    Raises MachineFault if this machine has no sandbox.
    """
    recorded = read_arrays(probes)
    batch = probe_transitions(card, recorded)
    steps, n = batch.first.shape
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

    def rejected(verdict: Verdict) -> Check:
        return Check(ok=False, verdicts=(verdict,), probes=steps * n, sandbox=sandbox)

    try:
        with start() as worker:
            run = _run(worker, start, card, batch)
    except ProgramRejected as error:
        return rejected(error.verdict)
    other_names = run.other.terms + run.other.potentials
    if run.names != other_names:
        message = (
            f"the same transitions gave the terms {', '.join(run.names)}, and in other batches "
            f"{', '.join(other_names)}"
        )
        hint = "return the same names at every call"
        return rejected(Verdict(kind="names-changed", message=message, hint=hint))

    answer = run.answer
    shaped = shape_potentials(
        answer.before, answer.after, recorded["terminated"], card.training.gamma
    )
    values = np.concatenate([answer.terms, shaped], -1).reshape(steps * n, -1)
    verdicts = impure(answer, run.parts, batch, run.names) or run.unusual[:1]
    verdicts += _cost_verdicts(run, steps // 2)
    if signal_class.entry == "reward":
        verdicts += term_warnings(values, run.names, worker, answer, card)
    else:
        verdicts += signal_class.check_answers(card, run.names, answer.terms, batch.first)
    columns = signal_class.columns(worker.terms, worker.potentials, worker.sparse)
    verdicts += _composition_verdicts(composition or Composition(), columns, card, worker.memory)
    return Check(
        ok=all(verdict.severity == "warn" for verdict in verdicts),
        verdicts=tuple(verdicts),
        terms=_statistics(run, values),
        memory=worker.memory,
        probes=steps * n,
        sandbox=sandbox,
    )


def _run(worker: Worker, start: Callable[[], Worker], card: TaskCard, batch: Transitions) -> _Run:
    """Ask a program about everything, in two processes that work at the same time.

    The probes go to the first process in two halves: growth is measured over the second, when the
    program has allocated what it needs. Raises ProgramRejected if the program fails.
    """
    steps = len(batch.first)
    half = steps // 2
    worker.send(*batch.steps(0, half))
    with start() as other:
        first_half = worker.receive()
        kept_before = worker.spent()[1]
        worker.send(*batch.steps(half, steps))
        parts = [other.ask(*part) for _, part in regrouped(batch)]
        second_half = worker.receive()
        seconds, kept = worker.spent()
        hidden = hidden_inputs(other, card, batch, parts[0])
        unusual = impure_on_unusual(other, worker, card, batch)
    halves = zip(first_half, second_half, strict=True)
    return _Run(
        worker=worker,
        other=other,
        answer=Answer(*(np.concatenate(both) for both in halves)),
        parts=parts,
        unusual=unusual,
        hidden=hidden,
        growth_bytes=kept - kept_before,
        seconds_per_step=seconds / steps,
    )


def _statistics(run: _Run, values: np.ndarray) -> tuple[TermProbe, ...]:
    return tuple(
        probe.model_copy(update={"unseen": run.hidden.get(probe.name, ())})
        for probe in term_statistics(values, run.names, run.worker)
    )


def _cost_verdicts(run: _Run, steps: int) -> list[Verdict]:
    """Verdicts about memory and time; `steps` are those that the growth was measured over."""
    found = []
    if run.growth_bytes > MAX_GROWTH_BYTES:
        found.append(
            Verdict(
                kind="memory-growth",
                message=(
                    f"it keeps {run.growth_bytes / steps / 1000:.0f} kB more memory at every call"
                ),
                hint="avoid growing lists and caches; keep what an episode needs in MEMORY",
            )
        )
    if run.seconds_per_step > SLOW_SECONDS:
        milliseconds = 1000 * run.seconds_per_step
        found.append(
            Verdict(
                kind="slow-program",
                severity="warn",
                message=f"one vector step takes {milliseconds:.1f} ms: training waits for it",
                hint="use whole-array numpy, not loops over rows",
            )
        )
    return found


def _composition_verdicts(
    composition: Composition, columns: Columns, card: TaskCard, memory: bool
) -> list[Verdict]:
    """Whether the program has the terms that its composition names, and the task allows both."""
    try:
        composition.require(card, memory)
        composition.bind(columns)
    except UnsuitableComposition as error:
        return [Verdict(kind=error.kind, message=error.message, hint=error.hint)]
    return [
        Verdict(kind="composition", severity="warn", message=message)
        for message in composition.warnings(columns)
    ]
