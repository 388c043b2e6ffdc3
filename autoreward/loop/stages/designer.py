"""Designer: ask for a program, first or revised from feedback or repaired after a refusal, and
find it in the reply; and what a method asks before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoreward.errors import USAGE, UserError
from autoreward.methods import Method
from autoreward.models import Message, Request
from autoreward.models.caller import Caller
from autoreward.models.replies import UnreadableReply, composition_of, program_of
from autoreward.models.templates import Prompts
from autoreward.models.variables import DesignerContext, variables_for
from autoreward.rewards.composition import Composition, UnsuitableComposition
from autoreward.store.records import Feedback, Verdict
from autoreward.tasks.card import TaskCard


@dataclass(frozen=True)
class Draft:
    """What a reply held; `composition` None: it chose none, or was not asked to."""

    program: str
    explanation: str = ""
    composition: Composition | None = None


class Unparseable(Exception):
    """No program, or no readable composition, could be found in the reply; the verdict goes back
    to the designer, with the program if there is one.
    """

    def __init__(self, verdict: Verdict, program: str = "") -> None:
        super().__init__(verdict.message)
        self.verdict, self.program = verdict, program


@dataclass(frozen=True)
class Question:
    """What is asked for.

    `candidate` of `candidates` side by side; `refusals` and `previous`: why the last draft was
    refused, and its program.

    `origin`: a person's function to be ported. `composing`: the designer may choose a composition;
    `composition`: one pinned by a person.
    """

    iteration: int = 1
    candidate: str = "a"
    attempt: int = 0
    candidates: int = 1
    feedback: Feedback | None = None
    refusals: tuple[Verdict, ...] = ()
    previous: str = ""
    from_scratch: bool = False
    hints: bool = False
    seed: int = 0
    origin: dict[str, Any] | None = None
    composing: bool = False
    composition: Composition | None = None

    @property
    def tried(self) -> bool:
        """Whether there is something to revise."""
        return self.feedback is not None and bool(self.feedback.outcomes)


def messages(
    prompts: Prompts,
    card: TaskCard,
    method: Method,
    asked: Question,
    settings: Mapping[str, str] | None = None,
    replies: Sequence[dict[str, Any]] = (),
    template: str = "",
) -> tuple[Message, ...]:
    """The prompt: a part that stays the same for a task first, so that providers can cache it;
    feedback and repairs last.

    `replies`: of the calls that prepared this one; `template`: of such a call, empty for the one
    that writes the program.
    """
    context = DesignerContext(
        card=card,
        hints=asked.hints,
        composition=asked.composition,
        iteration=asked.iteration,
        candidate=asked.candidate,
        candidates=asked.candidates,
        feedback=asked.feedback,
        refusals=asked.refusals,
        from_scratch=asked.from_scratch,
        origin=asked.origin,
        composing=asked.composing,
        given=method.given(card, method.own(settings or {})) if method.given else [],
        replies=replies,
    )
    variables = variables_for("designer", context)

    def render(name: str) -> str:
        return prompts.render(f"{method.name}/designer/{name}", variables)

    made = (
        Message("system", render("system")),
        Message(
            "user",
            render(template or ("port" if asked.origin else "revise" if asked.tried else "first")),
        ),
    )
    if not asked.refusals or template:
        return made
    answer = (
        f"```python\n{asked.previous.strip()}\n```" if asked.previous.strip() else "(no program)"
    )
    return (*made, Message("assistant", answer), Message("user", render("repair")))


def design(
    caller: Caller, prompts: Prompts, card: TaskCard, method: Method, asked: Question
) -> Draft:
    """One draft; of a port where there is an `origin`.

    Unparseable where the reply holds no program; UserError where the model fails or a limit is
    reached.
    """
    settings = caller.settings
    material = {
        "card": card,
        "feedback": asked.feedback,
        "attempt": asked.attempt,
        "seed": asked.seed,
        "entry": method.signal_class.entry,
    }
    limit, temperature = (
        _number(settings, "max_tokens", int, 8192),
        _number(settings, "temperature", float, None),
    )
    replies: list[dict[str, Any]] = []
    for ask in () if asked.tried or asked.origin else method.preparation:
        text = messages(prompts, card, method, asked, settings, replies, ask.template)
        found = []
        for k in range(ask.count(method.own(settings))):
            warm = temperature if temperature is not None else ask.temperature
            request = Request(
                ask.template,
                asked.iteration,
                asked.candidate,
                0,
                text,
                turn=k,
                material={**material, "attempt": k},
                max_tokens=limit,
                temperature=warm,
            )
            found.append(
                {"template": ask.template, "number": k + 1, "text": caller.ask(request).text}
            )
        replies += found
    text = messages(prompts, card, method, asked, settings, replies)
    reply = caller.ask(
        Request(
            "designer",
            asked.iteration,
            asked.candidate,
            asked.attempt,
            text,
            material=material | {"replies": replies},
            max_tokens=limit,
            temperature=temperature,
        )
    )
    try:
        program, explanation = program_of(reply.text, reply.finish)
    except UnreadableReply as error:
        raise Unparseable(
            Verdict(kind=error.kind, stage="designer", message=error.message)
        ) from None
    try:
        chosen = composition_of(reply.text) if asked.composing else None
        if chosen:
            chosen.require(card)
    except UnreadableReply as error:
        raise Unparseable(
            Verdict(
                kind=error.kind,
                stage="designer",
                line=error.line,
                message=error.message,
                hint=error.hint,
            ),
            program,
        ) from None
    except UnsuitableComposition as error:
        raise Unparseable(
            Verdict(kind=error.kind, stage="designer", message=error.message, hint=error.hint),
            program,
        ) from None
    return Draft(program, explanation, chosen)


def _number(settings: dict[str, str], name: str, kind: type, default: Any) -> Any:
    try:
        return kind(settings[name]) if name in settings else default
    except ValueError:
        raise UserError(
            f"--set {name}={settings[name]}: not a number", f"--set {name}={default or 0.7}", USAGE
        ) from None
