"""`autoreward models test`: the first two questions of a design, really asked: is it reached, what
does it cost, can its answers be used.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from autoreward.cli.options import Json, options_of, takes
from autoreward.errors import REFUSED, ModelFailed

# what a design takes where nothing else is said
ITERATIONS, CANDIDATES = 2, 3


@takes("base_url", "headers", "key_command", "prices", "settings")
def test_model(
    context: typer.Context,
    model: Annotated[str, Argument(help="as for --model")],
    task: Annotated[
        str, Option(help="the task that it is asked about; a longer card is a harder question")
    ] = "corridor",
    as_json: Json = False,
    **given: Any,
) -> None:
    """Ask a model for one program and one review, and say what came back: two small requests,
    nothing is trained.
    """
    options = options_of(task, given, context)
    settings = options.stored_settings
    found = examine(model, task, settings, options.headers)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        for key, value in found.items():
            if not isinstance(value, bool):
                print(f"{key.replace('_', ' '):<12} {value}")
        words = "".join(
            f" --{k.replace('_', '-')} {v}"
            for k, v in settings.items()
            if k in ("base_url", "key_command", "prices")
        )
        go_on = f"next: autoreward design {task} --model {model}{words}"
        print(
            "\n"
            + (
                go_on
                if found["usable"]
                else "its answers cannot be used as they are: another model, or a longer reply (--set max_tokens=...); docs/models.md"
            )
        )
    if not found["usable"]:
        raise typer.Exit(REFUSED)


def examine(
    name: str, task: str, settings: dict[str, str], headers: dict[str, str]
) -> dict[str, Any]:
    """Words for people, by topic; `usable` says whether program and review could both be read.

    UserError where the model cannot be asked.
    """
    from autoreward.loop.setup import model_options
    from autoreward.loop.stages import critic, designer
    from autoreward.methods import DEFAULT, find_method
    from autoreward.models import connect
    from autoreward.models.caller import Caller
    from autoreward.models.templates import Prompts
    from autoreward.store.records import Limits
    from autoreward.tasks.find import find

    card, method, prompts = find(task).card, find_method(DEFAULT), Prompts(None)
    connected = connect(name, model_options(settings, headers))
    with tempfile.TemporaryDirectory() as folder:
        caller = Caller(connected, Path(folder) / "calls", Limits(), settings, retries=1)
        program, told = "", ""
        try:
            program = designer.design(
                caller, prompts, card, method, designer.Question(hints=not connected.language)
            ).program
        except designer.Unparseable as error:
            told = f"cannot be read: {error.verdict.message}"
        except ModelFailed as error:
            raise ModelFailed(
                error.message,
                "is it running, and are address and name right? docs/models.md has recipes",
            ) from None
        review = critic.review(
            caller,
            prompts,
            card,
            method,
            program
            or "import numpy as np\n\n\ndef reward(prev, action, curr, memory):\n    return {'a': curr.cell}\n",
            1,
            "a",
            0,
        )
        replies = [
            json.loads(p.read_text(encoding="utf-8"))["reply"]
            for p in sorted(Path(folder).glob("calls/*/*.json"))
        ]
    return {
        "model": name,
        **_reached(connected, settings, replies),
        **_answers(connected, program, told, review, card.reward_layout),
        **_duration(connected, replies),
    }


def _reached(model: Any, settings: dict[str, str], replies: list[dict[str, Any]]) -> dict[str, str]:
    per_million = model.price(1_000_000, 0), model.price(0, 1_000_000)
    window = getattr(model, "window", lambda: None)()
    keys = sorted(k for k in os.environ if k.endswith("_API_KEY") and os.environ[k])
    key = (
        "from --key-command"
        if settings.get("key_command")
        else f"accepted (in the environment: {', '.join(keys)})"
        if keys
        else "none was needed"
    )
    seconds, written = (
        sum(r["latency"] for r in replies),
        sum(r["completion_tokens"] for r in replies),
    )
    return {
        "reached": f"yes: {len(replies)} requests, {seconds:.1f} s"
        if replies
        else "no language model is asked",
        "key": key if hasattr(model, "key") else "none is needed",
        "price": "unknown: --prices TABLE, or limit with --max-tokens"
        if None in per_million
        else "${:g} and ${:g} per million tokens read and written".format(*per_million),
        "window": f"{window:,} tokens"
        if window
        else "unknown: --set num_ctx=N, or window in the --prices table"
        if model.language
        else "-",
        "speed": f"{written / seconds:.0f} tokens a second" if seconds > 0.01 and written else "-",
    }


def _answers(model: Any, program: str, told: str, review: Any, layout: Any) -> dict[str, Any]:
    from autoreward.rewards.linter import lint

    refused = [v for v in lint(program, layout) if v.severity == "refuse"] if program else []
    said = told or (
        f"read, and refused by the linter: {refused[0].message}"
        if refused
        else "read, and the linter accepts it"
    )
    readable = not model.language or review.by != "lint" or bool(refused)
    verdict = (
        "by code alone: no language model"
        if not model.language
        else "not asked: the linter refused the program first"
        if refused
        else "read"
        if readable
        else review.opinion
    )
    return {"program": said, "verdict": verdict, "usable": bool(program) and readable}


def _duration(model: Any, replies: list[dict[str, Any]]) -> dict[str, str]:
    """A design asks the designer, the critic and the analyzer once a candidate, each about as long
    as the longer of these two.
    """
    if not replies:
        return {
            "a_design": f"{ITERATIONS} x {CANDIDATES} candidates: no waiting for a model, and no price"
        }
    calls = 3 * ITERATIONS * CANDIDATES
    longest = max(r["latency"] for r in replies)
    costs = [r["cost"] for r in replies]
    price = "" if None in costs else f", about ${max(costs) * calls:.2g}"
    return {
        "a_design": f"{ITERATIONS} x {CANDIDATES} candidates: about {calls} requests, {calls * longest / 60:.1f} minutes of waiting{price}; trainings come on top (--dry-run)"
    }
