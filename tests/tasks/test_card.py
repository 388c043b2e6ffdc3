"""Cards: what is rejected and with which message; conditions; the folders that are searched."""

import numpy as np
import pytest
from pydantic import ValidationError

from autoreward.errors import UserError
from autoreward.state import State
from autoreward.tasks import find as cards
from autoreward.tasks.card import TaskCard
from autoreward.tasks.criteria import Condition

BASE = {
    "name": "x",
    "title": "t",
    "description": "d",
    "environment": {"id": "A-v0", "limit": 3},
    "action": {"type": "discrete", "n": 3, "meaning": "left, right"},
    "fields": {"position": "0", "goal": "1:3"},
    "success": {"when": [{"field": "position", "op": ">=", "value": 0.5}]},
    "training": {"steps": 10},
}


def test_one_line_fields_get_their_shape_from_the_slice():
    card = TaskCard.model_validate(BASE)
    assert card.layout.shapes == ((), (2,)) and card.layout.width == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"success": None}, "a card needs `success`, or `metric`"),
        (
            {"success": {"when": [{"field": "positon", "op": ">=", "value": 1}]}},
            "did you mean 'position'",
        ),
        (
            {"environment": {"id": "A", "factory": "b:c", "limit": 3}},
            "exactly one of `id` and `factory`",
        ),
        (
            {"hints": [{"near": {"a": "position", "b": "goal[0]"}, "raise": "position"}]},
            "exactly one of near",
        ),
        ({"hints": [{"raise": "speed"}]}, "unknown field 'speed'"),
        ({"rewards": 1}, "Extra inputs are not permitted"),
        ({"fields": {"position": "eval(1)"}}, "fields.0.source"),
    ],
)
def test_a_broken_card_says_which_field_and_what_to_do(change, words, tmp_path):
    import yaml

    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in {**BASE, **change}.items() if v is not None}))
    with pytest.raises(UserError) as caught:
        cards.load(path)
    assert words in caught.value.message and "envs check" in caught.value.hint


def test_yaml_that_does_not_parse_names_its_line(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("name: x\nfields: [\n  a: {\n")
    with pytest.raises(UserError, match="line"):
        cards.load(path)


def test_conditions_hold_row_by_row():
    layout = TaskCard.model_validate(BASE).layout
    state = State(np.array([[0.6, 1.0, 1.0], [0.4, 0.0, 0.3]]), layout)
    assert Condition(field="position", op=">=", value=0.5).holds(state).tolist() == [True, False]
    assert Condition(field="goal", op="within", value=0.5).holds(state).tolist() == [False, True]
    assert Condition(field="goal", op="==", value=1.0).holds(state).tolist() == [True, False]
    assert Condition(field="goal[1]", op="<", other="position").holds(state).tolist() == [
        False,
        True,
    ]


def test_a_condition_needs_two_sides():
    with pytest.raises(ValidationError):
        Condition(field="position", op=">=")


def test_own_cards_come_before_shipped_ones(tmp_path, monkeypatch):
    import yaml

    monkeypatch.chdir(tmp_path)
    (tmp_path / "envs" / "mine").mkdir(parents=True)
    (tmp_path / "envs" / "mine" / "doorkey16.yaml").write_text(
        yaml.safe_dump({**BASE, "name": "doorkey16"})
    )
    assert cards.find("doorkey16").card.title == "t"
    with pytest.raises(UserError, match="unknown task 'dorkey16'") as caught:
        cards.find("dorkey16")
    assert "doorkey16" in caught.value.hint


def test_a_problem_in_the_first_item_of_a_list_names_its_line(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("name: x\nfields:\n- name: position\n  source: '0'\n- name: goal\n")
    assert cards.at(path, "fields.position: source '0': IndexError") == " (line 3)"
    assert cards.at(path, "fields.goal: source '1': IndexError") == " (line 5)"
