"""The same hints in other forms: predicates that say where a subgoal ends, and factors of a return.

This is what the offline designer answers to methods that do not write reward programs. A variant is
a number: how finely subgoals are cut, or which factor is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from autoreward.models.offline.expressions import Expressions, after_step, value
from autoreward.models.offline.grammar import keeps, tag_of
from autoreward.tasks.card import TaskCard
from autoreward.tasks.criteria import Condition
from autoreward.tasks.hints import Hint, Hold, Subgoal, Waypoints

SAID = "Written by offline/search from the card's hints: no language model."
# Shares of a gap (1 at its start) that are subgoals themselves, by variant: on the way to a stage,
# and if the gap is all there is.
CUTS = ((), (0.5,), (0.75, 0.5, 0.25), (0.8, 0.6, 0.4, 0.2))
WHOLE = (
    tuple(round(0.1 * k, 1) for k in range(9, 0, -1)),
    (0.8, 0.6, 0.4, 0.2),
    (0.5, 0.25),
    tuple(round(0.05 * k, 2) for k in range(19, 0, -1)),
)
# Shares of the steps that something must be held, each a subgoal.
HELD_SHARES = (0.02, 0.1, 0.3, 1.0)
PASSED_WITHIN = 0.5
VARIANT_LINE = re.compile(r"^# variant (\d+)$", re.M)


def variant_of(program: str) -> int | None:
    """Return the variant that a program was written from, None if it was not written here."""
    found = VARIANT_LINE.search(program)
    return int(found[1]) if found else None


def subgoals(card: TaskCard, variant: int) -> list[dict[str, str]]:
    """Return the subgoals in order: name, means."""
    return [{"name": p.name, "means": p.means} for p in _Predicates(card, variant).found]


def write_subgoals(card: TaskCard, variant: int) -> str:
    """Return a program of predicates."""
    predicates = _Predicates(card, variant)
    found = predicates.found
    declared = json.dumps({p.name: p.means for p in found})
    lines = [
        f'"""{len(found)} subgoals in order. {SAID}"""',
        "import numpy as np",
        "",
        f"# variant {variant}",
        f"SUBGOALS = {declared}",
    ]
    if predicates.memory:
        lines.append(f"MEMORY = {{{', '.join(predicates.memory)}}}")
    for helper in predicates.helpers:
        lines += ["", "", helper]
    lines += ["", "", "def subgoals(prev, action, curr, memory):"]
    lines += [f"    {line}" for line in predicates.body]
    lines.append("    return {")
    lines += [f'        "{p.name}": {p.test},' for p in found]
    lines.append("    }")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Predicate:
    """One subgoal: its name, its meaning in words, and the expression that tests it."""

    name: str
    means: str
    test: str


class _Predicates:
    """Collects subgoals in order, and the helpers and memory that their tests need."""

    def __init__(self, card: TaskCard, variant: int) -> None:
        self.card = card
        self.cuts = CUTS[variant % len(CUTS)]
        self.whole = WHOLE[variant % len(WHOLE)]
        self.expressions = Expressions(card)
        self.memory: list[str] = []
        self.helpers: list[str] = []
        self.body: list[str] = []
        self.found: list[Predicate] = []
        for k, hint in enumerate(card.hints):
            self._add(tag_of(k), hint)

    def _add(self, tag: str, hint: Hint) -> None:
        if hint.subgoals:
            self._stages(tag, hint.subgoals)
        elif hint.hold:
            if not keeps(self.card, hint):
                self._held(tag, hint.hold)
        elif hint.waypoints:
            self._path(tag, hint.waypoints)
        else:
            self._cut(tag, self.expressions.gap(tag, hint), "of the gap", self.whole)

    def _stages(self, tag: str, stages: Sequence[Subgoal]) -> None:
        for number, stage in enumerate(stages, 1):
            if stage.near:
                gap = f"{tag}_{number}"
                helper = self.expressions.gap_between(gap, stage.near)
                self._cut(gap, helper, f"on the way to {stage.name}", self.cuts)
            means = " and ".join(c.words() for c in stage.when)
            self.found.append(Predicate(stage.name, means, _hold_after(self, stage.when)))

    def _path(self, tag: str, path: Waypoints) -> None:
        place = value(path.field)
        for number, point in enumerate(path.points, 1):
            text = json.dumps(list(map(float, point)))
            distance = f"np.sqrt(np.square({after_step(place)} - np.array({text})).sum(-1))"
            self.found.append(
                Predicate(
                    f"pass{tag}_{number}",
                    f"within {PASSED_WITHIN} of {text}",
                    f"{distance} < {PASSED_WITHIN}",
                )
            )
        if path.to:
            distance = f"np.sqrt(np.square({place} - {value(path.to)}).sum(-1))"
            helper = f"def gap{tag}(s):\n    return {distance}"
            self._cut(tag, helper, f"to {path.to}", self.whole)

    def _cut(self, tag: str, helper: str, of: str, cuts: tuple[float, ...]) -> None:
        """Add subgoals that hold once a gap has shrunk to given shares.

        They are shares of the gap as it was at the first step of the episode.
        """
        if not cuts:
            return
        remembered = f'memory["span{tag}"]'
        self.memory.append(f'"span{tag}": 0.0')
        self.body += [
            f"span{tag} = np.where({remembered} > 0, {remembered}, "
            f"np.maximum(gap{tag}(prev), 1e-6))",
            f"{remembered} = span{tag}",
        ]
        self.helpers = [h for h in self.helpers if not h.startswith(f"def gap{tag}(")]
        self.helpers.append(helper)
        for cut in cuts:
            self.found.append(
                Predicate(
                    f"gap{tag}_{round(100 * cut)}",
                    f"{cut:.0%} left {of}",
                    f"gap{tag}(curr) <= {cut:g} * span{tag}",
                )
            )

    def _held(self, tag: str, hold: Hold) -> None:
        self.memory.append(f'"streak{tag}": 0.0')
        test = _hold_after(self, hold.when)
        self.body += [
            f'streak{tag} = np.where({test}, memory["streak{tag}"] + 1.0, 0.0)',
            f'memory["streak{tag}"] = streak{tag}',
        ]
        for share in HELD_SHARES:
            steps = max(1, round(share * hold.steps))
            self.found.append(
                Predicate(
                    f"hold{tag}_{steps}",
                    f"held for {steps} steps",
                    f"streak{tag} >= {steps}",
                )
            )


def _hold_after(of: _Predicates | _Factors, conditions: tuple[Condition, ...]) -> str:
    """Return whether conditions hold after the step."""
    return after_step(of.expressions.all_hold(conditions))


def write_factors(card: TaskCard, variant: int) -> str:
    """Return a program of factors.

    They are the gaps that hints name and how they change, conditions, and the size of the action.
    Variant 0 has all of them; each other one leaves one out.
    """
    factors = _Factors(card)
    names = list(factors.found)
    left_out = None
    if variant > 0 and len(names) > 2:
        left_out = names[(variant - 1) % len(names)]
    lines = [
        f'"""Factors of the return. {SAID}"""',
        "import numpy as np",
        "",
        f"# variant {variant}",
    ]
    for helper in factors.helpers:
        lines += ["", "", helper]
    lines += ["", "", "def factors(prev, action, curr, memory):", "    return {"]
    for name, expression in factors.found.items():
        if name != left_out:
            lines.append(f'        "{name}": {expression},')
    lines.append("    }")
    return "\n".join(lines) + "\n"


class _Factors:
    """Collects factors by name, and the helpers that they need."""

    def __init__(self, card: TaskCard) -> None:
        self.expressions = Expressions(card)
        self.helpers: list[str] = []
        self.found: dict[str, str] = {}
        for k, hint in enumerate(card.hints):
            self._add(tag_of(k), hint)
        if card.action.type == "box":
            self._effort(len(card.action.row))

    def _add(self, tag: str, hint: Hint) -> None:
        if hint.hold:
            self.found[f"holds{tag}"] = f"1.0 * ({_hold_after(self, hint.hold.when)})"
        elif hint.subgoals:
            for number, stage in enumerate(hint.subgoals, 1):
                self.found[stage.name] = f"1.0 * ({_hold_after(self, stage.when)})"
                if stage.near:
                    gap = f"{tag}_{number}"
                    self._gap(gap, self.expressions.gap_between(gap, stage.near))
        elif hint.waypoints:
            place = value(hint.waypoints.field)
            for number, point in enumerate(hint.waypoints.points, 1):
                gap = f"{tag}_{number}"
                target = list(map(float, point))
                distance = f"np.sqrt(np.square({place} - np.array({target})).sum(-1))"
                self._gap(gap, f"def gap{gap}(s):\n    return {distance}")
        else:
            self._gap(tag, self.expressions.gap(tag, hint))

    def _gap(self, tag: str, helper: str) -> None:
        self.helpers.append(helper)
        self.found[f"gap{tag}"] = f"gap{tag}(curr)"
        self.found[f"closing{tag}"] = f"gap{tag}(prev) - gap{tag}(curr)"

    def _effort(self, dimensions: int) -> None:
        self.found["effort"] = "np.square(action)"
        if dimensions:
            axes = ", ".join(str(axis) for axis in range(1, 1 + dimensions))
            self.found["effort"] = f"np.square(action).sum(({axes},))"
