"""A store of finished episodes and their returns, of a bounded number of steps: what a return
decoder is fitted on.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from autoreward.state import Array

# steps
CAPACITY = 200_000


class StoredEpisode(NamedTuple):
    """One episode in the store: where it begins in the ring, its number of steps, its return."""

    start: int
    length: int
    task_return: float


class Episodes:
    """A ring of at most `capacity` steps of `width` numbers.

    The oldest episodes make room for new ones. Unfinished episodes are never stored.
    """

    def __init__(self, width: int, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.z = np.zeros((capacity, width))
        self.stored: deque[StoredEpisode] = deque()
        self.steps = 0
        self.next = 0
        self._columns: tuple[Array, Array, Array] | None = None
        # Over every episode that ever ended: count, mean and sum of squared differences of returns
        # (Welford 1962), and mean length.
        self.ended = 0
        self.mean = 0.0
        self.squares = 0.0
        self.mean_length = 0.0

    def __len__(self) -> int:
        return len(self.stored)

    def add(self, z: Array, task_return: float) -> None:
        """Add one finished episode: z (T, width), and its observed return.

        An episode longer than the whole ring counts in the statistics and is not stored.
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
            self.steps -= self.stored.popleft().length
        self.z[(self.next + np.arange(length)) % self.capacity] = z
        self.stored.append(StoredEpisode(self.next, length, float(task_return)))
        self._columns = None
        self.next = (self.next + length) % self.capacity
        self.steps += length

    @property
    def std(self) -> float:
        """Standard deviation of the returns of all episodes so far."""
        return float(np.sqrt(self.squares / self.ended)) if self.ended else 0.0

    def columns(self) -> tuple[Array, Array, Array]:
        """Return (starts, lengths, returns), each (N,), of the stored episodes, oldest first."""
        if self._columns is None:
            self._columns = (
                np.array([e.start for e in self.stored], int),
                np.array([e.length for e in self.stored], int),
                np.array([e.task_return for e in self.stored], np.float64),
            )
        return self._columns

    @property
    def extremes(self) -> tuple[float, float]:
        """Smallest and largest return in the store; zeros if it is empty."""
        returns = self.columns()[2]
        if not len(returns):
            return 0.0, 0.0
        return float(returns.min()), float(returns.max())

    def rows(self, places: Array) -> Array:
        """Return the numbers (..., width) at places in the ring, of any shape."""
        return self.z[places % self.capacity]

    def newest(self, steps: int) -> Array:
        """Return the places (k,) of the newest k <= `steps` steps."""
        count = min(steps, self.steps)
        return (self.next - count + np.arange(count)) % self.capacity


def ircr(returns: Array, low: float, high: float) -> Array:
    """Return (R - Rmin) / (Rmax - Rmin), the reward of every step of an episode with return R; 0 if
    all returns are the same.

    Iterative relative credit refinement (Gangwani, Zhou, Peng, Learning Guidance Rewards with
    Trajectory-space Smoothing, NeurIPS 2020): nothing is learned, and the rewards are biased if the
    environment is random.
    """
    if high <= low:
        return np.zeros(np.shape(returns))
    return (np.asarray(returns, np.float64) - low) / (high - low)
