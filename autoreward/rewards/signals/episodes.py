"""Finished episodes and their returns, newest last, of a bounded number of steps: what a return
decoder is fitted on.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from autoreward.state import Array

# steps
CAPACITY = 200_000


class Whole(NamedTuple):
    """One episode that is in the store: where it begins in the ring, its steps, its return."""

    start: int
    length: int
    task_return: float


class Episodes:
    """A ring of at most `capacity` steps of `width` numbers; the oldest episodes make room for new
    ones. Unfinished episodes never get in.
    """

    def __init__(self, width: int, capacity: int = CAPACITY) -> None:
        self.z, self.capacity = np.zeros((capacity, width)), capacity
        self.whole: deque[Whole] = deque()
        self.table: tuple[Array, Array, Array] | None = None
        self.steps = self.next = self.ended = 0
        # over every episode that ever ended: count, mean, sum of squared differences of returns
        # (Welford 1962), and mean length
        self.mean = self.squares = self.mean_length = 0.0

    def __len__(self) -> int:
        return len(self.whole)

    def add(self, z: Array, task_return: float) -> None:
        """One finished episode: z (T, width), its observed return.

        An episode longer than the whole ring is counted and not kept.
        """
        length = len(z)
        self.ended += 1
        gap = task_return - self.mean
        self.mean += gap / self.ended
        self.squares += gap * (task_return - self.mean)
        self.mean_length += (length - self.mean_length) / self.ended
        if not 0 < length <= self.capacity:
            return
        while self.steps + length > self.capacity:
            self.steps -= self.whole.popleft().length
        self.z[(self.next + np.arange(length)) % self.capacity] = z
        self.whole.append(Whole(self.next, length, float(task_return)))
        self.table = None
        self.next, self.steps = (self.next + length) % self.capacity, self.steps + length

    @property
    def std(self) -> float:
        """Standard deviation of the returns of all episodes so far."""
        return float(np.sqrt(self.squares / self.ended)) if self.ended else 0.0

    def columns(self) -> tuple[Array, Array, Array]:
        """(starts, lengths, returns), each (N,), of the episodes in the store, oldest first."""
        if self.table is None:
            starts, lengths, returns = zip(*self.whole, strict=True) if self.whole else ((), (), ())
            self.table = (
                np.array(starts, int),
                np.array(lengths, int),
                np.array(returns, np.float64),
            )
        return self.table

    @property
    def extremes(self) -> tuple[float, float]:
        """Smallest and largest return in the store; zeros where it is empty."""
        returns = self.columns()[2]
        return (float(returns.min()), float(returns.max())) if len(returns) else (0.0, 0.0)

    def rows(self, chosen: Array) -> Array:
        """Places in the ring, any shape, to their numbers (..., width)."""
        return self.z[chosen % self.capacity]

    def latest(self, steps: int) -> Array:
        """(k,) places of the newest k <= `steps` steps."""
        count = min(steps, self.steps)
        return (self.next - count + np.arange(count)) % self.capacity


def ircr(returns: Array, low: float, high: float) -> Array:
    """(R - Rmin) / (Rmax - Rmin), the reward of every step of an episode with return R; 0 where
    all returns are the same.

    Iterative relative credit refinement (Gangwani, Zhou, Peng, Learning Guidance Rewards with
    Trajectory-space Smoothing, NeurIPS 2020): no learning, and biased where the world is random.
    """
    return (
        (np.asarray(returns, np.float64) - low) / (high - low)
        if high > low
        else np.zeros(np.shape(returns))
    )
