"""Numbers of algorithms.md, A2: a chain 0, 1, 2, goal 3, gamma .9, potential (.5, 2, 1, 5)."""

from itertools import pairwise

import numpy as np
import pytest

from autoreward.composition import shape

PHI = np.array([0.5, 2.0, 1.0, 5.0])


def discounted(path: list[int], terminal: bool, gamma: float = 0.9) -> float:
    total = 0.0
    for t, (a, b) in enumerate(pairwise(path)):
        ends = np.array([float(terminal and t == len(path) - 2)])
        total += gamma**t * shape(PHI[[a], None], PHI[[b], None], ends, gamma)[0, 0]
    return total


def test_shaping_telescopes_to_minus_the_first_potential():
    assert discounted([0, 1, 2, 1, 2, 3], terminal=True) == pytest.approx(-0.5)


def test_a_truncation_keeps_the_last_potential():
    assert discounted([1, 2, 1, 0], terminal=False) == pytest.approx(0.9**3 * 0.5 - 2)


def test_optimal_values_shift_by_the_potential_exactly():
    def q_values(shaped: bool) -> np.ndarray:
        q = np.zeros((3, 2))
        for _ in range(200):
            value = np.append(q.max(1), 0.0)
            for s in range(3):
                for a, after in enumerate((max(0, s - 1), s + 1)):
                    reward = float(after == 3)
                    if shaped:
                        reward += shape(PHI[[s], None], PHI[[after], None], np.array([float(after == 3)]), 0.9)[0, 0]
                    q[s, a] = reward + 0.9 * value[after]
        return q

    base, shaped = q_values(False), q_values(True)
    assert base == pytest.approx(np.array([[0.729, 0.81], [0.729, 0.9], [0.81, 1.0]]))
    assert base - shaped == pytest.approx(np.repeat(PHI[:3, None], 2, 1))
