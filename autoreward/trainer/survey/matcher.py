"""What each column of a MuJoCo environment's observation is, found by comparing numbers with
everything the simulation knows (quantities.py).

A column is explained by the simplest candidate that gives its value in every state: as it is,
clipped, as sine or cosine, as the difference of two positions or velocities, scaled and shifted, or
as another column one step before. States are varied (random resets, random positions and velocities
where the environment can be set, random actions); an explanation is looked for in a few of them and
must hold in all the others. Candidates as simple as the chosen one are told as well: the column is
then ambiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autoreward.state import Array
from autoreward.store.survey import Match
from autoreward.trainer.survey.playing import reset, step
from autoreward.trainer.survey.quantities import Label, Quantities

# random resets, the least number of states seen after each, and after every tenth: contacts come
# late
ROLLOUTS, LENGTH, LONG = 120, 6, 100
# what a transform costs, in tiers
CLIP, TURN, DIFFERENCE, SCALED = 1, 1, 3, 6
# states that an explanation is first looked for in
SAMPLE = 24
# changes from one state to the next that make a pattern telling
MANY = 6
# names of equally good explanations that are told
ALTERNATIVES = 4


def match(env: Any, columns_of: Callable[[Any], Array], seed: int) -> dict[int, Match]:
    """column -> what it is, for those that are explained."""
    seen, previous, known, first, labels = _states(env, columns_of, seed)
    moving = np.flatnonzero(np.isfinite(known).all(0) & (np.ptp(np.nan_to_num(known), axis=0) > 0))
    every, all_labels = known, labels
    known, labels = known[:, moving], [labels[k] for k in moving]
    found: dict[int, Match] = {}
    # what a reset returns may lag behind the simulation: only for columns that the rest does not
    # explain
    for states in (~first, np.ones(len(seen), bool)):
        matcher = _Matcher(seen[states], known[states], labels)
        for c in np.flatnonzero(np.ptp(seen[states], axis=0) > 0):
            if int(c) not in found and (
                best := _chosen(matcher.explain(int(c)), found.get(int(c) - 1))
            ):
                found[int(c)] = best
    _rare(matcher, found)
    found |= _earlier(seen[~first], previous[~first], found)
    return _constant(seen, every, all_labels, found)


def _states(
    env: Any, columns_of: Callable[[Any], Array], seed: int
) -> tuple[Array, Array, Array, Array, list[Label]]:
    """(S, C) columns, (S, C) the columns one step before, (S, K) quantities, (S,) whether a reset
    gave them, and the quantities' labels.
    """
    random = np.random.default_rng(seed)
    env.action_space.seed(seed)
    reset(env, seed)
    quantities = Quantities(env)
    seen, previous, known, first = [], [], [], []

    def keep(now: Array, before: Array, reset_gave_it: bool) -> None:
        values = quantities.read()
        if np.isfinite(now).all() and len(values) == len(quantities.labels):
            seen.append(now)
            previous.append(before)
            known.append(values)
            first.append(reset_gave_it)

    for rollout in range(ROLLOUTS):
        before = columns_of(reset(env)[0])
        keep(before, before, True)
        if rollout % 2:
            _disturb(env, random)
        for _ in range(LONG if rollout % 10 == 0 else LENGTH + int(random.integers(0, LENGTH))):
            now = columns_of(step(env, env.action_space.sample())[0])
            keep(now, before, False)
            before = now
    return np.array(seen), np.array(previous), np.array(known), np.array(first), quantities.labels


def _disturb(env: Any, random: np.random.Generator) -> None:
    """Random positions and velocities about the present ones, where the environment can be set; in
    silence where it cannot.
    """
    bare = env.unwrapped
    if not callable(getattr(bare, "set_state", None)):
        return
    qpos, qvel = np.array(bare.data.qpos), np.array(bare.data.qvel)
    try:
        bare.set_state(
            qpos + random.normal(0, 0.15, qpos.shape), qvel + random.normal(0, 1.0, qvel.shape)
        )
    except (TypeError, ValueError, AttributeError, AssertionError):
        return


class _Matcher:
    """Explains one column at a time."""

    def __init__(self, seen: Array, known: Array, labels: list[Label]) -> None:
        self.seen, self.known, self.labels = seen, known, labels
        self.tiers = np.array([label.tier for label in labels])
        self.sample = np.random.default_rng(1).choice(
            len(seen), min(SAMPLE, len(seen)), replace=False
        )
        self.weights = np.random.default_rng(0).normal(size=len(seen))
        angles = [k for k, label in enumerate(labels) if label.angle]
        self.angles, self.sines, self.cosines = (
            angles,
            np.sin(known[:, angles]),
            np.cos(known[:, angles]),
        )
        families: dict[str, list[int]] = {}
        for k, label in enumerate(labels):
            if label.family:
                families.setdefault(label.family, []).append(k)
        self.families = [(np.array(ks), self.weights @ known[:, ks]) for ks in families.values()]

    def explain(self, c: int) -> list[tuple[int, Match]]:
        """All explanations of the column with what they cost."""
        column = self.seen[:, c]
        single = bool((column.astype(np.float32) == column).all())
        near = (3e-7 if single else 1e-13) * np.abs(column).max() + (
            1e-6 if single else 1e-7
        ) * column.std()
        options = [
            *self._same(column, near),
            *self._clipped(column, near),
            *self._turned(column, near),
        ]
        return options or self._difference(column, near) or self._scaled(column, near)

    def _fits(
        self,
        column: Array,
        values: Array,
        near: float,
        turn: Callable[[Array], Array] = lambda v: v,
    ) -> Array:
        """Which of the values' columns, turned, agree in every state: looked for in a few that
        differ, confirmed in all the others.
        """
        few = np.unique(
            np.concatenate([np.unique(column, return_index=True)[1][:SAMPLE], self.sample])
        )
        good = np.flatnonzero((np.abs(turn(values[few]) - column[few, None]) <= near).all(0))
        return (
            good[np.abs(turn(values[:, good]) - column[:, None]).max(0) <= near]
            if len(good)
            else good
        )

    def _same(self, column: Array, near: float) -> list[tuple[int, Match]]:
        return [
            (int(self.tiers[k]), _match(self.labels[k]))
            for k in self._fits(column, self.known, near)
        ]

    def _clipped(self, column: Array, near: float, rare: bool = False) -> list[tuple[int, Match]]:
        """Clipped quantities; for a flag also quantities that are positive where it is 1 (touch
        sensors).
        """
        low, high = column.min(), column.max()
        inside = (column > low) & (column < high)
        if not rare and (column == low).sum() < 2 and (column == high).sum() < 2:
            return []
        # a force: nearly always at an end, so the pattern must say it
        if not rare and len(np.unique(column[inside])) < 8 and (np.diff(column) != 0).sum() < MANY:
            return []
        ends = [f"{end:.3g}" for end in (low, high) if (column == end).sum() > 1]
        out = [
            (
                int(self.tiers[k]) + CLIP,
                _match(self.labels[k], "clip", f"clipped at {' and '.join(ends)}"),
            )
            for k in self._fits(column, self.known, near, lambda v: np.clip(v, low, high))
        ]
        if not out and np.isin(column, (0, 1)).all():
            out = [
                (
                    int(self.tiers[k]) + CLIP,
                    _match(self.labels[k], "clip", "1 where it is positive"),
                )
                for k in self._fits(column, self.known, 0.0, lambda v: (v > 0).astype(np.float64))
            ]
        return out

    def rare(self, c: int) -> list[Match]:
        """Clipped quantities that agree in every state, however seldom the column changes: no
        evidence alone, but beside an explained column.
        """
        column = self.seen[:, c]
        return [m for _, m in self._clipped(column, 1e-6 * max(column.std(), 1e-9), rare=True)]

    def _turned(self, column: Array, near: float) -> list[tuple[int, Match]]:
        out = []
        for how, values in (("sin", self.sines), ("cos", self.cosines)):
            out += [
                (int(self.tiers[self.angles[k]]) + TURN, _match(self.labels[self.angles[k]], how))
                for k in self._fits(column, values, near)
            ]
        return out

    def _difference(self, column: Array, near: float) -> list[tuple[int, Match]]:
        """Pairs of one family with a - b = column.

        One random projection finds them: it keeps differences, and is sorted once.
        """
        target, out = float(self.weights @ column), []
        slack = near * np.abs(self.weights).sum() + 1e-9
        for members, projected in self.families:
            order = np.argsort(projected)
            ordered = projected[order]
            low, high = (
                np.searchsorted(ordered, projected - target - slack),
                np.searchsorted(ordered, projected - target + slack),
            )
            for i in np.flatnonzero(high > low):
                for j in order[low[i] : high[i]]:
                    a, b = members[i], members[j]
                    if (
                        a != b
                        and np.abs(self.known[:, a] - self.known[:, b] - column).max()
                        <= 4 * near + 1e-12
                    ):
                        out.append(
                            (
                                int(max(self.tiers[a], self.tiers[b])) + DIFFERENCE,
                                _difference_of(self.labels[a], self.labels[b]),
                            )
                        )
        return out

    def _scaled(self, column: Array, near: float) -> list[tuple[int, Match]]:
        """One quantity, scaled and shifted; the quantity must be a plain one, and the fit exact."""
        chosen = np.flatnonzero(self.tiers <= 1)
        values = self.known[:, chosen]
        centred, aim = values - values.mean(0), column - column.mean()
        power = (centred**2).sum(0)
        scale = centred.T @ aim / np.maximum(power, 1e-300)
        good = np.flatnonzero(
            (np.abs(centred * scale - aim[:, None]).max(0) <= near + 1e-9 * column.std())
            & (power > 1e-12)
        )
        out = []
        for g in good:
            shift = float(column.mean() - scale[g] * values[:, g].mean())
            told = f"times {scale[g]:.6g}" + (
                f", {'plus' if shift > 0 else 'minus'} {abs(shift):.6g}"
                if abs(shift) > 1e-9
                else ""
            )
            out.append(
                (
                    int(self.tiers[chosen[g]]) + SCALED,
                    _match(self.labels[chosen[g]], "scaled", told),
                )
            )
        return out


def _match(label: Label, how: Any = "identity", told: str = "") -> Match:
    name = {
        "sin": f"{label.name}_sin",
        "cos": f"{label.name}_cos",
        "scaled": f"{label.name}_scaled",
    }.get(how, label.name)
    words = (
        f"{how} of {label.of}"
        if how in ("sin", "cos")
        else f"{label.of}, {told}"
        if told
        else label.of
    )
    return Match(
        name=identifier(name),
        index=label.index,
        how=how,
        quantity=label.quantity,
        of=words,
        unit="-" if how in ("sin", "cos", "scaled") else label.unit,
        row=label.row,
    )


def _difference_of(a: Label, b: Label) -> Match:
    return Match(
        name=identifier(f"{a.name}_minus_{b.name}"),
        index=a.index,
        how="difference",
        quantity=f"{a.quantity}-{b.quantity}",
        of=f"{a.of} minus {b.of}",
        unit=a.unit,
        row=a.row,
    )


def identifier(name: str) -> str:
    """A Python name: MuJoCo's may hold anything."""
    out = "".join(ch if ch.isalnum() or ch == "_" else "_" for ch in name).strip("_")
    return out if out and not out[0].isdigit() else f"n_{out}"


