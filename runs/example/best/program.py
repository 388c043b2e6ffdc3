import numpy as np


def gap(s):
    return np.maximum(s.exit - s.cell, 0.0)


def reward(prev, action, curr, memory):
    progress = 0.1 * (gap(prev) - gap(curr))
    bumped = (prev.cell <= 0.5) & (curr.cell <= 0.5)
    wall_bump = np.where(bumped, -0.05, 0.0)
    time_price = np.full(curr.cell.shape, -0.004)
    return {
        "progress": progress,
        "wall_bump": wall_bump,
        "time_price": time_price,
    }
