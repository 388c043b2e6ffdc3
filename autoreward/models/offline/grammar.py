"""The grammar that the offline designer searches: from a card's hints and a plan to the text of a
reward program.

A *guide* is what one hint asks for: a gap to close (near, raise, lower, waypoints), ordered stages
(subgoals), or a condition to hold. A *plan* says how guides are paid: as new bests of the episode
(DenseGRPO's score gains kept to a running best), as plain gains, as a price for the distance, or as
a potential (Ng et al. 1999), and how much. Gaps are measured as shares of the episode's first gap,
so that no unit matters. Names of fields and tasks are never looked at: renaming them renames them
in the program and changes nothing else.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict

from autoreward.tasks.card import Hint, Near, TaskCard, numbers
from autoreward.tasks.criteria import Condition

Form = Literal["best", "gain", "price", "best+price", "potential"]
FORMS: tuple[Form, ...] = ("best", "gain", "best+price", "potential", "price")


def forms(card: TaskCard) -> tuple[Form, ...]:
    """The forms to try: on a card that trains with hindsight those that need no memory of the
    episode.
    """
    return ("potential", "gain", "price") if card.training.her else FORMS


class Plan(BaseModel):
    """How the guides are paid.

    Sums over an episode: `scale` for a gap closed, `bonus` for all stages, `cost` for all its
    steps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    forms: tuple[Form, ...]
    scale: float = 2.0
    bonus: float = 1.0
    cost: float = 0.3
    weights: tuple[float, ...] = ()
    dropped: tuple[int, ...] = ()

    def weight(self, guide: int) -> float:
        return self.scale * (self.weights[guide] if guide < len(self.weights) else 1.0)


PLAN_LINE = re.compile(r"^# plan (\{.*\})$", re.M)


def plan_of(program: str) -> Plan | None:
    """The plan a program was written from, None where it is none of ours."""
    match = PLAN_LINE.search(program)
    try:
        return Plan.model_validate_json(match[1]) if match else None
    except ValueError:
        return None


def guide_of(term: str) -> int:
    """Number of the guide that a term belongs to, -1 for the step cost: `progress_2` -> 1."""
    match = re.match(r"(?:progress|stage|hold|price|nearness|lost)(?:_(\d+))?$", term)
    return -1 if match is None else int(match[1] or 1) - 1


def write_program(card: TaskCard, plan: Plan) -> str:
    """The program's text."""
    writer = Writer(card, plan)
    for k, hint in enumerate(card.hints):
        if k not in plan.dropped:
            writer.guide(k, hint)
    return writer.text()


def keeps(card: TaskCard, hint: Hint) -> bool:
    """A condition to be kept all the time, as against one to be held for a while at the end."""
    return hint.hold is not None and hint.hold.steps >= card.environment.limit