def _chosen(options: list[tuple[int, Match]], before: Match | None) -> Match | None:
    """The simplest, of several the one that follows on the column before; others as simple, under
    another name, are told.
    """
    if not options:
        return None
    least = min(cost for cost, _ in options)
    simplest = [m for cost, m in options if cost == least]
    best = next(
        (
            m
            for m in simplest
            if before
            and (m.quantity, m.how, m.row) == (before.quantity, before.how, before.row + 1)
        ),
        simplest[0],
    )
    others = sorted(
        {m.of: m for m in simplest if (m.name, m.index) != (best.name, best.index)}.values(),
        key=lambda m: m.quantity != "attribute",
    )[:ALTERNATIVES]
    return (
        best.model_copy(
            update={
                "also": tuple(m.of for m in others),
                "also_named": tuple(m.name for m in others),
            }
        )
        if others
        else best
    )


def _rare(matcher: _Matcher, found: dict[int, Match]) -> None:
    """A column that seldom changes (a force that is clipped, of a body that seldom touches
    anything), where it continues a neighbour's quantity.
    """
    open_ones = [
        int(c) for c in np.flatnonzero(np.ptp(matcher.seen, axis=0) > 0) if int(c) not in found
    ]
    for towards, columns in ((1, open_ones), (-1, open_ones[::-1])):
        for c in columns:
            beside = found.get(c - towards)
            if c in found or beside is None or beside.how not in ("identity", "clip"):
                continue
            fitting = [
                m
                for m in matcher.rare(c)
                if (m.quantity, m.row) == (beside.quantity, beside.row + towards)
            ]
            if fitting:
                found[c] = fitting[0]


