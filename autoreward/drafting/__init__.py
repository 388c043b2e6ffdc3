"""A first task card from a survey of the user's environment.

What was found is written down. What was not is asked for at the top of the card.
"""

from autoreward.drafting.card import CardDraft, draft

__all__ = ["CardDraft", "draft"]
