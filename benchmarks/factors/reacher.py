"""What reaching is made of: the distance left, what was gained of it, effort, and how fast the arm
turns.
"""

import numpy as np


def gap(state):
    return np.linalg.norm(state.finger_to_target, axis=-1)


def factors(prev, action, curr, memory):
    return {
        "distance": gap(curr),
        "gained": gap(prev) - gap(curr),
        "effort": np.square(action).sum(-1),
        "turning": np.square(curr.joint_velocities).sum(-1),
    }
