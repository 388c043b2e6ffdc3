"""A first task card from a survey of the user's environment: what was found is written down, what
was not is asked for at the top.
"""

from autoreward.drafting.card import CardDraft, draft

__all__ = ["CardDraft", "draft"]
