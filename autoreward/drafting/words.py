"""A language model's words for a card: description, meanings, names for what has none.

Every claim that can be checked is, and marked.

`probed`: random play agrees; `contradicted`: it does not, and the claim is dropped; `unchecked`:
nobody knows but the model.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from autoreward.drafting.card import Words
from autoreward.drafting.fields import Drafted
from autoreward.drafting.outcome import endings
from autoreward.models import Message, Request
from autoreward.models.asking import ask_for_record
from autoreward.models.caller import Caller
from autoreward.models.replies import UnreadableReply
from autoreward.models.templates import Prompts
from autoreward.store.survey import Column, Survey
from autoreward.tasks.criteria import Success

TEMPLATE = "envs/drafter/card"
Mark = Literal["probed", "contradicted", "unchecked"]


class Claim(BaseModel):
    """What the model says of one field."""

    model_config = ConfigDict(extra="ignore")
    name: str
    rename: str | None = None
    meaning: str = ""
    unit: str | None = None
    range: tuple[float, float] | None = None
    constant: bool | None = None
    kind: Literal["flag", "whole", "real"] | None = None


class DrafterAnswer(BaseModel):
    """What the model answers."""

    model_config = ConfigDict(extra="ignore")
    title: str = ""
    description: str
    action: str = ""
    success: dict[str, Any] | None = None
    success_why: str = ""
    fields: list[Claim] = []


@dataclass(frozen=True)
class Judged:
    """One claim, and how it stands."""

    field: str
    claim: str
    mark: Mark
    why: str = ""


def material(
    survey: Survey, fields: tuple[Drafted, ...], limit: int, *, source: bool
) -> dict[str, Any]:
    """The template's variables."""
    reward = survey.reward
    facts = {
        "title": survey.title,
        "observation": survey.observation,
        "action": survey.action.space
        + (f"; components: {', '.join(survey.action.parts)}" if survey.action.parts else ""),
        "reward": f"{reward.manner}, {reward.low:.4g} .. {reward.high:.4g} a step, not 0 in {reward.nonzero:.0%} of steps",
        "endings": endings(survey, limit, ""),
        "info": [
            f"{k.name} ({k.kind}, {k.low:.3g} .. {k.high:.3g})" if k.kind != "other" else k.name
            for k in survey.info
        ],
        "fields": [
            {
                "name": f.name,
                "source": f.source,
                "shape": list(f.shape),
                "unit": f.unit,
                "range": f.range,
                "meaning": f.meaning.replace("|", "/"),
                "by": f.by,
            }
            for f in fields
        ],
    }
    return {
        "facts": facts,
        "documentation": survey.doc,
        "source": survey.source if source else "",
        "problem": "",
    }


def prompt(prompts: Prompts, variables: dict[str, Any], problem: str = "") -> Message:
    return Message("user", prompts.render(TEMPLATE, {**variables, "problem": problem}))


def ask(caller: Caller, prompts: Prompts, variables: dict[str, Any]) -> DrafterAnswer | str:
    """The model's answer, or why it could not be read, twice.

    UserError where the model fails or a limit is reached.
    """

    def messages(problem: str) -> tuple[Message, ...]:
        return (prompt(prompts, variables, problem),)

    request = Request("drafter", 0, "a", 0, (), max_tokens=8192)
    try:
        return ask_for_record(caller, request, DrafterAnswer, messages)
    except UnreadableReply as error:
        return error.message


