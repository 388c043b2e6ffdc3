"""lare: several samples, one call that merges them, and factors from hints offline."""

import pytest

from autoreward.errors import UserError
from autoreward.loop.stages.designer import Question, messages
from autoreward.methods import find_method
from autoreward.models import Request
from autoreward.models.offline.guides import write_factors
from autoreward.models.offline.search import OfflineSearch
from autoreward.models.templates import Prompts
from autoreward.rewards.linter import lint
from autoreward.tasks.find import find, listing

METHOD = find_method("lare")
CARD = find("halfcheetah5m")


def test_five_samples_come_before_the_call_that_merges_them():
    assert METHOD.prepares({}) == 5 and METHOD.prepares({"samples": "2"}) == 2
    asked = messages(Prompts(), CARD.card, METHOD, Question(), {}, (), "sample")
    assert (
        "2 to 12 factors" in asked[-1].content
        and "def factors(prev, action, curr, memory)" in asked[0].content
    )
    replies = [{"template": "sample", "number": k, "text": f"SAMPLE {k}"} for k in (1, 2)]
    merged = messages(Prompts(), CARD.card, METHOD, Question(), {}, replies)[-1].content
    assert "# Answer 1" in merged
    assert "SAMPLE 2" in merged
    assert "Combine all the factors" in merged


@pytest.mark.parametrize("name", [n for n in listing() if n != "mine"])
def test_offline_factors_are_clean_and_each_variant_leaves_another_one_out(name):
    card = find(name).card
    if not card.hints:
        pytest.skip("no hints to work from")
    programs = [write_factors(card, v) for v in range(4)]
    assert all(
        not [v for v in lint(p, card.reward_layout, "factors") if v.severity == "refuse"]
        for p in programs
    )
    assert (
        len({p.partition("def factors")[2] for p in programs}) > 1 or programs[0].count('":') <= 3
    )


def test_offline_samples_are_programs_too():
    material = {"card": CARD.card, "feedback": None, "attempt": 1, "entry": "factors"}
    text = OfflineSearch().ask(Request("sample", 1, "a", 0, (), turn=1, material=material)).text
    assert "def factors(" in text and "no language model" in text


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"samples": "0"}, "whole number from 1 to 20"),
        ({"samples": "2.5"}, "whole number"),
        ({"loss": "mse"}, "rd or rrd"),
    ],
)
def test_settings_name_what_they_take(setting, words):
    with pytest.raises(UserError, match=words):
        METHOD.require(CARD, "m", setting)


def test_hindsight_and_a_learned_signal_do_not_go_together():
    with pytest.raises(UserError, match="needs whole episodes"):
        METHOD.require(find("fetchreach"), "m", {})
