"""The same hints in other forms: as predicates that say where a subgoal ends, and as factors of
the return.

What the offline designer answers to these methods, as `grammar.py` is what it answers to those that
write reward programs. A variant is a number: how fine the subgoals are cut, or which quantities are
told.
"""

from __future__ import annotations

import json
import re

from autoreward.models.offline.grammar import Plan, Writer, keeps
from autoreward.tasks.card import Hint, TaskCard

SAID = "Written by offline/search from the card's hints: no language model."
# Shares of a gap, at its start 1, that are subgoals of their own, by variant: on the way to a
# stage, and where the gap is all there is.
CUTS = ((), (0.5,), (0.75, 0.5, 0.25), (0.8, 0.6, 0.4, 0.2))
WHOLE = (
    tuple(round(0.1 * k, 1) for k in range(9, 0, -1)),
    (0.8, 0.6, 0.4, 0.2),
    (0.5, 0.25),
    tuple(round(0.05 * k, 2) for k in range(19, 0, -1)),
)
LINE = re.compile(r"^# variant (\d+)$", re.M)


def variant_of(program: str) -> int | None:
    """The variant that a program was written from, None where it is none of ours."""
    found = LINE.search(program)
    return int(found[1]) if found else None


class _Predicates:
    """Collects subgoals in order: name, meaning, test; and the helpers and the memory that tests
    need.
    """

    def __init__(self, card: TaskCard, variant: int) -> None:
        self.card, self.cuts, self.whole = (
            card,
            CUTS[variant % len(CUTS)],
            WHOLE[variant % len(WHOLE)],
        )
        self.writer = Writer(card, Plan(forms=()))
        self.found: list[tuple[str, str, str]] = []
        self.body: list[str] = []

    def hint(self, k: int, hint: Hint) -> None:
        tag = f"_{k + 1}" if k else ""
        if hint.subgoals:
            for stage, goal in enumerate(hint.subgoals):
                if goal.near:
                    self._cut(
                        f"{tag}_{stage + 1}",
                        f"def gap{tag}_{stage + 1}(s):\n    return {self.writer.distance(goal.near)}",
                        f"on the way to {goal.name}",
                        self.cuts,
                    )
                test = " & ".join(_after(self.writer.test(c)) for c in goal.when)
                self.found.append((goal.name, " and ".join(c.words() for c in goal.when), test))
        elif hint.hold:
            if not keeps(self.card, hint):
                self._held(tag, hint)
        elif hint.waypoints:
            place = self.writer.value(hint.waypoints.field)
            ends = [json.dumps(list(map(float, p))) for p in hint.waypoints.points]
            for i, point in enumerate(ends):
                self.found.append(
                    (
                        f"pass{tag}_{i + 1}",
                        f"within 0.5 of {point}",
                        f"np.sqrt(np.square({_after(place)} - np.array({point})).sum(-1)) < 0.5",
                    )
                )
            if hint.waypoints.to:
                target = self.writer.value(hint.waypoints.to)
                helper = (
                    f"def gap{tag}(s):\n    return np.sqrt(np.square({place} - {target}).sum(-1))"
                )
                self._cut(tag, helper, f"to {hint.waypoints.to}", self.whole)
        else:
            self.writer.helpers.clear()
            self.writer.gap(tag, hint)
            self._cut(tag, self.writer.helpers[-1], "of the gap", self.whole)

    def _cut(self, tag: str, helper: str, what: str, cuts: tuple[float, ...]) -> None:
        """Subgoals where a gap has shrunk to shares of what it was when it was first the next one
        to close, at most.
        """
        if not cuts:
            return
        self.writer.memory.append(f'"span{tag}": 0.0')
        self.body += [
            f'span{tag} = np.where(memory["span{tag}"] > 0, memory["span{tag}"], np.maximum(gap{tag}(prev), 1e-6))',
            f'memory["span{tag}"] = span{tag}',
        ]
        self.writer.helpers = [h for h in self.writer.helpers if not h.startswith(f"def gap{tag}(")]
        self.writer.helpers.append(helper)
        for cut in cuts:
            self.found.append(
                (
                    f"gap{tag}_{round(100 * cut)}",
                    f"{cut:.0%} left {what}",
                    f"gap{tag}(curr) <= {cut:g} * span{tag}",
                )
            )

    def _held(self, tag: str, hint: Hint) -> None:
        assert hint.hold is not None
        self.writer.memory.append(f'"streak{tag}": 0.0')
        test = " & ".join(_after(self.writer.test(c)) for c in hint.hold.when)
        self.body += [
            f'streak{tag} = np.where({test}, memory["streak{tag}"] + 1.0, 0.0)',
            f'memory["streak{tag}"] = streak{tag}',
        ]
        for share in (0.02, 0.1, 0.3, 1.0):
            steps = max(1, round(share * hint.hold.steps))
            self.found.append(
                (f"hold{tag}_{steps}", f"held for {steps} steps", f"streak{tag} >= {steps}")
            )


