"""autoreward: a language model writes reward programs; we check, jail, train, score and explain them, and ask again."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoreward.api import LoadedRun, check, design, load_run, resume, train
    from autoreward.errors import UserError
    from autoreward.evidence import Evidence
    from autoreward.sandbox import ProgramRefused
    from autoreward.study import Study
    from autoreward.transitions import Episode

__all__ = ["Episode", "Evidence", "LoadedRun", "ProgramRefused", "Study", "UserError", "__version__", "check", "design", "load_run", "resume", "train"]
PLACES = {"UserError": "errors", "Evidence": "evidence", "ProgramRefused": "sandbox", "Study": "study", "Episode": "transitions"}  # the others: api


def __getattr__(name: str) -> Any:
    """Everything is loaded when it is first used: `import autoreward` itself imports nothing."""
    if name == "__version__":
        from autoreward.resources import VERSION

        return VERSION
    if name in __all__:
        return getattr(import_module(f"autoreward.{PLACES.get(name, 'api')}"), name)
    raise AttributeError(f"module 'autoreward' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
