import numpy as np


def gap(s):
    return np.maximum(s.exit - s.cell, 0.0)


def reward(prev, action, curr, memory):
    progress = 0.1 * (gap(prev) - gap(curr))
    wrong = np.asarray(action).astype(np.float64) != np.round(prev.handle)
    stuck = np.abs(curr.cell - prev.cell) < 0.5
    wall_bump = np.where(wrong & stuck, -0.1, 0.0)
    return {
        "progress": progress,
        "wall_bump": wall_bump,
    }
