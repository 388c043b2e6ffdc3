"""CALM (Pignatelli et al. 2024, arXiv 2409.12798): a model splits the task into subgoals, and says at which transition one ends.

Otherwise than there: by default the model writes predicates once, which judge every transition in the jail for nothing (`judge=code`);
with `judge=model` it judges captions of transitions while the agent trains, as in the paper. A bonus is paid once per subgoal and
episode, so that no cheap transition can be farmed, and in order.
"""

from __future__ import annotations

from collections.abc import Mapping

from autoreward.errors import REFUSED, UserError
from autoreward.methods import Ask, Method, Setting
from autoreward.signals.subgoals import MOST, trusted_subgoals
from autoreward.task import TaskCard

FORM = "a YAML list of lines like: {name: take_key, means: the agent carries the key}"


def given(card: TaskCard, settings: Mapping[str, str]) -> list[dict[str, str]]:
    """Subgoals that the card or a file names; [] where the model is to find them."""
    chosen = settings["subgoals"]
    if chosen == "discovered":
        return []
    if chosen == "card":
        found = [{"name": s.name, "means": " and ".join(c.words() for c in s.when)} for s in trusted_subgoals(card)]
        if not found:
            raise UserError(f"--set subgoals=card: the card {card.name!r} has no subgoals", "hints: - subgoals: [{name: ..., when: [...]}] (envs/README.md), or --set subgoals=discovered", REFUSED)
        return found
    import yaml

    try:
        listed = yaml.safe_load(chosen)
        found = [{"name": str(one["name"]), "means": str(one["means"])} for one in listed]
    except (yaml.YAMLError, TypeError, KeyError):
        raise UserError("--set subgoals=FILE: the file holds no list of subgoals", FORM, REFUSED) from None
    if not 1 <= len(found) <= MOST or len({one["name"] for one in found}) < len(found):
        raise UserError(f"--set subgoals=FILE: 1 to {MOST} subgoals with names of their own; the file has {len(found)}", FORM, REFUSED)
    return found


METHOD = Method(
    name="calm",
    title="Subgoals as options: a bonus where one ends, judged by predicates that the model writes",
    paper="CALM, arXiv 2409.12798",
    writes="a list of subgoals, then a program of predicates",
    agents=("designer",),
    signal="subgoals",
    preparation=(Ask("discover", only=("subgoals", "discovered")),),
    settings=(
        Setting("subgoals", "discovered", "who names them: the model, the card's hints, or a file", values=("discovered", "card"), file=True),
        Setting("bonus", "0.3", "paid where a subgoal ends, beside 1 for success", low=0.001, high=100),
        Setting("order", "on", "a subgoal counts once all before it have ended", values=("on", "off")),
    ),
    given=given,
)
