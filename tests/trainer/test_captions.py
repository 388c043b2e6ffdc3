"""Captions: which rows read the same, what is written, and what a card's loading rejects."""

import json

import numpy as np
import pytest
import yaml

from autoreward.annotation.captions import Captions
from autoreward.errors import UserError
from autoreward.tasks.card import TaskCard
from autoreward.tasks.find import find, listing, load
from autoreward.trainer.environment import captions_of, trusted_code

BASE = {
    "name": "x",
    "title": "t",
    "description": "d",
    "environment": {"id": "A-v0", "limit": 3},
    "action": {"type": "discrete", "n": 3, "meaning": "0 = push left (hard), 1 and 2 = wait"},
    "fields": [
        {"name": "place", "source": "0:2", "unit": "cells"},
        {"name": "angle", "source": "2", "unit": "rad", "range": "-pi .. pi"},
        {"name": "speed", "source": "3", "unit": "m/s", "range": "about 0 .. 10"},
        {"name": "mass", "source": "4", "unit": "kg"},
        {"name": "secret", "source": "5", "reward": False},
    ],
    "success": {"when": [{"field": "angle", "op": ">=", "value": 0.5}]},
    "training": {"steps": 10},
}


def card(**change) -> TaskCard:
    return TaskCard.model_validate({**BASE, **change})


def row(place=(1, 2), angle=0.0, speed=5.0, mass=1.0) -> np.ndarray:
    return np.array([[*place, angle, speed, mass]], float)


def told(captions: Captions, prev: np.ndarray, action, curr: np.ndarray) -> str:
    return captions.texts[captions.numbers_of(prev, np.atleast_1d(action), curr)[0]]


def test_the_default_tells_the_action_and_every_field_with_what_changed():
    captions = Captions(card())
    assert (
        told(captions, row(), 0, row(place=(2, 2), speed=6.04))
        == "push left: place (1, 2) -> (2, 2); angle 0.0 rad; speed 5.0 m/s -> 6.0 m/s; mass 1 kg"
    )
    assert told(captions, row(), 2, row()).startswith("wait: ") and captions.written_by == "default"


def test_rows_that_read_the_same_have_one_number_and_others_another():
    captions = Captions(card(caption={"template": "{speed} {mass} {place[1]}"}))
    rows = np.concatenate(
        [
            row(speed=5.0),
            row(speed=5.2),
            row(speed=5.3),
            row(speed=5.0, mass=1.04),
            row(speed=5.0, mass=1.06),
            row(place=(9, 2), angle=3),
            row(place=(1, 3)),
        ]
    )
    # step 0.5 over 0 .. 10; two digits; only what is written counts
    assert captions.numbers_of(rows * 0, np.zeros(len(rows), int), rows).tolist() == [
        0,
        0,
        1,
        0,
        2,
        0,
        3,
    ]
    assert captions.texts == [
        "5.0 m/s 1 kg 2",
        "5.5 m/s 1 kg 2",
        "5.0 m/s 1.1 kg 2",
        "5.0 m/s 1 kg 3",
    ]
    # whatever comes first
    assert captions.numbers_of(rows[::-1] * 0, np.ones(len(rows), int), rows[::-1]).tolist() == [
        3,
        0,
        2,
        0,
        1,
        0,
        0,
    ]


def test_bins_decide_how_fine():
    speeds = np.linspace(0, 10, 1001)
    rows = np.repeat(row(), len(speeds), 0)
    rows[:, 3] = speeds
    for bins in (2, 10, 100):
        captions = Captions(card(caption={"template": "{speed}", "bins": bins}))
        keys = captions.numbers_of(rows, np.zeros(len(rows), int), rows)
        assert len(captions.texts) == bins + 1 == len(set(keys.tolist()))
        written = np.array([float(captions.texts[k].split()[0]) for k in keys])
        assert (
            np.abs(written - speeds).max()
            <= 10 / bins / 2 + 0.5 * 10.0 ** -max(0, np.ceil(-np.log10(10 / bins))) + 1e-9
        )


