"""Prompt variables: what the tables document is what the stages give, structure included."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoreward.annotation.question import CaptionQuestion
from autoreward.drafting import words
from autoreward.drafting.fields import fields_of
from autoreward.loop.stages import analyzer, critic, designer
from autoreward.methods import find_method
from autoreward.models.templates import Prompts
from autoreward.models.variables import VARIABLES, examples, meanings
from autoreward.rewards.composition import Composition, parse
from autoreward.store.episodes import Episode, Trajectories
from autoreward.store.records import (
    Analysis,
    Diagnostic,
    EpisodeGroup,
    Evaluation,
    Feedback,
    Outcome,
    TermCurve,
    Verdict,
)
from autoreward.store.survey import ActionSpace, Column, InfoKey, Leaf, Survey
from autoreward.tasks.find import find

CARD = find("doorkey16").card
PROGRAM = (
    "def reward(prev, action, curr, memory):\n    return {'way': curr.agent_x - prev.agent_x}\n"
)
COMPOSITION: Composition = parse("transforms:\n  - kind: weights\n    weights: {way: 0.5}\n")
WARNING = Verdict(kind="scale", severity="warn", stage="critic", line=2, message="m", hint="h")
OUTCOME = Outcome(
    iteration=1,
    candidate="a",
    program=PROGRAM,
    composition=COMPOSITION.data(),
    status="evaluated",
    verdicts=(WARNING,),
    evaluation=Evaluation(success=0.5, broken=("energy",), why="why", steps=(9,), steps_to_80=(8,)),
    curve=((100, 0.5, 10.0),),
    terms=(TermCurve(name="way", episode_sum=1.0, first_window_sum=0.1, share=1.0),),
    windows={"way": (0.5,)},
    analysis=Analysis(
        diagnostics=(Diagnostic(kind="slow", words="slow"),),
        endings={"success": 0.5, "failure": 0.2, "limit": 0.3, "mean_length": 20.0},
        failures=EpisodeGroup(
            episodes=1,
            mean_length=1.0,
            term_sums={"way": 1.0},
            fields={"x": {"end": 1.0, "end_std": 0.1, "lowest": 0.0, "highest": 2.0}},
            flags={"has_key": {"ever": 0.5, "changes": 2.0}},
        ),
        causes=("cause",),
        suggestions=("suggestion",),
    ),
    notes=("note",),
)


class Recording(Prompts):
    """Templates that note with which variables they are rendered."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[dict[str, Any]] = []

    def render(self, name: str, variables: Any) -> str:
        self.given.append(dict(variables))
        return super().render(name, variables)


def designers(prompts: Prompts) -> None:
    question = designer.Question(
        iteration=2,
        feedback=Feedback(iteration=1, outcomes=(OUTCOME,)),
        refusals=(WARNING,),
        previous=PROGRAM,
        hints=True,
        composing=True,
        composition=COMPOSITION,
    )
    method = find_method("calm")
    settings = {"subgoals": "card"}
    replies = [{"template": "discover", "number": 1, "text": "text"}]
    designer.messages(prompts, CARD, method, question, settings, replies)


def critics(prompts: Prompts) -> None:
    method = find_method("auto-mc-reward")
    critic.message(prompts, CARD, method, PROGRAM, (WARNING,), hints=True, composition=COMPOSITION)


def analyzers(prompts: Prompts) -> None:
    states = np.zeros((4, CARD.layout.width))
    recorded = Trajectories(
        CARD.layout, (Episode(states, np.zeros(3, np.int64), False, True, False),)
    )
    method = find_method("auto-mc-reward")
    analyzer.message(prompts, CARD, method, OUTCOME, recorded, hints=True)
    said = analyzer.Explanation(
        causes=["cause"],
        suggestions=["suggestion"],
        citations=[analyzer.Explanation.Cited(episode=0, step=1, field="x", claim="claim")],
        summary="summary",
    )
    parts = (said.model_dump(), said.model_dump())
    analyzer.message(prompts, CARD, method, OUTCOME, recorded, hints=True, parts=parts)


def drafters(prompts: Prompts) -> None:
    columns = (Column(seen_low=0, seen_high=40),)
    survey = Survey(
        title="mine:make",
        observation="Box(1,)",
        leaves=(Leaf(path="", space="Box(1,)", kind="box", shape=(1,), start=0, columns=columns),),
        action=ActionSpace(type="discrete", n=2, space="Discrete(2)"),
        info=(InfoKey(name="near", kind="flag"),),
        limit=50,
        steps=100,
        doc="documentation",
        source="class Mine: ...",
    )
    given = words.prompt_variables(survey, tuple(fields_of(survey)), 50, source=True)
    words.prompt(prompts, given)


def annotators(prompts: Prompts) -> None:
    method = find_method("calm")
    settings = method.own({"judge": "model"})
    program = 'SUBGOALS = {"take_key": "the agent carries the key"}'
    assert method.judging is not None
    judging = method.judging(CARD, program, ("take_key",), settings)
    assert judging is not None
    template = "calm/annotator/judge"
    question = CaptionQuestion(prompts, template, judging.variables, judging.labels, {})
    question.prompt(("pick up: has_key 0 -> 1",), "")


ASSEMBLIES: dict[str, Callable[[Prompts], None]] = {
    "designer": designers,
    "critic": critics,
    "analyzer": analyzers,
    "drafter": drafters,
    "annotator": annotators,
}


def given_by(agent: str) -> list[dict[str, Any]]:
    """The variables of every prompt that an agent's stage really renders."""
    prompts = Recording()
    ASSEMBLIES[agent](prompts)
    assert prompts.given
    return prompts.given


def test_every_agent_is_covered():
    assert ASSEMBLIES.keys() == VARIABLES.keys()


@pytest.mark.parametrize("agent", VARIABLES)
def test_documented_variables_are_those_that_the_stage_gives(agent):
    set_in_templates = {"outcome"} if agent == "designer" else set()
    for given in given_by(agent):
        assert given.keys() == meanings(agent).keys() - set_in_templates
        assert given.keys() == examples(agent).keys()


@pytest.mark.parametrize("agent", VARIABLES)
def test_examples_have_the_structure_of_what_is_given(agent):
    for given in given_by(agent):
        for name, example in examples(agent).items():
            same_structure(example, given[name], name)


def same_structure(example: Any, given: Any, where: str) -> None:
    """Mappings with fixed keys have the same keys; the first items of lists agree in turn."""
    if isinstance(example, dict) and given and where.split(".")[-1] not in BY_NAME:
        assert example.keys() == given.keys(), where
        for key, value in example.items():
            same_structure(value, given[key], f"{where}.{key}")
    elif isinstance(example, list | tuple) and given:
        same_structure(example[-1], given[-1], f"{where}.")


# Mappings whose keys are a program's terms, a card's fields or flags.
BY_NAME = {"term_sums", "fields", "flags"}


def test_the_analyzer_reads_how_terms_were_combined():
    for given in given_by("analyzer"):
        assert "kind: weights" in given["composition"]


def test_the_page_on_prompts_lists_every_variable():
    page = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text()
    for agent in VARIABLES:
        rows = [f"| `{name}` | {meaning} |" for name, meaning in meanings(agent).items()]
        table = "\n".join([f"### {agent}", "", "| variable | meaning |", "| --- | --- |", *rows])
        assert table in page, f"docs/prompts.md needs:\n{table}"
