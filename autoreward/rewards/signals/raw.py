"""Return decomposition without factors: every number of a card's fields, of the action, and of
what changed, as a program of the same kind.

That is what RD and RRD are given in LaRe's comparison ([s, a, s - s']); what factors are worth is
measured against it.
"""

from __future__ import annotations

from autoreward.errors import REFUSED, UserError
from autoreward.tasks.card import TaskCard

# what a worker takes of one program (sandbox.MOST_FACTORS)
MOST = 256
PROGRAM = '''"""Every number of the fields before, of the action, and of what changed: no factors of anybody's."""

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
    """The text of that program.

    UserError where the card has more numbers than a program may answer.
    """
    layout, action = card.reward_layout, card.action
    count = 2 * layout.width + (
        action.n or 0
        if action.type == "discrete"
        else len(action.nvec or ()) or _size(action.shape)
    )
    if count > MOST:
        raise UserError(
            f"{card.name}: fields and action are {count} numbers, and a program answers at most {MOST}",
            "`reward: false` for fields that say nothing",
            REFUSED,
        )
    fields = ", ".join(f'("{name}", prev.{name}, curr.{name})' for name in layout.names)
    return PROGRAM.format(
        fields=fields + ",",
        action=ONE_HOT.format(n=action.n) if action.type == "discrete" else NUMBERS,
    )


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for part in shape:
        size *= part
    return size
