"""Models: who writes.

One protocol for hosted models, local servers, recordings, people, commands and the offline
designer.

`connect(name)` gives a `Model`; a `Caller` (caller.py) asks it, and is the only one who does: it
records, limits and retries. Nothing heavy is imported before a hosted model is really asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from autoreward.errors import MISSING, REFUSED, UserError
from autoreward.store.records import RunHeader

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True)
class Request:
    """One question.

    (agent, iteration, candidate, attempt, turn, key) is its identity: never a counter, so
    concurrency cannot reorder it.

    `key` takes the place of the attempt where questions are known by what they hold: a digest of a
    batch of captions.

    `material` is typed data for the offline designer and is sent nowhere. `place` is where the
    Caller records it, without suffix.
    """

    agent: str
    iteration: int
    candidate: str
    attempt: int
    messages: tuple[Message, ...]
    turn: int = 0
    material: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int = 4096
    temperature: float | None = None
    schema: type[BaseModel] | None = None
    place: Path | None = None
    key: str = ""

    @property
    def name(self) -> str:
        """`a-designer-0`, and `a-designer-0.1` for a second turn; `a-annotator-1c9d0e6f2b7a` where
        there is a key.
        """
        return f"{self.candidate}-{self.agent}-{self.key or self.attempt}" + (
            f".{self.turn}" if self.turn else ""
        )

    @property
    def text(self) -> str:
        """The whole prompt as one text, for people and commands."""
        return "\n\n".join(
            m.content if m.role == "user" else f"[{m.role}]\n{m.content}" for m in self.messages
        )


@dataclass(frozen=True)
class Reply:
    """What came back.

    `cost` in dollars, None where no price is known; `latency` in seconds; `finish` is "stop",
    "length", ...
    """

    text: str
    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0
    latency: float = 0.0
    finish: str = "stop"
    note: str = ""


class Transient(Exception):
    """A failure that repeating may mend: rate limits, overload, resets.

    `wait` in seconds where the server named a time.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class Model(Protocol):
    """Raises Transient, or ModelFailed when repeating cannot help."""

    name: str
    # False: code alone; critic and analyzer then work without a model, and say so
    language: bool

    def ask(self, request: Request) -> Reply: ...

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Dollars, or None where no price is known."""
        ...

    def tokens(self, text: str) -> int: ...


class Price(BaseModel):
    """One line of a user's own price table: dollars per million tokens, and the window in tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    input: float
    output: float
    window: int | None = None


@dataclass(frozen=True)
class ModelOptions:
    """How to reach a model. Headers and keys are never stored."""

    base_url: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    key_command: str | None = None
    prices: str | None = None
    num_ctx: int | None = None
    strict: bool = False
    timeout: float = 600.0

    def price(self, name: str) -> Price | None:
        """The line of the user's table for that model. UserError where the table is not one."""
        if not self.prices:
            return None
        import yaml

        try:
            data = yaml.safe_load(Path(self.prices).read_text(encoding="utf-8")) or {}
            table = {k: Price.model_validate(v) for k, v in data.items()}
        except OSError as error:
            raise UserError(
                f"--prices {self.prices}: {error.strerror}",
                "docs/models.md shows a price table",
                MISSING,
            ) from None
        except (yaml.YAMLError, ValidationError, AttributeError) as error:
            raise UserError(
                f"--prices {self.prices}: {str(error).splitlines()[0]}",
                "MODEL: {input: dollars per million tokens, output: ...}",
                REFUSED,
            ) from None
        return table.get(name)


BUILT_IN = {
    "offline/search": "a search over a grammar of reward terms, from the card's hints; no language model (the default)",
    "replay/RUN_OR_FILE": "the replies of a recorded run, or of a file",
    "manual": "writes each prompt to a file and waits for the reply file: any chat window, or a person",
    "cmd:COMMAND": "prompt on standard input, reply on standard output",
    "simulated/p=0.9": "judges transitions only: the card's own predicates, each answer wrong with probability 0.1; a test of methods, no model",
    "PROVIDER/MODEL": "any name litellm knows: openai/..., anthropic/..., gemini/..., ollama/..., openrouter/...",
}


def connect(name: str, options: ModelOptions | None = None, judging: bool = False) -> Model:
    """The model of that name; UserError where there is none such, or its key is missing.

    `judging`: it is asked about transitions alone.
    """
    options = options or ModelOptions()
    if name.startswith("simulated/"):
        from autoreward.models.simulated import Simulated

        judge = Simulated(name)
        if not judging:
            raise UserError(
                f"--model {name}: it judges transitions, and writes nothing",
                "--model offline/search, and as a judge: --set annotator=simulated/p=0.9 (docs/annotator.md)",
            )
        return judge
    if name == "offline/search":
        from autoreward.models.offline.search import OfflineSearch

        return OfflineSearch()
    if name.startswith("offline/"):
        raise UserError(
            f"no model {name!r}: the offline designer is offline/search", "autoreward models list"
        )
    if name.startswith("replay/"):
        from autoreward.models.local import Replay

        return Replay(name.removeprefix("replay/"), options.strict)
    if name == "manual":
        from autoreward.models.local import Manual

        return Manual()
    if name.startswith("cmd:"):
        from autoreward.models.local import Command

        return Command(name.removeprefix("cmd:"), options.timeout)
    from autoreward.models.remote import Remote

    return Remote(name, options)


def estimate(
    header: RunHeader, prompt: str, options: ModelOptions, calls: tuple[int, int], before: int = 0
) -> dict[str, Any]:
    """What a run will ask of its model, at the least and at the most, and what that costs; nothing
    is asked. For --dry-run.

    `prompt` is the first designer prompt; later ones carry feedback and are taken as twice as long.
    `calls`: of a language model in one iteration, at the least and at the most; a designer without
    a language asks no critic and no analyzer. `before`: calls that prepare the first iteration's.
    """
    model = connect(header.model, options)
    drafts = header.iterations * header.candidates
    least, most = (header.iterations * n + before for n in calls)
    # reviews and analyses
    others = least - drafts
    first = model.tokens(prompt)
    asked = first * header.candidates + 2 * first * (drafts - header.candidates) + others * first
    answered = 1500 * drafts + 500 * others
    cost = model.price(asked, answered)
    found: dict[str, Any] = {
        "model": header.model,
        "calls": least,
        "calls_at_most": most,
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "cost_dollars": None if cost is None else round(cost, 4),
    }
    limit = header.limits.max_cost
    if limit is not None and cost:
        found["candidates_for_max_cost"] = int(limit / (cost / drafts))
    return found
