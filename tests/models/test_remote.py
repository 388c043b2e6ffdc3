"""Every fault for every agent, over real HTTP through litellm.

A fault is understood, retried, or ends the run with a clear message; nothing on disk is lost.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from server import FATAL, GOOD, MENDED, PROGRAM, RETRIED, UNDERSTOOD, serve

from autoreward.errors import ModelFailed, UserError
from autoreward.loop.stages import analyzer, critic, designer
from autoreward.methods import find_method
from autoreward.models import ModelOptions, connect
from autoreward.models import caller as caller_module
from autoreward.models.caller import Caller
from autoreward.models.templates import Prompts
from autoreward.store.episodes import Episode, Trajectories
from autoreward.store.records import Evaluation, Limits
from autoreward.tasks.find import find

METHOD = find_method("auto-mc-reward")
CARD = find("corridor").card
AGENTS = ("designer", "critic", "analyzer")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(caller_module.time, "sleep", lambda _: None)


def trajectories(path: Path) -> Path:
    fields = np.stack([np.array([c, 38.0, 0.0]) for c in range(5)])
    Trajectories(CARD.layout, (Episode(fields, np.zeros(4, int), False, True, False),)).save(path)
    return path


def call(agent: str, server, folder: Path, key: str = "sk-SECRET", **options):
    (folder / "key").write_text(key)
    model = connect(
        "test-model",
        ModelOptions(
            base_url=server.url, key_command=f"cat {folder / 'key'}", timeout=3.0, **options
        ),
    )
    caller = Caller(model, folder / "calls", Limits())
    if agent == "designer":
        return caller, designer.design(caller, Prompts(), CARD, METHOD, designer.Question())
    if agent == "critic":
        return caller, critic.review(caller, Prompts(), CARD, METHOD, PROGRAM, 1, "a", 0)
    result = Evaluation(success=0.0, low=0.0, high=0.1, steps=(100,), steps_to_80=(None,))
    return caller, analyzer.analyze(
        caller,
        Prompts(),
        CARD,
        METHOD,
        program=PROGRAM,
        trajectories=trajectories(folder / "e.npz"),
        evaluation=result,
        training=[],
        iteration=1,
        candidate="a",
    )


def good(agent: str, result) -> bool:
    if agent == "designer":
        return result.program.strip() == PROGRAM.strip()
    if agent == "critic":
        return result.ok and result.by == "lint + test-model" and result.opinion == "sound"
    return (
        result.causes == ("it hovers",)
        and result.by == "code + test-model"
        and result.citations[0].checked is True
    )


def on_disk(folder: Path) -> list[dict]:
    return [json.loads(p.read_text()) for p in sorted((folder / "calls").rglob("*.json"))]


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("fault", (None, *UNDERSTOOD))
def test_what_can_be_understood_is(agent, fault, tmp_path):
    with serve(lambda a, n: fault) as server:
        caller, result = call(agent, server, tmp_path)
    assert good(agent, result) and caller.usage().calls == 1 and caller.usage().prompt_tokens == 100
    assert server.requests[0]["headers"]["authorization"] == "Bearer sk-SECRET"
    assert "sk-SECRET" not in json.dumps(on_disk(tmp_path))


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("fault", RETRIED)
def test_what_may_pass_is_tried_again(agent, fault, tmp_path):
    with serve(lambda a, n: fault if n == 0 else None) as server:
        caller, result = call(agent, server, tmp_path)
    assert good(agent, result)
    [note] = on_disk(tmp_path)
    assert note["sent"] == 2 and len(note["failures"]) == 1 and caller.usage().calls == 2


@pytest.mark.parametrize("fault", MENDED)
def test_a_reply_without_a_program_goes_back_to_the_designer(fault, tmp_path):
    with serve(lambda a, n: fault) as server, pytest.raises(designer.Unparseable) as caught:
        call("designer", server, tmp_path)
    assert (
        caught.value.verdict.kind in ("cut-off", "empty-reply", "no-program")
        and on_disk(tmp_path)[0]["reply"]
    )


@pytest.mark.parametrize("agent", ("critic", "analyzer"))
@pytest.mark.parametrize("fault", MENDED)
def test_an_unreadable_verdict_gets_one_more_turn_and_then_is_reported(agent, fault, tmp_path):
    with serve(lambda a, n: fault if n == 0 else None) as server:
        _, result = call(agent, server, tmp_path)
    assert good(agent, result) and len(on_disk(tmp_path)) == 2
    assert "could not be read" in server.requests[1]["body"]["messages"][0]["content"]
    other = tmp_path / "other"
    other.mkdir()
    with serve(lambda a, n: fault) as server:
        _, result = call(agent, server, other)
    told = result.opinion if agent == "critic" else result.summary
    assert "could not be read" in told and server.counts[agent] == 2


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("fault", FATAL)
def test_what_retries_cannot_fix_ends_with_a_clear_message(agent, fault, tmp_path):
    with serve(lambda a, n: fault) as server, pytest.raises(UserError) as caught:
        call(agent, server, tmp_path)
    assert (
        caught.value.code == FATAL[fault]
        and "sk-SECRET" not in caught.value.message
        and server.counts[agent] == 1
    )
    [note] = on_disk(tmp_path)
    assert "reply" not in note and len(note["failures"]) == 1


@pytest.mark.parametrize("fault", ("500", "reset", "not_json"))
def test_a_server_that_never_recovers_is_given_up(fault, tmp_path):
    with serve(lambda a, n: fault) as server, pytest.raises(ModelFailed, match="6 tries"):
        call("designer", server, tmp_path)
    assert server.counts["designer"] == 6


def test_nobody_listens(tmp_path):
    with serve() as server:
        pass
    with pytest.raises(ModelFailed, match="test-model"):
        call("designer", server, tmp_path)


def test_headers_go_along_and_are_not_stored(tmp_path):
    with serve() as server:
        call("designer", server, tmp_path, headers={"X-Team": "TOKEN-42"})
    assert server.requests[0]["headers"]["x-team"] == "TOKEN-42" and "TOKEN-42" not in json.dumps(
        on_disk(tmp_path)
    )


def test_a_prompt_longer_than_the_window_is_an_error_before_the_call(tmp_path):
    with serve() as server, pytest.raises(ModelFailed, match="it would be cut"):
        call("designer", server, tmp_path, num_ctx=500)
    assert server.requests == []


def test_an_own_price_table_counts(tmp_path):
    (tmp_path / "prices.yaml").write_text("test-model: {input: 10, output: 20}\n")
    with serve() as server:
        caller, _ = call("designer", server, tmp_path, prices=str(tmp_path / "prices.yaml"))
    assert caller.usage().cost == pytest.approx((100 * 10 + 50 * 20) / 1e6)


def test_without_a_price_the_cost_is_unknown(tmp_path):
    with serve() as server:
        caller, _ = call("designer", server, tmp_path)
    assert caller.usage().cost is None


def test_a_key_command_that_fails(tmp_path):
    with serve() as server, pytest.raises(UserError, match="--key-command"):
        connect("test-model", ModelOptions(base_url=server.url, key_command="false"))


def test_good_replies_are_good():
    assert set(AGENTS) <= set(GOOD)
