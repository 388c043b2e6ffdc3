"""Models without a network: a recording, a person at a keyboard, any command."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from autoreward.errors import MODEL, ModelFailed, UserError
from autoreward.models.caller import digest
from autoreward.models.model import Reply, Request
from autoreward.store.io import read_bytes_safely, write
from autoreward.store.run import RunFolder, call_paths

# Seconds between two looks at a reply file that somebody is writing.
POLL = 0.5


class _Free:
    """A model without a price, whose tokens are a quarter of the characters."""

    name: str
    language = True

    def _reply(self, request: Request, text: str, began: float) -> Reply:
        return Reply(
            text,
            self.name,
            self.tokens(request.text),
            self.tokens(text),
            latency=time.monotonic() - began,
        )

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        return 0.0

    def tokens(self, text: str) -> int:
        return len(text) // 4


class ReplayModel(_Free):
    """The replies of a recorded run (its `calls/`), or of a file.

    A file holds recorded calls as JSON lines, or one plain reply for every designer call. Replies
    are found by agent, iteration, candidate, attempt, turn and key; a prompt that differs from the
    recorded one is reported, and with `strict` it is an error.
    """

    def __init__(self, place: str, strict: bool) -> None:
        self.name = f"replay/{place}"
        self.strict = strict
        path = next((p for p in (Path(place), Path("runs") / place) if p.exists()), None)
        if path is None:
            raise UserError(f"replay: no run or file {place!r}", "autoreward runs list")
        self.plain: str | None = None
        self.calls: dict[tuple[Any, ...], dict[str, Any]] = {}
        try:
            recorded = _recorded_calls(path)
            if recorded is None:
                self.plain = path.read_text(encoding="utf-8")
            for call in recorded or ():
                if call.get("reply"):
                    self.calls[_identity(call)] = call
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"replay: {path} holds no recorded calls: {error}",
                "name a run directory, or a file of JSON lines like those in its calls/",
            ) from None
        if not self.calls and self.plain is None:
            raise UserError(f"replay: {path} holds no recorded replies", "autoreward runs list")
        models = {str(call.get("model", "")) for call in self.calls.values()}
        self.language = self.plain is None and not models <= {"offline/search"}

    def ask(self, request: Request) -> Reply:
        if self.plain is not None:
            if request.agent != "designer":
                raise ModelFailed(
                    f"{self.name}: a plain reply answers the designer, not the {request.agent}"
                )
            return Reply(self.plain, self.name)
        asked_for = (
            f"{request.agent}, iteration {request.iteration}, candidate {request.candidate}, "
            f"try {request.attempt}"
        )
        call = self.calls.get(
            (
                request.agent,
                request.iteration,
                request.candidate,
                request.attempt,
                request.turn,
                request.key,
            )
        )
        if call is None:
            raise ModelFailed(
                f"{self.name}: no reply was recorded for {asked_for}",
                "replay with the options of the recorded run",
            )
        note = ""
        if call.get("prompt_sha256") not in (None, digest(request)):
            note = f"the prompt differs from the recorded one ({asked_for})"
            if self.strict:
                raise ModelFailed(
                    f"{self.name}: {note}, and --set strict=on was given",
                    "leave out strict to use the reply anyway",
                )
            print(f"replay: {note}", file=sys.stderr)
        return self._recorded_reply(call["reply"], note)

    def _recorded_reply(self, recorded: Any, note: str) -> Reply:
        if isinstance(recorded, str):
            recorded = {"text": recorded}
        return Reply(
            str(recorded["text"]),
            self.name,
            int(recorded.get("prompt_tokens", 0)),
            int(recorded.get("completion_tokens", 0)),
            finish=str(recorded.get("finish", "stop")),
            note=note,
        )


def _recorded_calls(path: Path) -> list[dict[str, Any]] | None:
    """Return the calls of a run or of a file, None if the file is a plain reply."""
    if path.is_dir():
        files = call_paths(RunFolder(path).calls_path)
        return [json.loads(read_bytes_safely(file)) for file in files]
    if path.suffix in (".json", ".jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]
    return None


def _identity(call: dict[str, Any]) -> tuple[Any, ...]:
    return (
        call["agent"],
        call["iteration"],
        call["candidate"],
        call["attempt"],
        call.get("turn", 0),
        call.get("key", ""),
    )


class Manual(_Free):
    """Writes the prompt to a file and waits for the reply in another.

    Any chat window can be the model that way, and so can a person.
    """

    name = "manual"

    def ask(self, request: Request) -> Reply:
        assert request.place is not None
        prompt = request.place.with_name(request.place.name + ".prompt.md")
        reply = request.place.with_name(request.place.name + ".reply.md")
        write(prompt, request.text + "\n")
        if not reply.exists():
            print(
                f"manual: prompt in {prompt}\n"
                f"        waiting for the reply in {reply} "
                "(Ctrl-C stops, autoreward resume continues)",
                file=sys.stderr,
                flush=True,
            )
        began = time.monotonic()
        before = -1
        # A reply counts once it has stopped growing.
        while True:
            size = reply.stat().st_size if reply.exists() else -1
            if size > 0 and size == before:
                text = reply.read_text(encoding="utf-8", errors="replace")
                return self._reply(request, text, began)
            before = size
            time.sleep(POLL)


class Command(_Free):
    """Any command-line model or agent: prompt on standard input, reply on standard output.

    The command is not run through a shell. `timeout` is in seconds.
    """

    def __init__(self, command: str, timeout: float) -> None:
        self.name = f"cmd:{command}"
        self.timeout = timeout
        try:
            self.words = shlex.split(command)
        except ValueError as error:
            raise UserError(f"--model cmd:{command}: {error}", "quote as in a shell") from None
        if not self.words:
            raise UserError("--model cmd: names no command", "e.g. --model 'cmd:llm -m some-model'")

    def ask(self, request: Request) -> Reply:
        began = time.monotonic()
        try:
            done = subprocess.run(
                self.words,
                input=request.text.encode(),
                capture_output=True,
                timeout=self.timeout,
                env=os.environ.copy(),
            )
        except FileNotFoundError:
            raise UserError(
                f"--model {self.name}: command {self.words[0]!r} not found",
                "is it on PATH?",
                MODEL,
            ) from None
        except (subprocess.TimeoutExpired, PermissionError) as error:
            raise ModelFailed(f"{self.name}: {error}") from None
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            last = lines[-1] if lines else "(no output on stderr)"
            raise ModelFailed(f"{self.name} ended with exit code {done.returncode}: {last}")
        return self._reply(request, done.stdout.decode(errors="replace"), began)
