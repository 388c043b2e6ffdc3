"""A real language model's whole conversation on mountaincar (designer, critic, analyzer; two rounds), as it was recorded: every reply can be used."""

import json
from pathlib import Path

import pytest

from autoreward.cards import find
from autoreward.models.local import Replay
from autoreward.program import lint
from autoreward.replies import program_of, record_of
from autoreward.stages.analyzer import Explanation
from autoreward.stages.critic import Opinion

FILE = Path(__file__).parents[1] / "recorded" / "mountaincar_conversation.jsonl"
CALLS = [json.loads(line) for line in FILE.read_text().splitlines()]
CARD = find("mountaincar").card


def of(agent: str) -> list[dict]:
    return [c for c in CALLS if c["agent"] == agent]


@pytest.mark.parametrize("call", of("designer"), ids=lambda c: f"{c['iteration']}{c['candidate']}")
def test_every_program_is_found_and_clean(call):
    program, explanation = program_of(call["reply"]["text"])
    assert not [v for v in lint(program, CARD.reward_layout) if v.severity == "refuse"] and explanation


@pytest.mark.parametrize("call", of("critic") + of("analyzer"), ids=lambda c: f"{c['agent']}-{c['iteration']}{c['candidate']}")
def test_every_opinion_and_explanation_is_read(call):
    said = record_of(call["reply"]["text"], Opinion if call["agent"] == "critic" else Explanation)
    assert said.ok if isinstance(said, Opinion) else said.summary


def test_what_the_analyst_says_reaches_the_designer_of_the_next_round():
    said = record_of(next(c for c in of("analyzer") if (c["iteration"], c["candidate"]) == (1, "b"))["reply"]["text"], Explanation)
    second = next(c for c in of("designer") if c["iteration"] == 2)
    assert any(cause in m["content"] for m in second["messages"] for cause in said.causes)


def test_the_file_replays_as_a_language_model():
    model = Replay(str(FILE), strict=False)
    assert model.language and len(model.calls) == len(CALLS) == 12
