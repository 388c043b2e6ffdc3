"""How right a run's judgements of transitions are: accuracy, precision, recall, F1 against labels.

A label file says of captions which subgoals end with a transition that reads so. It is JSON lines:
first `{"labels": ["take_key", ...]}`, then `{"caption": "...", "label": [1, 0]}` each. A label of
`null` has not been given yet. `RUN/labels/*.jsonl`, an annotator's answers, are such files too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoreward.annotation.labels import (
    MAX_FILE_BYTES,
    Label,
    parse_label,
)
from autoreward.errors import REFUSED, UserError
from autoreward.rewards.signals import Signal
from autoreward.rewards.signals.subgoals import compare
from autoreward.sandbox.outside.replay import (
    episode_transitions,
    replay,
)
from autoreward.sandbox.outside.worker import ProgramRejected
from autoreward.state import Array
from autoreward.store.candidate import CandidateFolder
from autoreward.store.episodes import Trajectories
from autoreward.store.io import read_bytes_safely
from autoreward.store.records import Measure
from autoreward.tasks.find import LocatedCard

FORM = (
    'start with a line {"labels": ["take_key"]}, then one {"caption": "...", "label": [1]} per '
    "line; autoreward runs labels RUN --write FILE writes the first one"
)


@dataclass(frozen=True)
class Labels:
    """A file of labels: the subgoals' names, and the label of each caption; None if not given."""

    names: tuple[str, ...]
    by_caption: Mapping[str, Label]

    @classmethod
    def read(cls, path: Path) -> Labels:
        """Read a file. Raises UserError with file and line if it has another form.

        A caption keeps its label if it occurs again without one.
        """
        lines = _lines(path)
        names = _names(path, lines[0])
        found: dict[str, Label] = {}
        for number, line in enumerate(lines[1:], 2):
            if not line.strip():
                continue
            caption, label = _row(path, number, line, len(names))
            if label is not None or caption not in found:
                found[caption] = label
        if all(label is None for label in found.values()):
            raise UserError(
                f"{path}: no caption in it has a label",
                FORM,
                REFUSED,
            )
        return cls(names, found)


def _lines(path: Path) -> list[str]:
    try:
        return read_bytes_safely(path, MAX_FILE_BYTES).decode("utf-8-sig").split("\n")
    except FileNotFoundError:
        raise UserError(f"file not found: {path}", FORM) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read as text: {error}",
            FORM,
            REFUSED,
        ) from None


def _names(path: Path, line: str) -> tuple[str, ...]:
    """The names in the first line."""
    try:
        names = json.loads(line)["labels"]
    except (ValueError, KeyError, TypeError, RecursionError):
        names = None
    valid = (
        isinstance(names, list)
        and bool(names)
        and all(isinstance(name, str) for name in names)
        and len(set(names)) == len(names)
    )
    if not valid:
        message = f"{path}: its first line does not name the labels, each once"
        raise UserError(message, FORM, REFUSED)
    return tuple(names)


def _row(path: Path, number: int, line: str, size: int) -> tuple[str, Label]:
    """Caption and label of one line."""
    try:
        data = json.loads(line)
        caption = data["caption"]
        label = parse_label(data["label"], size)
        if not isinstance(caption, str):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{path}:{number}: not a caption with a label of {size} zeros or ones, or null",
            f'write it as {{"caption": "...", "label": {[0] * size}}}',
            REFUSED,
        ) from None
    return caption, label


def recorded_endings(
    candidate: CandidateFolder,
    card: LocatedCard,
    signal_class: type[Signal],
    sandbox: str,
) -> tuple[tuple[str, ...], list[Array]]:
    """The program's subgoals, and which of them end with each recorded transition.

    An array (T, K) of bool per episode: the subgoal holds after the transition and not after the
    one before. A subgoal that holds after the first transition ends there, because it would be paid
    there. Raises UserError if the program fails.
    """
    recorded = Trajectories.load(candidate.episodes_path)
    transitions = (episode_transitions(card.card, episode) for episode in recorded.episodes)
    try:
        replayed = replay(
            candidate.program,
            card.card,
            transitions,
            entry=signal_class.entry,
            sandbox=sandbox,
        )
    except ProgramRejected as error:
        raise UserError(
            f"the program of candidate {candidate.id}: {error.verdict.message}",
            "choose another one: --candidate ID",
            REFUSED,
        ) from None
    found = []
    for answer in replayed.answers:
        holds = answer.terms[:, 0] > 0.5
        held_before = np.zeros_like(holds)
        held_before[1:] = holds[:-1]
        found.append(holds & ~held_before)
    return replayed.terms, found


def compare_with_labels(
    labels: Labels,
    names: tuple[str, ...],
    judgements: Sequence[tuple[str, Array]],
) -> tuple[tuple[Measure, ...], int]:
    """Compare judgements with labels of the same names, and count those that have a label.

    `judgements` are (caption, (K,) of bool) about the subgoals `names`. Raises UserError if there
    is nothing to compare.
    """
    truth: list[Label] = []
    answers: list[Array] = []
    for caption, judgement in judgements:
        label = labels.by_caption.get(caption)
        if label is not None:
            truth.append(label)
            answers.append(judgement)
    if not truth:
        raise UserError(
            "none of the recorded transitions has a label in that file",
            "autoreward runs labels RUN --write FILE lists their captions",
            REFUSED,
        )
    shared = tuple(name for name in labels.names if name in names)
    if not shared:
        raise UserError(
            f"the file labels {', '.join(labels.names)}, but the run judges {', '.join(names)}",
            "label the same subgoals, under the same names",
            REFUSED,
        )
    in_labels = [labels.names.index(name) for name in shared]
    in_judgements = [names.index(name) for name in shared]
    both = (
        np.array(truth, bool)[:, in_labels],
        np.array(answers, bool)[:, in_judgements],
    )
    return compare(shared, shared, [both]), len(truth)
