"""Looking into runs: list, show, compare, path; and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Look into run directories.",
)
Json = Annotated[bool, Option("--json", help="one JSON document on stdout")]
RunName = Annotated[str, Argument(help="a run's folder, its name in ./runs, or `last`")]


@app.command("list")
def list_runs(
    folder: Annotated[Path, Option(help="where runs are")] = Path("runs"), as_json: Json = False
) -> None:
    """All runs, oldest first: task, model, state, success of the confirmed winner."""
    from autoreward.cli.live import clean
    from autoreward.results.summary import summary

    found = [
        summary(p.parent)
        for p in sorted(folder.glob("*/run.yaml"), key=lambda p: p.stat().st_mtime)
    ]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    if not found:
        print(f"no runs in {folder}/; begin one: autoreward design TASK")
    for run in found:
        print(clean(_line(run)))


def _line(run: dict[str, Any]) -> str:
    winner = (run.get("final") or {}).get("arms", {}).get("winner") or {}
    success = winner.get("success")
    shown = (
        f"{success:.0%} ({winner['low']:.0%} to {winner['high']:.0%})"
        if success is not None
        else "-"
    )
    return f"{run['name']:<28} {run['task']:<16} {run['model']:<22} {run['state']:<14} {shown}"


@app.command("show")
def show_run(run: RunName = "last", as_json: Json = False) -> None:
    """One run: every candidate, what became of it and why, and the confirmation."""
    from autoreward.cli.live import clean
    from autoreward.results.summary import lines, summary
    from autoreward.store.run import find_run

    data = summary(find_run(run).path)
    if as_json:
        print(json.dumps(data, indent=1))
    else:
        print(clean("\n".join(lines(data))))


@app.command("compare")
def compare_runs(
    runs: Annotated[list[str], Argument(help="two runs or more")], as_json: Json = False
) -> None:
    """Confirmed winners side by side."""
    from autoreward.cli.live import clean
    from autoreward.results.summary import summary
    from autoreward.store.run import find_run

    found = [summary(find_run(r).path) for r in runs]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for data in found:
        print(clean(_line(data)))
    tasks = {d["task"] for d in found}
    if len(tasks) > 1:
        print(
            f"these are different tasks ({', '.join(sorted(tasks))}): their numbers do not compare"
        )


@app.command("labels")
def labels_of_run(
    run: RunName = "last",
    candidate: Annotated[
        str | None,
        Option(help="a candidate, as 2a [default: the confirmed winner]", show_default=False),
    ] = None,
    write: Annotated[
        Path | None,
        Option(
            metavar="FILE.jsonl",
            help="begin a file of labels: how the recorded transitions read, for you to say which subgoals end there",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        Option(metavar="FILE.jsonl", help="hold the run's judgements against these labels"),
    ] = None,
    judge: Annotated[
        Path | None,
        Option(
            metavar="FILE.jsonl",
            help="with --against: the answers of a judging model (RUN/labels/*.jsonl) in place of the program's",
        ),
    ] = None,
    trust: Annotated[
        bool,
        Option(
            "--trust",
            help="a run that was begun elsewhere may use the card and interpreter it names",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Judgements of where subgoals end, against labels in a file: accuracy, precision, recall, F1
    (docs/annotator.md).
    """
    from autoreward.cli.labels import labels

    labels(run, candidate, write, against, judge, trust, as_json)


@app.command("path")
def path_of_run(run: RunName = "last", as_json: Json = False) -> None:
    """The folder of a run, for use in a shell."""
    from autoreward.store.run import find_run

    path = find_run(run).path.resolve()
    print(json.dumps({"path": str(path)}) if as_json else path)


def report(run: RunName = "last") -> None:
    """Write the run's report.html again."""
    from autoreward.results.report import write_report
    from autoreward.store.run import find_run

    print(write_report(find_run(run).path))
