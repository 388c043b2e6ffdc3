import numpy as np


def gap(s):
    return np.maximum(s.exit - s.cell, 0.0)


def reward(prev, action, curr, memory):
    progress = 0.02 * (gap(prev) - gap(curr))
    right = np.asarray(action).astype(np.float64) == np.round(prev.handle)
    wrong_handle = np.where(right, 0.0, -0.12)
    return {
        "progress": progress,
        "wrong_handle": wrong_handle,
    }
