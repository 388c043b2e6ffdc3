"""Purity: the same transitions must give the same numbers, in whatever batch they come.

A program is asked twice, in two processes: once for all rows together, once for the rows in another
order with one of them on its own. Besides the recorded transitions it is asked about unusual ones,
since training reaches states that recordings do not hold.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autoreward.sandbox.outside.replay import Transitions
from autoreward.sandbox.outside.worker import Answer, ProgramRejected, Worker
from autoreward.state import Array
from autoreward.store.records import Verdict
from autoreward.tasks.card import Field, TaskCard, numbers

# Batched products differ in their last bits, so equal means equal up to this.
RELATIVE_TOLERANCE = 1e-9
# The single row is asked about a third of its steps: a call costs the same for one row as for many.
SINGLE_ROW_SHARE = 3
# Units that say nothing about which fields may be compared.
UNITLESS = {"", "-", "flag", "code"}


def regrouped(batch: Transitions) -> list[tuple[Array, Transitions]]:
    """The rows in other company: the last one on its own, the others backwards.

    Returns pairs of row numbers and their transitions.
    """
    steps, n = batch.first.shape
    single = np.array([n - 1])
    asked = -(-steps // SINGLE_ROW_SHARE)
    groups = [(single, batch.rows(single).steps(0, asked))]
    if n > 1:
        others = np.arange(n - 1)[::-1]
        groups.append((others, batch.rows(others)))
    return groups


def impure(
    answer: Answer,
    parts: list[Answer],
    batch: Transitions,
    names: tuple[str, ...],
    where: str = "",
) -> list[Verdict]:
    """Compare the answers about a batch with those about its regrouped rows.

    `names` are the terms, then the potentials. Returns one verdict, or none.
    """
    whole = np.concatenate([answer.terms, answer.before, answer.after], -1)
    regrouped_answers = whole.copy()
    for (rows, _), part in zip(regrouped(batch), parts, strict=True):
        values = np.concatenate([part.terms, part.before, part.after], -1)
        regrouped_answers[: len(part.terms), rows] = values

    scale = np.maximum(np.abs(whole).max((0, 1)), 1e-12)
    gaps = np.abs(whole - regrouped_answers).max((0, 1)) / scale
    differs = gaps > RELATIVE_TOLERANCE
    n_terms = answer.terms.shape[-1]
    n_potentials = answer.before.shape[-1]
    wrong = []
    for k, name in enumerate(names):
        # A potential has two columns: before and after the step.
        after = k >= n_terms and differs[k + n_potentials]
        if differs[k] or after:
            wrong.append(name)
    if not wrong:
        return []

    message = (
        f"{', '.join(wrong)}: the same transitions gave different numbers in batches of other "
        f"sizes and in another order{where}"
    )
    hint = "no randomness, no state outside of memory, and no row may depend on another row"
    return [Verdict(kind="not-pure", message=message, hint=hint)]


def impure_on_unusual(
    worker: Worker, other: Worker, card: TaskCard, batch: Transitions
) -> list[Verdict]:
    """The first verdict about each set of unusual transitions.

    Raises ProgramRejected if the program fails on one, and says on which.
    """
    found = []
    for where, unusual in _unusual(card, batch):
        found += _ask_twice(worker, other, unusual, where)[:1]
    return found


def _ask_twice(worker: Worker, other: Worker, batch: Transitions, where: str) -> list[Verdict]:
    try:
        # Both processes work at the same time.
        worker.send(*batch)
        parts = [other.ask(*part) for _, part in regrouped(batch)]
        answer = worker.receive()
    except ProgramRejected as error:
        message = f"{error.verdict.message} ({where})"
        raise ProgramRejected(error.verdict.model_copy(update={"message": message})) from None
    return impure(answer, parts, batch, worker.terms + worker.potentials, f" ({where})")


# -- unusual transitions ---------------------------------------------------------------------------


def _unusual(card: TaskCard, batch: Transitions) -> Iterator[tuple[str, Transitions]]:
    """Transitions that recordings may not hold, each with words for where they are.

    Numbers at the ends of their ranges, fields that do not move, two things in one place, batches
    of other sizes.
    """
    ends = _range_ends(card, batch)
    base = _first_transition(batch, len(ends))
    yield "where one field is at an end of its range", base._replace(curr=ends[None])
    yield "where one field begins at an end of its range", base._replace(prev=ends[None])
    yield (
        "where a field stays at an end of its range",
        base._replace(prev=ends[None], curr=ends[None]),
    )
    met = _met(card, batch.curr[0, 0])
    if len(met):
        base = _first_transition(batch, len(met))
        yield "where two fields are equal", base._replace(curr=met[None])
        yield "where two fields are and stay equal", base._replace(prev=met[None], curr=met[None])
    for size in (card.training.n_envs, 2 * card.training.n_envs + 1):
        yield f"in a batch of {size} rows", _batch_of(batch, size)


def _first_transition(batch: Transitions, rows: int) -> Transitions:
    """The first recorded transition, `rows` times side by side."""
    return Transitions(*(np.repeat(part[:1, :1], rows, axis=1) for part in batch))


def _batch_of(batch: Transitions, size: int) -> Transitions:
    """Two steps of `size` rows, from all over the recording; the first one starts an episode."""
    flat = flattened(batch)
    chosen = np.arange(size) * 7 % len(flat.first)
    doubled = Transitions(*(np.stack([part[chosen], part[chosen]]) for part in flat))
    starts = np.zeros((2, size), bool)
    starts[0] = True
    return doubled._replace(first=starts)


def flattened(batch: Transitions) -> Transitions:
    """All transitions in one axis, (T * n, ...)."""
    return Transitions(*(part.reshape(-1, *part.shape[2:]) for part in batch))


def _range_ends(card: TaskCard, batch: Transitions) -> Array:
    """(2 D, D): the first recorded state, with one number after another at an end of its range."""
    low, high = _ranges(card, batch)
    width = len(low)
    ends = np.repeat(batch.curr[0, :1], 2 * width, axis=0)
    columns = np.arange(width)
    ends[columns, columns] = low
    ends[width + columns, columns] = high
    return ends


def _ranges(card: TaskCard, batch: Transitions) -> tuple[Array, Array]:
    """(D,) the lowest and the highest of every number.

    As recorded, and as the card says if its `range` holds two numbers.
    """
    seen = np.concatenate([batch.prev, batch.curr]).reshape(-1, batch.prev.shape[-1])
    low = seen.min(0)
    high = seen.max(0)
    for field in card.fields:
        stated = numbers(field.range)
        if field.reward and len(stated) == 2:
            start, end, _ = card.reward_layout.slices[field.name]
            low[start:end] = np.minimum(low[start:end], min(stated))
            high[start:end] = np.maximum(high[start:end], max(stated))
    return low, high


def _met(card: TaskCard, state: Array) -> Array:
    """(m, D): for every two fields of one kind, the state in which the first equals the second.

    That is what success often looks like.
    """
    slices = card.reward_layout.slices
    fields = [f for f in card.fields if f.reward and f.unit not in UNITLESS]
    found = []
    for k, one in enumerate(fields):
        for other in fields[k + 1 :]:
            if _comparable(one, other):
                made = state.copy()
                made[slice(*slices[one.name][:2])] = state[slice(*slices[other.name][:2])]
                found.append(made)
    return np.array(found)


def _comparable(one: Field, other: Field) -> bool:
    return one.unit == other.unit and one.shape == other.shape


# -- what a term depends on ------------------------------------------------------------------------


def hidden_inputs(
    worker: Worker, card: TaskCard, batch: Transitions, single: Answer
) -> dict[str, tuple[str, ...]]:
    """Term or potential -> the fields that it depends on and the policy does not see.

    The program is asked, with the values of one field exchanged: code can hide what it reads.
    `single` is its answer about the single row of `regrouped`.
    """
    found: dict[str, tuple[str, ...]] = {}
    _, row = regrouped(batch)[0]
    flat = flattened(batch)
    exchanged = np.random.default_rng(0).permutation(len(flat.curr))[: len(row.curr)]
    for field in card.fields:
        if field.policy or not field.reward:
            continue
        start, end, _ = card.reward_layout.slices[field.name]
        prev = row.prev.copy()
        curr = row.curr.copy()
        prev[:, 0, start:end] = flat.prev[exchanged, start:end]
        curr[:, 0, start:end] = flat.curr[exchanged, start:end]
        answer = worker.ask(*row._replace(prev=prev, curr=curr))
        for name in _changed(worker, answer, single):
            found[name] = (*found.get(name, ()), field.name)
    return found


def _changed(worker: Worker, answer: Answer, single: Answer) -> list[str]:
    """Terms and potentials whose values differ between two answers."""
    found = []
    for names, values, before in (
        (worker.terms, answer.terms, single.terms),
        (worker.potentials, answer.after, single.after),
    ):
        for k, name in enumerate(names):
            if not np.allclose(values[..., k], before[..., k], rtol=RELATIVE_TOLERANCE, atol=0):
                found.append(name)
    return found
