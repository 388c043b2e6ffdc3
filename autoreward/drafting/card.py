"""The text of a first card: like the shipped ones, with a short list at the top of what is left
for the person, each with its line.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from dataclasses import dataclass, field, replace

from autoreward.drafting.fields import Drafted, fields_of
from autoreward.drafting.outcome import endings, outcome
from autoreward.drafting.tables import action_words, prose
from autoreward.store.survey import Survey

WIDTH = 138
EXTRAS = {
    "minigrid": "minigrid",
    "gymnasium_robotics": "robotics",
    "metaworld": "metaworld",
    "mujoco": "mujoco",
}
# steps of a first training; less where the environment is slow
QUICK, SLOW = 200_000, 50_000
# that a first training may take on one core, learning left aside
SECONDS = 240


@dataclass
class Words:
    """What a language model says: description, action, a success to propose; meanings, units, new
    names and marks by field name. See words.py.
    """

    title: str = ""
    description: str = ""
    action: str = ""
    success: str = ""
    meanings: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    by: str = ""


@dataclass(frozen=True)
class CardDraft:
    """The card's text, its fields, and what is left to do as (line, words)."""

    text: str
    fields: tuple[Drafted, ...]
    left: tuple[tuple[int, str], ...]


def quoted(text: str) -> str:
    """A double-quoted YAML scalar on one line."""
    return json.dumps(" ".join(text.split()), ensure_ascii=False)


def card_name(survey: Survey) -> str:
    """`module:Hopper-v5` -> hopper; `pkg.mod:make_arm` -> make_arm."""
    last = survey.title.rpartition(":")[2].rpartition("/")[2]
    name = re.sub(r"-v\d+$", "", last)
    name = (
        re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
        if not re.search(r"[_-]", name) and len(name) > 12
        else name
    )
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower() or "task"


def draft(survey: Survey, words: Words | None = None) -> CardDraft:
    """The card. Lines of the list at the top point below it."""
    words = words or Words()
    fields = [
        replace(
            f,
            name=words.names.get(f.name, f.name),
            by=f"{words.by}" if f.name in words.names else f.by,
            first_name=f.name,
        )
        for f in fields_of(survey)
    ]
    body, wants = _body(survey, fields, words)
    lines = body.splitlines()
    header = 3 + len(wants)
    left = [
        (
            header
            + next(
                (
                    k
                    for k, line in enumerate(lines, 1)
                    if line.lstrip("# ").startswith(key.lstrip("# "))
                ),
                1,
            ),
            said,
        )
        for key, said in wants
    ]
    top = [
        f"# A first card of {survey.title}, drafted by `autoreward envs new` from {survey.steps:,} random steps{f' and the words of {words.by}' if words.by else ''}.",
        "# What is left for you, then: autoreward envs check THIS FILE"
        if left
        else "# Nothing is left that must be done; read it through, then: autoreward envs check THIS FILE",
        *[f"#  {k}. line {line}: {said}" for k, (line, said) in enumerate(left, 1)],
        "",
    ]
    return CardDraft("\n".join([*top, *lines]) + "\n", tuple(fields), tuple(left))


