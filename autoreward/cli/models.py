"""`autoreward models`: the models that can write programs, and whether one works from here.

`models test` really asks a model the first two questions of a design: can it be reached, what does
it cost, can its replies be used.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from autoreward.cli.options import Json, group, options_of, show, takes
from autoreward.errors import REFUSED, ModelFailed
from autoreward.loop.options import DesignOptions

if TYPE_CHECKING:
    from autoreward.state import Layout
    from autoreward.store.records import Review, Verdict

# A design of default size, for the forecast of `models test`.
ITERATIONS, CANDIDATES = DesignOptions.iterations, DesignOptions.candidates
# A program to review if the model under test wrote none that could be read.
STAND_IN = (
    "import numpy as np\n\n\ndef reward(prev, action, curr, memory):\n    return {'a': curr.cell}\n"
)

app = group("Models: who writes the reward programs.")


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the built-in models, and how to name others."""
    from autoreward.models import BUILT_IN

    lines = [f"{name:<20} {meaning}" for name, meaning in BUILT_IN.items()]
    lines += [
        "",
        "your own server: --model NAME --base-url URL; keys, prices, limits: docs/models.md",
    ]
    show(BUILT_IN, "\n".join(lines), as_json)


@app.command("show")
@takes("base_url")
def show_model(
    model: Annotated[str, Argument(help="a model, as for --model")],
    as_json: Json = False,
    **given: Any,
) -> None:
    """Show a model's price and window, without asking it.

    Fails if it cannot be asked from here, for example because its API key is missing.
    """
    from autoreward.models import ModelOptions, connect

    found = connect(model, ModelOptions(base_url=given["base_url"]))
    data = {
        "model": model,
        "language": found.language,
        "dollars_per_million_in": found.price(1_000_000, 0),
        "dollars_per_million_out": found.price(0, 1_000_000),
        "window": _window(found),
    }
    lines = [
        f"model           {model}",
        f"language model  {'yes' if found.language else 'no'}",
        f"price           {_price(found)}",
        f"window          {_window_words(found)}",
    ]
    show(data, "\n".join(lines), as_json)


@app.command("test")
@takes("base_url", "headers", "key_command", "prices", "settings")
def try_model(
    context: typer.Context,
    model: Annotated[str, Argument(help="a model, as for --model")],
    task: Annotated[
        str, Option(help="the task to ask about; a longer card makes a harder test")
    ] = "corridor",
    as_json: Json = False,
    **given: Any,
) -> None:
    """Ask a model for one program and one review.

    Two small requests show whether it can be reached, what it costs, and whether its replies can be
    used; nothing is trained.
    """
    options = options_of(task, given, context)
    found = examine(model, task, options.stored_settings, options.headers)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        for key, value in found.items():
            if not isinstance(value, bool):
                print(f"{key.replace('_', ' '):<12} {value}")
        print()
        print(_next(model, options) if found["usable"] else _unusable())
    if not found["usable"]:
        raise typer.Exit(REFUSED)


def _next(model: str, options: DesignOptions) -> str:
    words = [f"next: autoreward design {options.task} --model {model}"]
    for name in ("base_url", "key_command", "prices"):
        if value := getattr(options, name):
            words.append(f"--{name.replace('_', '-')} {value}")
    return " ".join(words)


def _unusable() -> str:
    return (
        "its replies cannot be used as they are: try another model, "
        "or allow longer replies (--set max_tokens=...); docs/models.md"
    )


def examine(
    name: str, task: str, settings: dict[str, str], headers: dict[str, str]
) -> dict[str, Any]:
    """Text for people, by topic; `usable` says whether program and review could both be read.

    Raises UserError if the model cannot be asked.
    """
    from autoreward.loop.setup import model_options
    from autoreward.loop.stages import critic, designer
    from autoreward.methods import DEFAULT, find_method
    from autoreward.models import connect
    from autoreward.models.caller import Caller
    from autoreward.models.templates import Prompts
    from autoreward.store.records import Limits
    from autoreward.tasks.find import find

    card = find(task).card
    method = find_method(DEFAULT)
    prompts = Prompts(None)
    connected = connect(name, model_options(settings, headers))
    program = ""
    unreadable = ""
    with tempfile.TemporaryDirectory() as folder:
        caller = Caller(connected, Path(folder) / "calls", Limits(), settings, retries=1)
        question = designer.Question(hints=not connected.language)
        try:
            program = designer.design(caller, prompts, card, method, question).program
        except designer.Unparseable as error:
            unreadable = f"cannot be read: {error.verdict.message}"
        except ModelFailed as error:
            raise ModelFailed(
                error.message,
                "is it running, and are its address and the name right? docs/models.md has recipes",
            ) from None
        review = critic.review(caller, prompts, card, method, program or STAND_IN, 1, "a", 0)
        replies = _replies(Path(folder))
    return {
        "model": name,
        **_reached(connected, settings, replies),
        **_replies_read(connected, program, unreadable, review, card.reward_layout),
        "a_design": _forecast(replies),
    }