class Writer:
    """Collects the lines of one program."""

    def __init__(self, card: TaskCard, plan: Plan) -> None:
        self.card, self.plan = card, plan
        self.memory: list[str] = []
        self.helpers: list[str] = []
        self.body: list[str] = []
        self.terms: list[str] = []
        self.potentials: list[str] = []
        self.doc: list[str] = []

    def guide(self, k: int, hint: Hint) -> None:
        tag = f"_{k + 1}" if k else ""
        if self.card.training.her and (
            hint.subgoals or hint.waypoints or (hint.hold and not keeps(self.card, hint))
        ):
            # what was passed, and for how long, is memory, which hindsight refuses
            return
        if hint.subgoals:
            self._stages(k, tag, hint)
        elif hint.hold:
            self._hold(k, tag, hint)
        elif hint.waypoints:
            self._path(tag, hint)
            self._pay(k, tag, "1e-6", 1.0)
            self.doc.append("progress along the waypoints")
        else:
            self.gap(tag, hint)
            width = self._width(hint.near.a if hint.near else hint.increase or hint.decrease or "")
            self._pay(k, tag, f"{max(0.25 * width, 1e-6):g}", width)
            self.doc.append("progress of a gap")

    # -- gaps --------------------------------------------------------------------------------------

    def gap(self, tag: str, hint: Hint) -> None:
        if hint.near:
            self.helpers.append(f"def gap{tag}(s):\n    return {self.distance(hint.near)}")
            return
        reference = hint.increase or hint.decrease or ""
        sign, target = (
            (1, self._target(reference, up=True))
            if hint.increase
            else (-1, self._target(reference, up=False))
        )
        value = self.value(reference)
        self.helpers.append(
            f"def gap{tag}(s):\n    return {_signed(sign * target)} {'-' if sign > 0 else '+'} {value}"
        )

    def _target(self, reference: str, up: bool) -> float:
        """Where a field that should rise or fall is to go: success's own threshold, else the end
        of its range, else 0.
        """
        for condition in self.card.success.when if self.card.success else ():
            if (
                condition.field == reference
                and condition.value is not None
                and condition.op in ((">=", ">", "==") if up else ("<=", "<", "=="))
            ):
                return condition.value
        found = numbers(self._range(reference))
        return (max(found) if up else min(found)) if found else 0.0

    def _range(self, reference: str) -> str:
        return next((f.range for f in self.card.fields if f.name == reference.split("[")[0]), "")

    def _width(self, reference: str) -> float:
        found = numbers(self._range(reference))
        return max(found) - min(found) if len(found) > 1 and max(found) > min(found) else 1.0

    def _shape(self, reference: str) -> tuple[int, ...]:
        shape = next(f.shape for f in self.card.fields if f.name == reference.split("[")[0])
        return shape[reference.count("[") :]

    def value(self, reference: str) -> str:
        name, _, rest = reference.partition("[")
        indices = re.findall(r"\d+", rest)
        return f"s.{name}" + (f"[:, {', '.join(indices)}]" if indices else "")

    def distance(self, near: Near) -> str:
        left = self.value(near.a)
        if isinstance(near.b, str):
            right = self.value(near.b)
        elif isinstance(near.b, tuple):
            right = f"np.array({[float(v) for v in near.b]})"
        else:
            right = f"({near.b:g})"
        if not self._shape(near.a):
            return f"np.abs({left} - {right})"
        return (
            f"np.abs({left} - {right}).sum(-1)"
            if near.axis_aligned
            else f"np.sqrt(np.square({left} - {right}).sum(-1))"
        )

    def _path(self, tag: str, hint: Hint) -> None:
        ways = hint.waypoints
        assert ways is not None
        points = [[float(v) for v in p] for p in ways.points]
        segments = [
            sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) ** 0.5 for p, q in pairwise(points)
        ]
        near = 0.35 * min(segments, default=1.0)
        self.memory.append(f'"passed{tag}": 0.0')
        end = self.value(ways.to) if ways.to else None
        rest = [
            f"{sum(segments[k:]):g}" + (f" + far(np.array({points[-1]}), {end})" if end else "")
            for k in range(len(points))
        ]
        place = self.value(ways.field)
        lines = [
            f"def passed{tag}(s, k):",
            f"    for i, point in enumerate({points}):",
            f"        k = np.where((k == i) & (far({place}, np.array(point)) < {near:g}), i + 1.0, k)",
            "    return k",
        ]
        cases = [f"far({place}, np.array({p})) + {r}" for p, r in zip(points, rest, strict=True)]
        last = f"far({place}, {end})" if end else f"0 * far({place}, {place})"
        lines += [
            "",
            f"def gap{tag}(s, k):",
            f"    return np.select([{', '.join(f'k == {i}' for i in range(len(points)))}], [",
        ]
        lines += [f"        {c}," for c in cases] + [f"    ], {last})"]
        if not any(h.startswith("def far") for h in self.helpers):
            self.helpers.append("def far(a, b):\n    return np.sqrt(np.square(a - b).sum(-1))")
        self.helpers.append("\n".join(lines).replace("\n\ndef", "\n\n\ndef"))
        self.body += [
            f'old{tag} = passed{tag}(prev, memory["passed{tag}"])',
            f"new{tag} = passed{tag}(curr, old{tag})",
            f'memory["passed{tag}"] = new{tag}',
        ]

    def _pay(self, k: int, tag: str, floor: str, width: float) -> None:
        """Terms for a gap, in the plan's form."""
        form, weight = self.plan.forms[k], self.plan.weight(k)
        staged = any(line.startswith(f"old{tag} = passed{tag}") for line in self.body)
        before, after = (
            (f"gap{tag}(prev, old{tag})", f"gap{tag}(curr, new{tag})")
            if staged
            else (f"gap{tag}(prev)", f"gap{tag}(curr)")
        )
        if form == "potential" and not staged:
            self.potentials.append(
                f'"nearness{tag}": -{weight / width:.6g} * np.maximum(gap{tag}(s), 0.0)'
            )
            return
        self.body.append(f"start{tag}, here{tag} = {before}, {after}")
        # shares of the field's range: the first gap would have to be remembered
        if self.card.training.her:
            self.body.append(f"span{tag} = {width:g}")
        else:
            self.memory.append(f'"span{tag}": 0.0')
            self.body.append(
                f'span{tag} = np.where(memory["span{tag}"] > 0, memory["span{tag}"], np.maximum(start{tag}, {floor}))'
            )
            self.body.append(f'memory["span{tag}"] = span{tag}')
        if form in ("best", "best+price"):
            self.memory.append(f'"closest{tag}": np.inf')
            self.body += [
                f'start{tag} = np.minimum(memory["closest{tag}"], start{tag})',
                f'memory["closest{tag}"] = np.minimum(start{tag}, here{tag})',
            ]
            self.terms.append(
                f'"progress{tag}": {weight:g} * (start{tag} - memory["closest{tag}"]) / span{tag}'
            )
        elif form in ("gain", "potential"):
            self.terms.append(f'"progress{tag}": {weight:g} * (start{tag} - here{tag}) / span{tag}')
        if form in ("price", "best+price"):
            share = 1.0 if form == "price" else 0.5
            self.terms.append(
                f'"price{tag}": {_signed(-share * weight / self.card.environment.limit)} * np.maximum(here{tag}, 0.0) / span{tag}'
            )

    # -- stages and holding ------------------------------------------------------------------------

    def _stages(self, k: int, tag: str, hint: Hint) -> None:
        stages = hint.subgoals or ()
        count = len(stages)
        tests = [" & ".join(self.test(c) for c in s.when) for s in stages]
        gaps = [self.distance(s.near) if s.near else None for s in stages]
        widths = [self._width(s.near.a) for s in stages if s.near]
        floor = max(0.25 * max(widths, default=1.0), 1e-6)
        lines = [
            f"def reached{tag}(s, k):",
            "    for i, holds in enumerate((",
            *[f"        {t}," for t in tests],
            "    )):",
            "        k = np.where((k == i) & holds, i + 1.0, k)",
            "    return k",
        ]
        chosen = [(i, g) for i, g in enumerate(gaps) if g]
        lines += ["", "", f"def gap{tag}(s, k):"]
        if chosen:
            lines += [
                f"    return np.select([{', '.join(f'k == {i}' for i, _ in chosen)}], [",
                *[f"        {g}," for _, g in chosen],
                "    ], 0.0)",
            ]
        else:
            lines += ["    return 0.0 * k"]
        self.helpers.append("\n".join(lines))
        self.memory += [f'"stage{tag}": 0.0', f'"closest{tag}": np.inf', f'"span{tag}": 0.0']
        weight, form = self.plan.weight(k) / count, self.plan.forms[k]
        self.body += [
            f'old{tag} = reached{tag}(prev, memory["stage{tag}"])',
            f"new{tag} = reached{tag}(curr, old{tag})",
            f"up{tag}, here{tag} = new{tag} > old{tag}, gap{tag}(curr, new{tag})",
            f'start{tag} = np.where(np.isfinite(memory["closest{tag}"]), memory["closest{tag}"], gap{tag}(prev, old{tag}))',
            f'span{tag} = np.where(memory["span{tag}"] > 0, memory["span{tag}"], np.maximum(start{tag}, {floor:g}))',
        ]
        kept = (
            f"np.minimum(start{tag}, here{tag})" if form in ("best", "best+price") else f"here{tag}"
        )
        self.body += [
            f"closest{tag} = np.where(up{tag}, here{tag}, {kept})",
            f"progress{tag} = np.where(up{tag}, 0.0, start{tag} - closest{tag}) / span{tag}",
            f'memory["stage{tag}"], memory["closest{tag}"] = new{tag}, closest{tag}',
            f'memory["span{tag}"] = np.where(up{tag}, np.maximum(here{tag}, {floor:g}), span{tag})',
        ]
        self.terms += [
            f'"stage{tag}": {self.plan.bonus / count:.6g} * (new{tag} - old{tag})',
            f'"progress{tag}": {weight:.6g} * progress{tag}',
        ]
        if form in ("price", "best+price"):
            self.terms.append(
                f'"price{tag}": {_signed(-0.5 * self.plan.weight(k) / self.card.environment.limit)} * ({count} - new{tag}) / {count}'
            )
        self.doc.append(f"{count} stages in order, each paid once, and progress to the next")

    def test(self, condition: Condition) -> str:
        left = self.value(condition.field)
        vector = bool(self._shape(condition.field))
        if condition.op == "within":
            near = Near(a=condition.field, b=condition.other or condition.at or 0.0)
            return f"({self.distance(near)} <= {condition.value:g})"
        right = self.value(condition.other) if condition.other else f"{condition.value:g}"
        return (
            f"({left} {condition.op} {right}).all(-1)"
            if vector
            else f"({left} {condition.op} {right})"
        )

    def _hold(self, k: int, tag: str, hint: Hint) -> None:
        hold = hint.hold
        assert hold is not None
        if keeps(self.card, hint):
            self.helpers.append(
                f"def kept{tag}(s):\n    return {' & '.join(self.test(c) for c in hold.when)}"
            )
            self.terms.append(
                f'"lost{tag}": {_signed(-max(0.1 * self.plan.weight(k), 1.5 * self._dearest()))} * (kept{tag}(prev) & ~kept{tag}(curr))'
            )
            self.doc.append("a price for losing what must be kept")
            return
        self.memory.append(f'"longest{tag}": 0.0')
        if hold.count:
            counted = self.value(hold.count).replace("s.", "curr.", 1)
        else:
            self.memory.append(f'"streak{tag}": 0.0')
            test = " & ".join(self.test(c) for c in hold.when)
            self.helpers.append(f"def holds{tag}(s):\n    return {test}")
            self.body += [
                f'memory["streak{tag}"] = np.where(holds{tag}(curr), memory["streak{tag}"] + 1.0, 0.0)'
            ]
            counted = f'memory["streak{tag}"]'
        self.body += [f'longest{tag} = np.maximum(memory["longest{tag}"], {counted})']
        self.terms.append(
            f'"hold{tag}": {self.plan.weight(k) / hold.steps:.6g} * (longest{tag} - memory["longest{tag}"])'
        )
        self.doc.append("longer holding")

    def _dearest(self) -> float:
        """What going on for ever may cost, discounted: losing on purpose must be dearer, or dying
        early is the best policy.
        """
        shares = {"price": 1.0, "best+price": 0.5}
        paid = sum(
            shares.get(form, 0.0) * self.plan.weight(k)
            for k, form in enumerate(self.plan.forms)
            if k not in self.plan.dropped and not self.card.hints[k].hold
        )
        return (
            (paid + self.plan.cost)
            / self.card.environment.limit
            / max(1.0 - self.card.training.gamma, 1.0 / self.card.environment.limit)
        )

    def text(self) -> str:
        if self.plan.cost:
            self.terms.append(
                f'"step_cost": np.full(len(action), {_signed(-self.plan.cost / self.card.environment.limit)})'
            )
        doc = "; ".join(dict.fromkeys(self.doc)).capitalize() or "A step cost"
        parts = [
            f'"""{doc}. Written by offline/search, a search over a grammar: no language model."""',
            "import numpy as np",
            "",
            f"# plan {self.plan.model_dump_json()}",
        ]
        if self.memory:
            parts.append(f"MEMORY = {{{', '.join(self.memory)}}}")
        for helper in self.helpers:
            parts += ["", "", helper]
        parts += [
            "",
            "",
            "def reward(prev, action, curr, memory):",
            *[f"    {line}" for line in self.body if line],
        ]
        longest = [line.split(" = ")[0] for line in self.body if line.startswith("longest")]
        if longest:
            parts += [
                "    terms = {",
                *[f"        {t}," for t in self.terms],
                "    }",
                *[f'    memory["{name}"] = {name}' for name in longest],
                "    return terms",
            ]
        else:
            parts += ["    return {", *[f"        {t}," for t in self.terms], "    }"]
        if self.potentials:
            parts += [
                "",
                "",
                "def potential(s):",
                "    return {",
                *[f"        {p}," for p in self.potentials],
                "    }",
            ]
        return "\n".join(parts) + "\n"


def _signed(value: float) -> str:
    return f"{value:.6g}"
