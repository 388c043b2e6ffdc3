"""`autoreward runs` and `autoreward report`: look into run directories."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from autoreward.cli.options import Candidate, Json, RunName, Trust, group
from autoreward.errors import REFUSED, USAGE, UserError

if TYPE_CHECKING:
    from autoreward.annotation.measure import Labels
    from autoreward.store.candidate import CandidateFolder
    from autoreward.store.jobs import CaptionReport
    from autoreward.store.run import Run
    from autoreward.tasks.find import LocatedCard

app = group("Runs: list, show and compare run directories.")


@app.command("list")
def list_runs(
    folder: Annotated[Path, Option(help="folder that holds the run directories")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List runs, oldest first, with their winners."""
    from autoreward.results.summary import summary
    from autoreward.store.run import run_folders

    runs = sorted(run_folders(folder), key=lambda run: run.header_path.stat().st_mtime)
    found = [summary(run.path) for run in runs]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    if not found:
        print(f"no runs in {folder}/; to start one: autoreward design TASK")
        return
    _print_table(found)


def _print_table(runs: list[dict[str, Any]]) -> None:
    from autoreward.cli.live import clean

    print(_row("run", "task", "model", "state", "winner's success"))
    for run in runs:
        print(clean(_line(run)))


def _row(name: str, task: str, model: str, state: str, success: str) -> str:
    return f"{name:<28} {task:<16} {model:<22} {state:<14} {success}"


def _line(run: dict[str, Any]) -> str:
    from autoreward.results.scores import success_words

    arms = (run.get("final") or {}).get("arms", {})
    winner = arms.get("winner") or {}
    shown = "-"
    if winner.get("success") is not None:
        shown = success_words(winner["success"], winner["low"], winner["high"])
    return _row(run["name"], run["task"], run["model"], run["state"], shown)


@app.command("show")
def show_run(run: RunName = "last", as_json: Json = False) -> None:
    """Show a run: its candidates, and the confirmed winner."""
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
    runs: Annotated[list[str], Argument(help="two or more runs")], as_json: Json = False
) -> None:
    """Show the winners of several runs side by side."""
    from autoreward.results.summary import summary
    from autoreward.store.run import find_run

    found = [summary(find_run(run).path) for run in runs]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    _print_table(found)
    tasks = sorted({data["task"] for data in found})
    if len(tasks) > 1:
        print(f"note: different tasks ({', '.join(tasks)}), so the numbers cannot be compared")


@app.command("path")
def path_of_run(run: RunName = "last", as_json: Json = False) -> None:
    """Print the path of a run directory."""
    from autoreward.store.run import find_run

    path = find_run(run).path.resolve()
    print(json.dumps({"path": str(path)}) if as_json else path)


def report(run: RunName = "last") -> None:
    """Rebuild the run's report.html."""
    from autoreward.results.report import write_report
    from autoreward.store.run import find_run

    print(write_report(find_run(run).path))


# -- labels ----------------------------------------------------------------------------------------


