"""Judgements compared with labels in a file: what counts as an ending, and malformed files."""

import json
from pathlib import Path

import numpy as np
import pytest

from autoreward.annotation.measure import Labels, compare_with_labels, recorded_endings
from autoreward.errors import UserError
from autoreward.rewards.signals.subgoals import Subgoals
from autoreward.store.candidate import CandidateFolder
from autoreward.store.episodes import Episode, Trajectories
from autoreward.tasks.find import find

CARD = find("corridor")
EXAMPLE = str(Path(__file__).parents[2] / "runs" / "example")
PROGRAM = """
def subgoals(prev, action, curr, memory):
    return {'half': curr.cell >= 5, 'moved': curr.cell != prev.cell}
"""


def written(path: Path, rows: list[dict], names=("half", "moved")) -> Path:
    path.write_text("\n".join(json.dumps(r) for r in [{"labels": list(names)}, *rows]))
    return path


def test_a_subgoal_ends_when_it_holds_and_did_not_before(tmp_path):
    place = tmp_path / "iteration-1" / "candidate-a"
    place.mkdir(parents=True)
    (place / "1-designer.py").write_text(PROGRAM)
    episodes = []
    for cells in ([3, 4, 5, 6, 4, 5], [5, 5, 6]):
        fields = np.zeros((len(cells), CARD.card.layout.width))
        fields[:, 0] = cells
        episodes.append(Episode(fields, np.zeros(len(cells) - 1, np.int64), False, True, False))
    Trajectories(CARD.card.layout, tuple(episodes)).save(place / "6-episodes.npz")
    names, found = recorded_endings(CandidateFolder(tmp_path, 1, "a"), CARD, Subgoals, "default")
    assert names == ("half", "moved")
    assert found[0].astype(int).tolist() == [[0, 1], [1, 0], [0, 0], [0, 0], [1, 0]]
    assert found[1].astype(int).tolist() == [[1, 0], [0, 1]], (
        "what holds after the first step ends with it, even if it held before: it is paid there"
    )


def test_the_four_counts_by_hand(tmp_path):
    rows = [
        {"caption": c, "label": label}
        for c, label in (("one", [1, 0]), ("two", [0, 0]), ("three", [1, 1]), ("open", None))
    ]
    labels = Labels.read(written(tmp_path / "l.jsonl", rows))
    judged = [
        ("one", [1, 0]),
        ("one", [0, 0]),
        ("two", [1, 0]),
        ("three", [1, 1]),
        ("open", [1, 1]),
        ("unheard of", [1, 1]),
    ]
    measures, known = compare_with_labels(
        labels, ("half", "moved"), [(c, np.array(e, bool)) for c, e in judged]
    )
    assert known == 4
    half = next(m for m in measures if m.what == "half")
    assert (half.true_positive, half.false_positive, half.false_negative, half.true_negative) == (
        2,
        1,
        1,
        0,
    )
    assert (half.accuracy, half.precision, half.recall, half.f1) == (0.5, 2 / 3, 2 / 3, 2 / 3)
    moved = next(m for m in measures if m.what == "moved")
    assert (moved.true_positive, moved.true_negative, moved.f1) == (1, 3, 1.0)


def test_names_meet_by_name_and_not_by_place(tmp_path):
    labels = Labels.read(
        written(
            tmp_path / "l.jsonl",
            [{"caption": "one", "label": [0, 1, 0]}],
            ("other", "moved", "half"),
        )
    )
    measures, _ = compare_with_labels(labels, ("half", "moved"), [("one", np.array([False, True]))])
    assert {
        m.what: (m.true_positive, m.true_negative) for m in measures if m.what in ("half", "moved")
    } == {"half": (0, 1), "moved": (1, 0)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "file not found"),
        ("", "does not name the labels"),
        ("[1]\n", "does not name the labels"),
        ('{"labels": []}\n', "does not name"),
        ('{"labels": ["a"]}\n{"caption": "x", "label": null}\n', "no caption in it has a label"),
        ('{"labels": "take_key"}\n', "does not name the labels"),
        ('{"labels": ["a", "a"]}\n', "each once"),
        (
            '{"labels": ["a"]}\n\n{"caption": "x", "label": [1, 0]}\n',
            "l.jsonl:3: not a caption with a label of 1 zeros or ones",
        ),
        ('{"labels": ["a"]}\nnonsense\n', "l.jsonl:2: not a caption"),
    ],
)
def test_a_malformed_label_file_is_rejected_with_file_and_line(tmp_path, text, said):
    path = tmp_path / "l.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=said):
        Labels.read(path)


def test_a_caption_keeps_its_label_if_it_occurs_again_without_one(tmp_path):
    rows = [{"caption": "one", "label": [1, 0]}, {"caption": "one", "label": None}]
    assert Labels.read(written(tmp_path / "l.jsonl", rows)).by_caption == {"one": (True, False)}


def test_only_what_both_name_is_compared(tmp_path):
    labels = Labels.read(
        written(tmp_path / "l.jsonl", [{"caption": "one", "label": [0]}], ("half",))
    )
    measures, _ = compare_with_labels(labels, ("half", "moved"), [("one", np.array([False, True]))])
    assert all(m.accuracy == 1.0 for m in measures), (
        "that `moved` ends is not labelled, so it is no mistake"
    )


def test_a_failing_program_is_reported_in_one_sentence(tmp_path):
    place = tmp_path / "iteration-1" / "candidate-a"
    place.mkdir(parents=True)
    (place / "1-designer.py").write_text(
        "def subgoals(prev, action, curr, memory):\n    raise ValueError('x')\n"
    )
    fields = np.zeros((3, CARD.card.layout.width))
    Trajectories(
        CARD.card.layout, (Episode(fields, np.zeros(2, np.int64), False, True, False),)
    ).save(place / "6-episodes.npz")
    with pytest.raises(UserError, match=r"the program of candidate 1a: .*ValueError: x"):
        recorded_endings(CandidateFolder(tmp_path, 1, "a"), CARD, Subgoals, "default")


def test_nothing_to_compare_is_an_error(tmp_path):
    labels = Labels.read(written(tmp_path / "l.jsonl", [{"caption": "one", "label": [1, 0]}]))
    with pytest.raises(UserError, match="none of the recorded transitions"):
        compare_with_labels(labels, ("half",), [("two", np.array([True]))])
    with pytest.raises(UserError, match="the file labels half, moved, but the run judges far"):
        compare_with_labels(labels, ("far",), [("one", np.array([True]))])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "needs either a file to write"),
        (("--write", "x.jsonl"), 1, "labels no transitions"),
        (("--against", "x.jsonl", "--write", "y.jsonl"), 2, "needs either"),
    ],
)
def test_a_run_that_judges_no_transitions_is_rejected(command, tmp_path, words, code, said):
    done = command("runs", "labels", EXAMPLE, *words)
    assert (
        done.returncode == code
        and said in done.stderr
        and "next:" in done.stderr
        and not list(tmp_path.glob("*.jsonl"))
    )
