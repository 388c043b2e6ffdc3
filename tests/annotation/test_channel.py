"""The trainer's side of the channel, both ends of the pipe, and what must not pass through it."""

import json
import time
from queue import SimpleQueue

import numpy as np
import pytest
from judging import NAMES, TRUTH

from autoreward.annotation.captions import Captions
from autoreward.annotation.channel import Channel
from autoreward.annotation.labels import MAX_LINE_BYTES, LabelFile, decode_captions, encode_labels
from autoreward.errors import UserError
from autoreward.loop.engine import Engine
from autoreward.store.jobs import LabelRequest, TrainJob
from autoreward.tasks.find import find
from autoreward.trainer.inbox import Inbox

CARD = find("corridor").card


class Ends:
    """A channel over lists: what it sent, and an inbox for answers."""

    def __init__(self, folder, live: bool = True, **asked) -> None:
        self.sent: list[str] = []
        self.inbox: SimpleQueue[bytes] = SimpleQueue()
        most = asked.get("most", 1000)
        self.channel = Channel(
            Captions(CARD, max_captions=most),
            LabelRequest(**{"labels": NAMES, **asked}),
            folder,
            self.sent.append if live else None,
            self.inbox if live else None,
        )

    def step(self, *cells: int) -> np.ndarray:
        """One step of as many rows: each moves from `cell` to the next."""
        prev = np.array([[c, 40, 0] for c in cells], float)
        return self.channel.caption_numbers(
            prev, np.zeros(len(cells), int), prev + np.array([1, 0, 0])
        )

    def answer(self, labels) -> None:
        self.inbox.put(encode_labels(labels).encode())

    @property
    def asked(self) -> list[int]:
        return [
            c.number for line in self.sent for c in decode_captions(json.loads(line)["captions"])
        ]


def test_labels_take_effect_between_rollouts_only(tmp_path):
    ends = Ends(tmp_path)
    ids = ends.step(0, 1, 0)
    assert ids.tolist() == [0, 1, 0] and ends.sent == [] and not ends.channel.labels_of(ids).any()
    ends.channel.update()
    assert ends.asked == [0, 1]
    ends.answer({0: (True, False), 1: (False, True)})
    assert not ends.channel.labels_of(ids).any()
    ends.channel.update()
    assert ends.channel.labels_of(ids).tolist() == [[True, False], [False, True], [True, False]]
    assert [
        json.loads(line).get("rollout")
        for line in (tmp_path / "labels.jsonl").read_text().splitlines()
    ] == [None, 2, 2]


def test_a_full_batch_goes_out_at_once_and_nothing_twice(tmp_path):
    ends = Ends(tmp_path)
    for k in range(60):
        ends.step(k, k)
    assert len(ends.asked) == 50
    ends.channel.update()
    ends.channel.update()
    assert ends.asked == list(range(60)) and len(ends.sent) == 2


def test_captions_beyond_the_limit_are_false_not_asked_and_reported(tmp_path):
    ends = Ends(tmp_path, most=3)
    ids = ends.step(*range(5))
    ends.channel.update()
    ends.answer({k: (True, True) for k in range(3)})
    ends.channel.update()
    assert (
        ids.tolist() == [0, 1, 2, -1, -1]
        and ends.channel.labels_of(ids)[:, 0].tolist() == [True] * 3 + [False] * 2
    )
    ends.step(*range(5))
    assert (
        ends.channel.evidence()["beyond"] >= 2
        and "have a caption beyond the first 3, which" in ends.channel.notes()[0]
    )


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"null",
        b'{"labels": 3}',
        b'{"labels": {"x": [1, 0]}}',
        b'{"labels": {"99": [1, 0]}}',
        b'{"labels": {"0": [1]}}',
        b'{"labels": {"0": [1, 2]}}',
        b'{"labels": {"0": "ab"}}',
        b'{"labels": {"-1": [1, 1]}}',
        b'{"labels": {"0": [[1], 1]}}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"labels": {"' + b"9" * 5000 + b'": [1, 0]}}',
    ],
)
def test_malformed_and_unrequested_labels_are_dropped(tmp_path, line):
    ends = Ends(tmp_path)
    ids = ends.step(0)
    ends.channel.update()
    ends.inbox.put(line)
    ends.channel.update()
    assert not ends.channel.labels.any() and not (tmp_path / "labels.jsonl").exists()
    ends.answer({0: (True, False)})
    # answered already
    ends.answer({0: (False, True)})
    ends.channel.update()
    assert ends.channel.labels_of(ids).tolist() == [[True, False]]


