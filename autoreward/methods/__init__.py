"""Methods: agents, templates and signal under one name. Found by name here, then by entry point `autoreward.methods`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points

from autoreward.errors import REFUSED, UserError
from autoreward.task import TaskCard


@dataclass(frozen=True)
class Method:
    """What a method is; its templates are `prompts/NAME/AGENT/*.md.j2`."""

    name: str
    title: str
    paper: str
    agents: tuple[str, ...] = ("designer", "critic", "analyzer")

    def reads_hints(self, model: str) -> bool:
        """Whether that model works from the card's hints without being asked to."""
        return model.startswith("offline/")

    def require(self, card: TaskCard, model: str) -> None:
        """UserError where this card cannot be served."""
        if self.reads_hints(model) and not card.hints:
            raise UserError(
                f"{model} searches from a card's hints, and {card.name!r} has none",
                "give it some (envs/README.md, 'Hints'), or name a language model: --model PROVIDER/MODEL, --model manual",
                REFUSED,
            )


def names() -> dict[str, str]:
    """name -> where it comes from, without importing anybody's code."""
    found = {"auto-mc-reward": "autoreward"}
    for point in entry_points(group="autoreward.methods"):
        found.setdefault(point.name, point.value)
    return found


def find_method(name: str) -> Method:
    """The method of that name. UserError where there is none, or it is broken."""
    if name == "auto-mc-reward":
        from autoreward.methods.auto_mc_reward import METHOD

        return METHOD
    for point in entry_points(group="autoreward.methods"):
        if point.name == name:
            try:
                found = point.load()
            except Exception as error:
                raise UserError(f"method {name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}", "mend or remove that package", REFUSED) from error
            if isinstance(found, Method):
                return found
            raise UserError(f"method {name!r}: {point.value} is {type(found).__name__}, not an autoreward.methods.Method", "see docs/design", REFUSED)
    raise UserError(f"no method {name!r}", f"there are {', '.join(names())}: autoreward methods list")
