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
from autoreward.models import Reply, Request
from autoreward.models.caller import digest
from autoreward.store.files import plain, write


class _Free:
    """No price, and tokens as a quarter of the characters."""

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


class Replay(_Free):
    """Replies of a recorded run (its `calls/`), or of a file: JSON lines of recorded calls, or one
    plain reply for every designer call.
    """

    def __init__(self, place: str, strict: bool) -> None:
        self.name, self.strict = f"replay/{place}", strict
        path = next((p for p in (Path(place), Path("runs") / place) if p.exists()), None)
        if path is None:
            raise UserError(f"replay: there is no run or file {place!r}", "autoreward runs list")
        self.plain: str | None = None
        self.calls: dict[tuple[Any, ...], dict[str, Any]] = {}
        try:
            if path.is_dir():
                recorded = [
                    json.loads(plain(p)) for p in sorted(path.glob("calls/iteration-*/*.json"))
                ]
            elif path.suffix in (".json", ".jsonl"):
                recorded = [
                    json.loads(line)
                    for line in path.read_text(encoding="utf-8").splitlines()
                    if line.strip()
                ]
            else:
                recorded, self.plain = [], path.read_text(encoding="utf-8")
            self.calls = {
                (
                    r["agent"],
                    r["iteration"],
                    r["candidate"],
                    r["attempt"],
                    r.get("turn", 0),
                    r.get("key", ""),
                ): r
                for r in recorded
                if r.get("reply")
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"replay: {path} holds no recorded calls: {error}",
                "a run directory, or JSON lines as in its calls/",
            ) from None
        if not self.calls and self.plain is None:
            raise UserError(f"replay: {path} holds no recorded replies", "autoreward runs list")
        models = {str(r.get("model", "")) for r in self.calls.values()}
        self.language = self.plain is None and not models <= {"offline/search"}

    def ask(self, request: Request) -> Reply:
        if self.plain is not None:
            if request.agent != "designer":
                raise ModelFailed(
                    f"{self.name}: a plain reply answers the designer, not the {request.agent}"
                )
            return Reply(self.plain, self.name)
        recorded = self.calls.get(
            (
                request.agent,
                request.iteration,
                request.candidate,
                request.attempt,
                request.turn,
                request.key,
            )
        )
        where = f"{request.agent}, iteration {request.iteration}, candidate {request.candidate}, try {request.attempt}"
        if recorded is None:
            raise ModelFailed(
                f"{self.name}: no reply was recorded for {where}",
                "replay with the options of the recorded run",
            )
        changed = recorded.get("prompt_sha256") not in (None, digest(request))
        if changed and self.strict:
            raise ModelFailed(
                f"{self.name}: the prompt differs from the recorded one ({where}), and --set strict=on was given",
                "leave strict off to use the reply all the same",
            )
        note = f"the prompt differs from the recorded one ({where})" if changed else ""
        if note:
            print(f"replay: {note}", file=sys.stderr)
        told = recorded["reply"]
        told = {"text": told} if isinstance(told, str) else told
        return Reply(
            str(told["text"]),
            self.name,
            int(told.get("prompt_tokens", 0)),
            int(told.get("completion_tokens", 0)),
            0.0,
            0.0,
            str(told.get("finish", "stop")),
            note,
        )


class Manual(_Free):
    """The prompt goes to a file, the reply is awaited in another: any chat window, or a person,
    can be the model.
    """

    name = "manual"

    def ask(self, request: Request) -> Reply:
        assert request.place is not None
        prompt, reply = (
            request.place.with_name(request.place.name + ".prompt.md"),
            request.place.with_name(request.place.name + ".reply.md"),
        )
        write(prompt, request.text + "\n")
        if not reply.exists():
            print(
                f"manual: prompt in {prompt}\n        waiting for the reply in {reply} (Ctrl-C stops, autoreward resume goes on)",
                file=sys.stderr,
                flush=True,
            )
        began, before = time.monotonic(), -1
        # a reply counts once it has stopped growing
        while True:
            size = reply.stat().st_size if reply.exists() else -1
            if size > 0 and size == before:
                return self._reply(
                    request, reply.read_text(encoding="utf-8", errors="replace"), began
                )
            before = size
            time.sleep(0.5)


class Command(_Free):
    """Any command-line model or agent: the prompt on standard input, the reply on standard output.

    Runs through no shell.
    """

    def __init__(self, command: str, timeout: float) -> None:
        self.name, self.timeout = f"cmd:{command}", timeout
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
                f"--model {self.name}: there is no command {self.words[0]!r}",
                "is it on PATH?",
                MODEL,
            ) from None
        except (subprocess.TimeoutExpired, PermissionError) as error:
            raise ModelFailed(f"{self.name}: {error}") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise ModelFailed(
                f"{self.name} ended with exit code {done.returncode}: {said[-1] if said else 'no word on stderr'}"
            )
        return self._reply(request, done.stdout.decode(errors="replace"), began)