def words_of(
    answer: DrafterAnswer, survey: Survey, fields: tuple[Drafted, ...], by: str
) -> tuple[Words, list[Judged]]:
    """What of the answer goes into the card, and how each claim stands."""
    judged: list[Judged] = []
    known = {f.name: f for f in fields}
    words = Words(
        title=_line(answer.title, 80),
        description=_line(answer.description, 3000),
        action=_line(answer.action, 1000),
        by=by,
    )
    for claim in answer.fields:
        field = known.get(claim.name)
        if field is None:
            judged.append(
                Judged(
                    claim.name,
                    "there is such a field",
                    "contradicted",
                    "the card has none of that name",
                )
            )
            continue
        marks = judge(claim, field, [survey.columns[c] for c in field.columns])
        if claim.meaning:
            words.meanings[field.name] = _line(claim.meaning, 400)
            marks.append(Judged(field.name, "its meaning", "unchecked"))
        if claim.unit and not any(
            m.mark == "contradicted" and m.claim.startswith("unit") for m in marks
        ):
            words.units[field.name] = _line(claim.unit, 30)
        name = claim.rename
        if (
            name
            and field.by in ("nobody", "space")
            and re.fullmatch(r"[A-Za-z_]\w*", name)
            and not keyword.iskeyword(name)
            and name not in known
            and name not in words.names.values()
        ):
            words.names[field.name] = name
        judged += marks
        words.marks[field.name] = ", ".join(
            f"{m.claim} {m.mark}" for m in marks if m.mark != "contradicted"
        )
    _success(answer, survey, known, words, judged)
    return words, judged


def judge(claim: Claim, field: Drafted, columns: list[Column]) -> list[Judged]:
    """A claim's checkable parts against what was seen of the field's columns."""
    if not columns:
        return []
    low, high = min(c.seen_low for c in columns), max(c.seen_high for c in columns)
    seen = f"random play gave {low:.4g} .. {high:.4g}"
    out: list[Judged] = []

    def mark(what: str, right: bool, why: str = seen) -> None:
        out.append(
            Judged(field.name, what, "probed" if right else "contradicted", "" if right else why)
        )

    if claim.range:
        slack = 0.01 * max(claim.range[1] - claim.range[0], 1e-9)
        mark(
            f"range {claim.range[0]:g} .. {claim.range[1]:g}",
            claim.range[0] - slack <= low and high <= claim.range[1] + slack,
        )
    if claim.constant is not None:
        mark(
            "constant" if claim.constant else "not constant",
            claim.constant == all(c.constant for c in columns),
        )
    if claim.kind == "flag":
        mark("flag", all(c.integer for c in columns) and low >= 0 and high <= 1)
    elif claim.kind == "whole":
        mark("whole numbers", all(c.integer for c in columns))
    elif claim.kind == "real":
        mark(
            "real numbers", not all(c.integer for c in columns) or all(c.constant for c in columns)
        )
    if claim.unit:
        matched = next((c.match.unit for c in columns if c.match and c.match.unit != "-"), None)
        if matched is None:
            out.append(Judged(field.name, f"unit {_line(claim.unit, 30)}", "unchecked"))
        else:
            mark(
                f"unit {_line(claim.unit, 30)}",
                claim.unit.replace(" ", "") == matched,
                f"the simulator's quantity is in {matched}",
            )
    return out


def _success(
    answer: DrafterAnswer,
    survey: Survey,
    known: dict[str, Drafted],
    words: Words,
    judged: list[Judged],
) -> None:
    """A success is a proposal, in a comment, however sure the model is: only the person knows what
    counts.
    """
    if not answer.success:
        return
    try:
        success = Success.model_validate(answer.success)
    except ValidationError as error:
        judged.append(Judged("success", "its form", "contradicted", error.errors()[0]["msg"]))
        return
    fields = [r.split("[")[0] for c in success.when for r in (c.field, c.other) if r]
    missing = [f for f in fields if f not in known] + [
        k for k in (success.info, success.predicate) if k and k not in {i.name for i in survey.info}
    ]
    if missing:
        judged.append(
            Judged(
                "success",
                f"uses {', '.join(missing)}",
                "contradicted",
                "there is no such thing in this environment",
            )
        )
        return
    told = success.model_dump(mode="json", exclude_defaults=True)
    for when in told.get("when", []):
        for side in ("field", "other"):
            if side in when:
                name, bracket, rest = when[side].partition("[")
                when[side] = words.names.get(name, name) + bracket + rest
    words.success = _flow(told)
    judged.append(Judged("success", words.success, "unchecked", _line(answer.success_why, 200)))


def _flow(value: Any) -> str:
    """A YAML flow mapping without needless quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w\[\]]*", value) and "[" not in value:
        return value
    import json

    return json.dumps(value)


def _line(text: str, most: int) -> str:
    """One printable line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:most]
