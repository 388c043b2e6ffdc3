"""The ledger: every call on disk before use, limits before each call, nothing paid twice."""

import json

import pytest

from autoreward.errors import BudgetExhausted, ModelFailed, UserError
from autoreward.models import Message, Reply, Request, Transient
from autoreward.models import caller as caller_module
from autoreward.models.caller import Caller
from autoreward.store.records import Limits


class Scripted:
    """Answers, or raises, what it is given."""

    name, language = "scripted", True

    def __init__(self, *script, dollars: float | None = 0.01) -> None:
        self.script, self.dollars, self.asked = list(script), dollars, 0

    def ask(self, request: Request) -> Reply:
        self.asked += 1
        step = self.script.pop(0)
        if isinstance(step, BaseException):
            raise step
        return Reply(step, self.name, 10, 5, self.dollars)

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        return self.dollars

    def tokens(self, text: str) -> int:
        return 10


def request(candidate: str = "a", agent: str = "designer") -> Request:
    return Request(agent, 1, candidate, 0, (Message("user", "write"),))


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(caller_module.time, "sleep", lambda _: None)


def test_a_reply_on_disk_is_never_asked_for_again(tmp_path):
    model = Scripted("one")
    assert Caller(model, tmp_path, Limits()).ask(request()).text == "one"
    again = Caller(Scripted(), tmp_path, Limits())
    assert again.ask(request()).text == "one" and again.usage().calls == 1
    note = json.loads((tmp_path / "iteration-1" / "a-designer-0.json").read_text())
    assert note["messages"][0]["content"] == "write" and note["reply"]["cost"] == 0.01


def test_a_call_in_flight_is_noted_and_counts_as_spent(tmp_path):
    class Killed(BaseException):
        pass

    with pytest.raises(Killed):
        Caller(Scripted(Killed()), tmp_path, Limits()).ask(request())
    resumed = Caller(Scripted("late"), tmp_path, Limits())
    assert resumed.usage().calls == 1 and resumed.usage().prompt_tokens == 10
    assert resumed.ask(request()).text == "late" and resumed.usage().calls == 2


def test_failures_are_retried_counted_and_recorded(tmp_path):
    model = Scripted(Transient("429"), Transient("reset"), "fine")
    caller = Caller(model, tmp_path, Limits())
    assert caller.ask(request()).text == "fine" and caller.usage().calls == 3
    note = json.loads((tmp_path / "iteration-1" / "a-designer-0.json").read_text())
    assert note["failures"] == ["429", "reset"]


def test_retries_end(tmp_path):
    with pytest.raises(ModelFailed, match="overloaded"):
        Caller(Scripted(*[Transient("overloaded")] * 9), tmp_path, Limits()).ask(request())


def test_a_long_retry_after_is_not_slept(tmp_path):
    with pytest.raises(ModelFailed, match="asks to wait 900 s"):
        Caller(Scripted(Transient("429", 900)), tmp_path, Limits()).ask(request())


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (Limits(max_calls=1), "--max-calls"),
        (Limits(max_tokens=20), "--max-tokens"),
        (Limits(max_cost=0.015), "--max-cost"),
        (Limits(max_time=-1.0), "--max-time"),
    ],
)
def test_limits_are_checked_before_each_call(tmp_path, limits, word):
    model = Scripted("one", "two")
    caller = Caller(model, tmp_path, limits)
    with pytest.raises(BudgetExhausted, match=word) as caught:
        caller.ask(request("a"))
        caller.ask(request("b"))
    assert caught.value.code == 5 and model.asked <= 1


def test_failed_calls_count_against_the_limit(tmp_path):
    model = Scripted(Transient("500"), Transient("500"), "never")
    with pytest.raises(BudgetExhausted):
        Caller(model, tmp_path, Limits(max_calls=2)).ask(request())
    assert model.asked == 2


def test_an_unknown_price_is_unknown_and_no_cost_limit_is_promised(tmp_path):
    caller = Caller(Scripted("one", dollars=None), tmp_path, Limits())
    caller.ask(request())
    assert caller.usage().cost is None
    with pytest.raises(UserError, match="no price is known"):
        Caller(Scripted(dollars=None), tmp_path, Limits(max_cost=1.0))


def test_half_a_surrogate_pair_in_a_reply_is_written_all_the_same(tmp_path):
    class Odd:
        name, language = "odd", True

        def ask(self, request):
            return Reply("well \ud800 then", "odd")

        def price(self, prompt_tokens, completion_tokens):
            return 0.0

        def tokens(self, text):
            return 1

    caller = Caller(Odd(), tmp_path, Limits())
    assert (
        caller.ask(Request("designer", 1, "a", 0, (Message("user", "hello"),))).text
        == "well ? then"
    )
    assert "well ? then" in next(tmp_path.rglob("*.json")).read_text()
