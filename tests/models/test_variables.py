"""What agents are told: curves pooled without losing windows, and nothing of the hints unless they
are shown.
"""

import pytest

from autoreward.models import variables as briefing
from autoreward.models.templates import Prompts
from autoreward.store.records import Analysis, Diagnostic, Outcome
from autoreward.tasks.find import find, listing


def outcome(**changes) -> Outcome:
    return Outcome(iteration=1, candidate="a", program="x = 1", status="evaluated", **changes)


def test_windows_are_pooled_and_gaps_stay_gaps():
    curve = tuple(
        (100 * (k + 1), None if k < 10 else 0.0 if k % 2 else 1.0, None) for k in range(50)
    )
    rows = briefing.outcome(outcome(curve=curve), False)["curve"]
    assert [r["steps"] for r in rows] == list(range(500, 5001, 500))
    assert [r["success"] for r in rows[:3]] == [None, None, pytest.approx(0.6)] and all(
        r["length"] is None for r in rows
    )


@pytest.mark.parametrize("shown", [False, True])
def test_hints_and_what_was_computed_from_them_are_shown_only_on_demand(shown):
    card = find("doorkey16").card
    told = outcome(
        analysis=Analysis(
            diagnostics=(
                Diagnostic(kind="furthest-subgoal", words="they miss the door", from_hints=True),
                Diagnostic(kind="slow", words="slow"),
            )
        )
    )
    assert ("furthest-subgoal" in str(briefing.outcome(told, shown))) == shown
    assert bool(briefing.hints(card, shown)) == shown


@pytest.mark.parametrize("name", sorted(listing()))
def test_no_hint_leaks_into_a_card_as_told(name):
    card = find(name).card
    assert str(briefing.task(card)) == str(briefing.task(card.model_copy(update={"hints": ()})))


def test_headings_have_a_blank_line_before_them_and_code_is_left_as_it_is():
    program = "import numpy as np\n\n\ndef reward(p, a, c, m):\n    # one\n    return {}\n"
    text = Prompts().render("auto-mc-reward/designer/revise", _variables(program))
    assert program.strip() in text
    inside = False
    for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False):
        inside ^= before.startswith("```")
        assert inside or not line.startswith("#") or before == ""


def _variables(program: str):
    from autoreward.models.examples import variables

    given = variables("designer")
    given["feedback"] = [{**item, "program": program} for item in given["feedback"]]
    return given
