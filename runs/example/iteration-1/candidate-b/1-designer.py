import numpy as np

MEMORY = {"best_gap": np.inf}


def gap(s):
    return np.maximum(s.exit - s.cell, 0.0)


def reward(prev, action, curr, memory):
    before = np.minimum(memory["best_gap"], gap(prev))
    after = np.minimum(before, gap(curr))
    memory["best_gap"] = after
    new_best = 0.06 * (before - after)
    right = np.asarray(action).astype(np.float64) == np.round(prev.handle)
    wrong_handle = np.where(right, 0.0, -0.04)
    return {
        "new_best": new_best,
        "wrong_handle": wrong_handle,
    }
