import numpy as np


def reward(prev, action, curr, memory):
    gap_before = np.maximum(prev.exit - prev.cell, 0.0)
    gap_after = np.maximum(prev.exit - curr.cell, 0.0)
    progress = 0.1 * (gap_before - gap_after)
    time_price = np.full(progress.shape, -0.002)
    return {"progress": progress, "time_price": time_price}
