"""A language model's words for a card: description, meanings, and names for what has none.

Every claim that can be checked is checked, and marked `probed` (random play agrees), `contradicted`
(it does not, and the claim is dropped) or `unchecked` (only the model says so).
"""

from __future__ import annotations

import json
import keyword
import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from autoreward.drafting.card import Words
from autoreward.drafting.drafted import DraftedField
from autoreward.drafting.outcome import endings
from autoreward.models import Message, Request
from autoreward.models.asking import ask_for_record
from autoreward.models.caller import Caller
from autoreward.models.replies import UnreadableReply
from autoreward.models.templates import Prompts
from autoreward.models.variables import (
    DrafterContext,
    variables_for,
)
from autoreward.store.survey import Column, InfoKey, Survey
from autoreward.tasks.criteria import Success

TEMPLATE = "envs/drafter/card"
MAX_TOKENS = 8192
# characters of what a model writes
MAX_TITLE = 80
MAX_DESCRIPTION = 3000
MAX_ACTION = 1000
MAX_MEANING = 400
MAX_UNIT = 30
MAX_REASON = 200
# how far random play may leave a claimed range, as a share of its width
RANGE_TOLERANCE = 0.01
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
    """The model's reply."""

    model_config = ConfigDict(extra="ignore")
    title: str = ""
    description: str
    action: str = ""
    success: dict[str, Any] | None = None
    success_why: str = ""
    fields: list[Claim] = []


@dataclass(frozen=True)
class CheckedClaim:
    """One claim about a field, how it was marked, and what contradicts it."""

    field: str
    claim: str
    mark: Mark
    why: str = ""


# -- asking ----------------------------------------------------------------------------------------


def prompt_variables(
    survey: Survey,
    fields: tuple[DraftedField, ...],
    limit: int,
    *,
    source: bool,
) -> dict[str, Any]:
    """The template's variables; `source` includes the environment's source code."""
    action = survey.action.space
    if survey.action.parts:
        action += f"; components: {', '.join(survey.action.parts)}"
    reward = survey.reward
    facts = {
        "title": survey.title,
        "observation": survey.observation,
        "action": action,
        "reward": (
            f"{reward.manner}, {reward.low:.4g} .. {reward.high:.4g} a step, nonzero in "
            f"{reward.nonzero:.0%} of steps"
        ),
        "endings": endings(survey, limit, ""),
        "info": [_describe_key(key) for key in survey.info],
        "fields": [_describe_field(f) for f in fields],
    }
    return {
        "facts": facts,
        "documentation": survey.doc,
        "source": survey.source if source else "",
    }


def _describe_key(key: InfoKey) -> str:
    if key.kind == "other":
        return key.name
    return f"{key.name} ({key.kind}, {key.low:.3g} .. {key.high:.3g})"


def _describe_field(f: DraftedField) -> dict[str, Any]:
    return {
        "name": f.name,
        "source": f.source,
        "shape": list(f.shape),
        "unit": f.unit,
        "range": f.range,
        # it stands in a table
        "meaning": f.meaning.replace("|", "/"),
        "by": f.named_by,
    }


def prompt(prompts: Prompts, variables: dict[str, Any], problem: str = "") -> Message:
    """The rendered template; `problem` says why the last reply could not be read."""
    context = DrafterContext(
        variables["facts"],
        variables["documentation"],
        variables["source"],
        problem,
    )
    return Message(
        "user",
        prompts.render(TEMPLATE, variables_for("drafter", context)),
    )


def ask(
    caller: Caller,
    prompts: Prompts,
    variables: dict[str, Any],
) -> DrafterAnswer | str:
    """The model's answer, or why neither of its two replies could be read.

    Raises UserError if the model fails or a limit is reached.
    """

    def messages(problem: str) -> tuple[Message, ...]:
        return (prompt(prompts, variables, problem),)

    request = Request("drafter", 0, "a", 0, (), max_tokens=MAX_TOKENS)
    try:
        return ask_for_record(caller, request, DrafterAnswer, messages)
    except UnreadableReply as error:
        return error.message


# -- checking --------------------------------------------------------------------------------------


def words_of(
    answer: DrafterAnswer,
    survey: Survey,
    fields: tuple[DraftedField, ...],
    by: str,
) -> tuple[Words, list[CheckedClaim]]:
    """The parts of the answer that go into the card, and every claim with its mark.

    `by` is the model's name.
    """
    checked: list[CheckedClaim] = []
    known = {f.name: f for f in fields}
    words = Words(
        title=_one_line(answer.title, MAX_TITLE),
        description=_one_line(answer.description, MAX_DESCRIPTION),
        action=_one_line(answer.action, MAX_ACTION),
        by=by,
    )
    for claim in answer.fields:
        field = known.get(claim.name)
        if field is None:
            checked.append(
                CheckedClaim(
                    claim.name,
                    "the field exists",
                    "contradicted",
                    "the card has no field by that name",
                )
            )
        else:
            columns = [survey.columns[c] for c in field.columns]
            checked += _take_claim(claim, field, columns, words, known)
    checked += _take_success(answer, survey, known, words)
    return words, checked


