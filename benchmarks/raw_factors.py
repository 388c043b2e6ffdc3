"""Write a factor program without factors: every number of a card's fields, of the action and of the
change of the fields.

Return decomposition over these numbers is the control of benchmarks/lare.py: RD and RRD get the
same input, [s, a, s - s'], in LaRe's comparison (arXiv 2412.11120).
"""

from __future__ import annotations

import math

from autoreward.errors import REFUSED, UserError
from autoreward.sandbox.outside.worker import MAX_FACTORS
from autoreward.tasks.card import Action, TaskCard

PROGRAM = '''"""Every number of the fields before, of the action, and of what changed."""

import numpy as np


def factors(prev, action, curr, memory):
    n, out = len(action), {{}}
    for name, before, after in ({fields}):
        before, after = np.reshape(before, (n, -1)), np.reshape(after, (n, -1))
        for k in range(before.shape[1]):
            out[name + "_" + str(k)] = before[:, k]
            out["change_" + name + "_" + str(k)] = after[:, k] - before[:, k]
{action}
    return out
'''
ONE_HOT = """    for k in range({n}):
        out["action_" + str(k)] = action == k"""
NUMBERS = """    for k, column in enumerate(np.reshape(action, (n, -1)).T):
        out["action_" + str(k)] = column"""


def raw_factors(card: TaskCard) -> str:
    """Return the text of the program for this card.

    Raises UserError if the card has more numbers than a program may return.
    """
    layout = card.reward_layout
    count = 2 * layout.width + action_width(card.action)
    if count > MAX_FACTORS:
        raise UserError(
            f"{card.name}: fields and action have {count} numbers, "
            f"and a program may return at most {MAX_FACTORS}",
            "set `reward: false` on fields that carry no information",
            REFUSED,
        )
    fields = "".join(f'("{name}", prev.{name}, curr.{name}), ' for name in layout.names)
    discrete = card.action.type == "discrete"
    action = ONE_HOT.format(n=card.action.n) if discrete else NUMBERS
    return PROGRAM.format(fields=fields.rstrip(), action=action)


def action_width(action: Action) -> int:
    """Return how many numbers an action gives; a discrete one is encoded one-hot."""
    if action.type == "discrete":
        return action.n or 0
    if action.nvec:
        return len(action.nvec)
    return math.prod(action.shape)
