"""calm: who names subgoals, what prepares the program, who judges; and runs from the shell."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autoreward.errors import UserError
from autoreward.loop.stages.designer import Question, messages
from autoreward.methods import find_method
from autoreward.methods.calm import given, judging
from autoreward.models.offline.guides import subgoals, variant_of, write_subgoals
from autoreward.models.templates import Prompts
from autoreward.rewards.linter import lint
from autoreward.rewards.program import constant
from autoreward.store.records import Feedback, Outcome
from autoreward.tasks.find import find

METHOD = find_method("calm")
DOOR = find("doorkey16")
CARDS = (
    "corridor",
    "doorkey16",
    "keycorridor",
    "mountaincar",
    "swingup",
    "pointmaze_u",
    "drawer_open",
    "hopper3m",
    "multiroom",
)


def own(**settings):
    return METHOD.own(settings)


def autoreward(*words: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "autoreward", *words],
        cwd=path,
        env={**os.environ, "AUTOREWARD_MODEL": ""},
        capture_output=True,
        text=True,
        timeout=400,
    )


def test_the_card_a_file_or_the_model_names_the_subgoals():
    assert given(DOOR.card, own()) == []
    assert [one["name"] for one in given(DOOR.card, own(subgoals="card"))] == [
        "take_key",
        "open_door",
        "reach_goal",
    ]
    listed = given(DOOR.card, own(subgoals="- {name: a, means: first}\n- {name: b, means: then}"))
    assert listed == [{"name": "a", "means": "first"}, {"name": "b", "means": "then"}]


@pytest.mark.parametrize(
    "text", ["", "a: 1", "- {name: a}", "- {name: a, means: x}\n- {name: a, means: y}", "[", "- 7"]
)
def test_a_file_without_a_list_of_subgoals_is_rejected_with_the_form(text):
    with pytest.raises(UserError, match="subgoals") as caught:
        given(DOOR.card, own(subgoals=text))
    assert "YAML list" in caught.value.hint


def test_a_card_without_subgoals_cannot_give_them_and_a_simulated_judge_needs_them():
    with pytest.raises(UserError, match="has no subgoals"):
        METHOD.require(find("corridor"), "m", {"subgoals": "card"})
    with pytest.raises(UserError, match="judges by the card's own predicates"):
        METHOD.require(DOOR, "m", {"judge": "model", "annotator": "simulated/p=0.9"})


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"bonus": "much"}, "bonus=much"),
        ({"bonus": "0"}, "bonus=0"),
        ({"order": "yes"}, "on or off"),
        ({"judge": "me"}, "code or model"),
    ],
)
def test_an_invalid_setting_names_what_it_takes(setting, words):
    with pytest.raises(UserError, match=words):
        METHOD.require(DOOR, "m", setting)


def test_the_model_is_asked_for_subgoals_first_and_for_their_code_then():
    assert METHOD.prepares({}) == 1 and METHOD.prepares({"subgoals": "card"}) == 0
    asked = messages(Prompts(), DOOR.card, METHOD, Question(), {}, (), "discover")
    assert "no code yet" in asked[-1].content and "has_key" in asked[-1].content
    reply = [{"template": "discover", "number": 1, "text": "THE LIST"}]
    first = messages(Prompts(), DOOR.card, METHOD, Question(), {}, reply)
    assert (
        "THE LIST" in first[-1].content
        and "def subgoals(prev, action, curr, memory)" in first[0].content
    )
    told = messages(Prompts(), DOOR.card, METHOD, Question(), {"subgoals": "card"})
    assert "1. take_key: has_key == 1" in told[-1].content


def test_the_next_prompt_shows_what_each_subgoal_earned():
    outcome = Outcome(
        iteration=1,
        candidate="a",
        program="PROGRAM",
        status="evaluated",
        notes=("never ended in the last 200 episodes: door",),
    )
    text = messages(
        Prompts(),
        DOOR.card,
        METHOD,
        Question(iteration=2, feedback=Feedback(iteration=1, outcomes=(outcome,))),
        {},
    )[-1].content
    assert "never ended in the last 200 episodes: door" in text and "PROGRAM" in text


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("variant", range(5))
def test_offline_programs_are_clean_and_say_what_they_mean(name, variant):
    card = find(name).card
    program = write_subgoals(card, variant)
    assert [
        v for v in lint(program, card.reward_layout, "subgoals") if v.severity == "refuse"
    ] == []
    assert list(constant(program, "SUBGOALS")) == [s["name"] for s in subgoals(card, variant)]
    assert variant_of(program) == variant


def test_a_judging_model_reads_the_meanings_that_the_program_gives():
    program = 'SUBGOALS = {"take_key": "holds it"}\n'
    made = judging(DOOR.card, program, ("take_key", "open_door"), own(judge="model", wait="off"))
    assert made is not None and made.labels == ("take_key", "open_door") and not made.wait
    assert [s["means"] for s in made.variables["subgoals"]] == ["holds it", "door_open == 1"]
    assert (
        len(made.truth) == 2
        and judging(DOOR.card, program, ("take_key", "other"), own(judge="model")).truth == ()
    )
    assert judging(DOOR.card, program, ("take_key",), own()) is None
    text = Prompts().render(
        "calm/annotator/judge",
        {
            **made.variables,
            "captions": ("picks up; carries the key: yes, before: no",),
            "problem": "",
        },
    )
    assert "`take_key`: holds it" in text and "1. picks up" in text


def test_a_program_of_another_method_is_rejected_with_the_name_to_write():
    reward = "def reward(prev, action, curr, memory):\n    return {}\n"
    found = [
        v
        for v in lint(reward, DOOR.card.reward_layout, "subgoals")
        if v.kind == "missing-entry-point"
    ]
    assert (
        "does not define subgoals(prev, action, curr, memory)" in found[0].message
        and "rename reward()" in found[0].hint
    )
    predicates = "def subgoals(prev, action, curr, memory):\n    return {}\n"
    assert [v.kind for v in lint(predicates, DOOR.card.reward_layout)] == ["missing-entry-point"]


def test_check_and_train_take_the_method(tmp_path):
    (tmp_path / "goals.py").write_text(
        "def subgoals(prev, action, curr, memory):\n"
        "    return {'half': curr.cell >= 5, 'odd': 0.5 * curr.cell}\n"
    )
    done = autoreward("check", "goals.py", "--task", "corridor", "--method", "calm", path=tmp_path)
    assert done.returncode == 1 and "[no-flag]" in done.stdout and "Traceback" not in done.stderr
    assert (
        "missing-entry-point"
        in autoreward("check", "goals.py", "--task", "corridor", path=tmp_path).stdout
    )


def test_impossible_settings_are_rejected_before_a_folder_is_made(tmp_path):
    for words, said in (
        (("--set", "judge=model"), "is not a language model"),
        (("--set", "subgoals=no-such-file.yaml"), "subgoals=no-such-file.yaml"),
        (("--set", "samples=3"), "unknown setting 'samples'"),
        (("--model", "simulated/p=0.9"), "judges transitions"),
    ):
        done = autoreward("design", "corridor", "--method", "calm", *words, path=tmp_path)
        assert done.returncode in (1, 2, 4) and said in done.stderr and "next:" in done.stderr, (
            done.stderr
        )
        assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A short run whose transitions a simulated judge labels."""
    folder = tmp_path_factory.mktemp("judged")
    words = (
        "--method",
        "calm",
        "--set",
        "judge=model",
        "--set",
        "annotator=simulated/p=1.0",
        "--set",
        "subgoals=card",
        "--iterations",
        "1",
        "--candidates",
        "1",
        "--final-seeds",
        "1",
    )
    done = autoreward(
        "design", "mountaincar", *words, "--steps", "8000", "--name", "j", path=folder
    )
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "j"