def test_stored_labels_take_effect_at_their_rollouts_and_live_ones_after_them(tmp_path):
    file = LabelFile(tmp_path / "labels.jsonl", {"labels": list(NAMES), "captions": "default"})
    texts = [f"action 0: cell {k} -> {k + 1}; exit 40; handle 0" for k in range(4)]
    file.append([(2, texts[0], (True, False)), (3, texts[1], (True, True)), (3, texts[2], None)])
    ends = Ends(tmp_path, wait=True)
    ids = ends.step(0, 1, 2, 3)
    ends.channel.update()
    # what was not answered is asked again, what is stored is not
    assert ends.asked == [2, 3] and not ends.channel.labels_of(ids).any()
    ends.answer({2: (False, True), 3: (False, True)})
    ends.channel.update()
    assert (
        ends.channel.labels_of(ids)[:, 0].tolist() == [True, False, False, False]
        and not ends.channel.labels_of(ids)[:, 1].any()
    )
    ends.channel.update()
    assert ends.channel.labels_of(ids).tolist() == [
        [True, False],
        [True, True],
        [False, False],
        [False, False],
    ]
    ends.channel.update()
    assert ends.channel.labels_of(ids)[2:].tolist() == [[False, True]] * 2
    assert [r for r, _, _ in LabelFile(tmp_path / "labels.jsonl", file.head).rows] == [
        2,
        3,
        3,
        4,
        4,
    ]


def test_a_replay_asks_and_writes_nothing(tmp_path):
    live = Ends(tmp_path)
    live.step(0, 1)
    live.channel.update()
    live.answer({0: (True, True), 1: (False, True)})
    live.channel.update()
    before = (tmp_path / "labels.jsonl").read_bytes()
    replay = Ends(tmp_path, live=False, wait=True)
    for rollout in range(4):
        ids = replay.step(0, 1, 7)
        assert replay.channel.labels_of(ids).tolist() == (
            [[False, False]] * 3 if rollout < 2 else [[True, True], [False, True], [False, False]]
        )
        replay.channel.update()
    assert (tmp_path / "labels.jsonl").read_bytes() == before


def test_labels_are_compared_with_trusted_predicates_and_only_a_simulated_judge_gets_them(tmp_path):
    for tells in (False, True):
        ends = Ends(tmp_path / str(tells), truth=TRUTH, tells=tells)
        ends.step(1, 2, 3, 39)
        ends.channel.update()
        told = [
            c.truth for line in ends.sent for c in decode_captions(json.loads(line)["captions"])
        ]
        assert told == (
            [(False, False), (True, False), (False, False), (False, True)] if tells else [None] * 4
        )
    ends.answer({0: (True, False), 1: (True, False), 2: (False, False)})
    ends.channel.update()
    measure, other = ends.channel.measures()
    assert (
        measure.true_positive,
        measure.false_positive,
        measure.false_negative,
        measure.true_negative,
    ) == (1, 1, 0, 1) and other.true_negative == 3
    with pytest.raises(UserError, match="which reward programs cannot see"):
        Ends(tmp_path, truth=([{"field": "secret", "op": ">", "value": 1}], TRUTH[0]))


def test_a_label_file_that_is_a_link_or_of_other_names_is_refused(tmp_path):
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "labels.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="it is a link"):
        Ends(tmp_path)
    (tmp_path / "labels.jsonl").unlink()
    file = LabelFile(tmp_path / "labels.jsonl", {"labels": ["a"], "captions": "default"})
    file.append([(1, "x", (True,))])
    with pytest.raises(UserError, match="labels for a different question"):
        Ends(tmp_path)


def test_the_inbox_takes_lines_in_pieces_and_drops_what_is_too_long():
    inbox = Inbox()
    for piece in (
        b'{"a',
        b'": 1}\n{"b": 2}',
        b"\n\n",
        b"x" * (MAX_LINE_BYTES + 1),
        b"y" * 10,
        b'tail\n{"c": 3}\n',
    ):
        inbox.feed(piece)
    assert [inbox.lines.get_nowait() for _ in range(inbox.lines.qsize())] == [
        b'{"a": 1}',
        b'{"b": 2}',
        b'{"c": 3}',
    ]