def _take_claim(
    claim: Claim,
    field: DraftedField,
    columns: list[Column],
    words: Words,
    known: dict[str, DraftedField],
) -> list[CheckedClaim]:
    """Put a claim's parts into `words`, unless they are contradicted."""
    checked = check_claim(claim, field, columns)
    if claim.meaning:
        words.meanings[field.name] = _one_line(claim.meaning, MAX_MEANING)
        checked.append(CheckedClaim(field.name, "meaning", "unchecked"))
    wrong_unit = any(c.mark == "contradicted" and c.claim.startswith("unit") for c in checked)
    if claim.unit and not wrong_unit:
        words.units[field.name] = _one_line(claim.unit, MAX_UNIT)
    if claim.rename and _may_rename(claim.rename, field, words, known):
        words.names[field.name] = claim.rename
    marks = [f"{c.claim} {c.mark}" for c in checked if c.mark != "contradicted"]
    words.marks[field.name] = ", ".join(marks)
    return checked


def _may_rename(
    name: str,
    field: DraftedField,
    words: Words,
    known: dict[str, DraftedField],
) -> bool:
    """Whether the field has no telling name yet, and the new one is a free Python name."""
    if field.named_by not in ("nobody", "space"):
        return False
    if not re.fullmatch(r"[A-Za-z_]\w*", name) or keyword.iskeyword(name):
        return False
    return name not in known and name not in words.names.values()


def check_claim(
    claim: Claim,
    field: DraftedField,
    columns: list[Column],
) -> list[CheckedClaim]:
    """A claim's parts, compared with what random play showed of the field's columns."""
    if not columns:
        return []
    low = min(column.seen_low for column in columns)
    high = max(column.seen_high for column in columns)
    constant = all(column.constant for column in columns)
    whole = all(column.integer for column in columns)
    seen = f"random play gave {low:.4g} .. {high:.4g}"
    parts: list[tuple[str, bool]] = []
    if claim.range:
        least, most = claim.range
        slack = RANGE_TOLERANCE * max(most - least, 1e-9)
        inside = least - slack <= low and high <= most + slack
        parts.append((f"range {least:g} .. {most:g}", inside))
    if claim.constant is not None:
        words = "constant" if claim.constant else "not constant"
        parts.append((words, claim.constant == constant))
    if claim.kind == "flag":
        parts.append(("flag", whole and low >= 0 and high <= 1))
    elif claim.kind == "whole":
        parts.append(("whole numbers", whole))
    elif claim.kind == "real":
        parts.append(("real numbers", constant or not whole))
    checked = [_mark(field, words, agrees, seen) for words, agrees in parts]
    if claim.unit:
        checked.append(_check_unit(claim.unit, field, columns))
    return checked


def _mark(field: DraftedField, claim: str, agrees: bool, why_not: str) -> CheckedClaim:
    if agrees:
        return CheckedClaim(field.name, claim, "probed")
    return CheckedClaim(field.name, claim, "contradicted", why_not)


def _check_unit(unit: str, field: DraftedField, columns: list[Column]) -> CheckedClaim:
    """Compare a unit with the simulator's, if that is known."""
    words = f"unit {_one_line(unit, MAX_UNIT)}"
    for column in columns:
        if column.match and column.match.unit != "-":
            known = column.match.unit
            agrees = unit.replace(" ", "") == known
            return _mark(
                field,
                words,
                agrees,
                f"the simulator's quantity is in {known}",
            )
    return CheckedClaim(field.name, words, "unchecked")


def _take_success(
    answer: DrafterAnswer,
    survey: Survey,
    known: dict[str, DraftedField],
    words: Words,
) -> list[CheckedClaim]:
    """Put a proposed success into `words`.

    It becomes a comment in the card, however sure the model is: only the user knows what counts.
    """
    if not answer.success:
        return []
    try:
        success = Success.model_validate(answer.success)
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        return [CheckedClaim("success", "form", "contradicted", why)]
    missing = _unknown_names(success, survey, known)
    if missing:
        claim = f"uses {', '.join(missing)}"
        why = "the environment has nothing by that name"
        return [CheckedClaim("success", claim, "contradicted", why)]
    data = success.model_dump(mode="json", exclude_defaults=True)
    for condition in data.get("when", []):
        for side in ("field", "other"):
            if side in condition:
                name, bracket, index = condition[side].partition("[")
                condition[side] = words.names.get(name, name) + bracket + index
    words.success = _as_yaml(data)
    why = _one_line(answer.success_why, MAX_REASON)
    return [CheckedClaim("success", words.success, "unchecked", why)]


def _unknown_names(
    success: Success,
    survey: Survey,
    known: dict[str, DraftedField],
) -> list[str]:
    """Fields, and keys of info, that a success uses and that do not exist."""
    missing = []
    for condition in success.when:
        for reference in (condition.field, condition.other):
            name = (reference or "").split("[")[0]
            if name and name not in known:
                missing.append(name)
    keys = {key.name for key in survey.info}
    for key in (success.info, success.predicate):
        if key and key not in keys:
            missing.append(key)
    return missing


def _as_yaml(value: Any) -> str:
    """A YAML flow mapping without needless quotes."""
    if isinstance(value, dict):
        items = [f"{key}: {_as_yaml(item)}" for key, item in value.items()]
        return "{" + ", ".join(items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_as_yaml, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w*", value):
        return value
    return json.dumps(value)


def _one_line(text: str, max_chars: int) -> str:
    """Printable text on one line."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:max_chars]