@pytest.mark.long
def test_a_judged_run_keeps_labels_counts_and_evidence_and_says_that_nobody_was_asked(judged):
    counts = json.loads((judged / "iteration-1/candidate-a/annotation.json").read_text())
    assert (
        counts["simulated"]
        and counts["captions"] == counts["kept"] + counts["answered"] > 0
        and counts["unanswered"] == 0
    )
    evidence = json.loads(
        (judged / "iteration-1/candidate-a/5-training/seed-0/signal.json").read_text()
    )["evidence"]
    measures = evidence["judged"]["measures"]
    assert sum(m["true_positive"] + m["true_negative"] for m in measures) > 0 and not any(
        m["false_positive"] + m["false_negative"] for m in measures
    ), "p=1.0 makes no mistake"
    lines = (
        (judged / "iteration-1/candidate-a/5-training/seed-0/labels.jsonl").read_text().splitlines()
    )
    assert json.loads(lines[0])["labels"] == ["swing_back", "reach_flag"] and all(
        "rollout" in json.loads(line) for line in lines[1:]
    )
    shown = autoreward("runs", "show", str(judged), path=judged.parent.parent)
    assert "labels   by simulated/p=1.0: no model" in shown.stdout and "F1" in shown.stdout
    assert list((judged / "calls/iteration-1").glob("a-annotator-*.json"))


@pytest.mark.long
def test_its_judgements_are_held_against_a_file_of_labels(judged, tmp_path):
    told = autoreward("runs", "labels", str(judged), "--write", "labels.jsonl", path=tmp_path)
    assert told.returncode == 0 and "next: autoreward runs labels" in told.stdout, told.stderr
    head, *rows = [
        json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()
    ]
    assert (
        head == {"labels": ["swing_back", "reach_flag"]}
        and rows
        and all(row["label"] is None for row in rows)
    )
    # p=1.0: the truth
    asked = next((judged / "labels").glob("*.jsonl"))
    # a caption in bins is labelled as it was first seen, so predicates may differ from it
    for words, least in (((), 0.9), (("--judge", str(asked)), 1.0)):
        done = autoreward(
            "runs", "labels", str(judged), "--against", str(asked), *words, "--json", path=tmp_path
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["transitions"] > 50 and all(m["accuracy"] >= least for m in found["measures"])


@pytest.mark.long
def test_a_restarted_training_meets_the_same_labels_and_ends_with_the_same_weights(judged):
    training = judged / "iteration-1/candidate-a/5-training/seed-0"
    before, labels = (
        (training / "policy.safetensors").read_bytes(),
        (training / "labels.jsonl").read_bytes(),
    )
    for name in ("done.json", "policy.safetensors", "curve.npz", "signal.json"):
        (training / name).unlink()
    for path in (
        judged / "final.json",
        judged / "leaders.json",
        judged / "iteration-1/candidate-a/6-evaluation.json",
        judged / "iteration-1/feedback.json",
    ):
        path.unlink()
    done = autoreward("resume", str(judged), path=judged.parent.parent)
    assert done.returncode == 0, done.stderr
    assert (training / "policy.safetensors").read_bytes() == before and (
        training / "labels.jsonl"
    ).read_bytes() == labels


def test_methods_say_what_they_are_made_of():
    assert (
        METHOD.signal_class.entry == "subgoals"
        and replace(METHOD, judging=None).annotator({}, "m") == "m"
    )
    assert METHOD.annotator({"annotator": "other/model"}, "m") == "other/model"
