"""`autoreward envs caption`: what a model that judges transitions is told about them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from autoreward.errors import UserError
from autoreward.seeds import MAX_RUN_SEED

MADE_BY = {
    "template": "the card's template (caption.template)",
    "default": "the default: the action, then every field, with its value before where it changed; the card has no `caption:` (envs/README.md)",
}


def caption_env(
    task: Annotated[str, Argument(help="a task's name or its card's path")],
    rows: Annotated[int, Option(help="examples to show", min=1, max=1000)] = 10,
    transitions: Annotated[int, Option(help="transitions to record", min=8, max=1_000_000)] = 1000,
    seed: Annotated[int, Option(help="of the recorded play", min=0, max=MAX_RUN_SEED)] = 0,
    trainer_python: Annotated[str | None, Option(help="another interpreter for trainers")] = None,
    as_json: Annotated[bool, Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Transitions of a card in words: all that a model which judges them is told about each."""
    from autoreward.cli.live import clean
    from autoreward.loop.engine import Engine
    from autoreward.store.files import read
    from autoreward.store.jobs import Captioned, CaptionJob
    from autoreward.tasks.find import at, find, require_simulator

    located = find(task)
    require_simulator(located.card)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "captions.json"
        try:
            Engine(1, trainer_python).run(
                [
                    (
                        "",
                        CaptionJob(
                            card=str(located.path),
                            seed=seed,
                            out=str(out),
                            transitions=transitions,
                            rows=rows,
                        ),
                    )
                ]
            )
        except UserError as error:
            what = error.message.removeprefix(": ").partition(" (mend the card")[0]
            raise UserError(
                f"the card {located.card.name}: {what}{at(located.path, what)}",
                f"mend it, then: autoreward envs caption {task}",
                error.code,
            ) from None
        told = read(out, Captioned)
    assert told is not None
    if as_json:
        print(told.model_dump_json(indent=1))
        return
    width = len(str(max((count for _, count in told.examples), default=1)))
    by = MADE_BY.get(told.by, f"the card's trusted {told.by}")
    text = [
        f"{located.card.name}: {told.distinct:,} different captions of {told.transitions:,} recorded transitions, by {by}",
        "",
    ]
    text += [f"{count:>{width}}x  {caption}" for caption, count in told.examples]
    text += [
        "",
        "from the most frequent to the rarest; each different caption is one question to a model (docs/annotator.md)",
    ]
    print(clean("\n".join(text)))
