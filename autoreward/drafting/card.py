"""The text of a first card: like the shipped ones, with a list of what is left to do at the top."""

from __future__ import annotations

import json
import math
import re
import textwrap
from dataclasses import dataclass, field, replace

from autoreward.drafting.drafted import DraftedField
from autoreward.drafting.fields import fields_of
from autoreward.drafting.outcome import endings, outcome
from autoreward.drafting.tables import action_meanings, prose
from autoreward.store.survey import Leaf, Survey

# columns of the description's lines
WIDTH = 96
# package -> the extra of autoreward that installs it; the first that is needed counts
EXTRAS = {
    "minigrid": "minigrid",
    "gymnasium_robotics": "robotics",
    "metaworld": "metaworld",
    "mujoco": "mujoco",
}
# steps of a first training; fewer if the environment is slow
MAX_TRAINING_STEPS = 200_000
MIN_TRAINING_STEPS = 50_000
# seconds that a first training may take on one core, apart from learning
TRAINING_SECONDS = 240
# steps per second from which more environments side by side pay off
FAST = 5000
# components of the action whose effects are described
MAX_ACTION_PARTS = 24
GUIDE = "docs/own-environment.md"


@dataclass
class Words:
    """What a language model wrote for the card (words.py).

    `meanings`, `units`, `names` and `marks` are by field name; `marks` say how the model's claims
    were checked. `by` is the model.
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
    fields: tuple[DraftedField, ...]
    left: tuple[tuple[int, str], ...]


def quoted(text: str) -> str:
    """A double-quoted YAML scalar on one line."""
    return json.dumps(" ".join(text.split()), ensure_ascii=False)


def card_name(survey: Survey) -> str:
    """`module:Hopper-v5` -> hopper; `pkg.mod:make_arm` -> make_arm."""
    last = survey.title.rpartition(":")[2].rpartition("/")[2]
    name = re.sub(r"-v\d+$", "", last)
    is_one_word = not re.search(r"[_-]", name)
    if is_one_word and len(name) > 12:
        # CamelCase
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower() or "task"


def draft(survey: Survey, words: Words | None = None) -> CardDraft:
    """The card of an environment, with a model's words if there are any."""
    words = words or Words()
    fields = [_renamed(f, words) for f in fields_of(survey)]
    writer = _CardWriter(survey, fields, words)
    lines = writer.write()
    # the list stands above the card, between two lines and a blank one
    offset = 3 + len(writer.requests)
    left = []
    for start, request in writer.requests:
        left.append((offset + _line_of(lines, start), request))
    top = [
        f"# First card of {survey.title}, drafted by `autoreward envs new` from "
        f"{survey.steps:,} random steps{f' and the words of {words.by}' if words.by else ''}."
    ]
    if left:
        top.append("# Left for you to do; then run: autoreward envs check THIS FILE")
    else:
        top.append(
            "# Nothing is missing. Read it through, then run: autoreward envs check THIS FILE"
        )
    for k, (line, request) in enumerate(left, 1):
        top.append(f"#  {k}. line {line}: {request}")
    text = "\n".join([*top, "", *lines]) + "\n"
    return CardDraft(text, tuple(fields), tuple(left))


def _renamed(f: DraftedField, words: Words) -> DraftedField:
    if f.name not in words.names:
        return replace(f, first_name=f.name)
    return replace(
        f,
        name=words.names[f.name],
        named_by=words.by,
        first_name=f.name,
    )


def _line_of(lines: list[str], start: str) -> int:
    """The number, from 1, of the first line that starts so, commented out or not."""
    wanted = start.lstrip("# ")
    for k, line in enumerate(lines, 1):
        if line.lstrip("# ").startswith(wanted):
            return k
    return 1


def limit_of(survey: Survey) -> tuple[int, bool]:
    """The episode limit in steps, and whether the environment gives it."""
    if survey.limit:
        return survey.limit, True
    if survey.truncated and len(set(survey.truncated)) == 1:
        return survey.truncated[0], True
    if not survey.terminated or survey.cut:
        return 500, False
    longest = max([*survey.terminated, *survey.truncated])
    return max(50, math.ceil(4 * longest / 50) * 50), False


