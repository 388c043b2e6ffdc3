"""Finds out what each column of a MuJoCo environment's observation is.

Columns are compared with everything the simulation knows (quantities.py). A column is explained by
the simplest candidate that gives its value in every state: as it is, clipped, as sine or cosine, as
the difference of two positions or velocities, scaled and shifted, or as another column one step
before. States are varied: random resets, random positions and velocities if the environment can be
set, random actions. An explanation is looked for in a few states and must hold in all others.
Candidates as simple as the chosen one are reported too: the column is then ambiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoreward.state import Array
from autoreward.store.survey import Match
from autoreward.trainer.survey.explanations import (
    Option,
    as_it_is,
    clipped,
    difference,
    identifier,
    one_step_ago,
    scaled,
    simplest,
    turned,
)
from autoreward.trainer.survey.joints import Quantity
from autoreward.trainer.survey.playing import reset, step
from autoreward.trainer.survey.quantities import Quantities

ROLLOUTS = 120
# states after each reset, at least; and after every tenth, because contacts come late
LENGTH = 6
LONG = 100
# what a transform costs, in tiers
CLIP_COST = 1
TURN_COST = 1
DIFFERENCE_COST = 3
SCALED_COST = 6
# states that an explanation is first looked for in
SAMPLE = 24
# a clipped column shows a pattern if it has so many values inside, or changes so often
MIN_VALUES_INSIDE = 8
MIN_CHANGES = 6


@dataclass(frozen=True)
class States:
    """What was seen: observations and quantities of the same S states.

    seen, previous: (S, C) columns now and one step before; known: (S, K) quantities, labelled by
    `labels`; first: (S,) whether a reset gave the state.
    """

    seen: Array
    previous: Array
    known: Array
    first: Array
    labels: list[Quantity]


def match(env: Any, columns_of: Callable[[Any], Array], seed: int) -> dict[int, Match]:
    """Column -> what it is, for the columns that are explained.

    `columns_of` gives the columns (C,) of an observation.
    """
    states = _visit(env, columns_of, seed)
    finite = np.isfinite(states.known).all(0)
    spread = np.ptp(np.nan_to_num(states.known), axis=0)
    moving = np.flatnonzero(finite & (spread > 0))
    labels = [states.labels[k] for k in moving]
    found: dict[int, Match] = {}
    # A reset may return values that lag behind the simulation, so states after resets are used
    # only for columns that the other states do not explain.
    for chosen in (
        ~states.first,
        np.ones(len(states.seen), bool),
    ):
        seen = states.seen[chosen]
        matcher = _Matcher(seen, states.known[chosen][:, moving], labels)
        for c in _varying(seen):
            if c not in found:
                best = simplest(matcher.explain(c), found.get(c - 1))
                if best:
                    found[c] = best
    _add_rare(matcher, found)
    _add_previous(states, found)
    _add_constant(states, found)
    return found


def _varying(seen: Array) -> list[int]:
    return [int(c) for c in np.flatnonzero(np.ptp(seen, axis=0) > 0)]


# -- states ----------------------------------------------------------------------------------------


def _visit(env: Any, columns_of: Callable[[Any], Array], seed: int) -> States:
    """Play at random from many starts, and record observations with quantities."""
    random = np.random.default_rng(seed)
    env.action_space.seed(seed)
    reset(env, seed)
    quantities = Quantities(env)
    seen: list[Array] = []
    previous: list[Array] = []
    known: list[Array] = []
    first: list[bool] = []

    def keep(now: Array, before: Array, after_reset: bool) -> None:
        values = quantities.read()
        if np.isfinite(now).all() and len(values) == len(quantities.labels):
            seen.append(now)
            previous.append(before)
            known.append(values)
            first.append(after_reset)

    for rollout in range(ROLLOUTS):
        before = columns_of(reset(env)[0])
        keep(before, before, True)
        if rollout % 2:
            _disturb(env, random)
        length = LONG if rollout % 10 == 0 else LENGTH + int(random.integers(0, LENGTH))
        for _ in range(length):
            now = columns_of(step(env, env.action_space.sample())[0])
            keep(now, before, False)
            before = now
    return States(
        np.array(seen),
        np.array(previous),
        np.array(known),
        np.array(first),
        quantities.labels,
    )


def _disturb(env: Any, random: np.random.Generator) -> None:
    """Move the simulation to a random state nearby; do nothing if it cannot be set."""
    bare = env.unwrapped
    if not callable(getattr(bare, "set_state", None)):
        return
    qpos = np.array(bare.data.qpos)
    qvel = np.array(bare.data.qvel)
    place = qpos + random.normal(0, 0.15, qpos.shape)
    speed = qvel + random.normal(0, 1.0, qvel.shape)
    try:
        bare.set_state(place, speed)
    except (
        TypeError,
        ValueError,
        AttributeError,
        AssertionError,
    ):
        return


# -- explanations of one column --------------------------------------------------------------------


class _Matcher:
    """Explains one column at a time."""

    def __init__(
        self,
        seen: Array,
        known: Array,
        labels: list[Quantity],
    ) -> None:
        self.seen = seen
        self.known = known
        self.labels = labels
        self.tiers = np.array([label.tier for label in labels])
        size = min(SAMPLE, len(seen))
        self.sample = np.random.default_rng(1).choice(len(seen), size, replace=False)
        self.angles = [k for k, label in enumerate(labels) if label.angle]
        self.sines = np.sin(known[:, self.angles])
        self.cosines = np.cos(known[:, self.angles])
        # a random projection, by which differences are found
        self.weights = np.random.default_rng(0).normal(size=len(seen))
        families: dict[str, list[int]] = {}
        for k, label in enumerate(labels):
            if label.family:
                families.setdefault(label.family, []).append(k)
        self.families = [
            (
                np.array(members),
                self.weights @ known[:, members],
            )
            for members in families.values()
        ]

    def explain(self, c: int) -> list[Option]:
        """The explanations of a column with their costs; farther-fetched ones only if needed."""
        column = self.seen[:, c]
        near = _tolerance(column)
        options = [
            *self._same(column, near),
            *self._clipped(column, near),
            *self._turned(column, near),
        ]
        return options or self._differences(column, near) or self._scaled(column, near)

    def _cost(self, k: int) -> int:
        return int(self.tiers[k])

    def _fits(
        self,
        column: Array,
        values: Array,
        near: float,
        transform: Callable[[Array], Array] = lambda v: v,
    ) -> list[int]:
        """Which columns of `values` (S, K), transformed, agree with the column in every state.

        They are looked for in a few states with different values, and confirmed in all others.
        """
        different = np.unique(column, return_index=True)[1][:SAMPLE]
        few = np.unique(np.concatenate([different, self.sample]))
        errors = np.abs(transform(values[few]) - column[few, None])
        likely = np.flatnonzero((errors <= near).all(0))
        if not len(likely):
            return []
        errors = np.abs(transform(values[:, likely]) - column[:, None])
        return [int(k) for k in likely[errors.max(0) <= near]]

    def _same(self, column: Array, near: float) -> list[Option]:
        fitting = self._fits(column, self.known, near)
        return [(self._cost(k), as_it_is(self.labels[k])) for k in fitting]

    def _clipped(self, column: Array, near: float) -> list[Option]:
        """Clipped quantities, if the column shows a pattern that can be evidence."""
        low = column.min()
        high = column.max()
        if (column == low).sum() < 2 and (column == high).sum() < 2:
            return []
        # a force is nearly always at a bound, so its other values must be evidence enough
        inside = column[(column > low) & (column < high)]
        changes = (np.diff(column) != 0).sum()
        if len(np.unique(inside)) < MIN_VALUES_INSIDE and changes < MIN_CHANGES:
            return []
        return self._all_clipped(column, near)

    def _all_clipped(self, column: Array, near: float) -> list[Option]:
        """Clipped quantities; for a flag also those that are positive where it is 1."""
        low = column.min()
        high = column.max()
        bounds = [f"{bound:.3g}" for bound in (low, high) if (column == bound).sum() > 1]
        words = f"clipped at {' and '.join(bounds)}"
        fitting = self._fits(
            column,
            self.known,
            near,
            lambda v: np.clip(v, low, high),
        )
        if not fitting and np.isin(column, (0, 1)).all():
            # a touch sensor
            words = "1 if positive"
            fitting = self._fits(
                column,
                self.known,
                0.0,
                lambda v: (v > 0).astype(np.float64),
            )
        return [
            (
                self._cost(k) + CLIP_COST,
                clipped(self.labels[k], words),
            )
            for k in fitting
        ]

    def rarely_clipped(self, c: int) -> list[Match]:
        """Clipped quantities that agree in every state, however seldom the column changes.

        That is no evidence by itself, but it is beside an explained column.
        """
        column = self.seen[:, c]
        near = 1e-6 * max(column.std(), 1e-9)
        return [found for _, found in self._all_clipped(column, near)]

    def _turned(self, column: Array, near: float) -> list[Option]:
        options = []
        for k in self._fits(column, self.sines, near):
            angle = self.angles[k]
            options.append(
                (
                    self._cost(angle) + TURN_COST,
                    turned(self.labels[angle], "sin"),
                )
            )
        for k in self._fits(column, self.cosines, near):
            angle = self.angles[k]
            options.append(
                (
                    self._cost(angle) + TURN_COST,
                    turned(self.labels[angle], "cos"),
                )
            )
        return options

    def _differences(self, column: Array, near: float) -> list[Option]:
        """Pairs of one family with a - b = column.

        The random projection keeps differences, and is sorted once per family.
        """
        target = float(self.weights @ column)
        slack = near * np.abs(self.weights).sum() + 1e-9
        options = []
        for members, projected in self.families:
            order = np.argsort(projected)
            ordered = projected[order]
            low = np.searchsorted(ordered, projected - target - slack)
            high = np.searchsorted(ordered, projected - target + slack)
            for i in np.flatnonzero(high > low):
                a = members[i]
                for b in members[order[low[i] : high[i]]]:
                    if a != b and self._is_difference(column, a, b, near):
                        cost = max(self._cost(a), self._cost(b)) + DIFFERENCE_COST
                        options.append(
                            (
                                cost,
                                difference(
                                    self.labels[a],
                                    self.labels[b],
                                ),
                            )
                        )
        return options

    def _is_difference(self, column: Array, a: int, b: int, near: float) -> bool:
        error = self.known[:, a] - self.known[:, b] - column
        return bool(np.abs(error).max() <= 4 * near + 1e-12)

    def _scaled(self, column: Array, near: float) -> list[Option]:
        """One plain quantity (tier 0 or 1), scaled and shifted, by an exact fit."""
        plain = np.flatnonzero(self.tiers <= 1)
        values = self.known[:, plain]
        centred = values - values.mean(0)
        target = column - column.mean()
        power = (centred**2).sum(0)
        factors = centred.T @ target / np.maximum(power, 1e-300)
        errors = np.abs(centred * factors - target[:, None]).max(0)
        exact = (errors <= near + 1e-9 * column.std()) & (power > 1e-12)
        options = []
        for k in np.flatnonzero(exact):
            factor = float(factors[k])
            shift = float(column.mean() - factor * values[:, k].mean())
            label = self.labels[plain[k]]
            options.append(
                (
                    label.tier + SCALED_COST,
                    scaled(label, factor, shift),
                )
            )
        return options


def _tolerance(column: Array) -> float:
    """How far an explanation may be off: by the last digits of the column's own precision."""
    single = bool((column.astype(np.float32) == column).all())
    largest = float(np.abs(column).max())
    spread = float(column.std())
    if single:
        return 3e-7 * largest + 1e-6 * spread
    return 1e-13 * largest + 1e-7 * spread


