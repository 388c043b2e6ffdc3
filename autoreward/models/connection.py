"""From a model's name, as given to `--model`, to a `Model` that can be asked.

Each kind of model is imported only when it is named, so that a run without a hosted model never
pays for litellm's import.
"""

from __future__ import annotations

from autoreward.errors import UserError
from autoreward.models.model import Model, ModelOptions

# Ways to name a model, and what each is: `autoreward models list`.
BUILT_IN = {
    "offline/search": (
        "a search over a grammar of reward terms, guided by the card's hints; no language model "
        "(the default)"
    ),
    "replay/RUN_OR_FILE": "the replies of a recorded run, or of a file",
    "manual": (
        "writes each prompt to a file and waits for the reply file: any chat window, or a person"
    ),
    "cmd:COMMAND": "a command: prompt on standard input, reply on standard output",
    "simulated/p=0.9": (
        "judges transitions only: the card's own predicates, each answer wrong with probability "
        "0.1; not a model, but a way to test methods"
    ),
    "PROVIDER/MODEL": (
        "any name that litellm knows: openai/..., anthropic/..., gemini/..., ollama/..., "
        "openrouter/..."
    ),
}


def connect(name: str, options: ModelOptions | None = None, judging: bool = False) -> Model:
    """Return the model of that name.

    `judging` says that it will only judge transitions; simulated models can do nothing else.
    Raises UserError if the name is unknown, or if the model needs a key that is missing.
    """
    options = options or ModelOptions()
    if name.startswith("simulated/"):
        return _simulated(name, judging)
    if name == "offline/search":
        from autoreward.models.offline.search import OfflineSearch

        return OfflineSearch()
    if name.startswith("offline/"):
        raise UserError(
            f"unknown model {name!r}: the offline designer is offline/search",
            "autoreward models list",
        )
    if name.startswith("replay/"):
        from autoreward.models.local import ReplayModel

        return ReplayModel(name.removeprefix("replay/"), options.strict)
    if name == "manual":
        from autoreward.models.local import Manual

        return Manual()
    if name.startswith("cmd:"):
        from autoreward.models.local import Command

        return Command(name.removeprefix("cmd:"), options.timeout)
    from autoreward.models.remote import Remote

    return Remote(name, options)


def _simulated(name: str, judging: bool) -> Model:
    from autoreward.models.simulated import Simulated

    model = Simulated(name)
    if not judging:
        raise UserError(
            f"--model {name}: it judges transitions and cannot write programs",
            "--model offline/search, and to judge: --set annotator=simulated/p=0.9 "
            "(docs/annotator.md)",
        )
    return model