class _CardWriter:
    """Writes a card's lines, and collects what the user is asked for."""

    def __init__(
        self,
        survey: Survey,
        fields: list[DraftedField],
        words: Words,
    ) -> None:
        self.survey = survey
        self.fields = fields
        self.words = words
        self.outcome = outcome(survey, fields)
        self.limit, self.limit_is_known = limit_of(survey)
        self.left_out: list[Leaf] = [leaf for leaf in survey.leaves if leaf.left_out]
        # (start of the line it concerns, words)
        self.requests: list[tuple[str, str]] = []

    def write(self) -> list[str]:
        survey = self.survey
        self.requests += self.outcome.requests
        lines = [
            "format: 1",
            f"name: {card_name(survey)}",
            f"title: {quoted(self.words.title or survey.title)}",
            *self._description(),
            *self._environment(),
            *self._action(),
            *self._field_lines(),
            self._policy(),
            *self.outcome.lines,
        ]
        if self.words.success and not self.outcome.endings:
            lines.append(
                f"# success: {self.words.success}   # proposed by {self.words.by}, unchecked"
            )
        how_it_ends = endings(survey, self.limit, self.outcome.endings)
        lines.append(f"endings: {quoted(how_it_ends)}")
        lines += _training(survey)
        lines += self.outcome.hints
        if self.outcome.asks_for_hints:
            self._ask(
                "hints:",
                "only offline/search needs hints: uncomment one and put in your fields; a language "
                "model works without them",
            )
        return lines

    def _ask(self, start: str, request: str) -> None:
        self.requests.append((start, request))

    def _description(self) -> list[str]:
        text = self.words.description or prose(self.survey.doc)
        if not text:
            text = (
                "An environment whose documentation does not say what the task is "
                f"({self.survey.title})."
            )
            self._ask(
                "description:",
                "describe the task in a few plain sentences: a model reads nothing but the card",
            )
        return ["description: >", *_folded(text)]

    def _environment(self) -> list[str]:
        survey = self.survey
        lines = ["environment:"]
        if survey.id:
            lines.append(f"  id: {survey.id}")
        else:
            lines.append(f"  factory: {survey.factory}")
        if survey.kwargs:
            lines.append(f"  kwargs: {json.dumps(survey.kwargs)}")
        lines.append(f"  limit: {self.limit}")
        if not self.limit_is_known:
            self._ask(
                "limit:",
                f"nothing limits an episode; {self.limit} steps is a guess",
            )
        for package, extra in EXTRAS.items():
            if package in survey.packages:
                lines.append(f"  extra: {extra}")
                break
        if survey.packages:
            lines.append(f"  needs: [{', '.join(survey.packages)}]")
        return lines

    # -- the action --------------------------------------------------------------------------------

    def _action(self) -> list[str]:
        action = self.survey.action
        lines = ["action:", f"  type: {action.type}"]
        if action.n is not None:
            lines.append(f"  n: {action.n}")
        if action.nvec is not None:
            lines.append(f"  nvec: {_list(action.nvec)}")
        if action.shape:
            lines.append(f"  shape: {_list(action.shape)}")
        lows = [low for low in action.low if low is not None]
        highs = [high for high in action.high if high is not None]
        if action.type == "box" and lows and highs:
            low = min(lows)
            high = max(highs)
            if (low, high) != (-1.0, 1.0):
                lines.append(f"  low: {low:g}")
                lines.append(f"  high: {high:g}")
        lines.append(f"  meaning: {quoted(self._action_meaning())}")
        return lines

    def _action_meaning(self) -> str:
        action = self.survey.action
        if self.words.action:
            return self.words.action
        documented = action_meanings(self.survey.doc, action.size)
        if documented and action.type == "discrete":
            return ", ".join(f"{k} = {meaning}" for k, meaning in sorted(documented.items()))
        if documented:
            return _in_order([meaning for _, meaning in sorted(documented.items())])
        if action.parts:
            return _in_order(list(action.parts))
        self._ask("meaning:", "say what each action does")
        effects = self._effects()
        return f"not documented; in random play: {effects}" if effects else "not documented"

    def _effects(self) -> str:
        """Which fields each part of the action moves within one step; "" if all move the same."""
        if not self.survey.reproducible:
            return ""
        columns = self.survey.columns
        moved_by_part = []
        for part in range(min(self.survey.action.size, MAX_ACTION_PARTS)):
            moved = []
            for f in self.fields:
                if any(part in columns[c].actions for c in f.columns):
                    moved.append(f.name)
            words = ", ".join(moved[:5]) or "nothing within a step"
            moved_by_part.append(f"{words}, ..." if len(moved) > 5 else words)
        if len(set(moved_by_part)) < 2:
            return ""
        return "; ".join(f"{part} moves {moved}" for part, moved in enumerate(moved_by_part))

    # -- fields ------------------------------------------------------------------------------------

    def _field_lines(self) -> list[str]:
        """The fields, and what was left out; asks for names of those that have none."""
        constant = self._constant_fields()
        lines = ["fields:"]
        for f in self.fields:
            if f not in constant:
                lines.append(self._field_line(f))
        if constant:
            places = ", ".join(f.source for f in constant[:30])
            more = ", ..." if len(constant) > 30 else ""
            lines.append(f"  # left out because they never changed: columns {places}{more}")
        lines += [f"  # left out: {leaf.left_out}" for leaf in self.left_out]
        lines += [f"  # {note}" for note in self.survey.notes[:5]]
        self._ask_about_fields()
        return lines

    def _constant_fields(self) -> list[DraftedField]:
        """Unnamed fields that never changed. They stay if something else is left out too."""
        columns = self.survey.columns
        constant = []
        for f in self.fields:
            if f.named_by == "nobody" and all(columns[c].constant for c in f.columns):
                constant.append(f)
        if self.left_out or len(constant) == len(self.fields):
            return []
        return constant

    def _field_line(self, f: DraftedField) -> str:
        needs_quotes = f.source[0].isdigit() or "[" in f.source
        parts = [
            f"name: {f.name}",
            f'source: "{f.source}"' if needs_quotes else f"source: {f.source}",
        ]
        if f.shape:
            parts.append(f"shape: {_list(f.shape)}")
        unit = self.words.units.get(f.first_name, f.unit)
        meaning = self.words.meanings.get(f.first_name, f.meaning)
        parts.append(f"unit: {quoted(unit)}")
        parts.append(f"range: {quoted(f.range)}")
        parts.append(f"meaning: {quoted(meaning)}")
        if not f.policy:
            parts.append("policy: false")
        line = f"  - {{{', '.join(parts)}}}"
        mark = self.words.marks.get(f.first_name)
        return f"{line}   # {self.words.by}: {mark}" if mark else line

    def _ask_about_fields(self) -> None:
        unnamed = [f for f in self.fields if f.named_by == "nobody"]
        if unnamed:
            count = "1 field has" if len(unnamed) == 1 else f"{len(unnamed)} fields have"
            them = "it" if len(unnamed) == 1 else "them"
            self._ask(
                f"- {{name: {unnamed[0].name},",
                f"{count} no name: rename {them} and describe what you know ({GUIDE})",
            )
        if self.left_out:
            names = ", ".join(leaf.path or "the observation" for leaf in self.left_out)
            self._ask(
                "# left out:",
                f"left out: {names}; if the task depends on it, add the numbers behind it "
                f"({GUIDE})",
            )
        ambiguous = [f for f in self.fields if f.ambiguous]
        if ambiguous:
            names = ", ".join(f.name for f in ambiguous[:4])
            self._ask(
                f"- {{name: {ambiguous[0].name},",
                f"ambiguous: {names} may be one of several things, listed in the meaning",
            )

    def _policy(self) -> str:
        has_tables = any(len(leaf.shape) > 2 for leaf in self.survey.leaves)
        parts = ["input: fields" if self.left_out or has_tables else "input: observation"]
        columns = [column for leaf in self.survey.leaves for column in leaf.columns]
        if any(not column.constant and not column.integer for column in columns):
            parts.append("normalize: true")
        return f"policy: {{{', '.join(parts)}}}"