def test_no_two_numbers_of_a_random_stream_share_words_and_the_same_stream_has_the_same_numbers():
    random = np.random.default_rng(0)
    rows = np.round(random.normal(0, 3, (3000, 5)), 3)
    once, again = Captions(card()), Captions(card())
    keys = [
        once.numbers_of(a, np.array([i % 3] * 10), b)
        for i, (a, b) in enumerate(
            zip(rows[:-10].reshape(-1, 10, 5), rows[10:].reshape(-1, 10, 5), strict=True)
        )
    ]
    assert len(set(once.texts)) == len(once.texts) > 2900
    assert all(
        (again.numbers_of(a, np.array([i % 3] * 10), b) == k).all()
        for i, (a, b, k) in enumerate(
            zip(rows[:-10].reshape(-1, 10, 5), rows[10:].reshape(-1, 10, 5), keys, strict=True)
        )
    )


def test_what_is_not_finite_and_minus_zero_are_told():
    captions = Captions(card(caption={"template": "{angle} {speed} {mass} {place}"}))
    assert (
        told(captions, row(), 0, row(angle=np.nan, speed=np.inf, mass=-np.inf))
        == "unknown rad infinite m/s -infinite kg (1, 2)"
    )
    assert (
        captions.numbers_of(row(), np.zeros(1), row(place=(0, 0)))[0]
        == captions.numbers_of(row(), np.zeros(1), row(place=(-0.0, 0)))[0]
    )


def test_beyond_the_most_captions_there_is_no_number_and_the_old_ones_stay():
    captions = Captions(card(caption={"template": "{place[0]}"}), max_captions=3)
    rows = np.concatenate([row(place=(k, 0)) for k in range(6)])
    assert captions.numbers_of(rows, np.zeros(6, int), rows).tolist() == [
        0,
        1,
        2,
        -1,
        -1,
        -1,
    ] and captions.numbers_of(rows, np.zeros(6, int), rows).tolist() == [0, 1, 2, -1, -1, -1]
    assert len(captions.texts) == 3


def test_a_box_action_is_told_in_steps_of_its_range():
    captions = Captions(
        card(
            action={"type": "box", "shape": [2], "low": -2, "high": 2, "meaning": "forces"},
            caption={"template": "did {action}{{x}}"},
        )
    )
    assert told(captions, row(), np.array([[0.31, -2.0]]), row()) == "did action (0.4, -2.0){x}"


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        (
            {"template": "{pos}"},
            "{curr.pos} is not a field; the fields are place, angle, speed, mass",
        ),
        ({"template": "{prev.plase}"}, "did you mean 'place'"),
        ({"template": "{secret}"}, "not offered to reward programs"),
        ({"template": "{place[2]}"}, "place has shape [2]"),
        ({"template": "{angle[0]}"}, "angle has shape []"),
        ({"template": "{angle.__class__}"}, "is not a placeholder"),
        ({"template": "{angle!r:>9}"}, "is not a placeholder"),
        ({"template": "{__import__('os')}"}, "is not a placeholder"),
        ({"template": "{next.angle}"}, "is not a placeholder"),
        ({"template": "half {angle"}, "a single '{'"),
        ({"template": "x" * 2001}, "at most 2000 characters"),
        ({"template": "{angle}", "function": "f"}, "exactly one of `template` and `function`"),
        ({}, "exactly one of `template` and `function`"),
        ({"template": "{angle}", "bins": 1}, "greater than or equal to 2"),
    ],
)
def test_a_bad_caption_is_refused_when_the_card_is_loaded(caption, words, tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({**BASE, "caption": caption}))
    with pytest.raises(UserError) as caught:
        load(path)
    assert words in caught.value.message and "caption" in caught.value.message


def own(tmp_path, body: str):
    (tmp_path / "own.py").write_text(body)
    (tmp_path / "own.yaml").write_text(
        yaml.safe_dump({**BASE, "name": "own", "code": "own.py", "caption": {"function": "tell"}})
    )
    return load(tmp_path / "own.yaml")


