"""A real language model's whole conversations (designer, critic, analyzer; two rounds), as they
were recorded: every reply can be used.
"""

import json
from pathlib import Path

import pytest

from autoreward.loop.stages.analyzer import Explanation
from autoreward.loop.stages.critic import Opinion
from autoreward.models.local import ReplayModel
from autoreward.models.replies import program_of, record_of
from autoreward.rewards.linter import lint
from autoreward.tasks.find import find

RECORDED = Path(__file__).parents[1] / "recorded"
TASKS = ("mountaincar", "keycorridor")
CALLS = {
    task: [
        json.loads(line)
        for line in (RECORDED / f"{task}_conversation.jsonl").read_text().splitlines()
    ]
    for task in TASKS
}


def of(*agents: str) -> list:
    found = [(task, call) for task in TASKS for call in CALLS[task] if call["agent"] in agents]
    return [
        pytest.param(
            task, call, id=f"{task}-{call['agent']}-{call['iteration']}{call['candidate']}"
        )
        for task, call in found
    ]


@pytest.mark.parametrize(("task", "call"), of("designer"))
def test_every_program_is_found_and_clean(task, call):
    program, explanation = program_of(call["reply"]["text"])
    assert (
        not [v for v in lint(program, find(task).card.reward_layout) if v.severity == "refuse"]
        and explanation
    )


@pytest.mark.parametrize(("task", "call"), of("critic", "analyzer"))
def test_every_opinion_and_explanation_is_read(task, call):
    said = record_of(call["reply"]["text"], Opinion if call["agent"] == "critic" else Explanation)
    assert said.ok if isinstance(said, Opinion) else said.summary


@pytest.mark.parametrize("task", TASKS)
def test_what_the_analyst_says_reaches_the_designer_of_the_next_round(task):
    said = [
        record_of(c["reply"]["text"], Explanation)
        for c in CALLS[task]
        if c["agent"] == "analyzer" and c["iteration"] == 1
    ]
    second = next(c for c in CALLS[task] if c["agent"] == "designer" and c["iteration"] == 2)
    assert any(
        cause in m["content"]
        for explanation in said
        for cause in explanation.causes
        for m in second["messages"]
    )


def test_what_the_critic_warned_of_reaches_the_designer_of_the_next_round():
    warned = [
        p.message
        for c in CALLS["keycorridor"]
        if c["agent"] == "critic" and c["iteration"] == 1
        for p in record_of(c["reply"]["text"], Opinion).problems
    ]
    second = "\n".join(
        m["content"]
        for c in CALLS["keycorridor"]
        if c["agent"] == "designer" and c["iteration"] == 2
        for m in c["messages"]
    )
    assert warned and any(message in second for message in warned)


@pytest.mark.parametrize("task", TASKS)
def test_the_file_replays_as_a_language_model(task):
    model = ReplayModel(str(RECORDED / f"{task}_conversation.jsonl"), strict=False)
    assert model.language and len(model.calls) == len(CALLS[task]) == 12
