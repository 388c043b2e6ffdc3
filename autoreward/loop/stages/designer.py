"""Designer: asks a model for a program, and finds it in the reply.

The program is a first one, one revised from feedback, a repaired draft, or a port of a given
reward. Some methods ask preparatory questions first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoreward.errors import USAGE, UserError
from autoreward.methods import Method
from autoreward.models import Message, Reply, Request
from autoreward.models.caller import Caller
from autoreward.models.replies import UnreadableReply, composition_of, program_of
from autoreward.models.templates import Prompts
from autoreward.models.variables import DesignerContext, variables_for
from autoreward.rewards.composition import Composition, UnsuitableComposition
from autoreward.store.records import Feedback, Verdict
from autoreward.tasks.card import TaskCard


@dataclass(frozen=True)
class Draft:
    """What a reply held. `composition` is None if the designer chose none, or may not choose."""

    program: str
    explanation: str = ""
    composition: Composition | None = None


class Unparseable(Exception):
    """The reply holds no program, or no readable composition.

    The verdict goes back to the designer, with the program if there is one.
    """

    def __init__(self, verdict: Verdict, program: str = "") -> None:
        super().__init__(verdict.message)
        self.verdict = verdict
        self.program = program


@dataclass(frozen=True)
class Question:
    """What the designer is asked for: one draft of one candidate."""

    iteration: int = 1
    candidate: str = "a"
    attempt: int = 0
    # How many candidates are drafted side by side.
    candidates: int = 1
    feedback: Feedback | None = None
    # Why the last draft was rejected, and its program.
    refusals: tuple[Verdict, ...] = ()
    previous: str = ""
    from_scratch: bool = False
    hints: bool = False
    seed: int = 0
    # A given reward that must be ported.
    origin: dict[str, Any] | None = None
    # True if the designer may choose a composition; otherwise `composition` is the run's.
    composing: bool = False
    composition: Composition | None = None

    @property
    def tried(self) -> bool:
        """True if there is something to revise."""
        return self.feedback is not None and bool(self.feedback.outcomes)

    @property
    def template(self) -> str:
        """The template that asks for the program."""
        if self.origin:
            return "port"
        return "revise" if self.tried else "first"


def messages(
    prompts: Prompts,
    card: TaskCard,
    method: Method,
    asked: Question,
    settings: Mapping[str, str] | None = None,
    replies: Sequence[dict[str, Any]] = (),
    template: str = "",
) -> tuple[Message, ...]:
    """The prompt. What stays the same for a task comes first, so that providers can cache it.

    `replies` are those of the preparatory calls. `template` is that of such a call, empty for the
    call that writes the program.
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
        Message("user", render(template or asked.template)),
    )
    if not asked.refusals or template:
        return made
    previous = asked.previous.strip()
    answer = f"```python\n{previous}\n```" if previous else "(no program)"
    return (*made, Message("assistant", answer), Message("user", render("repair")))


def design(
    caller: Caller, prompts: Prompts, card: TaskCard, method: Method, asked: Question
) -> Draft:
    """Ask for one draft, after the method's preparatory questions if this is a first program.

    Raises Unparseable if the reply holds no program, and UserError if the model fails or a limit
    is reached.
    """
    settings = caller.settings
    # What models that run on this machine read instead of the prompt.
    material = {
        "card": card,
        "feedback": asked.feedback,
        "attempt": asked.attempt,
        "seed": asked.seed,
        "entry": method.signal_class.entry,
    }
    max_tokens = _number(settings, "max_tokens", int, 8192)
    temperature = _number(settings, "temperature", float, None)
    replies: list[dict[str, Any]] = []
    preparation = () if asked.tried or asked.origin else method.preparation
    for ask in preparation:
        text = messages(prompts, card, method, asked, settings, replies, ask.template)
        found = []
        for turn in range(ask.count(method.own(settings))):
            request = Request(
                ask.template,
                asked.iteration,
                asked.candidate,
                0,
                text,
                turn=turn,
                material={**material, "attempt": turn},
                max_tokens=max_tokens,
                temperature=ask.temperature if temperature is None else temperature,
            )
            answer = caller.ask(request).text
            found.append({"template": ask.template, "number": turn + 1, "text": answer})
        replies += found

    reply = caller.ask(
        Request(
            "designer",
            asked.iteration,
            asked.candidate,
            asked.attempt,
            messages(prompts, card, method, asked, settings, replies),
            material=material | {"replies": replies},
            max_tokens=max_tokens,
            temperature=temperature,
        )
    )
    return _draft(reply, card, asked)


def _draft(reply: Reply, card: TaskCard, asked: Question) -> Draft:
    try:
        program, explanation = program_of(reply.text, reply.finish)
    except UnreadableReply as error:
        verdict = Verdict(kind=error.kind, stage="designer", message=error.message)
        raise Unparseable(verdict) from None

    composition = _composition(reply, card, program) if asked.composing else None
    return Draft(program, explanation, composition)


def _composition(reply: Reply, card: TaskCard, program: str) -> Composition | None:
    """The composition in a reply; None if it chooses none."""
    try:
        composition = composition_of(reply.text)
        if composition:
            composition.require(card)
        return composition
    except UnreadableReply as error:
        verdict = Verdict(
            kind=error.kind,
            stage="designer",
            line=error.line,
            message=error.message,
            hint=error.hint,
        )
    except UnsuitableComposition as error:
        verdict = Verdict(kind=error.kind, stage="designer", message=error.message, hint=error.hint)
    raise Unparseable(verdict, program)


def _number(settings: dict[str, str], name: str, kind: type, default: Any) -> Any:
    try:
        return kind(settings[name]) if name in settings else default
    except ValueError:
        raise UserError(
            f"--set {name}={settings[name]}: not a number", f"--set {name}={default or 0.7}", USAGE
        ) from None
