"""Critic: the linter, and with a language model also a review of what the program means.

Without a language model the linter reviews on its own, and the record says so.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from autoreward.methods import Method
from autoreward.models import Message, Request
from autoreward.models.asking import ask_for_record
from autoreward.models.caller import Caller
from autoreward.models.replies import UnreadableReply
from autoreward.models.templates import Prompts
from autoreward.models.variables import CriticContext, variables_for
from autoreward.rewards.composition import Composition
from autoreward.rewards.linter import lint
from autoreward.rewards.program import without_comments
from autoreward.store.records import Review, Verdict
from autoreward.tasks.card import TaskCard


class Problem(BaseModel):
    """One item of a model's review."""

    model_config = ConfigDict(extra="ignore")
    kind: str = "other"
    line: int | None = None
    severity: Literal["refuse", "warn"] = "warn"
    message: str
    hint: str = ""


class Opinion(BaseModel):
    """What the model answers."""

    model_config = ConfigDict(extra="ignore")
    ok: bool
    problems: list[Problem] = []
    opinion: str = ""


def review(
    caller: Caller,
    prompts: Prompts,
    card: TaskCard,
    method: Method,
    program: str,
    iteration: int,
    candidate: str,
    attempt: int,
    *,
    hints: bool = False,
    composition: Composition | None = None,
) -> Review:
    """Review a program: with the linter, then with a model if there is one.

    The critic rejects what either of them refuses. If the model's answer cannot be read, the review
    says so and rejects nothing because of it.
    """
    found = tuple(lint(program, card.reward_layout, method.signal_class.entry))
    rejected = any(v.severity == "refuse" for v in found)
    skipped = method.model_skipped_because("critic", caller.settings, caller.model)
    if rejected or skipped:
        return Review(ok=not rejected, verdicts=found, by="lint", model_skipped_because=skipped)

    def messages(problem: str) -> tuple[Message, ...]:
        return (
            message(
                prompts,
                card,
                method,
                program,
                found,
                hints=hints,
                problem=problem,
                composition=composition,
            ),
        )

    request = Request("critic", iteration, candidate, attempt, (), max_tokens=2048)
    try:
        opinion = ask_for_record(caller, request, Opinion, messages)
    except UnreadableReply as error:
        return Review(
            ok=True,
            verdicts=found,
            by="lint",
            opinion=f"the model's review could not be read: {error.message}",
        )
    verdicts = tuple(
        Verdict(
            kind=p.kind[:40],
            severity=p.severity,
            stage="critic",
            line=p.line,
            message=p.message[:1000],
            hint=p.hint[:500],
        )
        for p in opinion.problems
    )
    rejected = not opinion.ok and any(v.severity == "refuse" for v in verdicts)
    return Review(
        ok=not rejected,
        verdicts=found + verdicts,
        by=f"lint + {caller.model.name}",
        opinion=opinion.opinion[:2000],
    )


def message(
    prompts: Prompts,
    card: TaskCard,
    method: Method,
    program: str,
    found: tuple[Verdict, ...] = (),
    *,
    hints: bool = False,
    problem: str = "",
    composition: Composition | None = None,
) -> Message:
    """The prompt: the task, the program and what the linter found.

    The program comes without comments and docstrings: they may be addressed to the reviewer.
    """
    context = CriticContext(
        card=card,
        hints=hints,
        composition=composition,
        program=without_comments(program),
        warnings=found,
        problem=problem,
    )
    variables = variables_for("critic", context)
    return Message("user", prompts.render(f"{method.name}/critic/review", variables))
