"""`autoreward envs check` and `envs caption`: a card tried on its environment."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from autoreward.cli.options import Json, TaskName, options_of, takes
from autoreward.errors import REFUSED, UserError
from autoreward.seeds import MAX_RUN_SEED

if TYPE_CHECKING:
    from autoreward.store.jobs import CaptionReport
    from autoreward.tasks.card import TaskCard
    from autoreward.tasks.find import LocatedCard

NUMBER = r"([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)"
# `-1.2 .. 0.6`, as a field's range is written
RANGE = re.compile(rf"^\s*{NUMBER}\s*\.\.\s*{NUMBER}\s*$", re.IGNORECASE)
# A trainer cannot know the card's path, so its errors end in a general hint.
GENERAL_HINT = re.compile(r" \([^()]*autoreward envs \w+ CARD\)")
# A range that random play leaves by less than this share of its width is as good as kept.
RANGE_SLACK = 0.01
MAX_UNNAMED = 8
MAX_SPANS = 4

CAPTION_SOURCES = {
    "template": "the card's template (caption.template)",
    "default": "the default form, as the card has no `caption:`: the action, then every field, "
    "with its earlier value if it changed (envs/README.md)",
}


@takes("trainer_python")
def check_env(
    context: typer.Context,
    task: TaskName,
    as_json: Json = False,
    **given: Any,
) -> None:
    """Play a card's environment briefly, and report what is wrong with the card."""
    from autoreward.cli.live import clean
    from autoreward.tasks.find import at, find, require_simulator

    located = find(task)
    card = located.card
    require_simulator(card)
    report = _play(located, options_of(task, given, context).trainer_python)
    problems = list(report["problems"])
    if located.human and not located.human.is_file():
        problems.append(f"human: no file {located.human.name} beside the card")
    problems = [problem + at(located.path, problem) for problem in problems]
    advice = [line + at(located.path, line) for line in _advice(card, report)]
    if as_json:
        print(json.dumps({**report, "problems": problems, "advice": advice}, indent=1))
    else:
        lines = _report_lines(card, report)
        lines += [f"wrong: {problem}" for problem in problems]
        lines += [f"advice: {line}" for line in advice]
        if problems:
            lines.append(f"the card has errors; fix them, then: autoreward envs check {task}")
        else:
            lines.append(f"the card works; next: autoreward design {task}")
        print(clean("\n".join(lines)))
    if problems:
        raise typer.Exit(REFUSED)


def _play(located: LocatedCard, trainer_python: str | None) -> dict[str, Any]:
    """The probe's report on the environment, made in a trainer."""
    from autoreward.loop.engine import Engine
    from autoreward.store.jobs import ProbeJob

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "probes.npz"
        job = ProbeJob(card=str(located.path), seed=0, out=str(out))
        try:
            Engine(1, trainer_python).run([("", job)])
        except UserError as error:
            raise card_error(error, located, "check") from None
        report: dict[str, Any] = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
        return report


def card_error(error: UserError, located: LocatedCard, command: str) -> UserError:
    """A trainer's error about a card, with the card's name, line and path."""
    from autoreward.tasks.find import at

    message = GENERAL_HINT.sub("", error.message.removeprefix(": "))
    return UserError(
        f"the card {located.card.name}: {message}{at(located.path, message)}",
        f"fix it, then: autoreward envs {command} {located.path}",
        error.code,
    )


def _report_lines(card: TaskCard, report: dict[str, Any]) -> list[str]:
    lengths = report["episode_lengths"]
    lines = [f"{card.name}: action {report['action']}, observation {report['observation'][:160]}"]
    if lengths:
        mean = sum(lengths) / len(lengths)
        lines.append(f"{len(lengths)} random episodes ended, mean length {mean:.0f}")
    else:
        lines.append("no random episode ended within 125 steps")
    if card.success:
        seen = "seen" if report["success_seen"] else "never seen"
        lines.append(f"success was {seen} in random play")
    for name, (low, high) in report["metrics"].items():
        lines.append(f"metric {name} was {low:.4g} .. {high:.4g} in random play")
    for name, found in report["fields"].items():
        lines.append(f"  {name:<24} seen {_span(found)}")
    return lines


def _span(found: dict[str, Any]) -> str:
    pairs = zip(found["low"], found["high"], strict=True)
    spans = [f"{low:.3g} .. {high:.3g}" for low, high in pairs]
    return ", ".join(spans[:MAX_SPANS]) + (", ..." if len(spans) > MAX_SPANS else "")


# -- advice ----------------------------------------------------------------------------------------


