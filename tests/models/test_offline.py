"""The offline designer: deterministic, blind to names, and it uses the feedback."""

import re

import pytest
import yaml

from autoreward.models import Message, Request
from autoreward.models.offline.grammar import plan_of
from autoreward.models.offline.guides import write_factors, write_subgoals
from autoreward.models.offline.search import OfflineSearch, around, first_plans
from autoreward.models.replies import program_of
from autoreward.rewards.linter import lint
from autoreward.store.records import Analysis, Diagnostic, Evaluation, Feedback, Outcome
from autoreward.tasks.card import TaskCard
from autoreward.tasks.find import find, listing

CARDS = sorted(listing())


def design(
    card: TaskCard,
    candidate: str = "a",
    iteration: int = 1,
    feedback: Feedback | None = None,
    attempt: int = 0,
) -> str:
    material = {"card": card, "feedback": feedback, "attempt": attempt, "seed": 0}
    reply = OfflineSearch().ask(
        Request(
            "designer", iteration, candidate, attempt, (Message("user", "x"),), material=material
        )
    )
    assert "no language model" in reply.text
    return program_of(reply.text)[0]


@pytest.mark.parametrize("name", CARDS)
def test_programs_for_every_shipped_card_pass_the_linter_and_differ(name):
    card = find(name).card
    programs = [design(card, letter) for letter in "abcdef"]
    assert len(set(programs)) == 6
    assert all(lint(p, card.reward_layout) == [] for p in programs)
    assert programs[0] == design(card, "a")


@pytest.mark.parametrize("name", CARDS)
def test_renaming_everything_renames_the_program_and_nothing_else(name):
    card = find(name).card
    data = card.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    names = {f.name: f"q{k}" for k, f in enumerate(card.fields)}
    judged = {
        k: data[k] for k in ("success", "metric", "constraints", "goal", "caption") if k in data
    }
    text = (
        yaml.safe_dump(data["hints"])
        + "\0"
        + yaml.safe_dump(judged)
        + "\0"
        + yaml.safe_dump([f["name"] for f in data["fields"]])
    )
    for old in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<![\w]){old}(?![\w])", names[old], text)
    hints, judged, fields = (yaml.safe_load(t) for t in text.split("\0"))
    for k, stage in enumerate(s for h in hints for s in h.get("subgoals", [])):
        stage["name"] = f"stage{k}"
    renamed = TaskCard.model_validate(
        {
            **data,
            "name": "other",
            "title": "Other",
            "description": "Something else.",
            "hints": hints,
            **judged,
            "fields": [
                {**f, "name": n, "meaning": "?"}
                for f, n in zip(data["fields"], fields, strict=True)
            ],
        }
    )
    for letter in "abc":
        expected = design(card, letter)
        for old in sorted(names, key=len, reverse=True):
            expected = re.sub(rf"\.{old}\b", f".{names[old]}", expected)
        assert design(renamed, letter) == expected


def outcome(card: TaskCard, letter: str, success: float, *found: Diagnostic) -> Outcome:
    result = Evaluation(
        success=success, low=success, high=success, steps=(1000,), steps_to_80=(None,)
    )
    return Outcome(
        iteration=1,
        candidate=letter,
        program=design(card, letter),
        status="evaluated",
        evaluation=result,
        analysis=Analysis(diagnostics=found),
    )


def test_a_hovering_term_is_dropped_or_changed_and_without_feedback_it_is_not():
    card = find("drawer_open").card
    guilty = Diagnostic(kind="hovering", term="progress", severity=1.0, words="stays at the handle")
    told = Feedback(iteration=1, outcomes=(outcome(card, "a", 0.0, guilty),))
    before = plan_of(design(card, "a"))
    for letter in "abc":
        after = plan_of(design(card, letter, 2, told))
        assert after is not None and before is not None
        changed = (
            0 in after.dropped
            or after.forms[0] != before.forms[0]
            or after.weight(0) < before.weight(0)
        )
        assert changed and after.forms[1] == before.forms[1]
    assert design(card, "a", 2) == design(card, "a", 1)
    innocent = Feedback(iteration=1, outcomes=(outcome(card, "a", 0.0),))
    silent = plan_of(design(card, "a", 2, innocent))
    assert silent is not None and silent.dropped == () and silent.forms == before.forms


def test_nothing_is_tried_twice():
    card = find("doorkey16").card
    told = Feedback(iteration=1, outcomes=tuple(outcome(card, letter, 0.9) for letter in "abc"))
    again = {design(card, letter, 2, told) for letter in "abcdef"}
    assert len(again) == 6 and not again & {o.program for o in told.outcomes}


def test_what_works_is_made_faster_and_early_ends_cost_no_time():
    card = find("hopper3m").card
    good = Feedback(iteration=1, outcomes=(outcome(card, "a", 1.0),))
    first = plan_of(good.outcomes[0].program)
    assert first is not None and next(around(card, good))[0].scale > first.scale
    early = Diagnostic(kind="early-failure", severity=1.0, words="falls")
    falls = Feedback(iteration=1, outcomes=(outcome(card, "a", 0.1, early),))
    assert next(around(card, falls))[0].cost == 0.0


def test_a_program_of_somebody_else_does_not_confuse_it():
    card = find("corridor").card
    alien = Outcome(
        iteration=1,
        candidate="a",
        program="# plan {broken\n",
        status="evaluated",
        evaluation=Evaluation(success=0.5, low=0.4, high=0.6),
    )
    assert next(around(card, Feedback(iteration=1, outcomes=(alien,)))) == next(first_plans(card))


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("write", [write_subgoals, write_factors])
def test_programs_of_other_forms_define_what_they_call(name, write):
    """A card with two gaps once lost the helper of the first (drawer_open)."""
    for variant in range(4):
        program = write(find(name).card, variant)
        called = set(re.findall(r"(?<!def )\b(gap\w*)\(", program))
        assert called <= set(re.findall(r"^def (gap\w*)\(", program, re.M))
