"""Subgoals as options: predicates that a program states, and a bonus where one ends, once per
subgoal and episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from autoreward.rewards.composition import Columns
from autoreward.rewards.signals.signal import Signal, SignalContext, StepBatch
from autoreward.state import Array, Layout, State
from autoreward.store.records import Measure, Verdict
from autoreward.tasks.criteria import all_hold

if TYPE_CHECKING:
    from autoreward.tasks.card import TaskCard

MAX_SUBGOALS = 20
# finished episodes over which a subgoal's rate is taken
RECENT_EPISODES = 200
# how many of them must have come further without a subgoal before it is left out
MIN_FURTHER = 20


class Progress:
    """Which subgoals have ended in the running episodes of n rows.

    In order, each counts once it is the next one; or in any order.
    """

    def __init__(self, count: int, ordered: bool) -> None:
        self.count = count
        self.ordered = ordered
        self.ended = np.zeros((0, count), bool)
        self.left_out = np.zeros(count, bool)

    def step(self, holds: Array, first: Array) -> Array:
        """Return (n, K) of bool: which subgoals end with this step.

        holds (n, K): the predicates after it. first (n,): an episode begins with it.
        """
        if len(self.ended) != len(holds):
            self.ended = np.zeros(holds.shape, bool)
        self.ended[first] = False
        before = self.ended.copy()
        if self.ordered:
            self._end_in_order(holds)
        else:
            self.ended |= holds
        return self.ended & ~before

    def _end_in_order(self, holds: Array) -> None:
        # rows whose subgoals so far have all ended
        reached = np.ones(len(holds), bool)
        for k in range(self.count):
            if self.left_out[k]:
                continue
            self.ended[:, k] |= reached & holds[:, k]
            reached &= self.ended[:, k]


class SubgoalEpisode(NamedTuple):
    """A finished episode, (K,) of bool each: which subgoals ended, and for which it came further
    without them.
    """

    ended: Array
    further: Array


class Subgoals(Signal):
    """One sparse term for each subgoal, paid where it ends for the first time in an episode.

        r_k = bonus * 1[subgoal k ends with this transition, and has not ended before in it]

    In order (the default) a subgoal counts once all before it have ended. Source: CALM (Pignatelli
    et al. 2024, arXiv 2409.12798), r = r_env + beta * 1[ended], beta = 0.1; there without a memory
    of what was paid, so that a cheap transition can be farmed.

    A subgoal that ended in none of the last RECENT_EPISODES finished episodes, although MIN_FURTHER
    of them came further (success, or a later predicate that was false at first), is left out from
    the next rollout on, and a note says so.
    """

    entry: ClassVar[str] = "subgoals"

    def __init__(self, context: SignalContext) -> None:
        super().__init__(context)
        count = len(context.terms)
        self.bonus = float(context.settings.get("bonus", "0.1"))
        self.progress = Progress(count, context.settings.get("order", "on") == "on")
        # predicates at the episode's first step, and those that became true in it
        self.initial = np.zeros((0, count), bool)
        self.became_true = np.zeros((0, count), bool)
        # finished episodes, cut to RECENT_EPISODES at every update
        self.recent: list[SubgoalEpisode] = []

    @classmethod
    def columns(
        cls, terms: tuple[str, ...], potentials: tuple[str, ...], sparse: frozenset[str]
    ) -> Columns:
        """Return one sparse term for each subgoal."""
        return Columns(terms, (), frozenset(terms))

    @classmethod
    def check_answers(
        cls, card: TaskCard, names: tuple[str, ...], values: Array, first: Array
    ) -> list[Verdict]:
        """Reject answers that are no flags, or too many; warn of a subgoal that always holds."""
        found = []
        if len(names) > MAX_SUBGOALS:
            found.append(
                Verdict(
                    kind="too-many-terms",
                    message=f"{len(names)} subgoals; at most {MAX_SUBGOALS} are allowed",
                    hint="name 3 to 8 stages on the way to success",
                )
            )
        for k, name in enumerate(names):
            column = values[..., k]
            not_flags = column[~np.isin(column, (0.0, 1.0))]
            if len(not_flags):
                found.append(_not_a_flag(name, float(not_flags[0])))
            elif column.all():
                found.append(_always_holds(name))
        return found

    @classmethod
    def measure(
        cls,
        card: TaskCard,
        layout: Layout,
        names: tuple[str, ...],
        episodes: Sequence[tuple[Array, Array]],
    ) -> tuple[Measure, ...]:
        """Compare where subgoals end with the card's own subgoals, if it has any."""
        trusted = trusted_subgoals(card)
        if not trusted:
            return ()
        ends = []
        for fields, answers in episodes:
            after = State(fields[1:], layout)
            truth = np.stack([all_hold(subgoal.when, after) for subgoal in trusted], -1)
            ends.append((_episode_ends(truth), _episode_ends(answers > 0.5)))
        return compare(tuple(subgoal.name for subgoal in trusted), names, ends)

    def step(
        self, terms: Array, before: Array, after: Array, batch: StepBatch
    ) -> tuple[Array, Array, Array]:
        """Pay the bonus where a subgoal ends; there are no potentials."""
        holds = self._holds(terms, batch)
        n = len(holds)
        if len(self.initial) != n:
            self.initial = holds.copy()
            self.became_true = np.zeros_like(holds)
        self.initial[batch.first] = holds[batch.first]
        self.became_true[batch.first] = False
        self.became_true |= holds & ~self.initial

        ends = self.progress.step(holds, batch.first)
        for i in np.flatnonzero(batch.done):
            self._finish_episode(int(i), bool(batch.success[i]))
        return self.bonus * ends.astype(np.float64), np.zeros((n, 0)), np.zeros((n, 0))

    def _holds(self, terms: Array, batch: StepBatch) -> Array:
        """(n, K) of bool: what the program says or, if a model labels transitions, the labels."""
        channel = self.context.channel
        if channel is None:
            return terms > 0.5
        return channel.labels_of(channel.caption_numbers(batch.prev, batch.action, batch.curr))

    def _finish_episode(self, row: int, success: bool) -> None:
        # a later predicate became true, or the episode succeeded
        later = np.logical_or.accumulate(self.became_true[row][::-1])[::-1]
        further = np.append(later[1:], False) | success
        self.recent.append(SubgoalEpisode(self.progress.ended[row].copy(), further))

    def update(self) -> None:
        """Apply new labels, and leave out a subgoal that blocks those after it."""
        if self.context.channel:
            self.context.channel.update()
        self.recent = self.recent[-RECENT_EPISODES:]
        if not self.progress.ordered or len(self.recent) < RECENT_EPISODES:
            return
        ended = np.sum([episode.ended for episode in self.recent], 0)
        further = np.sum([episode.further for episode in self.recent], 0)
        blocking = (ended == 0) & (further >= MIN_FURTHER) & ~self.progress.left_out
        if blocking.any():
            # only the first one: others may have waited for it
            self.progress.left_out[int(np.flatnonzero(blocking)[0])] = True
            self.recent.clear()

    def _rates(self) -> dict[str, float]:
        """Share of the recent episodes in which each subgoal ended; {} if there are none."""
        if not self.recent:
            return {}
        rates = np.mean([episode.ended for episode in self.recent], 0)
        return {name: float(rate) for name, rate in zip(self.context.terms, rates, strict=True)}

    def _left_out(self) -> list[str]:
        names = zip(self.context.terms, self.progress.left_out, strict=True)
        return [name for name, left_out in names if left_out]

    def notes(self) -> list[str]:
        """Report subgoals that were left out or never ended, and what the channel reports."""
        left_out = self._left_out()
        notes = [
            f"subgoal {name!r} was left out: it ended in none of {RECENT_EPISODES} episodes, and"
            f" {MIN_FURTHER} or more came further without it"
            for name in left_out
        ]
        if self.context.channel:
            notes += self.context.channel.notes()
        never = [name for name, rate in self._rates().items() if rate == 0 and name not in left_out]
        if never:
            notes.append(f"never ended in the last {len(self.recent)} episodes: {', '.join(never)}")
        return notes

    def evidence(self) -> dict[str, Any]:
        """Return the number of episodes, rates by subgoal, and the channel's own figures."""
        found: dict[str, Any] = {
            "episodes": len(self.recent),
            "ended": self._rates(),
            "left_out": self._left_out(),
        }
        if self.context.channel:
            found["judged"] = self.context.channel.evidence()
        return found


