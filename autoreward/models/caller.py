"""The one who asks: records every call before its reply is used, keeps the limits, retries what
may pass.

`calls/iteration-I/a-designer-0.json` holds the prompt, how often it was sent, and the reply once
there is one. A call is noted before it is sent: killed in between, it counts as spent. A reply on
disk is never asked for again.
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
from autoreward.models import Model, Reply, Request, Transient
from autoreward.store.files import plain, write
from autoreward.store.records import Limits, Usage

RETRIES = 5
LONGEST_WAIT = 60.0


class Caller:
    """Asks `model`; its records lie in `folder`. Used from several threads."""

    def __init__(
        self,
        model: Model,
        folder: Path,
        limits: Limits,
        settings: dict[str, str] | None = None,
        retries: int = RETRIES,
    ) -> None:
        self.model, self.folder, self.limits, self.settings, self.retries = (
            model,
            folder,
            limits,
            settings or {},
            retries,
        )
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._notes: dict[Path, dict[str, Any]] = {
            p: _read(p) for p in sorted(folder.glob("iteration-*/*.json"))
        }
        if limits.max_cost is not None and model.price(1000, 1000) is None:
            raise UserError(
                f"--max-cost: no price is known for {model.name}, so the limit cannot be kept",
                "give --prices TABLE (docs/models.md), or use --max-tokens or --max-calls",
            )

    def beside(self, model: Model) -> Caller:
        """Asks another model; calls, limits and what was spent are shared."""
        other = copy.copy(self)
        other.model = model
        if self.limits.max_cost is not None and model.price(1000, 1000) is None:
            raise UserError(
                f"--max-cost: no price is known for {model.name}, so the limit cannot be kept",
                "give --prices TABLE (docs/models.md), or use --max-tokens or --max-calls",
            )
        return other

    def usage(self) -> Usage:
        """What was spent, failed and lost calls included."""
        return spent(list(self._notes.values()))

    def ask(self, request: Request) -> Reply:
        """The reply to a request: from disk, else from the model.

        BudgetExhausted, ModelFailed or another UserError.
        """
        path = self.folder / f"iteration-{request.iteration}" / f"{request.name}.json"
        note = self._notes.get(path) or _read(path)
        if note.get("reply"):
            return Reply(**note["reply"])
        request = replace(request, place=path.with_suffix(""))
        tokens = self.model.tokens(request.text)
        if not note:
            note = {
                "agent": request.agent,
                "iteration": request.iteration,
                "candidate": request.candidate,
                "attempt": request.attempt,
                "turn": request.turn,
                **({"key": request.key} if request.key else {}),
                "model": self.model.name,
                "prompt_sha256": digest(request),
                "messages": [asdict(m) for m in request.messages],
                "sent": 0,
                "failures": [],
                "expected_tokens": tokens,
                "expected_cost": self.model.price(tokens, 0),
            }
        for trial in range(self.retries + 1):
            with self._lock:
                self._permit(tokens, request.max_tokens)
                note["sent"] += 1
                self._notes[path] = note
                write(path, json.dumps(note, indent=1, ensure_ascii=False))
            try:
                reply = self.model.ask(request)
            except Transient as error:
                wait = (
                    error.wait
                    if error.wait is not None
                    else min(LONGEST_WAIT, 0.5 * 2**trial) * random.uniform(0.75, 1.25)
                )
                note["failures"].append(str(error))
                write(path, json.dumps(note, indent=1, ensure_ascii=False))
                if trial == self.retries or wait > LONGEST_WAIT:
                    why = (
                        f"the server asks to wait {wait:.0f} s"
                        if wait > LONGEST_WAIT
                        else f"{trial + 1} tries"
                    )
                    raise ModelFailed(
                        f"{self.model.name} ({request.agent} {request.iteration}{request.candidate}): {error} ({why})",
                        "later: autoreward resume",
                    ) from None
                time.sleep(wait)
                continue
            except UserError as error:
                note["failures"].append(error.message)
                write(path, json.dumps(note, indent=1, ensure_ascii=False))
                raise
            # half a surrogate pair can be told in JSON, and not be written
            reply = replace(reply, text=reply.text.encode("utf-8", "replace").decode())
            note["reply"] = asdict(reply)
            write(path, json.dumps(note, indent=1, ensure_ascii=False))
            return reply
        raise AssertionError("unreachable")

    def _permit(self, tokens: int, answer: int) -> None:
        """BudgetExhausted where the next call could pass a limit."""
        limits, used = self.limits, self.usage()
        hint = "autoreward resume, with a higher limit"
        if limits.max_calls is not None and used.calls + 1 > limits.max_calls:
            raise BudgetExhausted(
                f"--max-calls {limits.max_calls}: {used.calls} calls were made", hint
            )
        total = used.prompt_tokens + used.completion_tokens
        if limits.max_tokens is not None and total + tokens > limits.max_tokens:
            raise BudgetExhausted(
                f"--max-tokens {limits.max_tokens}: {total} were used, the next prompt has {tokens}",
                hint,
            )
        if limits.max_time is not None and time.monotonic() - self._began > limits.max_time:
            raise BudgetExhausted(f"--max-time: {limits.max_time / 60:g} minutes have passed", hint)
        if limits.max_cost is not None:
            next_cost = self.model.price(tokens, answer)
            if used.cost is None or next_cost is None or used.cost + next_cost > limits.max_cost:
                raise BudgetExhausted(
                    f"--max-cost {limits.max_cost:g}: {used.cost or 0:.4f} dollars were spent, the next call may cost {next_cost or 0:.4f}",
                    hint,
                )


def spent(notes: list[dict[str, Any]]) -> Usage:
    """The sum over recorded calls; one without a reply counts with what its prompt was expected to
    cost.
    """
    costs = [n["reply"]["cost"] if n.get("reply") else n["expected_cost"] for n in notes]
    return Usage(
        calls=sum(n["sent"] for n in notes),
        prompt_tokens=sum(
            n["reply"]["prompt_tokens"] if n.get("reply") else n["expected_tokens"] for n in notes
        ),
        completion_tokens=sum(n["reply"]["completion_tokens"] for n in notes if n.get("reply")),
        cost=None if any(c is None for c in costs) else sum(costs),
    )


def recorded(folder: Path) -> list[dict[str, Any]]:
    """All recorded calls of a run's `calls/`."""
    return [_read(p) for p in sorted(folder.glob("iteration-*/*.json"))]


def digest(request: Request) -> str:
    """Identity of a prompt."""
    return hashlib.sha256(
        json.dumps([asdict(m) for m in request.messages], ensure_ascii=False).encode()
    ).hexdigest()[:16]


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(plain(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged: {error}", "move it away; the call is then made again"
        ) from None
    return data if isinstance(data, dict) else {}
