"""What a method is: its agents, templates, signal and settings, and what it needs from a card.

A method is data. The stages and their order are the loop's, the same for all methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoreward.errors import REFUSED, USAGE, UserError
from autoreward.models import Model
from autoreward.rewards.signals import PLAIN, Signal, find_signal
from autoreward.tasks.card import TaskCard
from autoreward.tasks.criteria import Condition
from autoreward.tasks.find import LocatedCard

AGENTS = ("designer", "critic", "analyzer")
# Rejected drafts that go back to the designer, unless a method says otherwise.
REPAIRS = 3
# Values of `--set critic=...` and `--set analyzer=...`.
SWITCHES = {"critic": ("on", "off"), "analyzer": ("on", "code", "off")}


@dataclass(frozen=True)
class Need:
    """A key of the card that a method cannot do without: why, and what to add.

    `holds` checks the card if it is not enough that the key is there.
    """

    key: str
    why: str
    add: str
    holds: Callable[[TaskCard], bool] | None = None

    def met(self, card: TaskCard) -> bool:
        """Whether the card has it."""
        if self.holds:
            return self.holds(card)
        return bool(getattr(card, self.key, None))


@dataclass(frozen=True)
class Setting:
    """A setting that only this method has, `--set NAME=VALUE`.

    It takes one of `values`, or a number from `low` to `high` (a whole one if `whole`). With
    `file`, anything else is the path of a file, whose text becomes the value when a run begins, so
    that the run does not depend on the file.
    """

    name: str
    default: str
    means: str
    values: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    whole: bool = False
    file: bool = False

    def wrong(self, value: str) -> str:
        """Return what the setting takes if it does not take `value`; empty if it does."""
        if self.values:
            fits = self.file or value in self.values
            return "" if fits else " or ".join(self.values)
        if self.low is None or self.high is None or self._in_range(value):
            return ""
        number = "whole number" if self.whole else "number"
        return f"a {number} from {self.low:g} to {self.high:g}"

    def _in_range(self, value: str) -> bool:
        assert self.low is not None
        assert self.high is not None
        try:
            given = int(value) if self.whole else float(value)
        except ValueError:
            return False
        return self.low <= given <= self.high


@dataclass(frozen=True)
class Ask:
    """Calls that prepare the one that writes the program, in the first iteration.

    `template` is rendered from `prompts/METHOD/designer/TEMPLATE.md.j2` and asked `times` over, or
    as often as the setting of that name says. Templates of later calls find the replies in
    `replies`: template, number, text.
    """

    template: str
    times: int | str = 1
    temperature: float | None = None
    only: tuple[str, str] | None = None
    """A setting and its value: the calls are made only if the setting has that value."""

    def count(self, settings: Mapping[str, str]) -> int:
        """Return how many calls this is for one candidate."""
        if self.only:
            setting, value = self.only
            if settings[setting] != value:
                return 0
        return int(settings[self.times]) if isinstance(self.times, str) else self.times


@dataclass(frozen=True)
class Judging:
    """What a model is asked about transitions while agents train (docs/annotator.md).

    `labels` are the names that it may give to a transition. `variables` are the template's
    (METHOD/annotator/judge) apart from the captions. `truth` holds the card's own conditions for
    every label, if it has them. With `wait`, training waits for all answers at the end of a
    rollout.
    """

    labels: tuple[str, ...]
    variables: Mapping[str, Any]
    truth: tuple[tuple[Condition, ...], ...] = ()
    wait: bool = True


@dataclass(frozen=True)
class Method:
    """Which agents ask a model, with which templates and signal.

    Templates are `prompts/NAME/AGENT/*.md.j2`.
    """

    name: str
    title: str
    paper: str
    writes: str
    """What the model writes, for people."""
    agents: tuple[str, ...] = AGENTS
    """Who asks a model. Without a critic the linter and the check remain; without an analyzer the
    designer is shown no findings."""
    composition: str = "plain"
    """The preset that is used without `--compose`."""
    repairs: int = REPAIRS
    """Rejected drafts that go back to the designer before one new design from scratch. With 0 a
    rejected draft is dropped."""
    needs: tuple[Need, ...] = ()
    signal: str = PLAIN
    """What turns a program's answers into terms (rewards/signals)."""
    preparation: tuple[Ask, ...] = ()
    """Calls before the one that writes the program."""
    settings: tuple[Setting, ...] = ()
    """Settings of this method only. Trainers get them, too."""
    given: Callable[[TaskCard, Mapping[str, str]], list[dict[str, str]]] | None = None
    """The template variable `given` from card and settings: name, means. Raises UserError if the
    card lacks it."""
    judging: (
        Callable[[TaskCard, str, tuple[str, ...], Mapping[str, str]], Judging | None] | None
    ) = None
    """From the card, a program, the names it answered with and the settings: what a model judges;
    None if it judges nothing. Such a method has the setting `annotator`, and an agent of that name
    in `prompts/`."""

    @property
    def signal_class(self) -> type[Signal]:
        """The class of its signal."""
        return find_signal(self.signal)

    def own(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return this method's settings, defaults filled in."""
        return {s.name: settings.get(s.name, s.default) for s in self.settings}

    def drafts(self, given: bool = False) -> int:
        """Return how many drafts one candidate may have.

        `given`: the first is a person's own reward or its port. It cannot be sampled again, so it
        is always repaired.
        """
        repairs = self.repairs or (REPAIRS if given else 0)
        return repairs + 2 if repairs else 1

    def off(self, agent: str, settings: Mapping[str, str]) -> str:
        """Return why method and settings leave this agent out; empty if they do not."""
        if agent not in self.agents:
            return f"the method {self.name} has no {agent}"
        value = settings.get(agent, "on")
        return "" if value == "on" else f"--set {agent}={value}"

    def model_skipped_because(self, agent: str, settings: Mapping[str, str], model: Model) -> str:
        """Return why this agent asks no model in this run; empty if it asks one."""
        off = self.off(agent, settings)
        if off:
            return off
        return "" if model.language else f"{model.name} is not a language model"

    def shows_findings(self, settings: Mapping[str, str]) -> bool:
        """Whether the designer reads what the analyzer stage found."""
        return "analyzer" in self.agents and settings.get("analyzer", "on") != "off"

    def calls(self, candidates: int, settings: Mapping[str, str]) -> tuple[int, int]:
        """Return a language model's calls in one iteration, at least and at most.

        At least: every first draft passes. Calls that repeat a question whose reply could not be
        read are not counted.
        """
        critic = int(not self.off("critic", settings))
        analyzer = int(not self.off("analyzer", settings))
        batches = int(self.own(settings).get("batches", "1"))
        # Several batches are summed up by one more call.
        analyzer *= batches + (batches > 1)
        least = 1 + critic + analyzer
        most = self.drafts() * (1 + critic) + analyzer
        return candidates * least, candidates * most

    def prepares(self, settings: Mapping[str, str]) -> int:
        """Return the calls before a candidate's first draft, in the first iteration only."""
        return sum(ask.count(self.own(settings)) for ask in self.preparation)

    def annotator(self, settings: Mapping[str, str], model: str) -> str:
        """Return the name of the model that judges transitions: the setting's, else the run's."""
        return self.own(settings).get("annotator") or model

    def reads_hints(self, model: str, settings: Mapping[str, str]) -> bool:
        """Whether a run uses the card's hints without --hints.

        The offline designer does, and settings that take something from them.
        """
        if model.startswith("offline/"):
            return True
        return self.given is not None and "card" in self.own(settings).values()

    def settled(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return all settings, with the text of each file that one of them names.

        Raises UserError if a file cannot be read.
        """
        found = dict(settings)
        for setting in self.settings:
            value = settings.get(setting.name)
            if not setting.file or value is None or value in setting.values:
                continue
            try:
                found[setting.name] = Path(value).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or "not UTF-8"
                raise UserError(
                    f"--set {setting.name}={value}: {why}",
                    f"{' or '.join(setting.values)}, or a file ({setting.means})",
                    USAGE,
                ) from None
        return found

    def require(self, card: LocatedCard, model: str, settings: Mapping[str, str]) -> None:
        """Raise UserError if the card lacks what the method needs, or if a setting is wrong."""
        self._require_card(card, model)
        if self.given:
            self.given(card.card, self.own(settings))
        self._require_settings(settings)
        self.signal_class.require(card.card, self.own(settings))
        self._require_switches(settings)

    def _require_card(self, located: LocatedCard, model: str) -> None:
        card = located.card
        for need in self.needs:
            if not need.met(card):
                raise UserError(
                    f"method {self.name} needs `{need.key}` in the card {card.name!r}: {need.why}",
                    f"add it to {located.path}: {need.add} (envs/README.md)",
                    REFUSED,
                )
        if model.startswith("offline/") and not card.hints:
            raise UserError(
                f"{model} works from a card's hints, but {card.name!r} has none",
                "add some (envs/README.md, 'Hints'), or name a language model: "
                "--model PROVIDER/MODEL, --model manual",
                REFUSED,
            )
        if card.training.her and self.signal != PLAIN:
            raise UserError(
                f"the card {card.name!r} trains with hindsight, which recomputes the reward of "
                f"single steps, but the signal {self.signal!r} of method {self.name} needs whole "
                "episodes",
                "remove training.her in a copy of the card, or use --method auto-mc-reward",
                REFUSED,
            )

    def _require_settings(self, settings: Mapping[str, str]) -> None:
        for setting in self.settings:
            value = settings.get(setting.name, setting.default)
            takes = setting.wrong(value)
            if takes:
                raise UserError(
                    f"--set {setting.name}={value}: must be {takes} ({setting.means})",
                    f"--set {setting.name}={setting.default}; autoreward methods show {self.name}",
                    USAGE,
                )

    def _require_switches(self, settings: Mapping[str, str]) -> None:
        for agent, values in SWITCHES.items():
            value = settings.get(agent, "on" if agent in self.agents else "off")
            if value not in values:
                raise UserError(
                    f"--set {agent}={value}: must be {' or '.join(values)}",
                    f"--set {agent}=off",
                    USAGE,
                )
            if value != "off" and agent not in self.agents:
                raise UserError(
                    f"--set {agent}={value}: {self.off(agent, settings)}",
                    f"leave it out; autoreward methods show {self.name}",
                    USAGE,
                )
