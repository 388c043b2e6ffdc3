"""What hopping is made of: ground gained a step, effort, how upright it is, and how far from a
fall.
"""

import numpy as np


def factors(prev, action, curr, memory):
    upright = (curr.height > 0.7) & (np.abs(curr.torso_angle) < 0.2)
    return {
        "speed": (curr.x - prev.x) / 0.008,
        "effort": np.square(action).sum(-1),
        "upright": upright,
        "tilt": np.abs(curr.torso_angle),
        "height": curr.height,
    }