def subgoals(card: TaskCard, variant: int) -> list[dict[str, str]]:
    """Names and meanings, in order."""
    return [{"name": name, "means": means} for name, means, _ in _predicates(card, variant).found]


def _predicates(card: TaskCard, variant: int) -> _Predicates:
    made = _Predicates(card, variant)
    for k, hint in enumerate(card.hints):
        made.hint(k, hint)
    return made


def write_subgoals(card: TaskCard, variant: int) -> str:
    """A program of predicates."""
    made = _predicates(card, variant)
    lines = [
        f'"""{len(made.found)} subgoals in order. {SAID}"""',
        "import numpy as np",
        "",
        f"# variant {variant}",
    ]
    lines.append(f"SUBGOALS = {json.dumps({name: means for name, means, _ in made.found})}")
    if made.writer.memory:
        lines.append(f"MEMORY = {{{', '.join(made.writer.memory)}}}")
    for helper in made.writer.helpers:
        lines += ["", "", helper]
    lines += [
        "",
        "",
        "def subgoals(prev, action, curr, memory):",
        *[f"    {line}" for line in made.body],
        "    return {",
    ]
    return (
        "\n".join(
            [*lines, *[f'        "{name}": {test},' for name, _, test in made.found], "    }"]
        )
        + "\n"
    )


def write_factors(card: TaskCard, variant: int) -> str:
    """A program of factors: the gaps that hints name and how they change, conditions, the size of
    the action; variants leave some out.
    """
    writer = Writer(card, Plan(forms=()))
    found: dict[str, str] = {}
    for k, hint in enumerate(card.hints):
        tag = f"_{k + 1}" if k else ""
        if hint.hold:
            found[f"holds{tag}"] = (
                f"1.0 * ({' & '.join(_after(writer.test(c)) for c in hint.hold.when)})"
            )
        elif hint.subgoals:
            for i, goal in enumerate(hint.subgoals):
                found[goal.name] = (
                    f"1.0 * ({' & '.join(_after(writer.test(c)) for c in goal.when)})"
                )
                if goal.near:
                    writer.helpers.append(
                        f"def gap{tag}_{i + 1}(s):\n    return {writer.distance(goal.near)}"
                    )
                    found |= _of_gap(f"{tag}_{i + 1}")
        elif hint.waypoints:
            for i, point in enumerate(hint.waypoints.points):
                writer.helpers.append(
                    f"def gap{tag}_{i + 1}(s):\n    return np.sqrt(np.square({writer.value(hint.waypoints.field)} - np.array({list(map(float, point))})).sum(-1))"
                )
                found |= _of_gap(f"{tag}_{i + 1}")
        else:
            writer.gap(tag, hint)
            found |= _of_gap(tag)
    if card.action.type == "box":
        axes = ", ".join(map(str, range(1, 1 + len(card.action.row)))) or "-1"
        found["effort"] = (
            f"np.square(action).sum(({axes},))" if card.action.row else "np.square(action)"
        )
    names = list(found)
    # the first variant tells them all
    left_out = names[(variant - 1) % len(names)] if variant > 0 and len(names) > 2 else None
    lines = [
        f'"""Factors of the return. {SAID}"""',
        "import numpy as np",
        "",
        f"# variant {variant}",
    ]
    for helper in writer.helpers:
        lines += ["", "", helper]
    lines += [
        "",
        "",
        "def factors(prev, action, curr, memory):",
        "    return {",
        *[f'        "{n}": {v},' for n, v in found.items() if n != left_out],
        "    }",
    ]
    return "\n".join(lines) + "\n"


def _after(expression: str) -> str:
    """Of one state, taken of the state after the step."""
    return re.sub(r"\bs\.", "curr.", expression)


def _of_gap(tag: str) -> dict[str, str]:
    return {f"gap{tag}": f"gap{tag}(curr)", f"closing{tag}": f"gap{tag}(prev) - gap{tag}(curr)"}
