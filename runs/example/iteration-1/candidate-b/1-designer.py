import numpy as np


def reward(prev, action, curr, memory):
    right = (np.asarray(action).astype(np.float64) == np.round(prev.handle)).astype(np.float64)
    door_opened = 0.05 * right
    wrong_handle = -0.06 * (1.0 - right)
    return {"door_opened": door_opened, "wrong_handle": wrong_handle}