def test_what_is_no_caption_does_not_reach_the_annotator():
    told = decode_captions(
        [
            {"id": 1, "text": "a"},
            {"id": True, "text": "b"},
            {"id": 2},
            3,
            {"id": 4, "text": 5},
            {"id": 6, "text": "c" * 9999, "truth": [1, 0]},
            {"id": 7, "text": "\ud800"},
        ]
    )
    assert [(c.number, len(c.text), c.truth) for c in told] == [
        (1, 1, None),
        (6, 2000, (True, False)),
        (7, 1, None),
    ] and decode_captions("text") == decode_captions(None) == []
    told[-1].text.encode()


# -- the engine's pipes ----------------------------------------------------------------------------


class Echo:
    """Answers every caption at once, many times over."""

    def __init__(self, times: int = 1) -> None:
        self.times, self.asked, self.left = times, [], []

    def ask(self, owner, captions, reply) -> None:
        self.asked.append((owner, [c.number for c in captions]))
        for _ in range(self.times):
            reply({c.number: (True, False) for c in captions})

    def leave(self, owner) -> None:
        self.left.append(owner)


def stand_in(folder, body: str) -> str:
    """A shell script in the place of the trainers' interpreter; $OUT is the job's folder."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nOUT=$(dirname "$3")\n{body}\n')
    path.chmod(0o755)
    return str(path)


def jobs(folder, *names: str) -> list:
    return [
        (name, TrainJob(card="card.yaml", program=None, seed=0, out=str(folder / name)))
        for name in names
    ]


ASK = '{"captions": [{"id": 1, "text": "a"}, {"id": 2, "text": "b"}]}'


def test_answers_arrive_on_standard_input_and_the_end_is_reported(tmp_path):
    echo, told = Echo(), []
    body = f'echo \'{ASK}\'; echo \'{{"steps": 5}}\'; read answer; echo "$answer" > "$OUT/answer"'
    Engine(2, stand_in(tmp_path, body)).run(
        jobs(tmp_path, "a", "b"), lambda label, data: told.append(data), {"a": echo}
    )
    assert json.loads((tmp_path / "a" / "answer").read_text()) == {
        "labels": {"1": [1, 0], "2": [1, 0]}
    }
    # nobody answers for it
    assert json.loads((tmp_path / "b" / "answer").read_text()) == {"labels": {"1": None, "2": None}}
    assert echo.asked == [("a", [1, 2])] and echo.left == ["a"] and told == [{"steps": 5}] * 2


def test_a_trainer_that_does_not_read_does_not_block_others(tmp_path):
    """Far more comes back than a pipe takes; the other trainer is served all the while, and the
    first is let go when it ends.
    """
    body = f"""case "$OUT" in
    *deaf) echo '{ASK}'; while [ ! -e "$OUT/../other/answer" ]; do sleep 0.05; done ;;
    *) sleep 0.5; echo '{ASK}'; read answer; echo "$answer" > "$OUT/answer" ;;
    esac"""
    echo = Echo(20_000)
    began = time.monotonic()
    Engine(2, stand_in(tmp_path, body)).run(
        jobs(tmp_path, "deaf", "other"), None, {"deaf": echo, "other": Echo()}
    )
    assert (
        json.loads((tmp_path / "other" / "answer").read_text())["labels"]["1"] == [1, 0]
        and time.monotonic() - began < 60
    )


def test_answers_to_a_trainer_that_has_ended_are_dropped(tmp_path):
    late = []

    class Late(Echo):
        def ask(self, owner, captions, reply) -> None:
            late.append(reply)

    Engine(1, stand_in(tmp_path, f"echo '{ASK}'")).run(jobs(tmp_path, "a"), None, {"a": Late()})
    late[0]({1: (True, True)})


@pytest.mark.parametrize(
    "flood",
    [
        "head -c 20000000 /dev/zero | tr '\\0' x",
        "echo '{\"captions\": 3}'; echo '{\"captions\": [[]]}'; "
        'echo \'{"captions": [{"id": "1"}]}\'',
    ],
)
def test_a_flood_or_nonsense_on_standard_output_is_dropped(tmp_path, flood):
    echo = Echo()
    Engine(1, stand_in(tmp_path, flood)).run(jobs(tmp_path, "a"), None, {"a": echo})
    assert not any(numbers for _, numbers in echo.asked)
