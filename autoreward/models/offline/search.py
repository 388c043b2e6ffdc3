"""`offline/search`: an honest designer without a language model.

It searches the grammar of `grammar.py`: first a fixed list of plans; then, from the analyzer's
typed findings, plans around the best one so far, those first that change what a finding blames. It
reads the card's hints and the feedback, and nothing else of the card than ranges, the success
condition and the episode limit. Same card, same feedback: same programs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from autoreward.models import Reply, Request
from autoreward.models.offline.grammar import (
    Form,
    Plan,
    forms,
    guide_of,
    keeps,
    plan_of,
    write_program,
)
from autoreward.models.offline.guides import subgoals, variant_of, write_factors, write_subgoals
from autoreward.store.records import Feedback, Outcome
from autoreward.tasks.card import TaskCard

SOLVED = 0.8
BLAMES_A_TERM = ("hovering", "stalling", "loop-farming", "swamping", "costly")


class OfflineSearch:
    """The embedded default.

    Answers in the same form as a language model does: an explanation and a fenced program.
    """

    name = "offline/search"
    language = False

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        return 0.0

    def tokens(self, text: str) -> int:
        return len(text) // 4

    def ask(self, request: Request) -> Reply:
        card, feedback = request.material["card"], request.material["feedback"]
        entry, place = (
            request.material.get("entry", "reward"),
            ord(request.candidate[0]) - ord("a") + 26 * int(request.material["attempt"]),
        )
        if entry == "reward":
            tried = [
                p for o in (feedback.outcomes if feedback else ()) if (p := plan_of(o.program))
            ]
            plans = _unlike(around(card, feedback), tried)
            plan, why = list(plans)[place % max(1, len(plans))]
            said = f"{why}\n\n```python\n{write_program(card, plan)}```"
        elif entry == "factors":
            said = f"```python\n{write_factors(card, int(request.material['attempt']) if request.agent != 'designer' else _next(feedback, place))}```"
        elif request.agent != "designer":
            said = json.dumps({"subgoals": subgoals(card, place)})
        else:
            said = f"```python\n{write_subgoals(card, _next(feedback, place))}```"
        text = f"This is offline/search, a search over a grammar of reward terms and no language model.\n{said}\n"
        return Reply(text, self.name, len(request.text) // 4, len(text) // 4)


def _next(feedback: Feedback | None, place: int) -> int:
    """A variant that was not tried: programs that do not differ are refused as duplicates."""
    tried = {variant_of(o.program) for o in (feedback.outcomes if feedback else ())}
    return [v for v in range(len(tried) + place + 1) if v not in tried][place]


def _unlike(plans: Iterator[tuple[Plan, str]], tried: list[Plan]) -> list[tuple[Plan, str]]:
    found: list[tuple[Plan, str]] = []
    for plan, why in plans:
        if plan not in tried and all(plan != p for p, _ in found):
            found.append((plan, why))
    return found


def first_plans(card: TaskCard) -> Iterator[tuple[Plan, str]]:
    """The plans to begin with, the most robust first.

    Where something must be held, new bests end too soon: a price goes on.
    """
    n = len(card.hints)
    order: tuple[Form, ...] = ("best", "gain", "best+price")
    if any(h.hold and not keeps(card, h) for h in card.hints):
        order = ("price", "best+price", "potential")
    if card.training.her:
        order = ("potential", "gain", "price")
    for factor in (1.0, 3.0, 0.5, 9.0):
        for form, scale, bonus in zip(order, (4.0, 4.0, 8.0), (1.0, 1.0, 2.0), strict=True):
            yield (
                Plan(forms=(form,) * n, scale=scale * factor, bonus=bonus * factor),
                f"A first plan: {form}, scale {scale * factor:g}.",
            )
    for form in forms(card):
        yield Plan(forms=(form,) * n, scale=4.0, bonus=1.0), f"A first plan: {form}, scale 4."


def around(card: TaskCard, feedback: Feedback | None) -> Iterator[tuple[Plan, str]]:
    """Plans around the best one so far, the findings' wishes first; then the rest of the first
    list.
    """
    best = feedback.best if feedback else None
    plan = plan_of(best.program) if best else None
    if best and plan and len(plan.forms) == len(card.hints):
        if best.evaluation and (best.evaluation.success or 0.0) >= SOLVED:
            yield from _faster(card, plan)
        else:
            yield from _mended(card, plan, best)
    yield from first_plans(card)


def _faster(card: TaskCard, plan: Plan) -> Iterator[tuple[Plan, str]]:
    """It works; aim at fewer steps: larger progress, dearer time."""
    for factor, bonus, cost in ((2.0, 1.5, 1.0), (1.0, 1.0, 3.0), (3.0, 3.0, 3.0), (0.5, 1.0, 1.0)):
        changed = plan.model_copy(
            update={
                "scale": plan.scale * factor,
                "bonus": plan.bonus * bonus,
                "cost": plan.cost * cost,
            }
        )
        yield (
            changed,
            f"The best so far succeeds; fewer steps are wanted: scale {changed.scale:g}, cost {changed.cost:g}.",
        )
    for form in forms(card):
        yield (
            plan.model_copy(update={"forms": (form,) * len(plan.forms)}),
            f"The best so far succeeds; fewer steps are wanted: the form {form}.",
        )


def _mended(card: TaskCard, plan: Plan, best: Outcome) -> Iterator[tuple[Plan, str]]:
    """Change what a finding blames, the most severe finding first."""
    findings = best.analysis.diagnostics if best.analysis else ()
    for finding in findings:
        guide = guide_of(finding.term) if finding.term else -1
        if finding.kind in BLAMES_A_TERM and 0 <= guide < len(plan.forms):
            yield from _blamed(
                card, plan, guide, f"{finding.kind} of {finding.term!r}: {finding.words}."
            )
        elif finding.kind in BLAMES_A_TERM and finding.term == "step_cost":
            yield (
                plan.model_copy(update={"cost": plan.cost / 5}),
                f"{finding.kind} of the step cost: a fifth of it.",
            )
        elif finding.kind == "early-failure":
            yield (
                plan.model_copy(update={"cost": 0.0}),
                f"Episodes end early: {finding.words}. No price for time.",
            )
            yield (
                plan.model_copy(update={"cost": 0.0, "scale": plan.scale * 3}),
                "Episodes end early: no price for time, and larger progress.",
            )
            yield (
                plan.model_copy(update={"cost": 0.0, "forms": ("gain",) * len(plan.forms)}),
                "Episodes end early: no price for time, and plain gains.",
            )
    for factor, bonus in ((3.0, 3.0), (1.0, 3.0), (0.3, 1.0)):
        yield (
            plan.model_copy(update={"scale": plan.scale * factor, "bonus": plan.bonus * bonus}),
            f"It succeeds too seldom: scale {plan.scale * factor:g}.",
        )
    for form in forms(card):
        yield (
            plan.model_copy(update={"forms": (form,) * len(plan.forms)}),
            f"It succeeds too seldom: the form {form}.",
        )


def _blamed(card: TaskCard, plan: Plan, guide: int, why: str) -> Iterator[tuple[Plan, str]]:
    """Ways to change one guide: leave it out where others remain, another form, less of it."""
    left = [k for k in range(len(plan.forms)) if k not in plan.dropped and k != guide]
    if left:
        yield plan.model_copy(update={"dropped": (*plan.dropped, guide)}), f"{why} Left out."
    for form in forms(card):
        if form != plan.forms[guide]:
            changed = (*plan.forms[:guide], form, *plan.forms[guide + 1 :])
            yield plan.model_copy(update={"forms": changed}), f"{why} Paid as {form} instead."
    weights = tuple(
        plan.weights[k] if k < len(plan.weights) else 1.0 for k in range(len(plan.forms))
    )
    less = (*weights[:guide], weights[guide] / 3, *weights[guide + 1 :])
    yield plan.model_copy(update={"weights": less}), f"{why} A third of it."
