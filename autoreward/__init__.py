"""autoreward: a language model writes reward programs; we check, jail, train, score and explain
them, and ask again.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoreward.api.evidence import Evidence
    from autoreward.api.run import LoadedRun, check, design, load_run, resume, train
    from autoreward.api.study import Study
    from autoreward.errors import UserError
    from autoreward.sandbox.outside.worker import ProgramRefused
    from autoreward.store.episodes import Episode

__all__ = [
    "Episode",
    "Evidence",
    "LoadedRun",
    "ProgramRefused",
    "Study",
    "UserError",
    "__version__",
    "check",
    "design",
    "load_run",
    "resume",
    "train",
]
# the others: api.run
PLACES = {
    "UserError": "errors",
    "Evidence": "api.evidence",
    "ProgramRefused": "sandbox.outside.worker",
    "Study": "api.study",
    "Episode": "store.episodes",
}


def __getattr__(name: str) -> Any:
    """Everything is loaded when it is first used: `import autoreward` itself imports nothing."""
    if name == "__version__":
        from autoreward.resources import VERSION

        return VERSION
    if name in __all__:
        return getattr(import_module(f"autoreward.{PLACES.get(name, 'api.run')}"), name)
    raise AttributeError(f"module 'autoreward' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