def _not_a_flag(name: str, value: float) -> Verdict:
    return Verdict(
        kind="no-flag",
        message=f"{name!r} takes the value {value:.3g}: a subgoal either holds or does not",
        hint="return a comparison, such as curr.x > 1.0",
    )


def _always_holds(name: str) -> Verdict:
    return Verdict(
        kind="constant",
        severity="warn",
        message=f"{name!r} holds on every probe, from the first step on: if it comes first, it is"
        " paid for nothing",
        hint="put it after a subgoal that makes it false, or leave it out",
    )


def trusted_subgoals(card: TaskCard) -> tuple[Any, ...]:
    """Return the card's own subgoals (conditions as data), or () if it names none.

    They serve for measurements and for simulated annotators.
    """
    return next((hint.subgoals for hint in card.hints if hint.subgoals), ())


def _episode_ends(holds: Array) -> Array:
    """(T, K) of bool: where each subgoal ends, in order, in one episode."""
    if not len(holds):
        return holds
    progress = Progress(holds.shape[1], ordered=True)
    first = np.zeros(1, bool)
    return np.stack([progress.step(row[None], first)[0] for row in holds])


def compare(
    trusted: tuple[str, ...], names: tuple[str, ...], ends: Sequence[tuple[Array, Array]]
) -> tuple[Measure, ...]:
    """Compare answers with trusted ones, for each transition.

    Measures whether any subgoal ends there ("any") and, for the names that both know, which one
    ("which", then each by name). ends: (truth (T, K) by `trusted`, answers (T, K') by `names`).
    """
    truth = np.concatenate([of_episode for of_episode, _ in ends])
    answers = np.concatenate([of_episode for _, of_episode in ends])
    found = [_counts("any", np.asarray(truth.any(-1)), np.asarray(answers.any(-1)))]
    shared = [name for name in trusted if name in names]
    if not shared:
        return tuple(found)
    truth = truth[:, [trusted.index(name) for name in shared]]
    answers = answers[:, [names.index(name) for name in shared]]
    found.append(_counts("which", truth, answers))
    for k, name in enumerate(shared):
        found.append(_counts(name, truth[:, k], answers[:, k]))
    return tuple(found)


def _counts(what: str, truth: Array, answers: Array) -> Measure:
    return Measure(
        what=what,
        true_positive=int((truth & answers).sum()),
        false_positive=int((~truth & answers).sum()),
        false_negative=int((truth & ~answers).sum()),
        true_negative=int((~truth & ~answers).sum()),
    )
