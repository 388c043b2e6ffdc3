"""Reward design for reinforcement learning, with a language model that writes reward programs.

The programs are checked, run in a sandbox, trained on and scored, and the model is shown what they
achieved. `import autoreward` imports nothing; each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoreward.api.evidence import Evidence
    from autoreward.api.run import LoadedRun, check, design, load_run, resume, train
    from autoreward.api.study import Study
    from autoreward.errors import UserError
    from autoreward.sandbox.outside.worker import ProgramRejected
    from autoreward.sandbox.outside.worker import ProgramRejected as ProgramRefused
    from autoreward.store.episodes import Episode

__all__ = [
    "Episode",
    "Evidence",
    "LoadedRun",
    "ProgramRefused",
    "ProgramRejected",
    "Study",
    "UserError",
    "__version__",
    "check",
    "design",
    "load_run",
    "resume",
    "train",
]
# Modules of the names that are not in api.run.
PLACES = {
    "UserError": "errors",
    "Evidence": "api.evidence",
    "ProgramRejected": "sandbox.outside.worker",
    "Study": "api.study",
    "Episode": "store.episodes",
}
# Earlier public names, which scripts still use.
EARLIER_NAMES = {"ProgramRefused": "ProgramRejected"}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name == "__version__":
        from autoreward.resources import VERSION

        return VERSION
    if name in EARLIER_NAMES:
        return __getattr__(EARLIER_NAMES[name])
    if name in __all__:
        return getattr(import_module(f"autoreward.{PLACES.get(name, 'api.run')}"), name)
    raise AttributeError(f"module 'autoreward' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
