"""Potential: minus the distance to the point, and a small price for time. No memory: the card trains with hindsight."""

import numpy as np


def potential(s):
    return {"near": -10 * np.linalg.norm(s.grip_pos - s.goal_pos, axis=-1)}


def reward(prev, action, curr, memory):
    return {"step_cost": np.full(len(action), -0.05)}
