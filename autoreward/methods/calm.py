"""CALM (Pignatelli et al. 2024, arXiv 2409.12798): a model splits the task into subgoals.

A bonus is paid at the transition where a subgoal ends. Unlike the paper, by default the model
writes predicates once, which judge every transition in the sandbox at no cost (`judge=code`); with
`judge=model` it judges captions of transitions while the agent trains, as in the paper. A bonus is
paid once per subgoal and episode, so that no cheap transition can be farmed, and in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoreward.errors import REFUSED, USAGE, UserError
from autoreward.methods import Ask, Judging, Method, Setting
from autoreward.models import briefing
from autoreward.rewards.program import constant
from autoreward.rewards.signals.subgoals import MAX_SUBGOALS, trusted_subgoals
from autoreward.tasks.card import TaskCard
from autoreward.tasks.criteria import Condition

FORM = "a YAML list of lines like: {name: take_key, means: the agent carries the key}"


def given(card: TaskCard, settings: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the subgoals that the card or a file names; none if the model has to find them.

    Raises UserError if the settings contradict each other, the card has no subgoals, or the file
    holds none.
    """
    chosen = settings["subgoals"]
    annotator = settings["annotator"]
    judged = settings["judge"] == "model"
    if judged and annotator.startswith("simulated/") and chosen != "card":
        raise UserError(
            f"--set annotator={annotator}: it judges by the card's own predicates, so the subgoals "
            "must be the card's",
            "--set subgoals=card",
            USAGE,
        )
    if chosen == "discovered":
        return []
    if chosen == "card":
        return _of_card(card)
    return _of_file(chosen)


def _of_card(card: TaskCard) -> list[dict[str, str]]:
    found = [{"name": s.name, "means": _all_of(s.when)} for s in trusted_subgoals(card)]
    if not found:
        raise UserError(
            f"--set subgoals=card: the card {card.name!r} has no subgoals",
            "hints: - subgoals: [{name: ..., when: [...]}] (envs/README.md), "
            "or --set subgoals=discovered",
            REFUSED,
        )
    return found


def _of_file(text: str) -> list[dict[str, str]]:
    """`text` is the file's: the run keeps it in place of the path."""
    import yaml

    try:
        found = [
            {"name": str(one["name"]), "means": str(one["means"])} for one in yaml.safe_load(text)
        ]
    except (yaml.YAMLError, TypeError, KeyError):
        raise UserError(
            "--set subgoals=FILE: the file holds no list of subgoals", FORM, REFUSED
        ) from None
    distinct = {one["name"] for one in found}
    if not 1 <= len(found) <= MAX_SUBGOALS or len(distinct) < len(found):
        raise UserError(
            f"--set subgoals=FILE: needs 1 to {MAX_SUBGOALS} subgoals with distinct names; "
            f"the file has {len(found)}",
            FORM,
            REFUSED,
        )
    return found


def _all_of(conditions: Sequence[Condition]) -> str:
    return " and ".join(c.words() for c in conditions)


def judging(
    card: TaskCard, program: str, names: tuple[str, ...], settings: Mapping[str, str]
) -> Judging | None:
    """Return what a model judges: the program's subgoals, by `names`. None with judge=code."""
    if settings["judge"] != "model":
        return None
    declared = constant(program, "SUBGOALS")
    if not isinstance(declared, dict):
        declared = {}
    trusted = {s.name: s.when for s in trusted_subgoals(card)}
    truth: tuple[tuple[Condition, ...], ...] = ()
    if all(name in trusted for name in names):
        truth = tuple(trusted[name] for name in names)
    subgoals = []
    for name in names:
        means = declared.get(name)
        if not isinstance(means, str) or not means:
            means = _all_of(trusted[name]) if name in trusted else name.replace("_", " ")
        subgoals.append({"name": name, "means": means})
    variables = {"task": briefing.task(card), "subgoals": subgoals}
    return Judging(names, variables, truth, wait=settings["wait"] == "on")


METHOD = Method(
    name="calm",
    title="Subgoals as options: a bonus when one ends, judged by predicates that the model writes",
    paper="CALM, arXiv 2409.12798",
    writes="a list of subgoals, then a program of predicates",
    agents=("designer",),
    signal="subgoals",
    preparation=(Ask("discover", only=("subgoals", "discovered")),),
    settings=(
        Setting(
            "subgoals",
            "discovered",
            "who names them: the model, the card's hints, or a file",
            values=("discovered", "card"),
            file=True,
        ),
        Setting(
            "bonus",
            "0.3",
            "what is paid when a subgoal ends; success pays 1",
            low=0.001,
            high=100,
        ),
        Setting(
            "judge",
            "code",
            "who decides that one has ended: the program's predicates, or a model that reads "
            "captions while the agent trains",
            values=("code", "model"),
        ),
        Setting("annotator", "", "the model that judges, as for --model; default: the run's"),
        Setting(
            "wait",
            "on",
            "judge=model: training waits for all answers at the end of a rollout",
            values=("on", "off"),
        ),
        Setting(
            "order",
            "on",
            "a subgoal counts only once all before it have ended",
            values=("on", "off"),
        ),
    ),
    given=given,
    judging=judging,
)
