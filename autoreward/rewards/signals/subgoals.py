"""Subgoals as options: predicates that a program states, and a bonus where one ends, once per
subgoal and episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from autoreward.rewards.composition import Columns
from autoreward.rewards.signals.signal import Signal, SignalContext, StepBatch
from autoreward.state import Array, Layout, State
from autoreward.store.records import Measure, Verdict
from autoreward.tasks.criteria import all_hold

if TYPE_CHECKING:
    from autoreward.tasks.card import TaskCard

MOST = 20
# finished episodes over which a subgoal's rate is taken
LATELY = 200
# of them that came further without it: then it is left out
ENOUGH = 20


class Progress:
    """Which subgoals have ended in the episodes of n rows: in order, each once it is the next one,
    or in any order.
    """

    def __init__(self, count: int, ordered: bool) -> None:
        self.count, self.ordered = count, ordered
        self.ended = np.zeros((0, count), bool)
        self.left_out = np.zeros(count, bool)

    def step(self, held: Array, first: Array) -> Array:
        """(n, K) of bool: what ends with this step.

        held (n, K): predicates after it; first (n,): an episode begins with it.
        """
        if len(self.ended) != len(held):
            self.ended = np.zeros(held.shape, bool)
        self.ended[first] = False
        before = self.ended.copy()
        if not self.ordered:
            self.ended |= held
        else:
            # rows whose subgoals so far have all ended
            open_ = np.ones(len(held), bool)
            for k in range(self.count):
                if not self.left_out[k]:
                    self.ended[:, k] |= open_ & held[:, k]
                    open_ &= self.ended[:, k]
        return self.ended & ~before


class Subgoals(Signal):
    """One sparse term for each subgoal, paid where it ends for the first time in an episode.

        r_k = bonus * 1[subgoal k ends with this transition, and has not ended before in this episode]

    In order (the default) a subgoal counts once all before it have ended. Source: CALM (Pignatelli
    et al. 2024, arXiv 2409.12798), r = r_env + beta * 1[ended], beta = 0.1; there without a memory
    of what was paid, so that a cheap transition can be farmed. A subgoal that none of the last
    LATELY finished episodes ended, while ENOUGH of them came further (success, or a later predicate
    that was false at first), is left out from the next rollout on, and a note says so.
    """

    entry: ClassVar[str] = "subgoals"

    def __init__(self, context: SignalContext) -> None:
        super().__init__(context)
        self.bonus = float(context.settings.get("bonus", "0.1"))
        self.progress = Progress(len(context.terms), context.settings.get("order", "on") == "on")
        self.initial = np.zeros((0, len(context.terms)), bool)
        # predicates that became true in the episode
        self.further = np.zeros((0, len(context.terms)), bool)
        # of finished episodes: ended, and came further than each
        self.lately: list[tuple[Array, Array]] = []

    @classmethod
    def columns(
        cls, terms: tuple[str, ...], potentials: tuple[str, ...], sparse: frozenset[str]
    ) -> Columns:
        return Columns(terms, (), frozenset(terms))

    @classmethod
    def check_answers(
        cls, card: TaskCard, names: tuple[str, ...], values: Array, first: Array
    ) -> list[Verdict]:
        found = []
        if len(names) > MOST:
            found.append(
                Verdict(
                    kind="too-many-terms",
                    message=f"{len(names)} subgoals, at most {MOST} are taken",
                    hint="3 to 8 on the way to success",
                )
            )
        for k, name in enumerate(names):
            column = values[..., k]
            odd = column[~np.isin(column, (0.0, 1.0))]
            if len(odd):
                message = f"{name!r} is {odd[0]:.3g} somewhere: a subgoal holds or it does not"
                found.append(
                    Verdict(
                        kind="no-flag", message=message, hint="a comparison, such as curr.x > 1.0"
                    )
                )
            elif column.all():
                message = f"{name!r} holds on every probe, from the first step on: standing first, it is paid for nothing"
                found.append(
                    Verdict(
                        kind="constant",
                        severity="warn",
                        message=message,
                        hint="put it after a subgoal that makes it false, or leave it out",
                    )
                )
        return found

    @classmethod
    def measure(
        cls,
        card: TaskCard,
        layout: Layout,
        names: tuple[str, ...],
        episodes: Sequence[tuple[Array, Array]],
    ) -> tuple[Measure, ...]:
        trusted = trusted_subgoals(card)
        if not trusted:
            return ()
        wanted, got = tuple(s.name for s in trusted), []
        for states, answers in episodes:
            truth = np.stack([all_hold(s.when, State(states[1:], layout)) for s in trusted], -1)
            got.append((_ends(truth), _ends(answers > 0.5)))
        return compare(wanted, names, got)

    def step(
        self, terms: Array, before: Array, after: Array, batch: StepBatch
    ) -> tuple[Array, Array, Array]:
        channel = self.context.channel
        held = (
            channel.labels_of(channel.caption_numbers(batch.prev, batch.action, batch.curr))
            if channel
            else terms > 0.5
        )
        if len(self.initial) != len(held):
            self.initial, self.further = held.copy(), np.zeros_like(held)
        self.initial[batch.first], self.further[batch.first] = held[batch.first], False
        self.further |= held & ~self.initial
        ends = self.progress.step(held, batch.first)
        for i in np.flatnonzero(batch.done):
            later = np.logical_or.accumulate(self.further[i][::-1])[::-1]
            self.lately.append(
                (
                    self.progress.ended[i].copy(),
                    np.append(later[1:], False) | bool(batch.success[i]),
                )
            )
        return (
            self.bonus * ends.astype(np.float64),
            np.zeros((len(held), 0)),
            np.zeros((len(held), 0)),
        )

    def update(self) -> None:
        if self.context.channel:
            self.context.channel.update()
        self.lately = self.lately[-LATELY:]
        if self.progress.ordered and len(self.lately) == LATELY:
            ended = np.sum([e for e, _ in self.lately], 0)
            further = np.sum([f for _, f in self.lately], 0)
            blocking = (ended == 0) & (further >= ENOUGH) & ~self.progress.left_out
            if blocking.any():
                # the first one; others may have waited for it
                self.progress.left_out[int(np.flatnonzero(blocking)[0])] = True
                self.lately = []

    def _rates(self) -> dict[str, float]:
        return (
            {
                n: float(r)
                for n, r in zip(
                    self.context.terms, np.mean([e for e, _ in self.lately], 0), strict=True
                )
            }
            if self.lately
            else {}
        )

    def _left_out(self) -> list[str]:
        return [
            name
            for name, gone in zip(self.context.terms, self.progress.left_out, strict=True)
            if gone
        ]

    def notes(self) -> list[str]:
        gone, judged = self._left_out(), self.context.channel
        out = [
            f"subgoal {name!r} was left out: of {LATELY} episodes none ended it, and {ENOUGH} or more came further without it"
            for name in gone
        ]
        never = [name for name, rate in self._rates().items() if rate == 0 and name not in gone]
        out += judged.notes() if judged else []
        return out + (
            [f"never ended in the last {len(self.lately)} episodes: {', '.join(never)}"]
            if never
            else []
        )

    def evidence(self) -> dict[str, Any]:
        return {
            "episodes": len(self.lately),
            "ended": self._rates(),
            "left_out": self._left_out(),
            **({"judged": self.context.channel.evidence()} if self.context.channel else {}),
        }


def trusted_subgoals(card: TaskCard) -> tuple[Any, ...]:
    """The card's own subgoals, conditions as data: for measuring, and for simulated annotators; ()
    where it names none.
    """
    return next((h.subgoals for h in card.hints if h.subgoals), ())


def _ends(held: Array) -> Array:
    """(T, K): where each of the subgoals ends, in order, in one episode."""
    progress = Progress(held.shape[1], ordered=True)
    first = np.zeros(1, bool)
    return np.stack([progress.step(h[None], first)[0] for h in held]) if len(held) else held


def compare(
    wanted: tuple[str, ...], names: tuple[str, ...], ends: Sequence[tuple[Array, Array]]
) -> tuple[Measure, ...]:
    """Judgements against trusted ones, per transition: whether any subgoal ends there, and, where
    both know the name, which one. ends: (truth (T, K), judged (T, K')).
    """

    def counted(what: str, truth: Array, judged: Array) -> Measure:
        return Measure(
            what=what,
            true_positive=int((truth & judged).sum()),
            false_positive=int((~truth & judged).sum()),
            false_negative=int((truth & ~judged).sum()),
            true_negative=int((~truth & ~judged).sum()),
        )

    truth, judged = np.concatenate([t for t, _ in ends]), np.concatenate([j for _, j in ends])
    found = [counted("any", np.asarray(truth.any(-1)), np.asarray(judged.any(-1)))]
    shared = [n for n in wanted if n in names]
    if shared:
        asked, said = (
            truth[:, [wanted.index(n) for n in shared]],
            judged[:, [names.index(n) for n in shared]],
        )
        found.append(counted("which", asked, said))
        found += [counted(n, asked[:, k], said[:, k]) for k, n in enumerate(shared)]
    return tuple(found)