def _replies(folder: Path) -> list[dict[str, Any]]:
    """The recorded replies, as the caller wrote them."""
    from autoreward.store.run import RunFolder, call_paths

    paths = call_paths(RunFolder(folder).calls_path)
    return [json.loads(path.read_text(encoding="utf-8"))["reply"] for path in paths]


def _reached(
    model: Any, settings: Mapping[str, str], replies: list[dict[str, Any]]
) -> dict[str, str]:
    seconds = sum(reply["latency"] for reply in replies)
    tokens = sum(reply["completion_tokens"] for reply in replies)
    reached = "no language model is called"
    if replies:
        reached = f"yes: {len(replies)} requests, {seconds:.1f} s"
    speed = "-"
    if tokens and seconds > 0.01:
        speed = f"{tokens / seconds:.0f} tokens a second"
    return {
        "reached": reached,
        "key": _key(model, settings),
        "price": _price(model),
        "window": _window_words(model),
        "speed": speed,
    }


def _key(model: Any, settings: Mapping[str, str]) -> str:
    if not hasattr(model, "key"):
        return "not needed"
    if settings.get("key_command"):
        return "from --key-command"
    keys = sorted(k for k in os.environ if k.endswith("_API_KEY") and os.environ[k])
    return f"accepted (in the environment: {', '.join(keys)})" if keys else "not needed"


def _price(model: Any) -> str:
    read, written = model.price(1_000_000, 0), model.price(0, 1_000_000)
    if read is None or written is None:
        return "unknown: --prices TABLE, or limit with --max-tokens"
    return f"${read:g} per million input tokens, ${written:g} per million output tokens"


def _window(model: Any) -> int | None:
    """Tokens that the model can read at once; None if unknown."""
    known: int | None = getattr(model, "window", lambda: None)()
    return known


def _window_words(model: Any) -> str:
    if window := _window(model):
        return f"{window:,} tokens"
    if model.language:
        return "unknown: --set num_ctx=N, or window in the --prices table"
    return "-"


def _replies_read(
    model: Any, program: str, unreadable: str, review: Review, layout: Layout
) -> dict[str, Any]:
    """Whether program and review could be read, and what the linter says of the program."""
    from autoreward.rewards.linter import lint

    rejections: list[Verdict] = []
    if program:
        rejections = [v for v in lint(program, layout) if v.severity == "refuse"]
    if unreadable:
        outcome = unreadable
    elif rejections:
        outcome = f"readable, but rejected by the linter: {rejections[0].message}"
    else:
        outcome = "readable, and accepted by the linter"
    review_read = not model.language or review.by != "lint" or bool(rejections)
    if not model.language:
        verdict = "by code: no language model"
    elif rejections:
        verdict = "skipped: the linter rejected the program"
    else:
        verdict = "read" if review_read else review.opinion
    return {"program": outcome, "verdict": verdict, "usable": bool(program) and review_read}


def _forecast(replies: list[dict[str, Any]]) -> str:
    """What a design of default size takes.

    It asks designer, critic and analyzer once per candidate, each for about as long as the longer
    of these two replies.
    """
    size = f"{ITERATIONS} x {CANDIDATES} candidates"
    if not replies:
        return f"{size}: no waiting for a model, and no cost"
    calls = 3 * ITERATIONS * CANDIDATES
    minutes = calls * max(reply["latency"] for reply in replies) / 60
    costs = [reply["cost"] for reply in replies]
    price = "" if None in costs else f", about ${max(costs) * calls:.2g}"
    return (
        f"{size}: about {calls} requests, {minutes:.1f} minutes of waiting{price}; "
        "training is extra (--dry-run)"
    )
