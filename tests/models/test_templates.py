"""Templates: overriding, undefined variables, faults with file and line.

Also what a language model must not see.
"""

import pytest

from autoreward.errors import UserError
from autoreward.loop.stages.designer import Question, messages
from autoreward.methods import find_method
from autoreward.models.templates import Prompts
from autoreward.store.records import Analysis, Diagnostic, Evaluation, Feedback, Outcome, Verdict
from autoreward.tasks.find import find, listing

METHOD = find_method("auto-mc-reward")


def prompt(task: str, **options) -> str:
    return "\n".join(
        m.content for m in messages(Prompts(), find(task).card, METHOD, Question(**options))
    )


def test_the_shipped_templates_are_in_order():
    templates = Prompts()
    for name in templates.listing():
        assert templates.problems(name) == []


@pytest.mark.parametrize(
    ("template", "text", "problem"),
    [
        ("auto-mc-reward/analyzer/explain", "{{ outcome.id }}{{ warnings }}", "'warnings'"),
        ("auto-mc-reward/analyzer/explain", "{{ outcome.sucess }}", "no attribute 'sucess'"),
        # set by a loop in other templates, and never given
        ("auto-mc-reward/designer/first", "{{ task.title }}{{ outcome.id }}", "'outcome'"),
    ],
)
def test_a_template_that_would_fail_later_is_rejected_before_a_run(
    tmp_path, template, text, problem
):
    path = tmp_path / f"{template}.md.j2"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        Prompts(str(tmp_path)).require("auto-mc-reward", ("designer", "critic", "analyzer"))
    assert f"{path}:1: " in caught.value.message
    assert problem in caught.value.message


def test_an_analyzer_template_may_use_the_composition(tmp_path):
    path = tmp_path / "auto-mc-reward" / "analyzer" / "explain.md.j2"
    path.parent.mkdir(parents=True)
    path.write_text("{{ outcome.id }}{{ composition }}")
    assert Prompts(str(tmp_path)).problems("auto-mc-reward/analyzer/explain") == []


@pytest.mark.parametrize("task", sorted(listing()))
def test_a_prompt_names_every_field_and_no_hint(task):
    card, text = find(task).card, prompt(task)
    assert all(f"| {f.name} |" in text for f in card.fields if f.reward)
    assert not any(f"| {f.name} |" in text for f in card.fields if not f.reward)
    assert "Hints from a person" not in text
    stages = [s.name for h in card.hints for s in h.subgoals or ()]
    assert not any(name in text for name in stages)
    if card.hints:
        assert "Hints from a person" in prompt(task, hints=True)


def test_what_was_computed_from_hints_is_not_shown_either():
    found = (
        Diagnostic(kind="furthest-subgoal", words="SECRET STAGE", from_hints=True),
        Diagnostic(kind="hovering", words="stays there"),
    )
    outcome = Outcome(
        iteration=1,
        candidate="a",
        program="x = 1",
        status="evaluated",
        evaluation=Evaluation(success=0.1, low=0.0, high=0.2, steps=(9,)),
        analysis=Analysis(diagnostics=found),
    )
    told = Feedback(iteration=1, outcomes=(outcome,))
    assert "SECRET" not in prompt("doorkey16", feedback=told) and "stays there" in prompt(
        "doorkey16", feedback=told
    )
    assert "SECRET" in prompt("doorkey16", feedback=told, hints=True)


@pytest.mark.parametrize("method", ["auto-mc-reward", "calm", "lare"])
def test_what_reviewers_warned_of_reaches_the_designer_of_the_next_round(method):
    warned = (
        Verdict(
            kind="scale",
            severity="warn",
            stage="critic",
            line=4,
            message="'pull' outweighs the success bonus",
        ),
    )
    outcome = Outcome(
        iteration=1,
        candidate="a",
        program="x = 1",
        status="evaluated",
        evaluation=Evaluation(success=0.1, low=0.0, high=0.2, steps=(9,)),
        verdicts=warned,
    )
    told = messages(
        Prompts(),
        find("doorkey16").card,
        find_method(method),
        Question(iteration=2, feedback=Feedback(iteration=1, outcomes=(outcome,))),
    )
    assert "- scale (line 4): 'pull' outweighs the success bonus" in told[-1].content


def test_a_repair_quotes_the_error_after_an_unchanged_beginning():
    wrong = (Verdict(kind="unknown-field", line=7, message="there is no field 'keypos'"),)
    first = messages(Prompts(), find("doorkey16").card, METHOD, Question())
    repair = messages(
        Prompts(), find("doorkey16").card, METHOD, Question(refusals=wrong, previous="x = 1")
    )
    assert (
        repair[:2] == first
        and "x = 1" in repair[2].content
        and "no field 'keypos'" in repair[3].content
        and "line 7" in repair[3].content
    )


def test_an_own_template_overrides_and_its_faults_are_named_with_file_and_line(tmp_path):
    place = tmp_path / "auto-mc-reward" / "designer"
    place.mkdir(parents=True)
    (place / "advice.md.j2").write_text("Mine: {{ task.title }}\n")
    assert "Mine: A corridor" in "\n".join(
        m.content
        for m in messages(Prompts(str(tmp_path)), find("corridor").card, METHOD, Question())
    )
    for text, word, line in (
        ("fine\n{{ nothing_like_it }}", "nothing_like_it", 2),
        ("a\nb\n{% if %}", "Expected", 3),
    ):
        (place / "advice.md.j2").write_text(text)
        [problem] = Prompts(str(tmp_path)).problems("auto-mc-reward/designer/advice")
        assert f"advice.md.j2:{line}: " in problem and word in problem
    (place / "advice.md.j2").write_text("\n{{ task.titel }}")
    with pytest.raises(UserError, match=r"advice\.md\.j2:2.*titel"):
        messages(Prompts(str(tmp_path)), find("corridor").card, METHOD, Question())
    (place / "repair.md.j2").write_text("Try again.")
    assert any(
        "required variable 'verdicts'" in p
        for p in Prompts(str(tmp_path)).problems("auto-mc-reward/designer/repair")
    )


def test_templates_cannot_reach_into_python(tmp_path):
    place = tmp_path / "auto-mc-reward" / "designer"
    place.mkdir(parents=True)
    (place / "first.md.j2").write_text(
        "{{ task.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}"
    )
    with pytest.raises(UserError, match=r"first\.md\.j2:1"):
        messages(Prompts(str(tmp_path)), find("corridor").card, METHOD, Question())


def test_eject_copies_and_keeps_existing_files(tmp_path):
    written = Prompts().eject("auto-mc-reward/designer", tmp_path)
    assert len(written) > 5
    written[0].write_text("mine")
    assert (
        Prompts().eject("auto-mc-reward/designer", tmp_path) == []
        and written[0].read_text() == "mine"
    )
