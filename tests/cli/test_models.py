"""`autoreward models test` against a server on loopback: good and bad replies, a dead address."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from server import serve


def try_model(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "autoreward", "models", "test", *words],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_good_server_shows_price_window_speed_and_a_forecast(tmp_path):
    (tmp_path / "prices.yaml").write_text("test-model: {input: 1.0, output: 2.0, window: 32768}\n")
    with serve() as server:
        done = try_model(
            "test-model",
            "--base-url",
            server.url,
            "--prices",
            str(tmp_path / "prices.yaml"),
            "--header",
            "X-Team: robots",
        )
        assert done.returncode == 0, done.stderr
        assert [r["agent"] for r in server.requests] == ["designer", "critic"] and all(
            r["headers"]["x-team"] == "robots" for r in server.requests
        )
    for words in (
        "2 requests",
        "$1 per million input tokens, $2 per million output tokens",
        "32,768 tokens",
        "tokens a second",
        "accepted by the linter",
        "verdict      read",
        "18 requests",
        "next: autoreward design corridor",
    ):
        assert words in done.stdout, (words, done.stdout)


@pytest.mark.parametrize(
    ("agent", "fault", "words"),
    [("designer", "truncated", "cannot be read"), ("critic", "truncated", "could not be read")],
)
def test_replies_that_cannot_be_used_are_reported(agent, fault, words):
    with serve(lambda who, number: fault if who == agent else None) as server:
        done = try_model("test-model", "--base-url", server.url, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and not found["usable"] and words in json.dumps(found)


def test_a_dead_address_is_one_sentence():
    done = try_model("test-model", "--base-url", "http://127.0.0.1:9/v1")
    assert (
        done.returncode == 4
        and "is it running" in done.stderr
        and "Traceback" not in done.stderr
        and "resume" not in done.stderr
    )
