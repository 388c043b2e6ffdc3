"""autoreward: a language model writes reward programs; we check, jail, train, score and explain them, and ask again."""

from typing import Any

__all__ = ["__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from autoreward.resources import VERSION

        return VERSION
    raise AttributeError(f"module 'autoreward' has no attribute {name!r}")
