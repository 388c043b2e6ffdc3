"""Designer: ask for a program, first or revised from feedback or repaired after a refusal, and find it in the reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autoreward import briefing
from autoreward.composition import Composition, Unfit
from autoreward.errors import USAGE, UserError
from autoreward.methods import Method
from autoreward.models import Message, Request
from autoreward.models.caller import Caller
from autoreward.prompts import Prompts
from autoreward.records import Feedback, Verdict
from autoreward.replies import Unreadable, composition_of, program_of
from autoreward.task import TaskCard


@dataclass(frozen=True)
class Draft:
    """What a reply held; `composition` None: it chose none, or was not asked to."""

    program: str
    explanation: str = ""
    composition: Composition | None = None


class Unparseable(Exception):
    """No program, or no readable composition, could be found in the reply; the verdict goes back to the designer, with the program if there is one."""

    def __init__(self, verdict: Verdict, program: str = "") -> None:
        super().__init__(verdict.message)
        self.verdict, self.program = verdict, program


def messages(
    prompts: Prompts,
    card: TaskCard,
    method: Method,
    *,
    iteration: int = 1,
    candidate: str = "a",
    candidates: int = 1,
    feedback: Feedback | None = None,
    refusals: tuple[Verdict, ...] = (),
    previous: str = "",
    from_scratch: bool = False,
    hints: bool = False,
    origin: dict[str, Any] | None = None,
    composing: bool = False,
    composition: Composition | None = None,
) -> tuple[Message, ...]:
    """The prompt: a part that stays the same for a task first, so that providers can cache it; feedback and repairs last."""
    variables: dict[str, Any] = {
        "task": briefing.task(card),
        "hints": briefing.hints(card, hints),
        "number": ord(candidate) - ord("a") + 1,
        "candidates": candidates,
        "feedback": briefing.feedback(feedback, hints),
        "iteration": iteration,
        "verdicts": [v.model_dump() for v in refusals],
        "from_scratch": from_scratch,
        "origin": origin or {},
        "composition": briefing.composition(composition),
        "transforms": briefing.transforms() if composing else [],
    }

    def render(name: str) -> str:
        return prompts.render(f"{method.name}/designer/{name}", variables)

    asked = (Message("system", render("system")), Message("user", render("port" if origin else "revise" if feedback and feedback.outcomes else "first")))
    if not refusals:
        return asked
    answer = f"```python\n{previous.strip()}\n```" if previous.strip() else "(no program)"
    return (*asked, Message("assistant", answer), Message("user", render("repair")))


def design(
    caller: Caller,
    prompts: Prompts,
    card: TaskCard,
    method: Method,
    *,
    iteration: int,
    candidate: str,
    attempt: int,
    candidates: int = 1,
    feedback: Feedback | None = None,
    refusals: tuple[Verdict, ...] = (),
    previous: str = "",
    from_scratch: bool = False,
    hints: bool = False,
    seed: int = 0,
    origin: dict[str, Any] | None = None,
    composing: bool = False,
    composition: Composition | None = None,
) -> Draft:
    """One draft; of a port where there is an `origin`. `composition`: pinned by a person; `composing`: the designer may choose one.

    Unparseable where the reply holds no program; UserError where the model fails or a limit is reached.
    """
    asked = messages(
        prompts,
        card,
        method,
        iteration=iteration,
        candidate=candidate,
        candidates=candidates,
        feedback=feedback,
        refusals=refusals,
        previous=previous,
        from_scratch=from_scratch,
        hints=hints,
        origin=origin,
        composing=composing,
        composition=composition,
    )
    material = {"card": card, "feedback": feedback, "attempt": attempt, "seed": seed}
    request = Request(
        "designer",
        iteration,
        candidate,
        attempt,
        asked,
        material=material,
        max_tokens=_number(caller.settings, "max_tokens", int, 8192),
        temperature=_number(caller.settings, "temperature", float, None),
    )
    reply = caller.ask(request)
    try:
        program, explanation = program_of(reply.text, reply.finish)
    except Unreadable as error:
        raise Unparseable(Verdict(kind=error.kind, stage="designer", message=error.message)) from None
    try:
        chosen = composition_of(reply.text) if composing else None
        if chosen:
            chosen.require(card)
    except Unreadable as error:
        raise Unparseable(Verdict(kind=error.kind, stage="designer", line=error.line, message=error.message, hint=error.hint), program) from None
    except Unfit as error:
        raise Unparseable(Verdict(kind=error.kind, stage="designer", message=error.message, hint=error.hint), program) from None
    return Draft(program, explanation, chosen)


def _number(settings: dict[str, str], name: str, kind: type, default: Any) -> Any:
    try:
        return kind(settings[name]) if name in settings else default
    except ValueError:
        raise UserError(f"--set {name}={settings[name]}: not a number", f"--set {name}={default or 0.7}", USAGE) from None
