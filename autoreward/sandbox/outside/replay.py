"""Recorded transitions through a reward program: the one way a program is asked about the past.

The program runs in a reward worker, as in training, and sees the same fields in the same order, so
its answers are bit for bit those of training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from autoreward.sandbox.outside.worker import Answer, Template, Worker
from autoreward.state import Array
from autoreward.store.episodes import Episode, columns
from autoreward.tasks.card import TaskCard


class Transitions(NamedTuple):
    """T steps of n rows, in the form that `Worker.ask` takes.

    prev, curr (T, n, D): the fields that reward programs get. action (T, n, *row). first (T, n):
    True where an episode begins with that step.
    """

    prev: Array
    action: Array
    curr: Array
    first: Array

    def rows(self, chosen: Array) -> Transitions:
        """Select rows, for all T steps."""
        return Transitions(*(part[:, chosen] for part in self))

    def steps(self, start: int, end: int) -> Transitions:
        """Select the steps from `start` up to `end`, of all rows."""
        return Transitions(*(part[start:end] for part in self))


class Replay(NamedTuple):
    """What a program answered: the names it gave, and one Answer for each recording."""

    terms: tuple[str, ...]
    potentials: tuple[str, ...]
    sparse: frozenset[str]
    answers: tuple[Answer, ...]


def probe_transitions(card: TaskCard, recorded: Mapping[str, Array]) -> Transitions:
    """Return the transitions of a run's probes (the arrays of probes.npz, with all fields)."""
    picked = columns(card.layout, card.reward_layout)
    return Transitions(
        prev=recorded["prev"][..., picked],
        action=recorded["action"],
        curr=recorded["curr"][..., picked],
        first=recorded["first"],
    )


def episode_transitions(card: TaskCard, episode: Episode) -> Transitions:
    """Return the T transitions of one recorded episode, as a single row."""
    states = episode.fields[:, columns(card.layout, card.reward_layout)]
    first = np.zeros((episode.length, 1), bool)
    first[0] = True
    return Transitions(
        prev=states[:-1, None], action=episode.actions[:, None], curr=states[1:, None], first=first
    )


def replay(
    program: str,
    card: TaskCard,
    recordings: Iterable[Transitions],
    *,
    entry: str = "reward",
    sandbox: str = "default",
    template: Template | None = None,
) -> Replay:
    """Ask one worker about every recording, in order.

    `entry` is the function that the program defines (wire.ENTRIES). Memory carries over from one
    recording to the next, except where `first` resets it.

    Raises ProgramRejected if the program fails on one of them, and MachineFault if this machine
    cannot run a worker.
    """
    with Worker(
        program,
        card.reward_layout,
        card.action,
        entry=entry,
        profile=sandbox,
        template=template,
    ) as worker:
        answers = tuple(worker.ask(*transitions) for transitions in recordings)
        return Replay(worker.terms, worker.potentials, worker.sparse, answers)