def _constant(
    seen: Array, known: Array, labels: list[Label], found: dict[int, Match]
) -> dict[int, Match]:
    """Columns that never changed, where they follow on an explained one and the quantity that
    follows there has their value.
    """
    place = {(label.quantity, label.row): k for k, label in enumerate(labels)}
    for c in range(1, seen.shape[1]):
        before = found.get(c - 1)
        if (
            c in found
            or before is None
            or before.how not in ("identity", "clip")
            or np.ptp(seen[:, c]) > 0
        ):
            continue
        k = place.get((before.quantity, before.row + 1))
        if (
            k is not None
            and identifier(labels[k].name) == before.name
            and (known[:, k] == seen[:, c]).all()
        ):
            found[c] = _match(labels[k])
    return found


def _earlier(seen: Array, previous: Array, found: dict[int, Match]) -> dict[int, Match]:
    """Unexplained columns that are another column one step before."""
    out = {}
    for c in np.flatnonzero(np.ptp(seen, axis=0) > 0):
        if int(c) in found:
            continue
        near = 1e-6 * seen[:, c].std()
        same = [
            int(d) for d in np.flatnonzero(np.abs(previous - seen[:, [c]]).max(0) <= near) if d != c
        ]
        if same:
            before = found.get(same[0])
            name, index = (before.name, before.index) if before else (f"x{same[0]}", "")
            told = before.of if before else f"column {same[0]}"
            out[int(c)] = Match(
                name=f"previous_{name}",
                index=index,
                how="previous",
                quantity="previous",
                of=f"one step ago: {told}",
                unit=before.unit if before else "-",
                row=same[0],
            )
    return out
