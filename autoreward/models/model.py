"""The vocabulary of model calls: a request, its reply, and what every model must offer.

Hosted models, local servers, recordings, people, commands and the offline designer all implement
`Model`. Nothing here reaches a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from autoreward.errors import MISSING, REFUSED, UserError

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
