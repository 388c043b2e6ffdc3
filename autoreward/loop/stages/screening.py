"""Screening: replay over stored trajectories before anything is trained.

Not in this version: the record says so, so that 'the first missing file is the next stage' stays
true.
"""

from autoreward.store.records import Screening


def screen() -> Screening:
    """The record of a stage that is passed over, and why."""
    return Screening(verdict="skipped", why="this version trains every candidate that passes check")