def _body(survey: Survey, fields: list[Drafted], words: Words) -> tuple[str, list[tuple[str, str]]]:
    wants: list[tuple[str, str]] = []
    about = words.description or prose(survey.doc)
    result = outcome(survey, fields)
    wants += result.wants
    if not about:
        wants.append(
            (
                "description:",
                "say what the task is, in a few plain sentences; a model reads nothing but the card",
            )
        )
    limit, sure = limit_of(survey)
    if not sure:
        wants.append(("limit:", f"nothing limits an episode; {limit} steps are a guess"))
    out = [
        "format: 1",
        f"name: {card_name(survey)}",
        f"title: {quoted(words.title or survey.title)}",
        "description: >",
        *_folded(
            about
            or f"An environment whose documentation does not say what the task is ({survey.title})."
        ),
        *_environment(survey, limit),
    ]
    action, known = _action(survey, fields, words)
    out += action
    if not known:
        wants.append(("meaning:", "say what each action does"))
    out += _fields(survey, fields, words)
    unnamed = [f for f in fields if f.by == "nobody"]
    if unnamed:
        wants.append(
            (
                f"- {{name: {unnamed[0].name},",
                f"{len(unnamed)} field{'s have' if len(unnamed) > 1 else ' has'} no name: rename and describe what you know (docs/own-environment.md)",
            )
        )
    if seen := [leaf for leaf in survey.leaves if leaf.left_out]:
        wants.append(
            (
                "# left out:",
                f"left out: {', '.join(leaf.path or 'the observation' for leaf in seen)}; where the task is in there, name the numbers behind it (docs/own-environment.md)",
            )
        )
    unclear = [f for f in fields if f.ambiguous]
    if unclear:
        wants.append(
            (
                f"- {{name: {unclear[0].name},",
                f"ambiguous: {', '.join(f.name for f in unclear[:4])} may be one of several things, as their meaning says",
            )
        )
    varied = [c for leaf in survey.leaves for c in leaf.columns if not c.constant and not c.integer]
    out.append(
        f"policy: {{input: {'fields' if seen or any(len(leaf.shape) > 2 for leaf in survey.leaves) else 'observation'}{', normalize: true' if varied else ''}}}"
    )
    out += result.lines
    if words.success and not result.ends:
        out.append(f"# success: {words.success}   # proposed by {words.by}, unchecked")
    out.append(f"endings: {quoted(endings(survey, limit, result.ends))}")
    out += _training(survey)
    out += result.hints
    if result.asks_hints:
        wants.append(
            (
                "hints:",
                "offline/search works from hints alone: uncomment one kind and name your fields; a language model needs none",
            )
        )
    return "\n".join(out), wants


def _folded(text: str) -> list[str]:
    clean = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return [
        f"  {line}"
        for line in textwrap.wrap(clean, WIDTH, break_long_words=False, break_on_hyphens=False)
    ]


def limit_of(survey: Survey) -> tuple[int, bool]:
    """The episode limit in steps, and whether the environment says it."""
    if survey.limit:
        return survey.limit, True
    if survey.truncated and len(set(survey.truncated)) == 1:
        return survey.truncated[0], True
    longest = max([*survey.terminated, *survey.truncated], default=125)
    return max(
        50, int(math.ceil(4 * longest / 50) * 50)
    ) if survey.terminated and not survey.cut else 500, False


def _environment(survey: Survey, limit: int) -> list[str]:
    out = ["environment:", f"  id: {survey.id}" if survey.id else f"  factory: {survey.factory}"]
    if survey.kwargs:
        out.append(f"  kwargs: {json.dumps(survey.kwargs)}")
    out.append(f"  limit: {limit}")
    extra = next(
        (
            EXTRAS[p]
            for p in ("minigrid", "gymnasium_robotics", "metaworld", "mujoco")
            if p in survey.packages
        ),
        None,
    )
    if extra:
        out.append(f"  extra: {extra}")
    if survey.packages:
        out.append(f"  needs: [{', '.join(survey.packages)}]")
    return out


