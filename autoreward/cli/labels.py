"""`autoreward runs labels`: a file of labels to fill in, and a run's judgements held against one."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from autoreward.annotation.measure import Labels, against, ends
from autoreward.errors import REFUSED, USAGE, UserError
from autoreward.loop.engine import Engine
from autoreward.loop.trust import card_of, require_trusted
from autoreward.methods import find_method
from autoreward.rewards.signals.subgoals import Subgoals
from autoreward.store.files import read
from autoreward.store.files import write as write_file
from autoreward.store.jobs import Captioned, CaptionJob
from autoreward.store.run import Run, find_run


def labels(
    run: str,
    candidate: str | None,
    write: Path | None,
    labelled: Path | None,
    judge: Path | None,
    trust: bool,
    as_json: bool,
) -> None:
    """One of `write` and `labelled`; what they do is told by `runs labels --help`."""
    if (write is None) == (labelled is None):
        raise UserError(
            "runs labels: name either a file to begin or labels to hold against",
            "autoreward runs labels RUN --write FILE.jsonl, or --against FILE.jsonl",
            USAGE,
        )
    if judge is not None and labelled is None:
        raise UserError(
            f"--judge {judge}: it is held against labels",
            "--judge FILE.jsonl --against FILE.jsonl",
            USAGE,
        )
    found = find_run(run)
    kind = find_method(found.header.method).kind
    if not issubclass(kind, Subgoals):
        raise UserError(
            f"{found.path}: the method {found.header.method} judges no transitions",
            "a run of --method calm",
            REFUSED,
        )
    if judge is not None and labelled is not None:
        told = Labels.read(judge)
        names, judged = (
            told.names,
            [
                (text, np.array(label))
                for text, label in told.by_caption.items()
                if label is not None
            ],
        )
        _tell(found, Labels.read(labelled), names, judged, str(judge), as_json)
        return
    require_trusted(found, trust, "autoreward runs labels RUN --trust")
    chosen, card = found.chosen(candidate), card_of(found)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "captions.json"
        job = CaptionJob(
            card=str(card.path),
            episodes=str((chosen.path / "6-episodes.npz").resolve()),
            out=str(out),
        )
        try:
            Engine(1, found.header.trainer_python).run([("captions", job)])
        except UserError as error:
            raise UserError(
                f"the card {card.card.name}: {error.message}",
                f"mend it, then: autoreward envs caption {card.path}",
                error.code,
            ) from None
        captioned = read(out, Captioned)
    assert captioned is not None
    names, ended = ends(chosen, card, kind, found.header.sandbox)
    if labelled is not None:
        judged = [
            (text, e)
            for texts, episode in zip(captioned.texts, ended, strict=True)
            for text, e in zip(texts, episode, strict=True)
        ]
        _tell(found, Labels.read(labelled), names, judged, f"candidate {chosen.id}", as_json)
        return
    assert write is not None
    if write.exists():
        raise UserError(
            f"{write} is there already, perhaps with labels in it", "--write ANOTHER.jsonl", USAGE
        )
    captions = list(dict.fromkeys(text for texts in captioned.texts for text in texts if text))
    write_file(
        write,
        "\n".join(
            json.dumps(line, ensure_ascii=False)
            for line in [{"labels": names}, *({"caption": c, "label": None} for c in captions)]
        )
        + "\n",
    )
    if as_json:
        print(json.dumps({"file": str(write), "captions": len(captions), "labels": list(names)}))
    else:
        told_names = ", ".join(names)
        print(
            f"wrote {write}: {len(captions)} captions of {captioned.transitions:,} recorded transitions of candidate {chosen.id}"
        )
        print(
            f"put a label on as many as you like, in place of null: a 1 or a 0 for each of [{told_names}]: does it end with a transition that reads so?"
        )
        print(f"next: autoreward runs labels {run} --against {write}")


def _tell(
    run: Run,
    labelled: Labels,
    names: tuple[str, ...],
    judged: list[tuple[str, Any]],
    whose: str,
    as_json: bool,
) -> None:
    measures, known = against(labelled, names, judged)
    if as_json:
        rates = ("accuracy", "precision", "recall", "f1")
        told = [{**m.model_dump(), **{rate: getattr(m, rate) for rate in rates}} for m in measures]
        print(json.dumps({"of": whose, "transitions": known, "measures": told}, indent=1))
        return
    print(f"{whose} of {run.path}: {known:,} of {len(judged):,} judgements have a label")
    for m in measures:
        print(f"{m.what:<16} {m.words()}")