# -- columns explained by their neighbours ---------------------------------------------------------


def _add_rare(matcher: _Matcher, found: dict[int, Match]) -> None:
    """Explain columns that seldom change, if they continue a neighbour's quantity.

    For example, a clipped force on a body that seldom touches anything.
    """
    unexplained = [c for c in _varying(matcher.seen) if c not in found]
    for towards, columns in (
        (1, unexplained),
        (-1, unexplained[::-1]),
    ):
        for c in columns:
            beside = found.get(c - towards)
            if c in found or beside is None or beside.how not in ("identity", "clip"):
                continue
            wanted = (beside.quantity, beside.row + towards)
            for candidate in matcher.rarely_clipped(c):
                if (
                    candidate.quantity,
                    candidate.row,
                ) == wanted:
                    found[c] = candidate
                    break


def _add_previous(states: States, found: dict[int, Match]) -> None:
    """Explain columns that are another column one step before."""
    seen = states.seen[~states.first]
    previous = states.previous[~states.first]
    new: dict[int, Match] = {}
    for c in _varying(seen):
        if c in found:
            continue
        near = 1e-6 * seen[:, c].std()
        errors = np.abs(previous - seen[:, [c]]).max(0)
        same = [int(d) for d in np.flatnonzero(errors <= near) if d != c]
        if same:
            new[c] = one_step_ago(same[0], found.get(same[0]))
    found |= new


def _add_constant(states: States, found: dict[int, Match]) -> None:
    """Explain columns that never changed, if they continue the quantity of the column before."""
    place = {(label.quantity, label.row): k for k, label in enumerate(states.labels)}
    for c in range(1, states.seen.shape[1]):
        before = found.get(c - 1)
        column = states.seen[:, c]
        if c in found or before is None or before.how not in ("identity", "clip"):
            continue
        k = place.get((before.quantity, before.row + 1))
        if k is None or np.ptp(column) > 0:
            continue
        same_name = identifier(states.labels[k].name) == before.name
        if same_name and (states.known[:, k] == column).all():
            found[c] = as_it_is(states.labels[k])
