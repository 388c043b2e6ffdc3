"""Asking for an answer in a given form: a second turn that names the problem, and no third."""

import pytest
from pydantic import BaseModel

from autoreward.models import Message, Reply, Request
from autoreward.models.asking import CUT_OFF, ask_for_record, ask_until_read
from autoreward.models.caller import Caller
from autoreward.models.replies import UnreadableReply
from autoreward.store.records import Limits


class Verdict(BaseModel):
    ok: bool


class Scripted:
    """A model that gives its replies in order and keeps the requests."""

    name, language = "scripted", True

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[Request] = []

    def ask(self, request: Request) -> Reply:
        self.requests.append(request)
        return self.replies.pop(0)

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        return 0.0

    def tokens(self, text: str) -> int:
        return 1


def messages(problem: str) -> tuple[Message, ...]:
    return (Message("user", f"problem: {problem}"),)


def request(turn: int = 0) -> Request:
    return Request("critic", 1, "a", 0, (), turn=turn)


def test_a_readable_reply_is_asked_for_once(tmp_path):
    model = Scripted(Reply('{"ok": true}', "m"))
    assert ask_for_record(Caller(model, tmp_path, Limits()), request(), Verdict, messages).ok
    [sent] = model.requests
    assert sent.turn == 0
    assert sent.schema is Verdict
    assert sent.messages == messages("")


def test_the_second_turn_names_the_problem_and_is_recorded(tmp_path):
    model = Scripted(Reply("no idea", "m"), Reply('{"ok": false}', "m"))
    found = ask_for_record(Caller(model, tmp_path, Limits()), request(4), Verdict, messages)
    assert not found.ok
    assert [r.turn for r in model.requests] == [4, 5]
    assert model.requests[1].text == "problem: the reply holds no JSON object"
    names = sorted(p.name for p in tmp_path.glob("iteration-1/*.json"))
    assert names == ["a-critic-0.4.json", "a-critic-0.5.json"]


def test_a_reply_that_was_cut_off_is_asked_for_again_in_fewer_words():
    model = Scripted(Reply('{"ok": tr', "m", finish="length"), Reply("later", "m", finish="length"))

    def read(text: str) -> str:
        raise UnreadableReply("no-record", "not JSON")

    with pytest.raises(UnreadableReply) as caught:
        ask_until_read(model.ask, request(), messages, read)
    assert model.requests[1].text == f"problem: {CUT_OFF}"
    assert caught.value.message == CUT_OFF
    assert model.replies == []
