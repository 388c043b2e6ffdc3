"""What prompts say about compositions, and what is read from a designer's reply."""

import pytest

from autoreward.errors import UserError
from autoreward.loop.options import DesignOptions
from autoreward.loop.setup import start
from autoreward.loop.stages import critic
from autoreward.loop.stages.designer import Question, messages
from autoreward.methods import find_method
from autoreward.models import ModelOptions
from autoreward.models.replies import UnreadableReply, composition_of, program_of
from autoreward.models.templates import Prompts
from autoreward.rewards.composition import KINDS, Composition, read
from autoreward.tasks.find import find

CARD, METHOD = find("corridor").card, find_method("auto-mc-reward")
PROGRAM = "```python\ndef reward(prev, action, curr, memory):\n    return {'a': curr.cell}\n```\n"


def told(**given) -> str:
    return "\n".join(m.content for m in messages(Prompts(), CARD, METHOD, Question(**given)))


def test_by_default_prompts_do_not_mention_compositions():
    assert (
        "yaml" not in told()
        and "composition" not in told()
        and told() == told(composition=Composition())
    )


def test_a_designer_that_may_choose_is_shown_every_kind():
    text = told(composing=True)
    assert "second fenced block" in text and all(
        f"| {k.model_fields['kind'].default} |" in text and k.words()["title"] in text
        for k in KINDS
    )


def test_designer_and_critic_see_the_pinned_composition():
    for text in (
        told(composition=read("signs")),
        critic.message(Prompts(), CARD, METHOD, "x = 1", composition=read("signs")).content,
    ):
        assert (
            "- kind: signs" in text
            and "the sum of your terms (potentials shaped as above)" not in text
            and "SPARSE" in text
        )


def test_the_last_yaml_block_counts_and_a_reply_may_have_none():
    assert composition_of(PROGRAM) is None
    reply = "```yaml\n- kind: best\n```\n" + PROGRAM + "and so\n```yml\n- kind: gain\n```\n"
    assert composition_of(reply) == Composition.model_validate({"transforms": [{"kind": "gain"}]})
    assert "def reward" in program_of(reply)[0]


@pytest.mark.parametrize(
    ("block", "line"),
    [("transforms:\n\n- kind: bset", 3), ("- kind: [", 1), ("- kind: signs\n  dense: {}", 2)],
)
def test_a_bad_block_gives_a_class_a_line_and_a_hint(block, line):
    with pytest.raises(UnreadableReply) as caught:
        composition_of(f"{PROGRAM}\n```yaml\n{block}\n```\n")
    assert (
        caught.value.kind == "composition"
        and caught.value.line == line
        and caught.value.hint
        and "yaml block" in caught.value.message
    )


def test_a_study_rejects_a_composition(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="a study sums the terms"):
        start(
            DesignOptions(task="corridor", external_training=True, compose="signs"), ModelOptions()
        )
    assert not list(tmp_path.iterdir())