@app.command("labels")
def labels_of_run(
    run: RunName = "last",
    candidate: Candidate = None,
    write: Annotated[
        Path | None,
        Option(
            metavar="FILE.jsonl",
            help="write a file to fill in: captions of recorded transitions, "
            "for you to mark the subgoals that end there",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        Option(metavar="FILE.jsonl", help="compare the run's labels with those in this file"),
    ] = None,
    judge: Annotated[
        Path | None,
        Option(
            metavar="FILE.jsonl",
            help="with --against: compare a model's labels (RUN/labels/*.jsonl) "
            "instead of the program's",
        ),
    ] = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Compare a run's subgoal labels with yours.

    Prints accuracy, precision, recall and F1 (docs/annotator.md).
    """
    from autoreward.annotation.measure import Labels, recorded_endings
    from autoreward.loop.trust import card_of, require_trusted
    from autoreward.store.run import find_run

    _require_labels_options(write, against, judge)
    found = find_run(run)
    signal_class = _subgoal_signal(found)
    if against is not None and judge is not None:
        model = Labels.read(judge)
        labels = [(c, label) for c, label in model.by_caption.items() if label is not None]
        _print_measures(found, against, model.names, labels, str(judge), as_json)
        return
    require_trusted(found, trust, "autoreward runs labels RUN --trust")
    chosen, card = found.chosen(candidate), card_of(found)
    captioned = _captions(found, chosen, card)
    names, ended = recorded_endings(chosen, card, signal_class, found.header.sandbox)
    if against is not None:
        labels = []
        for captions, episode in zip(captioned.texts, ended, strict=True):
            labels += list(zip(captions, episode, strict=True))
        _print_measures(found, against, names, labels, f"candidate {chosen.id}", as_json)
        return
    assert write is not None
    _write_label_file(write, run, chosen, captioned, names, as_json)


def _require_labels_options(write: Path | None, against: Path | None, judge: Path | None) -> None:
    """Raise UserError unless exactly one of --write and --against is given."""
    if (write is None) == (against is None):
        raise UserError(
            "runs labels needs either a file to write or labels to compare with",
            "autoreward runs labels RUN --write FILE.jsonl, or --against FILE.jsonl",
            USAGE,
        )
    if judge is not None and against is None:
        raise UserError(
            f"--judge {judge}: it needs labels to compare with",
            "--judge FILE.jsonl --against FILE.jsonl",
            USAGE,
        )


def _subgoal_signal(run: Run) -> Any:
    """The class of the run's signal. Raises UserError if its method labels no transitions."""
    from autoreward.methods import find_method
    from autoreward.rewards.signals.subgoals import Subgoals

    signal_class = find_method(run.header.method).signal_class
    if not issubclass(signal_class, Subgoals):
        raise UserError(
            f"{run.path}: the method {run.header.method} labels no transitions",
            "use a run of --method calm",
            REFUSED,
        )
    return signal_class


def _captions(run: Run, chosen: CandidateFolder, card: LocatedCard) -> CaptionReport:
    """Captions of the candidate's recorded transitions, written in a trainer."""
    from autoreward.cli.envs_check import card_error
    from autoreward.loop.engine import Engine
    from autoreward.store.io import read
    from autoreward.store.jobs import CaptionJob, CaptionReport

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "captions.json"
        episodes = chosen.episodes_path.resolve()
        job = CaptionJob(card=str(card.path), episodes=str(episodes), out=str(out))
        try:
            Engine(1, run.header.trainer_python).run([("captions", job)])
        except UserError as error:
            raise card_error(error, card, "caption") from None
        captioned = read(out, CaptionReport)
    assert captioned is not None
    return captioned


def _write_label_file(
    path: Path,
    run: str,
    chosen: CandidateFolder,
    captioned: CaptionReport,
    names: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write each different caption once, with null where its label goes."""
    from autoreward.store.io import write

    if path.exists():
        raise UserError(
            f"{path} already exists and may contain labels", "--write ANOTHER.jsonl", USAGE
        )
    captions = list(dict.fromkeys(c for texts in captioned.texts for c in texts if c))
    lines: list[dict[str, Any]] = [{"labels": names}]
    lines += [{"caption": caption, "label": None} for caption in captions]
    write(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    if as_json:
        print(json.dumps({"file": str(path), "captions": len(captions), "labels": list(names)}))
        return
    print(
        f"wrote {path}: {len(captions)} captions of {captioned.transitions:,} recorded "
        f"transitions of candidate {chosen.id}"
    )
    print(
        f"replace null with a label on as many lines as you like: a list of 1 or 0 for each of "
        f"[{', '.join(names)}], 1 if a transition with this caption ends it"
    )
    print(f"next: autoreward runs labels {run} --against {path}")


def _print_measures(
    run: Run,
    labelled: Path,
    names: tuple[str, ...],
    labels: list[tuple[str, Any]],
    whose: str,
    as_json: bool,
) -> None:
    """Compare labels with those of a file, and print how often they agree."""
    import numpy as np

    from autoreward.annotation.measure import Labels, compare_with_labels

    trusted: Labels = Labels.read(labelled)
    arrays = [(caption, np.array(label)) for caption, label in labels]
    measures, known = compare_with_labels(trusted, names, arrays)
    if as_json:
        rates = ("accuracy", "precision", "recall", "f1")
        rows = [{**m.model_dump(), **{rate: getattr(m, rate) for rate in rates}} for m in measures]
        print(json.dumps({"of": whose, "transitions": known, "measures": rows}, indent=1))
        return
    print(f"{whose} of {run.path}: {known:,} of {len(labels):,} labels can be compared")
    for measure in measures:
        print(f"{measure.what:<16} {measure.words()}")
