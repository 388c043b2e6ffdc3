"""A model's words for a card, from an HTTP server, a recording and a reply file."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from server import serve

from autoreward.drafting import draft
from autoreward.drafting.words import DrafterAnswer, words_of
from autoreward.store.survey import ActionSpace, Column, InfoKey, Leaf, Match, Survey
from autoreward.tasks.find import load

KEY = {"OPENAI_API_KEY": "sk-SECRET"}
VECTOR = ("envs", "new", "--factory", "mine:Vector", "--out", "v.yaml")


def test_a_served_model_names_describes_and_is_marked(command, here):
    with serve() as server:
        done = command(*VECTOR, "--model", "test-model", "--base-url", server.url, "--yes", env=KEY)
        assert done.returncode == 0, done.stderr
        [sent] = server.requests
    prompt = sent["body"]["messages"][0]["content"]
    assert (
        "class Vector(gym.Env)" in prompt
        and "| x0 | 0 |" in prompt
        and "No documentation to speak of." in prompt
    )
    card = load(here / "v.yaml").card
    assert (
        card.fields[0].name == "elbow"
        and card.fields[0].meaning == "the elbow"
        and card.description.strip() == "An arm reaches for a ball."
    )
    text = (here / "v.yaml").read_text()
    assert (
        "# test-model: range -9 .. 9 probed, unit rad unchecked, meaning unchecked" in text
        and "the words of test-model" in text
    )
    assert "claims       1 probed, 0 contradicted, 2 unchecked" in done.stdout
    assert (
        "its documentation (" in done.stderr
        and "its source (" in done.stderr
        and "sk-SECRET" not in "".join(p.read_text() for p in here.rglob("*") if p.is_file())
    )
    assert prompt in next((here / "v.words").rglob("prompt.md")).read_text()


def test_without_a_terminal_nothing_is_sent_unless_yes_is_given(command, here):
    with serve() as server:
        done = command(
            *VECTOR, "--model", "test-model", "--base-url", server.url, env=KEY, said="y\n"
        )
        assert done.returncode == 2 and "nothing was sent" in done.stderr and "--yes" in done.stderr
        assert server.requests == [] and not (here / "v.yaml").exists()


@pytest.mark.parametrize(("answer", "sent"), [("y\n", 1), ("\n", 0)])
def test_on_a_terminal_the_person_decides(here, answer, sent):
    terminal, other = os.openpty()
    with serve() as server:
        os.write(terminal, answer.encode())
        words = [
            sys.executable,
            "-m",
            "autoreward",
            *VECTOR,
            "--model",
            "test-model",
            "--base-url",
            server.url,
        ]
        done = subprocess.run(
            words,
            cwd=here,
            env={**os.environ, **KEY},
            stdin=other,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (
            done.returncode == 0 and "Send it?" in done.stderr and len(server.requests) == sent
        ), done.stderr
    assert ("elbow" in (here / "v.yaml").read_text()) is bool(sent)


def test_no_source_keeps_the_source_here(command, here):
    with serve() as server:
        done = command(
            *VECTOR,
            "--model",
            "test-model",
            "--base-url",
            server.url,
            "--yes",
            "--no-source",
            env=KEY,
        )
        assert done.returncode == 0 and "its source" not in done.stderr
        assert "class Vector" not in json.dumps(server.requests[0]["body"])


@pytest.mark.parametrize(
    ("fault", "requests", "worded"), [("nonsense", 2, True), ("401", 1, False)]
)
def test_an_answer_that_cannot_be_read_is_asked_for_once_more(
    command, here, fault, requests, worded
):
    with serve(lambda agent, number: fault if number == 0 else None) as server:
        done = command(*VECTOR, "--model", "test-model", "--base-url", server.url, "--yes", env=KEY)
        assert len(server.requests) == requests
    assert ("elbow" in (here / "v.yaml").read_text()) is worded, "the card is written in any case"
    assert done.returncode == (0 if worded else 3), done.stderr
    assert worded or "written without the model's suggestions" in done.stderr


def test_after_two_unreadable_answers_the_card_has_no_model_words(command, here):
    with serve(lambda agent, number: "nonsense") as server:
        done = command(*VECTOR, "--model", "test-model", "--base-url", server.url, "--yes", env=KEY)
        assert done.returncode == 0 and server.counts["drafter"] == 2
    assert (
        "could not be read, twice" in done.stderr
        and load(here / "v.yaml").card.fields[0].name == "x0"
    )


def test_a_served_models_answer_can_be_replayed(command, here):
    with serve() as server:
        command(*VECTOR, "--model", "test-model", "--base-url", server.url, "--yes", env=KEY)
    [recorded] = (here / "v.words").iterdir()
    done = command(
        "envs",
        "new",
        "--factory",
        "mine:Vector",
        "--out",
        "again.yaml",
        "--model",
        f"replay/{recorded}",
    )
    assert done.returncode == 0, done.stderr
    assert (
        "prompt differs" not in done.stderr
        and load(here / "again.yaml").card.fields[0].name == "elbow"
    )


def test_a_person_can_be_the_model(command, here):
    def reply() -> None:
        for _ in range(300):
            if found := list(here.glob("v.words/*/calls/iteration-0/*.prompt.md")):
                found[0].with_name(found[0].name.replace(".prompt.md", ".reply.md")).write_text(
                    '{"description": "By hand."}'
                )
                return
            time.sleep(0.1)

    import threading

    person = threading.Thread(target=reply)
    person.start()
    done = command(*VECTOR, "--model", "manual")
    person.join()
    assert done.returncode == 0 and load(here / "v.yaml").card.description.strip() == "By hand."


def survey() -> Survey:
    slider = Match(
        name="rail_position", of="qpos of joint rail (slide)", unit="m", quantity="qpos", row=0
    )
    columns = (
        Column(seen_low=-1, seen_high=1, match=slider),
        Column(seen_low=0, seen_high=1, integer=True),
        Column(seen_low=0, seen_high=40),
    )
    return Survey(
        title="mine:make",
        factory="mine:make",
        observation="Box(3,)",
        leaves=(Leaf(path="", space="Box(3,)", kind="box", shape=(3,), start=0, columns=columns),),
        action=ActionSpace(type="discrete", n=2, space="Discrete(2)"),
        info=(InfoKey(name="near", kind="flag"),),
        limit=50,
        steps=100,
    )


def judged(**answer):
    found = survey()
    words, claims = words_of(
        DrafterAnswer.model_validate({"description": "d", **answer}),
        found,
        draft(found).fields,
        "m",
    )
    return words, {(c.field, c.claim): c.mark for c in claims}


def test_claims_about_numbers_are_checked():
    fields = [
        {
            "name": "rail_position",
            "unit": "rad",
            "range": [-2, 2],
            "kind": "whole",
            "rename": "rail",
        },
        {"name": "x1", "kind": "flag", "constant": True, "unit": "flag", "rename": "touching"},
        {"name": "x2", "range": [0, 10], "rename": "class"},
        {"name": "x7", "meaning": "nothing there"},
    ]
    words, marks = judged(fields=fields)
    assert marks == {
        ("rail_position", "range -2 .. 2"): "probed",
        ("rail_position", "whole numbers"): "contradicted",
        ("rail_position", "unit rad"): "contradicted",
        ("x1", "flag"): "probed",
        ("x1", "constant"): "contradicted",
        ("x1", "unit flag"): "unchecked",
        ("x2", "range 0 .. 10"): "contradicted",
        ("x7", "the field exists"): "contradicted",
    }
    assert words.names == {"x1": "touching"}, (
        "what the simulator named keeps its name, and a keyword is none"
    )
    assert "rail_position" not in words.units


def test_a_success_is_proposed_in_a_comment_and_only_if_its_parts_exist():
    import yaml

    words, marks = judged(
        success={"when": [{"field": "x2", "op": ">=", "value": 30}]},
        success_why="line 9\nof the source",
        fields=[{"name": "x2", "rename": "height"}],
    )
    text = draft(survey(), words).text
    assert (
        '# success: {when: [{field: height, op: ">=", value: 30.0}]}   # proposed by m, unchecked'
        in text
    )
    assert "success" not in yaml.safe_load(text)
    for wrong in (
        {"info": "won"},
        {"predicate": "won"},
        {"when": [{"field": "z", "op": ">", "value": 1}]},
        {"when": []},
    ):
        words, marks = judged(success=wrong)
        assert words.success == "" and "contradicted" in marks.values()


def test_a_models_text_cannot_leave_its_line():
    words, _ = judged(
        title='a"\nhints: []',
        description="one\n# two\nlimit: 1",
        action="x\u2028y\x1b[2J",
        fields=[{"name": "x1", "meaning": 'm"}\n  - {name: evil', "unit": '"\n}'}],
    )
    import yaml

    card = yaml.safe_load(draft(survey(), words).text)
    assert (
        card["description"].strip() == "one # two limit: 1"
        and "hints" not in card
        and [f["name"] for f in card["fields"]] == ["rail_position", "x1", "x2"]
    )
    assert "\x1b" not in draft(survey(), words).text
    assert card["environment"]["limit"] == 50


def test_a_goal_that_the_documentation_explains_is_not_called_ambiguous():
    doc = """
## Observation Space
* `desired_goal`: where the ball should be
| Num | Observation | Min | Max | Unit |
|-----|-------------|-----|-----|------|
| 0   | x position of the goal | -Inf | Inf | position (m) |
| 1   | y position of the goal | -Inf | Inf | position (m) |
"""
    columns = []
    for k, axis in enumerate("xy"):
        match = Match(
            name="target_position",
            index=axis,
            of=f"{axis} position of site target",
            unit="m",
            quantity="site_xpos",
            row=k,
            also=(f"{axis} position of body target",),
            also_named=("target_position",),
        )
        columns.append(Column(seen_low=-1, seen_high=1, match=match))
    goal = Leaf(path="desired_goal", space="Box(2,)", kind="box", shape=(2,), columns=columns)
    documented = survey().model_copy(update={"leaves": (goal,), "doc": doc})
    [field] = draft(documented).fields
    assert field.meaning == "(x, y) position of the goal" and not field.ambiguous
    assert not any("ambiguous" in what for _, what in draft(documented).left)
    # without documentation the meaning lists the alternatives, and the card asks about them
    [field] = draft(documented.model_copy(update={"doc": ""})).fields
    assert "or, equally well" in field.meaning and field.ambiguous
