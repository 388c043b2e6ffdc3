"""`autoreward envs check`: a card against its environment, with the line of what is wrong."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from autoreward.errors import REFUSED, UserError

RANGE = re.compile(
    r"^\s*([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)\s*\.\.\s*([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)\s*$", re.I
)


def check_env(
    task: Annotated[str, Argument(help="a task's name or its card's path")],
    trainer_python: Annotated[str | None, Option(help="another interpreter for trainers")] = None,
    as_json: Annotated[bool, Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Run a card's environment for a moment, and say what is missing or wrong."""
    from autoreward.cli.live import clean
    from autoreward.loop.engine import Engine
    from autoreward.store.jobs import ProbeJob
    from autoreward.tasks.find import at, find, require_simulator

    located = find(task)
    card = located.card
    require_simulator(card)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "probes.npz"
        try:
            Engine(1, trainer_python).run(
                [("", ProbeJob(card=str(located.path), seed=0, out=str(out)))]
            )
        except UserError as error:
            what = error.message.removeprefix(": ").partition(" (mend the card, then")[0]
            raise UserError(
                f"the card {card.name}: {what}{at(located.path, what)}",
                f"mend it, then: autoreward envs check {task}",
                error.code,
            ) from None
        report = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    problems, advice = report["problems"], _advice(card, report)
    if located.human and not located.human.is_file():
        problems.append(f"human: there is no file {located.human.name} beside the card")
    problems, advice = [[p + at(located.path, p) for p in told] for told in (problems, advice)]
    text = [f"{card.name}: action {report['action']}, observation {report['observation'][:160]}"]
    lengths = report["episode_lengths"]
    text.append(
        f"{len(lengths)} random episodes ended, mean length {sum(lengths) / len(lengths):.0f}"
        if lengths
        else "no random episode ended within 125 steps"
    )
    if card.success:
        text.append(
            f"success was {'seen' if report['success_seen'] else 'never seen'} in random play"
        )
    text += [
        f"metric {name} was {low:.4g} .. {high:.4g} in random play"
        for name, (low, high) in report["metrics"].items()
    ]
    for name, found in report["fields"].items():
        text.append(f"  {name:<24} seen {_span(found)}")
    text += [f"wrong: {p}" for p in problems] + [f"advice: {a}" for a in advice]
    text.append(
        "the card is wrong; mend it and check again"
        if problems
        else f"the card works; next: autoreward design {task}"
    )
    print(
        json.dumps({**report, "problems": problems, "advice": advice}, indent=1)
        if as_json
        else clean("\n".join(text))
    )
    if problems:
        raise typer.Exit(REFUSED)


def _advice(card: Any, report: dict[str, Any]) -> list[str]:
    """What is no fault, and yet worth a look; each begins with the key it is about."""
    advice = []
    for field in card.fields:
        found = report["fields"][field.name]
        if found["constant"] and field.reward:
            advice.append(
                f"fields.{field.name}: never changed in 1,000 random steps: is its source right?"
            )
        elif (said := RANGE.match(field.range)) and (
            outside := _outside(found, float(said[1]), float(said[2]))
        ):
            advice.append(f"fields.{field.name}.range: the card says {field.range!r}, {outside}")
        if field.reward and not field.meaning:
            advice.append(f"fields.{field.name}: no meaning: a model reads nothing but the card")
    unnamed = [f.name for f in card.fields if f.reward and f.meaning.startswith("unnamed:")]
    if unnamed:
        advice.append(
            f"fields.{unnamed[0]}: still without names: {', '.join(unnamed[:8])}{', ...' if len(unnamed) > 8 else ''}; docs/own-environment.md shows ways to find them"
        )
    metrics = [m for m in [card.metric, *(c.metric for c in card.constraints)] if m]
    for metric in metrics:
        low, high = report["metrics"].get(metric.name, metric.range)
        if low < metric.range[0] or high > metric.range[1]:
            where = "metric.range" if metric is card.metric else "constraints"
            advice.append(
                f"{where}: the card says {metric.range[0]:g} .. {metric.range[1]:g}, random play gave {low:.4g} .. {high:.4g}"
            )
    if report["success_seen"]:
        advice.append(
            "success: random actions succeed already: the sparse reward may be enough, compare with `autoreward train sparse`"
        )
    if not card.hints:
        advice.append("hints: none: offline/search cannot work on this card, language models can")
    return advice


def _outside(found: dict[str, Any], low: float, high: float) -> str:
    """Where what was seen leaves a field's range by more than a hundredth of it."""
    slack = 0.01 * max(high - low, 1e-9)
    seen = min(found["low"]), max(found["high"])
    return (
        f"random play gave {seen[0]:.4g} .. {seen[1]:.4g}"
        if seen[0] < low - slack or seen[1] > high + slack
        else ""
    )


def _span(found: dict[str, Any]) -> str:
    pairs = [
        f"{low:.3g} .. {high:.3g}" for low, high in zip(found["low"], found["high"], strict=True)
    ]
    return ", ".join(pairs[:4]) + (", ..." if len(pairs) > 4 else "")
