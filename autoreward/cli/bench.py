"""`autoreward bench SUITE.yaml`: a grid of designs, each one a run; resumable, with one table.

A suite holds `tasks`, `models`, `seeds`, `options` and `variants`:

    tasks: [doorkey16]
    models: [offline/search]
    seeds: [0, 1, 2]
    options: {iterations: 2, final_seeds: 3}
    variants: {eureka: {method: eureka}, signs: {compose: signs}}

A variant's options replace those of the suite. Every cell of the grid is a whole design in
`OUT/TASK.VARIANT.MODEL.SEED/`; a finished cell is not run again.
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

from autoreward.cli.options import Json, takes
from autoreward.errors import REFUSED, UserError
from autoreward.loop.options import COMMAND_LINE, DesignOptions, Source, read_options
from autoreward.store.io import write
from autoreward.store.records import Evaluation, Final
from autoreward.store.run import Run, RunFolder


class Suite(BaseModel):
    """A suite file."""

    model_config = ConfigDict(extra="forbid")
    tasks: list[str] = Field(min_length=1)
    models: list[str] = Field(["offline/search"], min_length=1)
    seeds: list[int] = Field([0], min_length=1)
    options: dict[str, Any] = {}
    variants: dict[str, dict[str, Any]] = {}


# New columns are added at the end, so that tables of earlier versions can be read alike.
COLUMNS = (
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
    "metric",
    "metric_low",
    "metric_high",
    "sparse_metric",
    "human_metric",
    "broken",
    "variant",
)


@takes("jobs")
def bench(
    suite: Annotated[Path, typer.Argument(help="a YAML file: tasks, models, seeds, options")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="folder for the runs and results.csv [default: bench/NAME]", show_default=False
        ),
    ] = None,
    as_json: Json = False,
    **given: Any,
) -> None:
    """Run a grid of designs, or continue one; the table is OUT/results.csv."""
    plan = read_suite(suite)
    cells = grid(plan, suite, out or Path("bench") / suite.stem, given)
    rows: list[dict[str, Any]] = []
    for variant, options in cells:
        final, state = _run_cell(options)
        rows.append(_row(options, final, state) | {"variant": variant})
        write(options.folder / "results.csv", _csv(rows))
    print(json.dumps(rows, indent=1) if as_json else _csv(rows), end="")


def read_suite(path: Path) -> Suite:
    """The suite in a file. Raises UserError, with line or key, if it cannot be read."""
    import yaml

    from autoreward.tasks.find import mark

    try:
        return Suite.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path}: suite not found", "benchmarks/first.yaml is an example") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read as YAML: {str(error).splitlines()[0]}{mark(error)}",
            "see benchmarks/first.yaml",
            REFUSED,
        ) from None
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'suite'}: {e['msg']}" for e in error.errors()]
        raise UserError(
            f"{path}: {'; '.join(lines[:3])}; a suite has tasks, models, seeds, options, variants",
            "see benchmarks/first.yaml",
            REFUSED,
        ) from None


def grid(
    plan: Suite, suite: Path, folder: Path, given: dict[str, Any]
) -> list[tuple[str, DesignOptions]]:
    """(variant, options) of every cell, read before the first one runs.

    `given` are options of the command line. Raises UserError if the suite's options are wrong.
    """
    cells = []
    variants = plan.variants or {"": {}}
    for task, variant, model, seed in product(plan.tasks, variants, plan.models, plan.seeds):
        source = Source(
            f"{suite}: {f'variants: {variant}' if variants[variant] else 'options'}: ",
            "options are named as in `autoreward design --help`, with _ for -",
            REFUSED,
            reserved=("task", "model", "seed", "name", "folder"),
        )
        words = [Path(task).stem, variant, model.replace("/", "-"), str(seed)]
        cell = {
            "task": task,
            "model": model,
            "seed": seed,
            "name": ".".join(word for word in words if word),
            "folder": folder,
        }
        options = read_options(
            ({**plan.options, **variants[variant]}, source), ({**given, **cell}, COMMAND_LINE)
        )
        cells.append((variant, options))
    return cells


def _run_cell(options: DesignOptions) -> tuple[Final | None, str]:
    """Run a cell, or continue it; None and the reason if it stopped."""
    from autoreward.cli.live import Display
    from autoreward.loop import design as loop
    from autoreward.loop import setup

    model_options = setup.model_options(options.stored_settings, options.headers)
    path = options.folder / str(options.name)
    exists = RunFolder(path).is_run
    run = Run(path) if exists else setup.start(options, model_options)
    if run.final is not None:
        return run.final, "done"
    with run.locked(), Display(run) as display:
        try:
            context = setup.run_context(run, model_options, display.say, display.progress)
            return loop.design(context), "done"
        except UserError as error:
            display.say("run", "stopped", why=error.message)
            return None, f"stopped: {error.message}"


def _row(options: DesignOptions, final: Final | None, state: str) -> dict[str, Any]:
    """One line of results.csv; a column stays empty if there is nothing to say."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {
        "task": options.task,
        "model": options.model,
        "seed": options.seed,
        "state": state,
    }
    if final is None:
        return row
    row["winner"] = final.winner or ""
    winner, sparse, human = (final.arms.get(name) for name in ("winner", "sparse", "human"))
    if final.winner and winner:
        row |= _winner_columns(winner)
    if sparse:
        row |= {"sparse": _number(sparse.success), "sparse_metric": _number(sparse.metric)}
    if human:
        row |= {
            "human": _number(human.success),
            "human_metric": _number(human.metric),
            "human_steps_to_80": _steps(human),
        }
    return row


def _winner_columns(winner: Evaluation) -> dict[str, str]:
    from autoreward.results.scores import seed_words

    return {
        "success": _number(winner.success),
        "low": _number(winner.low),
        "high": _number(winner.high),
        "metric": _number(winner.metric),
        "metric_low": _number(winner.metric_low),
        "metric_high": _number(winner.metric_high),
        "broken": "; ".join(winner.broken),
        "by_seed": " ".join(seed_words(score) for score in winner.scores),
        "steps_to_80": _steps(winner),
    }


def _steps(result: Evaluation) -> str:
    return " ".join("never" if s is None else str(s) for s in result.steps_to_80)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
