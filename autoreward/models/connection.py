"""From a model's name, as given to `--model`, to a `Model` that can be asked.

Each kind of model is imported only when it is named, so that a run without a hosted model never
pays for litellm's import.
"""

from __future__ import annotations

from autoreward.errors import UserError
from autoreward.models.model import Model, ModelOptions

BUILT_IN = {
    "offline/search": "a search over a grammar of reward terms, from the card's hints; no language model (the default)",
    "replay/RUN_OR_FILE": "the replies of a recorded run, or of a file",
    "manual": "writes each prompt to a file and waits for the reply file: any chat window, or a person",
    "cmd:COMMAND": "prompt on standard input, reply on standard output",
    "simulated/p=0.9": "judges transitions only: the card's own predicates, each answer wrong with probability 0.1; a test of methods, no model",
    "PROVIDER/MODEL": "any name litellm knows: openai/..., anthropic/..., gemini/..., ollama/..., openrouter/...",
}


def connect(name: str, options: ModelOptions | None = None, judging: bool = False) -> Model:
    """The model of that name; UserError where there is none such, or its key is missing.

    `judging`: it is asked about transitions alone.
    """
    options = options or ModelOptions()
    if name.startswith("simulated/"):
        from autoreward.models.simulated import Simulated

        judge = Simulated(name)
        if not judging:
            raise UserError(
                f"--model {name}: it judges transitions, and writes nothing",
                "--model offline/search, and as a judge: --set annotator=simulated/p=0.9 (docs/annotator.md)",
            )
        return judge
    if name == "offline/search":
        from autoreward.models.offline.search import OfflineSearch

        return OfflineSearch()
    if name.startswith("offline/"):
        raise UserError(
            f"no model {name!r}: the offline designer is offline/search", "autoreward models list"
        )
    if name.startswith("replay/"):
        from autoreward.models.local import Replay

        return Replay(name.removeprefix("replay/"), options.strict)
    if name == "manual":
        from autoreward.models.local import Manual

        return Manual()
    if name.startswith("cmd:"):
        from autoreward.models.local import Command

        return Command(name.removeprefix("cmd:"), options.timeout)
    from autoreward.models.remote import Remote

    return Remote(name, options)