def _action(survey: Survey, fields: list[Drafted], words: Words) -> tuple[list[str], bool]:
    """The lines, and whether the action's meaning is known."""
    action = survey.action
    out = ["action:", f"  type: {action.type}"]
    if action.n is not None:
        out.append(f"  n: {action.n}")
    if action.nvec is not None:
        out.append(f"  nvec: [{', '.join(map(str, action.nvec))}]")
    if action.shape:
        out.append(f"  shape: [{', '.join(map(str, action.shape))}]")
    if action.type == "box":
        low, high = (
            [v for v in action.low if v is not None],
            [v for v in action.high if v is not None],
        )
        if low and high and (min(low), max(high)) != (-1.0, 1.0):
            out += [f"  low: {min(low):g}", f"  high: {max(high):g}"]
    said = action_words(survey.doc, action.size)
    joined = f"{'' if action.type == 'discrete' else 'in order: '}" + ", ".join(
        f"{k} = {w}" if action.type == "discrete" else f"[{k}] {w}" for k, w in sorted(said.items())
    )
    if not said and action.parts:
        joined = "in order: " + ", ".join(f"[{k}] {p}" for k, p in enumerate(action.parts))
    known = bool(words.action or said or action.parts)
    if not known:
        joined = "not documented" + (
            f"; seen: {moves}" if (moves := _moves(survey, fields)) else ""
        )
    out.append(f"  meaning: {quoted(words.action or joined)}")
    return out, known


def _moves(survey: Survey, fields: list[Drafted]) -> str:
    """Which fields each part of the action moves within one step."""
    columns, told = survey.columns, []
    for part in range(min(survey.action.size, 24)):
        moved = [f.name for f in fields if any(part in columns[c].actions for c in f.columns)]
        told.append(
            f"{part} moves {', '.join(moved[:5]) or 'nothing within a step'}{', ...' if len(moved) > 5 else ''}"
        )
    return (
        "; ".join(told)
        if survey.reproducible and len({t.partition(" ")[2] for t in told}) > 1
        else ""
    )


def _fields(survey: Survey, fields: list[Drafted], words: Words) -> list[str]:
    out = ["fields:"]
    columns = survey.columns
    silent = [f for f in fields if f.by == "nobody" and all(columns[c].constant for c in f.columns)]
    silent = (
        silent
        if len(silent) < len(fields) and not any(leaf.left_out for leaf in survey.leaves)
        else []
    )
    for f in fields:
        if f in silent:
            continue
        parts = [
            f"name: {f.name}",
            f'source: "{f.source}"'
            if f.source[0].isdigit() or "[" in f.source
            else f"source: {f.source}",
        ]
        if f.shape:
            parts.append(f"shape: [{', '.join(map(str, f.shape))}]")
        parts += [
            f"unit: {quoted(words.units.get(f.first_name, f.unit))}",
            f"range: {quoted(f.range)}",
            f"meaning: {quoted(words.meanings.get(f.first_name, f.meaning))}",
        ]
        if not f.policy:
            parts.append("policy: false")
        mark = words.marks.get(f.first_name)
        out.append(f"  - {{{', '.join(parts)}}}" + (f"   # {words.by}: {mark}" if mark else ""))
    if silent:
        out.append(
            f"  # never changed, and left out: columns {', '.join(f.source for f in silent[:30])}{', ...' if len(silent) > 30 else ''}"
        )
    out += [f"  # left out: {leaf.left_out}" for leaf in survey.leaves if leaf.left_out]
    out += [f"  # {note}" for note in survey.notes[:5]]
    return out


def _training(survey: Survey) -> list[str]:
    """PPO as the shipped cards use it: entropy for discrete actions, fewer environments and steps
    where stepping is slow.
    """
    speed = survey.steps_per_second
    steps = QUICK if speed * SECONDS >= QUICK else max(SLOW, int(speed * SECONDS / 10_000) * 10_000)
    wide = speed > 5000
    n_envs, n_steps, batch = (
        (32, 128, 512)
        if wide and survey.action.type != "box"
        else (16, 128, 512)
        if wide
        else (8, 256, 512)
    )
    entropy = "0.01" if survey.action.type != "box" else "0.001"
    return [
        "training:",
        "  algorithm: PPO",
        f"  steps: {steps}",
        f"  n_envs: {n_envs}",
        f"  hyperparameters: {{n_steps: {n_steps}, batch_size: {batch}, n_epochs: 5, learning_rate: 0.001, ent_coef: {entropy}}}",
    ]
