"""The grammar that the offline designer searches: guides, and plans that say how they are paid.

A *guide* is what one hint asks for: a gap to close (near, raise, lower, waypoints), ordered stages
(subgoals), or a condition to hold. A *plan* says how guides are paid: as new bests of the episode
(DenseGRPO's score gains kept to a running best), as plain gains, as a price for the distance, or as
a potential (Ng et al. 1999), and how much. Gaps are measured as shares of the episode's first gap,
so that units do not matter.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict

from autoreward.tasks.card import TaskCard
from autoreward.tasks.hints import Hint

Form = Literal["best", "gain", "price", "best+price", "potential"]
FORMS: tuple[Form, ...] = ("best", "gain", "best+price", "potential", "price")
# Forms that need no memory of the episode, which hindsight cannot recompute.
MEMORYLESS_FORMS: tuple[Form, ...] = ("potential", "gain", "price")
PLAN_LINE = re.compile(r"^# plan (\{.*\})$", re.M)
TERM_OF_GUIDE = re.compile(r"(?:progress|stage|hold|price|nearness|lost)(?:_(\d+))?$")


class Plan(BaseModel):
    """How the guides are paid. It is written into the program, as JSON in a comment.

    Amounts are sums over an episode: `scale` for a gap closed, `bonus` for all stages, `cost` for
    all its steps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    forms: tuple[Form, ...]
    """The form of each guide, in the order of the card's hints."""
    scale: float = 2.0
    bonus: float = 1.0
    cost: float = 0.3
    weights: tuple[float, ...] = ()
    """Factors of `scale`, by guide; 1 for those beyond the end."""
    dropped: tuple[int, ...] = ()
    """Guides that are left out."""

    def weight(self, guide: int) -> float:
        """Return what closing a guide's gap pays over an episode."""
        factor = self.weights[guide] if guide < len(self.weights) else 1.0
        return self.scale * factor


def forms(card: TaskCard) -> tuple[Form, ...]:
    """Return the forms that a card allows, the most promising first."""
    return MEMORYLESS_FORMS if card.training.her else FORMS


def plan_of(program: str) -> Plan | None:
    """Return the plan that a program was written from, None if it was not written here."""
    match = PLAN_LINE.search(program)
    if match is None:
        return None
    try:
        return Plan.model_validate_json(match[1])
    except ValueError:
        return None


def guide_of(term: str) -> int:
    """Return the guide that a term belongs to, from 0: `progress_2` -> 1.

    -1 for the step cost, and for terms of other programs.
    """
    match = TERM_OF_GUIDE.match(term)
    if match is None:
        return -1
    return int(match[1] or 1) - 1


def keeps(card: TaskCard, hint: Hint) -> bool:
    """Whether a condition must hold throughout the episode, not only for a while at its end."""
    return hint.hold is not None and hint.hold.steps >= card.environment.limit


def tag_of(guide: int) -> str:
    """Return the suffix of a guide's names in a program: empty for the first, `_2` for the next."""
    return f"_{guide + 1}" if guide else ""
