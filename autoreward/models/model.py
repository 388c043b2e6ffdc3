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
    """One message of a prompt."""

    role: Role
    content: str


@dataclass(frozen=True)
class Request:
    """One call to a model.

    A request is identified by (agent, iteration, candidate, attempt, turn, key), never by a
    counter, so that calls made concurrently are recorded and replayed under the same names.
    """

    agent: str
    iteration: int
    candidate: str
    attempt: int
    messages: tuple[Message, ...]
    turn: int = 0
    material: Mapping[str, Any] = field(default_factory=dict)
    """Typed data for the offline designer and simulated models. It is never sent anywhere."""
    max_tokens: int = 4096
    """Tokens that the reply may have."""
    temperature: float | None = None
    schema: type[BaseModel] | None = None
    """The record that the reply must hold, for providers that can enforce it."""
    place: Path | None = None
    """Where the Caller records the call, without suffix."""
    key: str = ""
    """Takes the place of the attempt for requests known by their content: a digest of captions."""

    @property
    def name(self) -> str:
        """The file name of the call, without suffix.

        `a-designer-0`; `a-critic-0.1` for a second turn; `a-annotator-1c9d0e6f2b7a` with a key.
        """
        turn = f".{self.turn}" if self.turn else ""
        return f"{self.candidate}-{self.agent}-{self.key or self.attempt}{turn}"

    @property
    def text(self) -> str:
        """The whole prompt as one text, for people and commands."""
        parts = []
        for message in self.messages:
            if message.role == "user":
                parts.append(message.content)
            else:
                parts.append(f"[{message.role}]\n{message.content}")
        return "\n\n".join(parts)


@dataclass(frozen=True)
class Reply:
    """What a model answered."""

    text: str
    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0
    """Dollars; None if no price is known."""
    latency: float = 0.0
    """Seconds."""
    finish: str = "stop"
    """Why the reply ended: "stop", "length" (cut off), ..."""
    note: str = ""


class Transient(Exception):
    """A failure that may pass when the call is repeated: a rate limit, overload, a reset.

    `wait` is in seconds, if the server asked for a time.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class Model(Protocol):
    """Anything that answers requests."""

    name: str
    language: bool
    """False for models that do not read prompts; critic and analyzer then work by code only."""

    def ask(self, request: Request) -> Reply:
        """Answer a request.

        Raises Transient, or ModelFailed if repeating the call cannot help.
        """
        ...

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Return the price in dollars, None if it is unknown."""
        ...

    def tokens(self, text: str) -> int:
        """Return how many tokens a text has, at least approximately."""
        ...


class Price(BaseModel):
    """One line of the user's price table."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    input: float
    """Dollars per million prompt tokens."""
    output: float
    """Dollars per million reply tokens."""
    window: int | None = None
    """Prompt tokens that the model accepts."""


@dataclass(frozen=True)
class ModelOptions:
    """How to reach a model. Headers and keys are never stored."""

    base_url: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    key_command: str | None = None
    prices: str | None = None
    """A file with the user's price table."""
    num_ctx: int | None = None
    strict: bool = False
    timeout: float = 600.0
    """Seconds for a whole reply."""

    def price(self, name: str) -> Price | None:
        """Return the price of a model in the user's table, None if it has none.

        Raises UserError if the table cannot be read.
        """
        if not self.prices:
            return None
        return _price_table(self.prices).get(name)


def _price_table(file: str) -> dict[str, Price]:
    import yaml

    try:
        data = yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}
        return {name: Price.model_validate(line) for name, line in data.items()}
    except OSError as error:
        raise UserError(
            f"--prices {file}: {error.strerror}", "docs/models.md shows a price table", MISSING
        ) from None
    except (yaml.YAMLError, ValidationError, AttributeError) as error:
        raise UserError(
            f"--prices {file}: {str(error).splitlines()[0]}",
            "each line is MODEL: {input: dollars per million tokens, output: ...}",
            REFUSED,
        ) from None
