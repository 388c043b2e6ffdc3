"""`autoreward bench SUITE.yaml`: a grid of tasks x variants x models x seeds, each one a run;
resumable, one CSV.

A suite is `{tasks: [...], models: [...], seeds: [...], options: {iterations: 2, ...}, variants:
{NAME: {method: calm, ...}}}`; a variant's options come over the suite's. Every cell is a whole
design in `OUT/TASK.MODEL.SEED/`, or `OUT/TASK.VARIANT.MODEL.SEED/`; a cell that is done is not run
again.
"""

from __future__ import annotations

import csv
import io
import json
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autoreward.errors import REFUSED, UserError
from autoreward.store.files import write
from autoreward.store.records import Final
from autoreward.store.run import Run


class Suite(BaseModel):
    """What a suite file holds."""

    model_config = ConfigDict(extra="forbid")
    tasks: list[str] = Field(min_length=1)
    models: list[str] = Field(["offline/search"], min_length=1)
    seeds: list[int] = Field([0], min_length=1)
    options: dict[str, Any] = {}
    variants: dict[str, dict[str, Any]] = {}


COLUMNS: tuple[str, ...] = (
    "task",
    "model",
    "seed",
    "winner",
    "success",
    "low",
    "high",
    "by_seed",
    "steps_to_80",
    "sparse",
    "human",
    "human_steps_to_80",
    "state",
)
COLUMNS += (
    "metric",
    "metric_low",
    "metric_high",
    "sparse_metric",
    "human_metric",
    "broken",
    "variant",
)


def bench(
    suite: Annotated[Path, typer.Argument(help="a YAML file: tasks, models, seeds, options")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="folder of the runs and results.csv [default: bench/NAME]", show_default=False
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="trainings side by side [default: one a core]", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Run a grid of designs, or go on with one; the table is OUT/results.csv."""
    import yaml

    from autoreward.cli.live import Display
    from autoreward.loop import design as loop
    from autoreward.loop import setup
    from autoreward.tasks.find import mark

    try:
        plan = Suite.model_validate(yaml.safe_load(suite.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"no suite {suite}", "see benchmarks/first.yaml for one") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"{suite}: not readable as YAML: {str(error).splitlines()[0]}{mark(error)}",
            "see benchmarks/first.yaml",
            REFUSED,
        ) from None
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'suite'}: {e['msg']}" for e in error.errors()]
        raise UserError(
            f"{suite}: {'; '.join(lines[:3])}; a suite has tasks, models, seeds, options",
            "see benchmarks/first.yaml",
            REFUSED,
        ) from None
    folder = out or Path("bench") / suite.stem
    rows = []
    for task, (variant, changed), model, seed in product(
        plan.tasks, (plan.variants or {"": {}}).items(), plan.models, plan.seeds
    ):
        name = ".".join(
            [Path(task).stem, *([variant] if variant else []), model.replace("/", "-"), str(seed)]
        )
        try:
            options = setup.Options(
                task=task,
                model=model,
                seed=seed,
                jobs=jobs,
                folder=folder,
                name=name,
                **{**plan.options, **changed},
            )
        except TypeError as error:
            raise UserError(
                f"{suite}: options: {error}",
                "the names of `autoreward design --help`, with _ for -",
                REFUSED,
            ) from None
        settings = setup.model_options(options.settings)
        run = (
            Run(folder / name)
            if (folder / name / "run.yaml").exists()
            else setup.start(options, settings)
        )
        state, final = "done", run.final
        if final is None:
            with run.locked(), Display(run) as display:
                try:
                    final = loop.design(setup.tools(run, settings, display.say, display.progress))
                except UserError as error:
                    display.say("run", "stopped", why=error.message)
                    state = f"stopped: {error.message}"
        rows.append(_row(task, model, seed, final, state) | {"variant": variant})
        write(folder / "results.csv", _csv(rows))
    print(json.dumps(rows, indent=1) if as_json else _csv(rows), end="")


def _row(task: str, model: str, seed: int, final: Final | None, state: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {
        "task": task,
        "model": model,
        "seed": seed,
        "state": state,
    }
    if final is None:
        return row
    arms = final.arms
    row["winner"] = final.winner or ""
    if final.winner and (w := arms.get("winner")):
        row |= {"success": _number(w.success), "low": _number(w.low), "high": _number(w.high)}
        row |= {
            "metric": _number(w.metric),
            "metric_low": _number(w.metric_low),
            "metric_high": _number(w.metric_high),
            "broken": "; ".join(w.broken),
        }
        row["by_seed"] = " ".join(
            f"{s.successes / s.episodes:.2f}"
            if s.successes is not None
            else f"{sum(s.values) / len(s.values):.4g}"
            for s in w.scores
        )
        row["steps_to_80"] = " ".join(str(s) if s is not None else "never" for s in w.steps_to_80)
    if s := arms.get("sparse"):
        row |= {"sparse": _number(s.success), "sparse_metric": _number(s.metric)}
    if h := arms.get("human"):
        row |= {
            "human": _number(h.success),
            "human_metric": _number(h.metric),
            "human_steps_to_80": " ".join(
                str(s) if s is not None else "never" for s in h.steps_to_80
            ),
        }
    return row


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