def test_a_trusted_function_writes_the_words_and_is_asked_once_for_a_row(tmp_path):
    located = own(
        tmp_path,
        "SEEN = []\ndef tell(prev, action, curr):\n    SEEN.append(len(action))\n"
        "    pairs = zip(curr.speed, action)\n"
        "    return [f'fast\\n{a}' if s > 5 else 'slow' for s, a in pairs]\n",
    )
    captions = captions_of(located, trusted_code(located))
    rows = np.concatenate([row(speed=s) for s in (1, 2, 9, 1, 9)])
    assert captions.numbers_of(rows, np.array([0, 0, 1, 0, 1]), rows).tolist() == [
        0,
        0,
        1,
        0,
        1,
    ] and captions.texts == ["slow", "fast 1"]
    captions.numbers_of(rows, np.array([0, 0, 1, 0, 1]), rows)
    assert captions.function.__globals__["SEEN"] == [3] and captions.written_by == "function tell()"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def tell(prev, action, curr):\n    return ['one']\n", "must return 3 strings"),
        ("def tell(prev, action, curr):\n    return list(curr.speed)\n", "of float64"),
        ("def tell(prev, action, curr):\n    return curr.sped\n", "unknown field 'sped'"),
        ("def tel(prev, action, curr):\n    return []\n", "no function tell()"),
    ],
)
def test_a_function_that_does_not_do_so_is_named(body, words, tmp_path):
    rows = np.concatenate([row(speed=s) for s in (1, 2, 3)])
    with pytest.raises(UserError, match=r"caption\.function") as caught:
        located = own(tmp_path, body)
        captions_of(located, trusted_code(located)).numbers_of(rows, np.zeros(3, int), rows)
    assert words in caught.value.message


def test_a_card_without_a_caption_keeps_its_identity():
    assert TaskCard.model_validate(BASE).digest() != card(caption={"template": "{angle}"}).digest()
    # the example run began with it
    assert find("corridor").digest() == "a8dc25be157e"


@pytest.mark.parametrize("task", sorted(listing()))
def test_the_command_shows_captions_of_every_shipped_card(task, command):
    extra = find(task).card.environment.needs
    for module in extra:
        pytest.importorskip(module)
    done = command("envs", "caption", task, "--transitions", "200", "--rows", "4", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    counts = [count for _, count in told["examples"]]
    assert (
        told["transitions"] == 200
        and 1 <= told["distinct"] <= 200
        and counts == sorted(counts, reverse=True)
        and len({text for text, _ in told["examples"]}) == len(counts)
    )


def test_the_command_says_what_is_wrong_with_a_function(tmp_path, command):
    text = (
        find("corridor")
        .path.read_text()
        .replace("human: corridor.human.py", "caption: {function: tell}")
    )
    (tmp_path / "c.yaml").write_text(text)
    (tmp_path / "corridor.py").write_text(
        (find("corridor").path.parent / "corridor.py").read_text()
    )
    done = command("envs", "caption", "c.yaml")
    assert (
        done.returncode == 3
        and "caption.function: no function tell()" in done.stderr
        and "Traceback" not in done.stderr
    )
    (tmp_path / "c.yaml").write_text(
        text.replace("{function: tell}", "{template: '{cell}: {prev.cell}'}")
    )
    done = command("envs", "caption", "c.yaml", "--rows", "3")
    assert (
        done.returncode == 0
        and "from the card's template" in done.stdout
        and "x  0: 0" in done.stdout
    )


def test_a_template_without_placeholders_gives_every_transition_the_same_caption():
    captions = Captions(card(caption={"template": "a step"}))
    rows = np.concatenate([row(speed=s) for s in (1, 2, 3)])
    assert captions.numbers_of(rows, np.zeros(3, int), rows).tolist() == [0, 0, 0]
    assert captions.texts == ["a step"]
