"""autoreward: a language model writes reward programs; we check, jail, train, score and explain them, and ask again."""

from autoreward.resources import VERSION as __version__

__all__ = ["__version__"]
