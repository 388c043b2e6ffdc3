"""From a plan to the text of a reward program."""

from __future__ import annotations

from itertools import pairwise

from autoreward.models.offline.expressions import Expressions, signed, value
from autoreward.models.offline.grammar import Plan, keeps, tag_of
from autoreward.tasks.card import TaskCard
from autoreward.tasks.hints import Hint, Waypoints

FAR = "def far(a, b):\n    return np.sqrt(np.square(a - b).sum(-1))"
# A first gap smaller than this share of the field's range is measured as this share.
SMALLEST_SPAN = 0.25
# A waypoint is passed within this share of the shortest segment.
PASSED_WITHIN = 0.35
# What the price for the distance is worth in each form.
PRICE_SHARES = {"price": 1.0, "best+price": 0.5}


def write_program(card: TaskCard, plan: Plan) -> str:
    """Return the program's text."""
    writer = Writer(card, plan)
    for k, hint in enumerate(card.hints):
        if k not in plan.dropped:
            writer.guide(k, hint)
    return writer.text()


class Writer:
    """Collects the lines of one program."""

    def __init__(self, card: TaskCard, plan: Plan) -> None:
        self.card = card
        self.plan = plan
        self.expressions = Expressions(card)
        self.limit = card.environment.limit
        self.memory: list[str] = []
        self.helpers: list[str] = []
        self.body: list[str] = []
        self.terms: list[str] = []
        self.potentials: list[str] = []
        self.doc: list[str] = []

    def guide(self, k: int, hint: Hint) -> None:
        """Add the terms of one hint."""
        tag = tag_of(k)
        held = hint.hold is not None and not keeps(self.card, hint)
        if self.card.training.her and (hint.subgoals or hint.waypoints or held):
            # What was passed, and for how long, is memory, which hindsight cannot recompute.
            return
        if hint.subgoals:
            self._stages(k, tag, hint)
        elif hint.hold:
            self._hold(k, tag, hint)
        elif hint.waypoints:
            self._path(tag, hint.waypoints)
            self._pay(k, tag, "1e-6", 1.0)
            self.doc.append("progress along the waypoints")
        else:
            self.helpers.append(self.expressions.gap(tag, hint))
            moved = hint.near.a if hint.near else hint.increase or hint.decrease or ""
            width = self.expressions.width(moved)
            self._pay(k, tag, f"{max(SMALLEST_SPAN * width, 1e-6):g}", width)
            self.doc.append("progress of a gap")

    # -- gaps --------------------------------------------------------------------------------------

    def _path(self, tag: str, path: Waypoints) -> None:
        """Add helpers for the length that is left along waypoints, and how many were passed."""
        points = [[float(v) for v in point] for point in path.points]
        segments = []
        for p, q in pairwise(points):
            segments.append(sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) ** 0.5)
        near = PASSED_WITHIN * min(segments, default=1.0)
        place = value(path.field)
        end = value(path.to) if path.to else None
        left = []
        for k in range(len(points)):
            beyond = f" + far(np.array({points[-1]}), {end})" if end else ""
            left.append(f"{sum(segments[k:]):g}{beyond}")
        passed = [f"k == {i}" for i in range(len(points))]
        cases = []
        for point, rest in zip(points, left, strict=True):
            cases.append(f"        far({place}, np.array({point})) + {rest},")
        last = f"far({place}, {end})" if end else f"0 * far({place}, {place})"
        lines = [
            f"def passed{tag}(s, k):",
            f"    for i, point in enumerate({points}):",
            f"        k = np.where((k == i) & (far({place}, np.array(point)) < {near:g}), "
            "i + 1.0, k)",
            "    return k",
            "",
            "",
            f"def gap{tag}(s, k):",
            f"    return np.select([{', '.join(passed)}], [",
            *cases,
            f"    ], {last})",
        ]
        if FAR not in self.helpers:
            self.helpers.append(FAR)
        self.helpers.append("\n".join(lines))
        self.memory.append(f'"passed{tag}": 0.0')
        self.body += [
            f'old{tag} = passed{tag}(prev, memory["passed{tag}"])',
            f"new{tag} = passed{tag}(curr, old{tag})",
            f'memory["passed{tag}"] = new{tag}',
        ]

    def _pay(self, k: int, tag: str, floor: str, width: float) -> None:
        """Add the terms for a gap, in the plan's form.

        `floor` is the smallest gap that counts as the first; `width` is the width of the field's
        range.
        """
        form = self.plan.forms[k]
        weight = self.plan.weight(k)
        before = f"gap{tag}(prev)"
        after = f"gap{tag}(curr)"
        staged = any(line.startswith(f"old{tag} = passed{tag}") for line in self.body)
        if staged:
            before = f"gap{tag}(prev, old{tag})"
            after = f"gap{tag}(curr, new{tag})"
        if form == "potential" and not staged:
            self.potentials.append(
                f'"nearness{tag}": -{weight / width:.6g} * np.maximum(gap{tag}(s), 0.0)'
            )
            return
        self.body.append(f"start{tag}, here{tag} = {before}, {after}")
        self._span(tag, floor, width)
        if form in ("best", "best+price"):
            self.memory.append(f'"closest{tag}": np.inf')
            self.body += [
                f'start{tag} = np.minimum(memory["closest{tag}"], start{tag})',
                f'memory["closest{tag}"] = np.minimum(start{tag}, here{tag})',
            ]
            gain = f'(start{tag} - memory["closest{tag}"])'
            self.terms.append(f'"progress{tag}": {weight:g} * {gain} / span{tag}')
        elif form in ("gain", "potential"):
            gain = f"(start{tag} - here{tag})"
            self.terms.append(f'"progress{tag}": {weight:g} * {gain} / span{tag}')
        if form in PRICE_SHARES:
            price = signed(-PRICE_SHARES[form] * weight / self.limit)
            self.terms.append(f'"price{tag}": {price} * np.maximum(here{tag}, 0.0) / span{tag}')

    def _span(self, tag: str, floor: str, width: float) -> None:
        """Add what gaps are measured in: the first gap, or the range if nothing is remembered."""
        if self.card.training.her:
            self.body.append(f"span{tag} = {width:g}")
            return
        remembered = f'memory["span{tag}"]'
        self.memory.append(f'"span{tag}": 0.0')
        self.body += [
            f"span{tag} = np.where({remembered} > 0, {remembered}, "
            f"np.maximum(start{tag}, {floor}))",
            f"{remembered} = span{tag}",
        ]

    # -- stages and holding ------------------------------------------------------------------------

    def _stages(self, k: int, tag: str, hint: Hint) -> None:
        """Add stages that are paid once each, in order, and progress to the next one."""
        stages = hint.subgoals or ()
        count = len(stages)
        widths = [self.expressions.width(s.near.a) for s in stages if s.near]
        floor = max(SMALLEST_SPAN * max(widths, default=1.0), 1e-6)
        self._stage_helpers(tag, hint)
        self.memory += [f'"stage{tag}": 0.0', f'"closest{tag}": np.inf', f'"span{tag}": 0.0']
        form = self.plan.forms[k]
        kept = f"here{tag}"
        if form in ("best", "best+price"):
            kept = f"np.minimum(start{tag}, here{tag})"
        closest = f'memory["closest{tag}"]'
        span = f'memory["span{tag}"]'
        self.body += [
            f'old{tag} = reached{tag}(prev, memory["stage{tag}"])',
            f"new{tag} = reached{tag}(curr, old{tag})",
            f"up{tag}, here{tag} = new{tag} > old{tag}, gap{tag}(curr, new{tag})",
            f"start{tag} = np.where(np.isfinite({closest}), {closest}, gap{tag}(prev, old{tag}))",
            f"span{tag} = np.where({span} > 0, {span}, np.maximum(start{tag}, {floor:g}))",
            f"closest{tag} = np.where(up{tag}, here{tag}, {kept})",
            f"progress{tag} = np.where(up{tag}, 0.0, start{tag} - closest{tag}) / span{tag}",
            f'memory["stage{tag}"], {closest} = new{tag}, closest{tag}',
            f"{span} = np.where(up{tag}, np.maximum(here{tag}, {floor:g}), span{tag})",
        ]
        self.terms += [
            f'"stage{tag}": {self.plan.bonus / count:.6g} * (new{tag} - old{tag})',
            f'"progress{tag}": {self.plan.weight(k) / count:.6g} * progress{tag}',
        ]
        if form in PRICE_SHARES:
            price = signed(-0.5 * self.plan.weight(k) / self.limit)
            self.terms.append(f'"price{tag}": {price} * ({count} - new{tag}) / {count}')
        self.doc.append(f"{count} stages in order, each paid once, and progress to the next")

    def _stage_helpers(self, tag: str, hint: Hint) -> None:
        """Add helpers for the stage that was reached, and the gap to the next one."""
        tests = []
        numbers = []
        gaps = []
        for i, stage in enumerate(hint.subgoals or ()):
            tests.append(f"        {self.expressions.all_hold(stage.when)},")
            if stage.near:
                numbers.append(f"k == {i}")
                gaps.append(f"        {self.expressions.distance(stage.near)},")
        lines = [
            f"def reached{tag}(s, k):",
            "    for i, holds in enumerate((",
            *tests,
            "    )):",
            "        k = np.where((k == i) & holds, i + 1.0, k)",
            "    return k",
            "",
            "",
            f"def gap{tag}(s, k):",
        ]
        if gaps:
            lines += [f"    return np.select([{', '.join(numbers)}], [", *gaps, "    ], 0.0)"]
        else:
            lines.append("    return 0.0 * k")
        self.helpers.append("\n".join(lines))

    def _hold(self, k: int, tag: str, hint: Hint) -> None:
        """Add a price for losing what must always hold, or pay for longer holding."""
        hold = hint.hold
        assert hold is not None
        weight = self.plan.weight(k)
        test = self.expressions.all_hold(hold.when)
        if keeps(self.card, hint):
            price = signed(-max(0.1 * weight, 1.5 * self._cost_of_going_on()))
            self.helpers.append(f"def kept{tag}(s):\n    return {test}")
            self.terms.append(f'"lost{tag}": {price} * (kept{tag}(prev) & ~kept{tag}(curr))')
            self.doc.append("a price for losing what must be kept")
            return
        self.memory.append(f'"longest{tag}": 0.0')
        if hold.count:
            counted = value(hold.count).replace("s.", "curr.", 1)
        else:
            counted = f'memory["streak{tag}"]'
            self.memory.append(f'"streak{tag}": 0.0')
            self.helpers.append(f"def holds{tag}(s):\n    return {test}")
            self.body.append(f"{counted} = np.where(holds{tag}(curr), {counted} + 1.0, 0.0)")
        longest = f'memory["longest{tag}"]'
        self.body.append(f"longest{tag} = np.maximum({longest}, {counted})")
        share = f"{weight / hold.steps:.6g}"
        self.terms.append(f'"hold{tag}": {share} * (longest{tag} - {longest})')
        self.doc.append("longer holding")

    def _cost_of_going_on(self) -> float:
        """Return what going on for ever may cost, discounted.

        Losing on purpose must cost more, or ending early is the best policy.
        """
        paid = self.plan.cost
        for k, form in enumerate(self.plan.forms):
            if k not in self.plan.dropped and not self.card.hints[k].hold:
                paid += PRICE_SHARES.get(form, 0.0) * self.plan.weight(k)
        per_step = paid / self.limit
        return per_step / max(1.0 - self.card.training.gamma, 1.0 / self.limit)

    # -- the whole ---------------------------------------------------------------------------------

    def text(self) -> str:
        """Return the program."""
        if self.plan.cost:
            price = signed(-self.plan.cost / self.limit)
            self.terms.append(f'"step_cost": np.full(len(action), {price})')
        doc = "; ".join(dict.fromkeys(self.doc)).capitalize() or "A step cost"
        lines = [
            f'"""{doc}. Written by offline/search, a search over a grammar: no language model."""',
            "import numpy as np",
            "",
            f"# plan {self.plan.model_dump_json()}",
        ]
        if self.memory:
            lines.append(f"MEMORY = {{{', '.join(self.memory)}}}")
        for helper in self.helpers:
            lines += ["", "", helper]
        lines += ["", "", "def reward(prev, action, curr, memory):"]
        lines += [f"    {line}" for line in self.body if line]
        lines += self._returned()
        if self.potentials:
            lines += ["", "", "def potential(s):", "    return {"]
            lines += [f"        {potential}," for potential in self.potentials]
            lines.append("    }")
        return "\n".join(lines) + "\n"

    def _returned(self) -> list[str]:
        """Return the last lines of reward(): the terms, and memory that they still compare with."""
        terms = [f"        {term}," for term in self.terms]
        longest = [line.split(" = ")[0] for line in self.body if line.startswith("longest")]
        if not longest:
            return ["    return {", *terms, "    }"]
        updates = [f'    memory["{name}"] = {name}' for name in longest]
        return ["    terms = {", *terms, "    }", *updates, "    return terms"]
