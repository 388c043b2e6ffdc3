"""Values of prompt variables: curves pooled without losing windows, hints only if shown."""

import pytest

from autoreward.models import briefing
from autoreward.models.templates import Prompts
from autoreward.models.variables import examples
from autoreward.store.records import Analysis, Diagnostic, Outcome
from autoreward.tasks.find import find, listing


def outcome(**changes) -> Outcome:
    return Outcome(iteration=1, candidate="a", program="x = 1", status="evaluated", **changes)


def test_windows_are_pooled_and_gaps_stay_gaps():
    curve = tuple((100 * (k + 1), None, None) for k in range(10))
    curve += tuple((100 * (k + 1), 1.0 - k % 2, None) for k in range(10, 50))
    rows = briefing.outcome(outcome(curve=curve), False)["curve"]
    assert [r["steps"] for r in rows] == list(range(500, 5001, 500))
    assert [r["success"] for r in rows[:3]] == [None, None, pytest.approx(0.6)]
    assert all(r["length"] is None for r in rows)


@pytest.mark.parametrize("shown", [False, True])
def test_hints_and_what_was_computed_from_them_are_shown_only_on_demand(shown):
    card = find("doorkey16").card
    from_hints = Diagnostic(kind="furthest-subgoal", words="they miss the door", from_hints=True)
    slow = Diagnostic(kind="slow", words="slow")
    evaluated = outcome(analysis=Analysis(diagnostics=(from_hints, slow)))
    assert ("furthest-subgoal" in str(briefing.outcome(evaluated, shown))) == shown
    assert bool(briefing.hints(card, shown)) == shown


@pytest.mark.parametrize("name", sorted(listing()))
def test_no_hint_leaks_into_the_variable_task(name):
    card = find(name).card
    assert str(briefing.task(card)) == str(briefing.task(card.model_copy(update={"hints": ()})))


def test_headings_have_a_blank_line_before_them_and_code_is_left_as_it_is():
    program = "import numpy as np\n\n\ndef reward(p, a, c, m):\n    # one\n    return {}\n"
    given = examples("designer")
    given["feedback"] = [{**item, "program": program} for item in given["feedback"]]
    text = Prompts().render("auto-mc-reward/designer/revise", given)
    assert program.strip() in text
    inside = False
    for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False):
        inside ^= before.startswith("```")
        assert inside or not line.startswith("#") or before == ""
