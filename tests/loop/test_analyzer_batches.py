"""The analyzer reads failed episodes in batches, a call each, and a last call sums up; one batch
asks as before.
"""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

from autoreward.loop.stages import analyzer
from autoreward.methods import find_method
from autoreward.models import Reply
from autoreward.models.caller import Caller
from autoreward.models.templates import Prompts
from autoreward.store.episodes import Episode, Trajectories
from autoreward.store.records import Evaluation, Limits
from autoreward.tasks.find import find

CARD = find("corridor").card
METHOD = find_method("auto-mc-reward")
PROGRAM = "def reward(prev, action, curr, memory):\n    return {'way': curr.cell - prev.cell}\n"


@dataclass
class Scripted:
    """A language model that notes what it is asked."""

    name: str = "scripted"
    language: bool = True
    asked: list[str] = field(default_factory=list)

    def price(self, prompt_tokens, completion_tokens):
        return 0.0

    def tokens(self, text):
        return 1

    def ask(self, request):
        self.asked.append(request.text)
        said = {
            "causes": [f"cause {len(self.asked)}"],
            "suggestions": [],
            "citations": [{"episode": 0, "step": 1, "field": "cell", "claim": "c"}],
            "summary": f"summary {len(self.asked)}",
        }
        return Reply(json.dumps(said), self.name)


@pytest.fixture
def explained(tmp_path):
    episodes = tuple(
        Episode(np.zeros((4, CARD.layout.width)), np.zeros(3, np.int64), False, True, k == 9)
        for k in range(10)
    )
    Trajectories(CARD.layout, episodes).save(tmp_path / "e.npz")

    def explain(batches):
        model = Scripted()
        caller = Caller(model, tmp_path / f"calls-{batches}", Limits(), {"batches": str(batches)})
        found = analyzer.analyze(
            caller,
            Prompts(),
            CARD,
            METHOD,
            program=PROGRAM,
            trajectories=tmp_path / "e.npz",
            evaluation=Evaluation(success=0.1),
            training=[],
            iteration=1,
            candidate="a",
        )
        return model.asked, found

    return explain


def test_one_batch_is_one_call(explained):
    asked, found = explained(1)
    assert (
        len(asked) == 1
        and found.causes == ("cause 1",)
        and "Episode 0 (" in asked[0]
        and "Episode 4 (" not in asked[0]
    )


def test_two_batches_are_other_episodes_and_their_sum_is_what_counts(explained):
    asked, found = explained(2)
    assert len(asked) == 3 and "Episode 4 (" in asked[1] and "Episode 0 (" not in asked[1]
    assert (
        "Batch 1: summary 1" in asked[2]
        and "cause: cause 2" in asked[2]
        and "Episode 0 (" not in asked[2]
    )
    assert (
        found.causes == ("cause 3",) and found.summary == "summary 3" and found.citations[0].checked
    )


def test_batches_without_a_failure_are_not_read(explained):
    # nine failures fill three batches
    asked, _ = explained(5)
    assert len(asked) == 4


def test_calls_are_counted_as_they_are_made():
    assert METHOD.calls(3, {}) == (9, 33) and METHOD.calls(3, {"batches": "2"}) == (15, 39)
