"""How right a run's judgements of transitions are, against labels in a file: accuracy, precision,
recall, F1.

A label says of a caption which subgoals end with a transition that reads so: JSON lines, first
`{"labels": ["take_key", ...]}`, then `{"caption": "...", "label": [1, 0]}` each; `null` is a label
that nobody has given yet. `RUN/labels/*.jsonl` of a judging model are such files, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoreward.annotation.labels import MAX_FILE_BYTES, Label, parse_label
from autoreward.errors import REFUSED, UserError
from autoreward.rewards.signals import Signal
from autoreward.rewards.signals.subgoals import compare
from autoreward.sandbox.outside.replay import episode_transitions, replay
from autoreward.sandbox.outside.worker import ProgramRefused
from autoreward.state import Array
from autoreward.store.candidate import CandidateFolder
from autoreward.store.episodes import Trajectories
from autoreward.store.files import plain
from autoreward.store.records import Measure
from autoreward.tasks.find import LocatedCard


@dataclass(frozen=True)
class Labels:
    """A file of labels: the subgoals' names, and for each caption which of them end there; None
    where nobody said.
    """

    names: tuple[str, ...]
    by_caption: Mapping[str, Label]

    @classmethod
    def read(cls, path: Path) -> Labels:
        """UserError with file and line where it is no such file.

        A label counts, however often its caption comes again without one.
        """
        mend = 'first a line {"labels": ["take_key"]}, then {"caption": "...", "label": [1]} each; autoreward runs labels RUN --write FILE begins one'
        try:
            lines = plain(path, MAX_FILE_BYTES).decode("utf-8-sig").split("\n")
        except FileNotFoundError:
            raise UserError(f"no file {path}", mend) from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read as text: {error}", mend, REFUSED) from None
        names, found = _head(path, lines[0], mend), dict[str, Label]()
        for number, line in enumerate(lines[1:], 2):
            if not line.strip():
                continue
            try:
                data = json.loads(line)
                text, label = data["caption"], parse_label(data["label"], len(names))
                if not isinstance(text, str):
                    raise ValueError
            except (ValueError, KeyError, TypeError, RecursionError):
                raise UserError(
                    f"{path}:{number}: no caption with a label of {len(names)} zeros or ones, or null",
                    f'{{"caption": "...", "label": {[0] * len(names)}}}',
                    REFUSED,
                ) from None
            found[text] = label if label is not None else found.get(text)
        if not any(label is not None for label in found.values()):
            raise UserError(f"{path}: no caption in it has a label", mend, REFUSED)
        return cls(names, found)


def _head(path: Path, line: str, mend: str) -> tuple[str, ...]:
    """The names in the first line."""
    try:
        names = json.loads(line)["labels"]
    except (ValueError, KeyError, TypeError, RecursionError):
        names = None
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(n, str) for n in names)
        or len(set(names)) < len(names)
    ):
        raise UserError(
            f"{path}: its first line does not name the labels, each once", mend, REFUSED
        )
    return tuple(names)


def ends(
    candidate: CandidateFolder, card: LocatedCard, kind: type[Signal], sandbox: str
) -> tuple[tuple[str, ...], list[Array]]:
    """The program's subgoals, and which of them end with each recorded transition (T, K), an array
    an episode: hold after it and not after the one before.

    One that holds after the first transition ends there, since there it would be paid. UserError
    where the program fails.
    """
    recorded = Trajectories.load(candidate.episodes_path)
    transitions = (episode_transitions(card.card, episode) for episode in recorded.episodes)
    try:
        replayed = replay(
            candidate.program, card.card, transitions, entry=kind.entry, sandbox=sandbox
        )
    except ProgramRefused as error:
        raise UserError(
            f"the program of candidate {candidate.id}: {error.verdict.message}",
            "another one: --candidate ID",
            REFUSED,
        ) from None
    found = []
    for answer in replayed.answers:
        holds = answer.terms[:, 0] > 0.5
        held_before = np.zeros_like(holds)
        held_before[1:] = holds[:-1]
        found.append(holds & ~held_before)
    return replayed.terms, found


def against(
    labels: Labels, names: tuple[str, ...], judged: Sequence[tuple[str, Array]]
) -> tuple[tuple[Measure, ...], int]:
    """Judgements (caption, (K,) of bool) of subgoals `names` against labels of the same names, and
    how many have one. UserError where there is nothing to compare.
    """
    known = [
        (labels.by_caption[text], said)
        for text, said in judged
        if labels.by_caption.get(text) is not None
    ]
    if not known:
        raise UserError(
            "none of the judged transitions has a label in that file",
            "autoreward runs labels RUN --write FILE tells how they read",
            REFUSED,
        )
    shared = [n for n in labels.names if n in names]
    if not shared:
        raise UserError(
            f"the file labels {', '.join(labels.names)}; judged were {', '.join(names)}",
            "the same names, for the same subgoals",
            REFUSED,
        )
    truth, said = (
        np.array([label for label, _ in known], bool),
        np.array([s for _, s in known], bool),
    )
    both = (
        truth[:, [labels.names.index(n) for n in shared]],
        said[:, [names.index(n) for n in shared]],
    )
    return compare(tuple(shared), tuple(shared), [both]), len(known)
