"""CALM (Pignatelli et al. 2024, arXiv 2409.12798): a model splits the task into subgoals, and says
at which transition one ends.

Otherwise than there: by default the model writes predicates once, which judge every transition in
the jail for nothing (`judge=code`); with `judge=model` it judges captions of transitions while the
agent trains, as in the paper. A bonus is paid once per subgoal and episode, so that no cheap
transition can be farmed, and in order.
"""

from __future__ import annotations

from collections.abc import Mapping

from autoreward.errors import REFUSED, USAGE, UserError
from autoreward.methods import Ask, Judging, Method, Setting
from autoreward.models import briefing
from autoreward.rewards.program import constant
from autoreward.rewards.signals.subgoals import MOST, trusted_subgoals
from autoreward.tasks.card import TaskCard

FORM = "a YAML list of lines like: {name: take_key, means: the agent carries the key}"


def given(card: TaskCard, settings: Mapping[str, str]) -> list[dict[str, str]]:
    """Subgoals that the card or a file names; [] where the model is to find them."""
    chosen = settings["subgoals"]
    if (
        settings["judge"] == "model"
        and settings["annotator"].startswith("simulated/")
        and chosen != "card"
    ):
        raise UserError(
            f"--set annotator={settings['annotator']}: it judges by the card's own predicates, so the subgoals must be the card's",
            "--set subgoals=card",
            USAGE,
        )
    if chosen == "discovered":
        return []
    if chosen == "card":
        found = [
            {"name": s.name, "means": " and ".join(c.words() for c in s.when)}
            for s in trusted_subgoals(card)
        ]
        if not found:
            raise UserError(
                f"--set subgoals=card: the card {card.name!r} has no subgoals",
                "hints: - subgoals: [{name: ..., when: [...]}] (envs/README.md), or --set subgoals=discovered",
                REFUSED,
            )
        return found
    import yaml

    try:
        listed = yaml.safe_load(chosen)
        found = [{"name": str(one["name"]), "means": str(one["means"])} for one in listed]
    except (yaml.YAMLError, TypeError, KeyError):
        raise UserError(
            "--set subgoals=FILE: the file holds no list of subgoals", FORM, REFUSED
        ) from None
    if not 1 <= len(found) <= MOST or len({one["name"] for one in found}) < len(found):
        raise UserError(
            f"--set subgoals=FILE: 1 to {MOST} subgoals with names of their own; the file has {len(found)}",
            FORM,
            REFUSED,
        )
    return found


def judging(
    card: TaskCard, program: str, names: tuple[str, ...], settings: Mapping[str, str]
) -> Judging | None:
    """The program's subgoals, to be judged from captions."""
    if settings["judge"] != "model":
        return None
    said = constant(program, "SUBGOALS")
    means = {k: v for k, v in said.items() if isinstance(v, str)} if isinstance(said, dict) else {}
    own = {s.name: s for s in trusted_subgoals(card)}
    truth = tuple(own[n].when for n in names) if all(n in own for n in names) else ()
    subgoals = [
        {
            "name": n,
            "means": means.get(n)
            or (" and ".join(c.words() for c in own[n].when) if n in own else n.replace("_", " ")),
        }
        for n in names
    ]
    return Judging(
        names, {"task": briefing.task(card), "subgoals": subgoals}, truth, settings["wait"] == "on"
    )


METHOD = Method(
    name="calm",
    title="Subgoals as options: a bonus where one ends, judged by predicates that the model writes",
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
            "bonus", "0.3", "paid where a subgoal ends, beside 1 for success", low=0.001, high=100
        ),
        Setting(
            "judge",
            "code",
            "who says where one ends: the program's predicates, or a model that reads captions while the agent trains",
            values=("code", "model"),
        ),
        Setting("annotator", "", "the model that judges, as for --model; else the run's own"),
        Setting(
            "wait",
            "on",
            "judge=model: training waits at the end of a rollout for all answers",
            values=("on", "off"),
        ),
        Setting(
            "order", "on", "a subgoal counts once all before it have ended", values=("on", "off")
        ),
    ),
    given=given,
    judging=judging,
)
