"""From named terms to the scalar that the agent maximizes: the plain weighted sum, potentials shaped by us.

    r = w_task * task + sum_i w_i * term_i + sum_j w_j * (gamma * phi_j(s') * (1 - terminated) - phi_j(s))

Shaping: Ng, Harada, Russell 1999, theorem 1. A potential is 0 at a terminal state and kept at a truncation. Data, not code.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from autoreward.state import Array


class Composition(BaseModel):
    """Weights by name, 1 where none is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    weights: dict[str, float] = {}
    task_reward: float = 1.0

    def weigh(self, names: tuple[str, ...]) -> Array:
        return np.array([self.weights.get(name, 1.0) for name in names], np.float64)


def shape(before: Array, after: Array, terminated: Array, gamma: float) -> Array:
    """gamma * phi(s') * (1 - terminated) - phi(s); before, after (..., n, p), terminated (..., n)."""
    return gamma * after * (1.0 - terminated[..., None]) - before


def compose(composition: Composition, terms: Array, before: Array, after: Array, names: tuple[str, ...], task: Array, terminated: Array, gamma: float) -> tuple[Array, Array]:
    """(reward (n,), columns (n, k + p)): the scalar, and every term and shaped potential before weighing, in the order of `names`.

    terms (n, k); before, after (n, p): potentials at both ends of the step; task, terminated (n,).
    """
    columns = np.concatenate([terms, shape(before, after, terminated.astype(np.float64), gamma)], -1)
    return composition.task_reward * task + (columns * composition.weigh(names)).sum(-1), columns
