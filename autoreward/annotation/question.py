"""One question about captions, as it is put to a model: the prompt, and how replies are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import RootModel

from autoreward.annotation.labels import Label
from autoreward.errors import USAGE, UserError
from autoreward.models import Message, Reply, Request
from autoreward.models.asking import ask_until_read
from autoreward.models.replies import (
    UnreadableReply,
    record_of,
)
from autoreward.models.templates import Prompts
from autoreward.models.variables import (
    AnnotatorContext,
    variables_for,
)

MAX_REPLY_CHARS = 1 << 20
DEFAULT_MAX_TOKENS = 8192
# hex digits of a digest
DIGEST_LENGTH = 12


class CaptionAnswers(RootModel[dict[str, list[str]]]):
    """The model's reply: by a caption's number in the prompt, the names that hold."""


class CallLimitReached(UserError):
    """The annotator has made as many calls as it may, below the run's own limits."""


class CaptionQuestion:
    """Which names hold for a caption.

    `template` is rendered with `variables` and the captions. `names` are the label's, in order.
    `digest` identifies the question: it changes with the template, the task and the names.
    """

    def __init__(
        self,
        prompts: Prompts,
        template: str,
        variables: Mapping[str, Any],
        names: Sequence[str],
        settings: Mapping[str, str],
    ) -> None:
        """`settings` are the model's: max_tokens, temperature. Raises UserError for a bad one."""
        self.prompts = prompts
        self.template = template
        self.variables = dict(variables)
        self.names = tuple(names)
        max_tokens = _number(settings, "max_tokens", DEFAULT_MAX_TOKENS)
        self.max_tokens = int(max_tokens or DEFAULT_MAX_TOKENS)
        self.temperature = _number(settings, "temperature", None)
        self.digest = _digest(f"{self.prompt((), '')}\n{list(self.names)}")

    def prompt(self, captions: Sequence[str], problem: str) -> str:
        """The prompt's text; `problem` says why the last reply could not be read."""
        context = AnnotatorContext(self.variables, tuple(captions), problem)
        return self.prompts.render(self.template, variables_for("annotator", context))

    def put(
        self,
        captions: list[str],
        truth: list[tuple[bool, ...] | None],
        ask: Callable[[Request], Reply],
        iteration: int,
        candidate: str,
    ) -> tuple[dict[str, Label], bool]:
        """The labels of a batch by caption, and whether a reply could be read as a whole.

        A reply that is wrong in part still answers the rest; what no reply answers is missing.
        `truth` is for simulated annotators. Raises whatever `ask` raises.
        """
        request = Request(
            "annotator",
            iteration,
            candidate,
            0,
            (),
            material={
                "labels": self.names,
                "captions": captions,
                "truth": truth,
            },
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            key=_digest("\n".join([self.digest, *captions])),
        )
        found: dict[int, Label] = {}
        last_problem = ""

        def messages(problem: str) -> tuple[Message, ...]:
            return (Message("user", self.prompt(captions, problem)),)

        def read(text: str) -> None:
            nonlocal last_problem
            labels, last_problem = self.read(text[:MAX_REPLY_CHARS], len(captions))
            found.update(labels)
            if last_problem:
                raise UnreadableReply("no-record", last_problem)

        readable = True
        try:
            ask_until_read(ask, request, messages, read)
        except UnreadableReply:
            readable = False
        except CallLimitReached:
            # without a reply there is nothing to use
            if not last_problem:
                raise
            readable = False
        labels = {captions[number - 1]: label for number, label in found.items()}
        return labels, readable

    def read(self, text: str, count: int) -> tuple[dict[int, Label], str]:
        """The usable labels of a reply by caption number, and what is wrong with the rest.

        `count` is the number of captions asked about.
        """
        try:
            answers = record_of(text, CaptionAnswers).root
        except UnreadableReply as error:
            return {}, error.message
        found: dict[int, Label] = {}
        problems = []
        for key, holding in answers.items():
            number = _caption_number(key, count)
            unknown = [name for name in holding if name not in self.names]
            if number is None:
                problems.append(f"unknown transition {key[:20]!r}; they are numbered 1 to {count}")
            elif unknown:
                problems.append(
                    f"transition {key}: unknown subgoal {unknown[0][:40]!r}; the subgoals are "
                    f"{', '.join(self.names)}"
                )
            else:
                found[number] = tuple(name in holding for name in self.names)
        missing = [k for k in range(1, count + 1) if str(k) not in answers]
        if missing and not problems:
            more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
            problems.append(f"transition {missing[0]} is missing{more}")
        return found, problems[0] if problems else ""


def _caption_number(key: str, count: int) -> int | None:
    """A caption's number from 1 to `count`; None for any other text."""
    if not (key.isascii() and key.isdecimal() and len(key) < 9):
        return None
    number = int(key)
    return number if 1 <= number <= count else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def _number(
    settings: Mapping[str, str],
    name: str,
    default: float | None,
) -> float | None:
    if name not in settings:
        return default
    try:
        return float(settings[name])
    except ValueError:
        raise UserError(
            f"--set {name}={settings[name]}: not a number",
            f"--set {name}={default or 0.7}",
            USAGE,
        ) from None
