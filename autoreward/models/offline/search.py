"""`offline/search`: an honest designer without a language model.

It searches the grammar of `grammar`: first a fixed list of plans; then, from the analyzer's typed
findings, plans around the best one so far, those first that change what a finding blames. It reads
the card's hints and the feedback, and apart from these only ranges, the success condition and the
episode limit. The same card and feedback give the same programs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from autoreward.models.model import Reply, Request
from autoreward.models.offline.grammar import Form, Plan, forms, guide_of, keeps, plan_of
from autoreward.models.offline.guides import subgoals, variant_of, write_factors, write_subgoals
from autoreward.models.offline.writer import write_program
from autoreward.store.records import Diagnostic, Feedback, Outcome
from autoreward.tasks.card import TaskCard

# A plan with this success rate is made faster instead of repaired.
SOLVED = 0.8
BLAMES_A_TERM = ("hovering", "stalling", "loop-farming", "swamping", "costly")
# Changes of a plan that succeeds: factors of scale, bonus and cost.
FASTER = ((2.0, 1.5, 1.0), (1.0, 1.0, 3.0), (3.0, 3.0, 3.0), (0.5, 1.0, 1.0))
# Changes of a plan that succeeds too seldom: factors of scale and bonus.
STRONGER = ((3.0, 3.0), (1.0, 3.0), (0.3, 1.0))
Proposals = Iterator[tuple[Plan, str]]
"""Plans, each with the reason for it."""


class OfflineSearch:
    """The embedded default.

    It answers in the form in which a language model does: an explanation and a fenced program.
    """

    name = "offline/search"
    language = False

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        return 0.0

    def tokens(self, text: str) -> int:
        return len(text) // 4

    def ask(self, request: Request) -> Reply:
        introduction = (
            "This is offline/search, a search over a grammar of reward terms and no language model."
        )
        text = f"{introduction}\n{_answer(request)}\n"
        return Reply(text, self.name, self.tokens(request.text), self.tokens(text))


def _answer(request: Request) -> str:
    material = request.material
    card: TaskCard = material["card"]
    feedback: Feedback | None = material["feedback"]
    attempt = int(material["attempt"])
    # Every candidate and attempt has its own place in the order of plans.
    place = ord(request.candidate[0]) - ord("a") + 26 * attempt
    entry = material.get("entry", "reward")
    writes_program = request.agent == "designer"
    if entry == "reward":
        plans = _untried(card, feedback)
        plan, why = plans[place % len(plans)]
        return f"{why}\n\n{_fenced(write_program(card, plan))}"
    if entry == "factors":
        variant = _next_variant(feedback, place) if writes_program else attempt
        return _fenced(write_factors(card, variant))
    if writes_program:
        return _fenced(write_subgoals(card, _next_variant(feedback, place)))
    return json.dumps({"subgoals": subgoals(card, place)})


def _fenced(program: str) -> str:
    return f"```python\n{program}```"


def _outcomes(feedback: Feedback | None) -> tuple[Outcome, ...]:
    return feedback.outcomes if feedback else ()


def _next_variant(feedback: Feedback | None, place: int) -> int:
    """Return a variant that was not tried: identical programs are rejected as duplicates."""
    tried = {variant_of(outcome.program) for outcome in _outcomes(feedback)}
    untried = [v for v in range(len(tried) + place + 1) if v not in tried]
    return untried[place]


def _untried(card: TaskCard, feedback: Feedback | None) -> list[tuple[Plan, str]]:
    """Return the plans that were not tried, the best first, each once."""
    seen = [plan_of(outcome.program) for outcome in _outcomes(feedback)]
    found: list[tuple[Plan, str]] = []
    for plan, why in around(card, feedback):
        if plan not in seen:
            seen.append(plan)
            found.append((plan, why))
    return found


def first_plans(card: TaskCard) -> Proposals:
    """Yield the plans to begin with, the most robust first."""
    n = len(card.hints)
    order: tuple[Form, ...] = ("best", "gain", "best+price")
    if any(hint.hold and not keeps(card, hint) for hint in card.hints):
        # If something must be held, new bests soon stop; a price continues.
        order = ("price", "best+price", "potential")
    if card.training.her:
        order = ("potential", "gain", "price")
    for factor in (1.0, 3.0, 0.5, 9.0):
        for form, scale, bonus in zip(order, (4.0, 4.0, 8.0), (1.0, 1.0, 2.0), strict=True):
            plan = Plan(forms=(form,) * n, scale=scale * factor, bonus=bonus * factor)
            yield plan, f"A first plan: {form}, scale {plan.scale:g}."
    for form in forms(card):
        yield Plan(forms=(form,) * n, scale=4.0, bonus=1.0), f"A first plan: {form}, scale 4."


def around(card: TaskCard, feedback: Feedback | None) -> Proposals:
    """Yield plans around the best one so far, then the first plans.

    Changes that findings suggest come first.
    """
    best = feedback.best if feedback else None
    plan = plan_of(best.program) if best else None
    if best and plan and len(plan.forms) == len(card.hints):
        if best.evaluation and (best.evaluation.success or 0.0) >= SOLVED:
            yield from _faster(card, plan)
        else:
            yield from _repaired(card, plan, best)
    yield from first_plans(card)


def _changed(plan: Plan, **changes: Any) -> Plan:
    return plan.model_copy(update=changes)


def _in_other_forms(card: TaskCard, plan: Plan, why: str) -> Proposals:
    for form in forms(card):
        yield _changed(plan, forms=(form,) * len(plan.forms)), f"{why}: the form {form}."


def _faster(card: TaskCard, plan: Plan) -> Proposals:
    """Yield changes that may need fewer steps: larger progress, a higher price for time."""
    why = "The best so far succeeds; fewer steps are wanted"
    for scale, bonus, cost in FASTER:
        changed = _changed(
            plan,
            scale=plan.scale * scale,
            bonus=plan.bonus * bonus,
            cost=plan.cost * cost,
        )
        yield changed, f"{why}: scale {changed.scale:g}, cost {changed.cost:g}."
    yield from _in_other_forms(card, plan, why)


def _repaired(card: TaskCard, plan: Plan, best: Outcome) -> Proposals:
    """Yield changes of what findings blame, the most severe finding first; then stronger plans."""
    for finding in best.analysis.diagnostics if best.analysis else ():
        yield from _for_finding(card, plan, finding)
    why = "It succeeds too seldom"
    for scale, bonus in STRONGER:
        changed = _changed(plan, scale=plan.scale * scale, bonus=plan.bonus * bonus)
        yield changed, f"{why}: scale {changed.scale:g}."
    yield from _in_other_forms(card, plan, why)


def _for_finding(card: TaskCard, plan: Plan, finding: Diagnostic) -> Proposals:
    guide = guide_of(finding.term) if finding.term else -1
    blames_a_term = finding.kind in BLAMES_A_TERM
    if blames_a_term and 0 <= guide < len(plan.forms):
        yield from _blamed(
            card, plan, guide, f"{finding.kind} of {finding.term!r}: {finding.words}."
        )
    elif blames_a_term and finding.term == "step_cost":
        why = f"{finding.kind} of the step cost: a fifth of it."
        yield _changed(plan, cost=plan.cost / 5), why
    elif finding.kind == "early-failure":
        yield from _without_cost(plan, finding)


def _without_cost(plan: Plan, finding: Diagnostic) -> Proposals:
    """Yield plans without a price for time, which makes ending early attractive."""
    free = _changed(plan, cost=0.0)
    why = "Episodes end early: no price for time"
    yield free, f"Episodes end early: {finding.words}. No price for time."
    yield _changed(free, scale=plan.scale * 3), f"{why}, and larger progress."
    yield _changed(free, forms=("gain",) * len(plan.forms)), f"{why}, and plain gains."


def _blamed(card: TaskCard, plan: Plan, guide: int, why: str) -> Proposals:
    """Yield ways to change one guide: drop it if others remain, another form, less of it."""
    others = [k for k in range(len(plan.forms)) if k not in plan.dropped and k != guide]
    if others:
        yield _changed(plan, dropped=(*plan.dropped, guide)), f"{why} Left out."
    for form in forms(card):
        if form != plan.forms[guide]:
            changed = list(plan.forms)
            changed[guide] = form
            yield _changed(plan, forms=tuple(changed)), f"{why} Paid as {form} instead."
    weights = [1.0] * len(plan.forms)
    weights[: len(plan.weights)] = plan.weights
    weights[guide] /= 3
    yield _changed(plan, weights=tuple(weights)), f"{why} A third of it."