def _folded(text: str) -> list[str]:
    """Lines of a folded YAML scalar."""
    one_line = " ".join(text.split())
    printable = "".join(c if c.isprintable() else " " for c in one_line)
    wrapped = textwrap.wrap(
        printable,
        WIDTH,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [f"  {line}" for line in wrapped]


def _list(numbers: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, numbers))}]"


def _in_order(meanings: list[str]) -> str:
    listed = ", ".join(f"[{k}] {meaning}" for k, meaning in enumerate(meanings))
    return f"in order: {listed}"


def _training(survey: Survey) -> list[str]:
    """PPO as the shipped cards use it.

    Discrete actions get more entropy; slow environments get fewer steps, and fewer environments
    side by side.
    """
    speed = survey.steps_per_second
    steps = MAX_TRAINING_STEPS
    if speed * TRAINING_SECONDS < steps:
        affordable = int(speed * TRAINING_SECONDS / 10_000) * 10_000
        steps = max(MIN_TRAINING_STEPS, affordable)
    continuous = survey.action.type == "box"
    if speed <= FAST:
        n_envs = 8
        n_steps = 256
    else:
        n_envs = 16 if continuous else 32
        n_steps = 128
    entropy = "0.001" if continuous else "0.01"
    return [
        "training:",
        "  algorithm: PPO",
        f"  steps: {steps}",
        f"  n_envs: {n_envs}",
        f"  hyperparameters: {{n_steps: {n_steps}, batch_size: 512, n_epochs: 5, "
        f"learning_rate: 0.001, ent_coef: {entropy}}}",
    ]
