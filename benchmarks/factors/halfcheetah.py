"""What running is made of: ground gained a step, effort, and how level the torso is."""

import numpy as np


def factors(prev, action, curr, memory):
    return {
        "speed": (curr.x - prev.x) / 0.05,
        "effort": np.square(action).sum(-1),
        "tilt": np.abs(curr.torso_angle),
        "bounce": np.square(curr.z_velocity),
    }
