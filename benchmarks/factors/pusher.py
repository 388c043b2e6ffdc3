"""What pushing is made of: puck to goal, fingertip to puck, what was gained of both, and effort."""

import numpy as np


def gap(a, b):
    return np.linalg.norm(a - b, axis=-1)


def factors(prev, action, curr, memory):
    hand, puck = gap(curr.fingertip, curr.puck), gap(curr.puck, curr.goal)
    gained = {
        "hand_gained": gap(prev.fingertip, prev.puck) - hand,
        "puck_gained": gap(prev.puck, prev.goal) - puck,
    }
    return {
        "hand_to_puck": hand,
        "puck_to_goal": puck,
        **gained,
        "effort": np.square(action).sum(-1),
    }
