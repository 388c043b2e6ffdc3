"""Methods: which agents ask a model, with which templates, and what the card must have.

A method is data under a name; the loop has no code for any one of them. The shipped ones have a
file each here and are listed in find.py (`SHIPPED`).
"""

from autoreward.methods.find import DEFAULT, GROUP, SHIPPED, find_method, names
from autoreward.methods.method import (
    AGENTS,
    REPAIRS,
    SWITCHES,
    Ask,
    Judging,
    Method,
    Need,
    Setting,
)

__all__ = [
    "AGENTS",
    "DEFAULT",
    "GROUP",
    "REPAIRS",
    "SHIPPED",
    "SWITCHES",
    "Ask",
    "Judging",
    "Method",
    "Need",
    "Setting",
    "find_method",
    "names",
]
