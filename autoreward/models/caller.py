"""The only place that asks a model: it records calls, enforces the limits, and retries.

`calls/iteration-I/a-designer-0.json` holds the prompt, how often it was sent, and the reply once
there is one. A call is recorded before it is sent, so one that is killed in between counts as
spent. A request whose reply is on disk is never sent again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from autoreward.errors import BudgetExhausted, ModelFailed, UserError
from autoreward.models.model import Model, Reply, Request, Transient
from autoreward.store.io import read_bytes_safely, write
from autoreward.store.records import Limits, Usage
from autoreward.store.run import call_path, call_paths

RETRIES = 5
# Seconds between two tries, at most. A server that asks for more ends the run instead.
LONGEST_WAIT = 60.0
RAISE_LIMIT = "autoreward resume, with a higher limit"


class Caller:
    """Asks `model` and records each call in `folder`. Safe to use from several threads.

    Raises UserError if a cost limit is given and the model's price is unknown.
    """

    def __init__(
        self,
        model: Model,
        folder: Path,
        limits: Limits,
        settings: dict[str, str] | None = None,
        retries: int = RETRIES,
    ) -> None:
        self.model = model
        self.folder = folder
        self.limits = limits
        self.settings = settings or {}
        self.retries = retries
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._notes: dict[Path, dict[str, Any]] = {path: _read(path) for path in call_paths(folder)}
        _require_price(model, limits)

    def beside(self, model: Model) -> Caller:
        """Return a caller that asks another model, with the same calls, limits and usage."""
        _require_price(model, self.limits)
        other = copy.copy(self)
        other.model = model
        return other

    def usage(self) -> Usage:
        """Return what was spent, including failed and lost calls."""
        return spent(list(self._notes.values()))

    def ask(self, request: Request) -> Reply:
        """Return the reply to a request: from disk if it is there, else from the model.

        Raises BudgetExhausted if a limit would be passed, and ModelFailed or another UserError if
        the model cannot be asked.
        """
        path = call_path(self.folder, request.iteration, request.name)
        note = self._notes.get(path) or _read(path)
        if note.get("reply"):
            return Reply(**note["reply"])
        request = replace(request, place=path.with_suffix(""))
        tokens = self.model.tokens(request.text)
        if not note:
            note = self._new_note(request, tokens)
        for trial in range(self.retries + 1):
            with self._lock:
                self._permit(tokens, request.max_tokens)
                note["sent"] += 1
                self._notes[path] = note
                _write(path, note)
            try:
                reply = self.model.ask(request)
            except Transient as error:
                note["failures"].append(str(error))
                _write(path, note)
                time.sleep(self._wait(error, trial, request))
                continue
            except UserError as error:
                note["failures"].append(error.message)
                _write(path, note)
                raise
            # JSON can carry half a surrogate pair, which cannot be written as UTF-8.
            reply = replace(reply, text=reply.text.encode("utf-8", "replace").decode())
            note["reply"] = asdict(reply)
            _write(path, note)
            return reply
        raise AssertionError("unreachable: the last trial returns or raises")

    def _new_note(self, request: Request, tokens: int) -> dict[str, Any]:
        """Return the record of a call that has not been sent yet."""
        key = {"key": request.key} if request.key else {}
        return {
            "agent": request.agent,
            "iteration": request.iteration,
            "candidate": request.candidate,
            "attempt": request.attempt,
            "turn": request.turn,
            **key,
            "model": self.model.name,
            "prompt_sha256": digest(request),
            "messages": [asdict(m) for m in request.messages],
            "sent": 0,
            "failures": [],
            "expected_tokens": tokens,
            "expected_cost": self.model.price(tokens, 0),
        }

    def _wait(self, error: Transient, trial: int, request: Request) -> float:
        """Return the seconds until the next try. Raises ModelFailed if there is none."""
        wait = error.wait
        if wait is None:
            # Exponential backoff, with jitter so that concurrent calls do not return together.
            wait = min(LONGEST_WAIT, 0.5 * 2**trial) * random.uniform(0.75, 1.25)
        if wait > LONGEST_WAIT:
            why = f"the server asks to wait {wait:.0f} s"
        elif trial == self.retries:
            why = f"{trial + 1} tries"
        else:
            return wait
        asked_for = f"{request.agent} {request.iteration}{request.candidate}"
        raise ModelFailed(
            f"{self.model.name} ({asked_for}): {error} ({why})", "later: autoreward resume"
        ) from None

    def _permit(self, tokens: int, answer: int) -> None:
        """Raise BudgetExhausted if the next call could pass a limit.

        `tokens` are the prompt's, `answer` those that the reply may have.
        """
        limits = self.limits
        used = self.usage()
        if limits.max_calls is not None and used.calls + 1 > limits.max_calls:
            raise BudgetExhausted(
                f"--max-calls {limits.max_calls}: {used.calls} calls were made", RAISE_LIMIT
            )
        total = used.prompt_tokens + used.completion_tokens
        if limits.max_tokens is not None and total + tokens > limits.max_tokens:
            raise BudgetExhausted(
                f"--max-tokens {limits.max_tokens}: {total} were used, the next prompt has "
                f"{tokens}",
                RAISE_LIMIT,
            )
        if limits.max_time is not None and time.monotonic() - self._began > limits.max_time:
            minutes = limits.max_time / 60
            raise BudgetExhausted(f"--max-time: {minutes:g} minutes have passed", RAISE_LIMIT)
        if limits.max_cost is not None:
            next_cost = self.model.price(tokens, answer)
            if used.cost is None or next_cost is None or used.cost + next_cost > limits.max_cost:
                raise BudgetExhausted(
                    f"--max-cost {limits.max_cost:g}: {used.cost or 0:.4f} dollars were spent, "
                    f"the next call may cost {next_cost or 0:.4f}",
                    RAISE_LIMIT,
                )


def _require_price(model: Model, limits: Limits) -> None:
    if limits.max_cost is not None and model.price(1000, 1000) is None:
        raise UserError(
            f"--max-cost: no price is known for {model.name}, so the limit cannot be kept",
            "give --prices TABLE (docs/models.md), or use --max-tokens or --max-calls",
        )


def spent(notes: list[dict[str, Any]]) -> Usage:
    """Return the sum over recorded calls.

    A call without a reply counts with what its prompt was expected to cost.
    """
    costs = []
    prompt_tokens = 0
    completion_tokens = 0
    for note in notes:
        reply = note.get("reply")
        if reply:
            costs.append(reply["cost"])
            prompt_tokens += reply["prompt_tokens"]
            completion_tokens += reply["completion_tokens"]
        else:
            costs.append(note["expected_cost"])
            prompt_tokens += note["expected_tokens"]
    return Usage(
        calls=sum(note["sent"] for note in notes),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost=None if any(cost is None for cost in costs) else sum(costs),
    )


def recorded(folder: Path) -> list[dict[str, Any]]:
    """Return all recorded calls of a run's `calls/`."""
    return [_read(path) for path in call_paths(folder)]


def digest(request: Request) -> str:
    """Return the digest of a prompt, by which replay notices that it changed."""
    messages = json.dumps([asdict(m) for m in request.messages], ensure_ascii=False)
    return hashlib.sha256(messages.encode()).hexdigest()[:16]


def _write(path: Path, note: dict[str, Any]) -> None:
    write(path, json.dumps(note, indent=1, ensure_ascii=False))


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_bytes_safely(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged: {error}", "move it away, and the call is made again"
        ) from None
    return data if isinstance(data, dict) else {}
