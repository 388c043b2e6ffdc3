"""Recordings, people and commands as models."""

import json
import sys
import threading
import time

import pytest

from autoreward.errors import ModelFailed, UserError
from autoreward.models import Message, ModelOptions, Request, connect
from autoreward.models.caller import Caller, digest
from autoreward.store.records import Limits


def request(candidate: str = "a", text: str = "write", place=None) -> Request:
    return Request("designer", 1, candidate, 0, (Message("user", text),), place=place)


def recording(folder, prompt: str = "write"):
    note = {
        "agent": "designer",
        "iteration": 1,
        "candidate": "a",
        "attempt": 0,
        "model": "m",
        "prompt_sha256": digest(request(text=prompt)),
        "reply": {"text": "hello"},
    }
    (folder / "calls" / "iteration-1").mkdir(parents=True)
    (folder / "calls" / "iteration-1" / "a-designer-0.json").write_text(json.dumps(note))
    return folder


def test_replay_matches_by_agent_iteration_candidate_and_try(tmp_path):
    model = connect(f"replay/{recording(tmp_path)}")
    assert model.language and model.ask(request()).text == "hello"
    with pytest.raises(ModelFailed, match="candidate b"):
        model.ask(request("b"))


def test_replay_reports_a_prompt_that_differs_and_strict_stops(tmp_path, capsys):
    place = recording(tmp_path, "another prompt")
    assert (
        "differs" in connect(f"replay/{place}").ask(request()).note
        and "differs" in capsys.readouterr().err
    )
    with pytest.raises(ModelFailed, match="differs"):
        connect(f"replay/{place}", ModelOptions(strict=True)).ask(request())


def test_replay_of_one_plain_reply(tmp_path):
    (tmp_path / "reply.md").write_text("plain")
    model = connect(f"replay/{tmp_path / 'reply.md'}")
    assert model.ask(request()).text == "plain" and not model.language


@pytest.mark.parametrize("content", [None, "", "{not json\n", '{"agent": 3}\n'])
def test_replay_of_nothing_is_a_clear_error(tmp_path, content):
    place = tmp_path / "calls.jsonl"
    if content is not None:
        place.write_text(content)
    with pytest.raises(UserError, match="replay"):
        connect(f"replay/{place}")


def test_manual_writes_the_prompt_and_waits_for_the_reply(tmp_path):
    caller = Caller(connect("manual"), tmp_path, Limits())

    def person() -> None:
        prompt = tmp_path / "iteration-1" / "a-designer-0.prompt.md"
        while not prompt.exists():
            time.sleep(0.05)
        assert prompt.read_text() == "write\n"
        (tmp_path / "iteration-1" / "a-designer-0.reply.md").write_text("by hand")

    thread = threading.Thread(target=person)
    thread.start()
    assert caller.ask(request()).text == "by hand"
    thread.join()


def test_a_command_gets_the_prompt_and_answers(tmp_path):
    script = tmp_path / "upper.py"
    script.write_text("import sys; print(sys.stdin.read().upper())")
    assert connect(f"cmd:{sys.executable} {script}").ask(request()).text.strip() == "WRITE"


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("no-such-command-here", "not found"),
        (f"{sys.executable} -c 'import sys; sys.exit(\"out of luck\")'", "out of luck"),
    ],
)
def test_a_command_that_fails(command, word):
    with pytest.raises(UserError, match=word):
        connect(f"cmd:{command}").ask(request())


@pytest.mark.parametrize(
    "name",
    ["offline/other", "cmd:", "replay/nowhere", "no-such-provider-at-all", "openai/gpt-4o-mini"],
)
def test_wrong_names_and_missing_keys_are_clear(name, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError) as caught:
        connect(name)
    assert caught.value.hint and caught.value.code