def _advice(card: TaskCard, report: dict[str, Any]) -> list[str]:
    """What is not wrong but worth a look; each line begins with the key it is about."""
    advice = _field_advice(card, report["fields"])
    unnamed = [f.name for f in card.fields if f.reward and f.meaning.startswith("unnamed:")]
    if unnamed:
        more = ", ..." if len(unnamed) > MAX_UNNAMED else ""
        advice.append(
            f"fields.{unnamed[0]}: no names yet for {', '.join(unnamed[:MAX_UNNAMED])}{more}; "
            "docs/own-environment.md shows ways to find them"
        )
    advice += _metric_advice(card, report["metrics"])
    if report["success_seen"]:
        advice.append(
            "success: random actions already succeed, so the sparse reward may be enough: "
            "compare with `autoreward train sparse`"
        )
    if not card.hints:
        advice.append("hints: none: offline/search cannot use this card, language models can")
    return advice


def _field_advice(card: TaskCard, seen: dict[str, Any]) -> list[str]:
    advice = []
    for field in card.fields:
        found = seen[field.name]
        if found["constant"] and field.reward:
            advice.append(
                f"fields.{field.name}: never changed in 1,000 random steps: is its source right?"
            )
        elif outside := _outside(found, field.range):
            advice.append(f"fields.{field.name}.range: the card says {field.range!r}, {outside}")
        if field.reward and not field.meaning:
            advice.append(f"fields.{field.name}: no meaning: the card is all that a model reads")
    return advice


def _outside(found: dict[str, Any], declared: str) -> str:
    """What random play gave, if it clearly leaves the declared range; otherwise empty."""
    match = RANGE.match(declared)
    if not match:
        return ""
    low, high = float(match[1]), float(match[2])
    slack = RANGE_SLACK * max(high - low, 1e-9)
    least, most = min(found["low"]), max(found["high"])
    if least >= low - slack and most <= high + slack:
        return ""
    return f"random play gave {least:.4g} .. {most:.4g}"


def _metric_advice(card: TaskCard, seen: dict[str, Any]) -> list[str]:
    advice = []
    for metric in [card.metric, *(c.metric for c in card.constraints)]:
        if metric is None:
            continue
        low, high = seen.get(metric.name, metric.range)
        if low >= metric.range[0] and high <= metric.range[1]:
            continue
        key = "metric.range" if metric is card.metric else "constraints"
        advice.append(
            f"{key}: the card says {metric.range[0]:g} .. {metric.range[1]:g}, "
            f"random play gave {low:.4g} .. {high:.4g}"
        )
    return advice


# -- captions --------------------------------------------------------------------------------------


@takes("trainer_python")
def caption_env(
    context: typer.Context,
    task: TaskName,
    rows: Annotated[int, Option(help="examples to show", min=1, max=1000)] = 10,
    transitions: Annotated[int, Option(help="transitions to record", min=8, max=1_000_000)] = 1000,
    seed: Annotated[int, Option(help="random seed", min=0, max=MAX_RUN_SEED)] = 0,
    as_json: Json = False,
    **given: Any,
) -> None:
    """Show recorded transitions as captions.

    A caption is all that an annotator (a model that labels transitions) reads of one.
    """
    from autoreward.cli.live import clean
    from autoreward.loop.engine import Engine
    from autoreward.store.io import read
    from autoreward.store.jobs import CaptionJob, CaptionReport
    from autoreward.tasks.find import find, require_simulator

    located = find(task)
    require_simulator(located.card)
    trainer_python = options_of(task, given, context).trainer_python
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "captions.json"
        job = CaptionJob(
            card=str(located.path), seed=seed, out=str(out), transitions=transitions, rows=rows
        )
        try:
            Engine(1, trainer_python).run([("", job)])
        except UserError as error:
            raise card_error(error, located, "caption") from None
        captioned = read(out, CaptionReport)
    assert captioned is not None
    if as_json:
        print(captioned.model_dump_json(indent=1))
    else:
        print(clean("\n".join(_caption_lines(located.card.name, captioned))))


def _caption_lines(name: str, captioned: CaptionReport) -> list[str]:
    width = len(str(max((count for _, count in captioned.examples), default=1)))
    source = CAPTION_SOURCES.get(captioned.by, f"the card's trusted {captioned.by}")
    return [
        f"{name}: {captioned.distinct:,} different captions of {captioned.transitions:,} "
        f"recorded transitions, from {source}",
        "",
        *(f"{count:>{width}}x  {caption}" for caption, count in captioned.examples),
        "",
        "from the most frequent to the rarest; a model is asked once per different caption "
        "(docs/annotator.md)",
    ]
