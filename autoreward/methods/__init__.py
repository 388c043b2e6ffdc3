"""Methods: which agents ask a model, with which templates, and what the card must have.

Data under one name; the loop reads it and knows none by name.

Shipped ones are found by name, others by entry point: group `autoreward.methods`, the value names a
`Method`, and `prompts/` in the same package holds its templates (docs/methods.md). An installed
package is trusted code; it is imported only when its method is asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from autoreward.errors import REFUSED, USAGE, UserError
from autoreward.models import Model
from autoreward.rewards.composition import PRESETS
from autoreward.rewards.signals import PLAIN, Signal, find_signal
from autoreward.tasks.card import TaskCard
from autoreward.tasks.criteria import Condition
from autoreward.tasks.find import LocatedCard

GROUP = "autoreward.methods"
SHIPPED = {
    name: f"autoreward.methods.{name.replace('-', '_')}:METHOD"
    for name in ("auto-mc-reward", "eureka", "lare", "calm")
}
DEFAULT = "auto-mc-reward"
AGENTS = ("designer", "critic", "analyzer")
REPAIRS = 3
# values of `--set critic=...`, `--set analyzer=...`
SWITCHES = {"critic": ("on", "off"), "analyzer": ("on", "code", "off")}


@dataclass(frozen=True)
class Need:
    """A key of the card that the method cannot do without: why, and what to add.

    `holds` where being there is not enough.
    """

    key: str
    why: str
    add: str
    holds: Callable[[TaskCard], bool] | None = None

    def met(self, card: TaskCard) -> bool:
        """Whether the card has it."""
        return self.holds(card) if self.holds else bool(getattr(card, self.key, None))


@dataclass(frozen=True)
class Setting:
    """A switch of the method's own, `--set NAME=VALUE`: one of `values`, or a number from `low` to
    `high`, a whole one where `whole`.

    `file`: anything else is a file's path, whose text becomes the value when a run begins, so that
    a run is whole.
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
        """What it takes, where it does not take `value`; else empty."""
        if self.values:
            return "" if self.file or value in self.values else " or ".join(self.values)
        if self.low is None or self.high is None:
            return ""
        try:
            fits = self.low <= (int(value) if self.whole else float(value)) <= self.high
        except ValueError:
            fits = False
        return (
            ""
            if fits
            else f"a {'whole ' if self.whole else ''}number from {self.low:g} to {self.high:g}"
        )


@dataclass(frozen=True)
class Ask:
    """Calls that prepare the one that writes the program, in the first iteration:
    `prompts/METHOD/designer/TEMPLATE.md.j2`, `times` over (or as a setting of that name says).

    Templates of later calls find the replies as `replies`: template, number, text.
    """

    template: str
    times: int | str = 1
    temperature: float | None = None
    # a setting and its value: asked for in that case alone
    only: tuple[str, str] | None = None

    def count(self, settings: Mapping[str, str]) -> int:
        """How often it is asked for one candidate."""
        if self.only and settings[self.only[0]] != self.only[1]:
            return 0
        return int(settings[self.times]) if isinstance(self.times, str) else self.times


@dataclass(frozen=True)
class Judging:
    """A model judges transitions while agents train (docs/annotator.md): `labels` are what it may
    say of one, `variables` what the template METHOD/annotator/judge is told beside the
    captions.

    `truth`: the card's own conditions for every label, where it has them. `wait`: training waits at
    the end of a rollout for all answers.
    """

    labels: tuple[str, ...]
    variables: Mapping[str, Any]
    truth: tuple[tuple[Condition, ...], ...] = ()
    wait: bool = True


@dataclass(frozen=True)
class Method:
    """What a method is.

    Its templates are `prompts/NAME/AGENT/*.md.j2`; the stages and their order are the loop's, the
    same for all.

    `agents`: who asks a model; a method without a critic keeps linter and check, one without an
    analyzer tells its designer no findings. `composition`: a preset's name, taken where no
    `--compose` is given. `repairs`: refused drafts that go back to the designer, before one new
    design from scratch; 0: a refused draft is dropped. `signal`: what turns a program's answers
    into terms (signals/). `preparation`: calls before the one that writes the program. `settings`:
    switches of its own; trainers get them, too. `given`: what templates find under that name, from
    the card and the settings: lines of name and means. UserError where the card has none.
    `judging`: from the card, a program, the names it answered with and the settings: what a model
    is to judge; None where none is asked. Such a method has the settings `annotator` and, in
    `prompts/`, the agent of that name.
    """

    name: str
    title: str
    paper: str
    writes: str
    agents: tuple[str, ...] = AGENTS
    composition: str = "plain"
    repairs: int = REPAIRS
    needs: tuple[Need, ...] = ()
    signal: str = PLAIN
    preparation: tuple[Ask, ...] = ()
    settings: tuple[Setting, ...] = ()
    given: Callable[[TaskCard, Mapping[str, str]], list[dict[str, str]]] | None = None
    judging: (
        Callable[[TaskCard, str, tuple[str, ...], Mapping[str, str]], Judging | None] | None
    ) = None

    @property
    def signal_class(self) -> type[Signal]:
        """The class of its signal."""
        return find_signal(self.signal)

    def own(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Its own settings: as given, defaults filled in."""
        return {s.name: settings.get(s.name, s.default) for s in self.settings}

    def drafts(self, given: bool = False) -> int:
        """Drafts of one candidate at most.

        `given`: it is a person's own reward or its port, which cannot be sampled again, so it is
        always repaired.
        """
        repairs = self.repairs or (REPAIRS if given else 0)
        return repairs + 2 if repairs else 1

    def off(self, agent: str, settings: Mapping[str, str]) -> str:
        """Why that agent asks no model in this run; empty where it does."""
        if agent not in self.agents:
            return f"the method {self.name} has no {agent}"
        value = settings.get(agent, "on")
        return "" if value == "on" else f"--set {agent}={value}"

    def model_skipped_because(self, agent: str, settings: Mapping[str, str], model: Model) -> str:
        """Why this agent asks no model in this run; empty if it asks one."""
        off = self.off(agent, settings)
        if off:
            return off
        return "" if model.language else f"{model.name} is no language model"

    def tells_findings(self, settings: Mapping[str, str]) -> bool:
        """Whether the designer reads what the analyzer stage found."""
        return "analyzer" in self.agents and settings.get("analyzer", "on") != "off"

    def calls(self, candidates: int, settings: Mapping[str, str]) -> tuple[int, int]:
        """Calls of a language model in one iteration: when every first draft passes, and at the
        most (answers that cannot be read aside).
        """
        critic, analyzer = (int(not self.off(agent, settings)) for agent in ("critic", "analyzer"))
        batches = int(self.own(settings).get("batches", "1"))
        analyzer *= batches + (batches > 1)
        return candidates * (1 + critic + analyzer), candidates * (
            self.drafts() * (1 + critic) + analyzer
        )

    def settled(self, settings: Mapping[str, str]) -> dict[str, str]:
        """All settings, where some of its own name a file: its text.

        UserError where it cannot be read.
        """
        found = dict(settings)
        for setting in self.settings:
            value = settings.get(setting.name)
            if not setting.file or value is None or value in setting.values:
                continue
            try:
                found[setting.name] = Path(value).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or "not readable as UTF-8"
                raise UserError(
                    f"--set {setting.name}={value}: {why}",
                    f"{' or '.join(setting.values)}, or a file ({setting.means})",
                    USAGE,
                ) from None
        return found

    def annotator(self, settings: Mapping[str, str], model: str) -> str:
        """The model that judges transitions: the setting's, else the run's."""
        return self.own(settings).get("annotator") or model

    def prepares(self, settings: Mapping[str, str]) -> int:
        """Calls before the first draft of a candidate, in the first iteration alone."""
        return sum(ask.count(self.own(settings)) for ask in self.preparation)

    def reads_hints(self, model: str, settings: Mapping[str, str]) -> bool:
        """Whether that model works from the card's hints without being asked to, or a setting
        takes something from them.
        """
        return model.startswith("offline/") or (
            self.given is not None and "card" in self.own(settings).values()
        )

    def require(self, card: LocatedCard, model: str, settings: Mapping[str, str]) -> None:
        """UserError where this card cannot be served, or a switch is set to what this method does
        not have.
        """
        for need in self.needs:
            if not need.met(card.card):
                raise UserError(
                    f"the method {self.name} needs `{need.key}` in the card {card.card.name!r}: {need.why}",
                    f"add it to {card.path}: {need.add} (envs/README.md)",
                    REFUSED,
                )
        if model.startswith("offline/") and not card.card.hints:
            raise UserError(
                f"{model} searches from a card's hints, and {card.card.name!r} has none",
                "give it some (envs/README.md, 'Hints'), or name a language model: --model PROVIDER/MODEL, --model manual",
                REFUSED,
            )
        if card.card.training.her and self.signal != PLAIN:
            message = f"the card {card.card.name!r} trains with hindsight, which judges single steps again, and the signal {self.signal!r} of method {self.name} needs whole episodes"
            raise UserError(
                message,
                "leave training.her out of a copy of the card, or --method auto-mc-reward",
                REFUSED,
            )
        if self.given:
            self.given(card.card, self.own(settings))
        for setting in self.settings:
            if takes := setting.wrong(value := settings.get(setting.name, setting.default)):
                raise UserError(
                    f"--set {setting.name}={value}: it is {takes} ({setting.means})",
                    f"--set {setting.name}={setting.default}; autoreward methods show {self.name}",
                    USAGE,
                )
        self.signal_class.require(card.card, self.own(settings))
        for agent, values in SWITCHES.items():
            value = settings.get(agent, "on" if agent in self.agents else "off")
            if value not in values:
                raise UserError(
                    f"--set {agent}={value}: it is {' or '.join(values)}",
                    f"--set {agent}=off",
                    USAGE,
                )
            if value != "off" and agent not in self.agents:
                raise UserError(
                    f"--set {agent}={value}: {self.off(agent, settings)}",
                    f"leave it out; autoreward methods show {self.name}",
                    USAGE,
                )


def names() -> dict[str, str]:
    """name -> where it comes from, without importing anybody's code.

    A shipped name cannot be taken by a package.
    """
    return {
        name: "autoreward" if name in SHIPPED else point.value for name, point in _points().items()
    }


def find_method(name: str) -> Method:
    """The method of that name. UserError where there is none, or it is broken."""
    point = _points().get(name)
    if point is None:
        close = difflib.get_close_matches(name, _points(), 1, 0.4)
        raise UserError(
            f"no method {name!r}",
            (f"did you mean {close[0]}? " if close else "")
            + f"there are {', '.join(_points())}: autoreward methods list",
        )
    way_out = f"mend or remove the package of {point.value}; docs/methods.md has a whole one"
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        raise UserError(
            f"method {name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}",
            way_out,
            REFUSED,
        ) from error
    wrong = _wrong(found, name)
    if wrong:
        raise UserError(f"method {name!r}: {point.value} {wrong}", way_out, REFUSED)
    return found


def _points() -> dict[str, EntryPoint]:
    points = {name: EntryPoint(name, value, GROUP) for name, value in SHIPPED.items()}
    for point in sorted(entry_points(group=GROUP), key=lambda p: (p.name, p.value)):
        points.setdefault(point.name, point)
    return points


def _wrong(found: object, name: str) -> str:
    """What is wrong with what a package gives; empty where nothing is."""
    if not isinstance(found, Method):
        return f"is {type(found).__name__}, not an autoreward.methods.Method"
    if found.name != name:
        return f"calls itself {found.name!r}: entry point, method and folder of templates have one name"
    if "designer" not in found.agents or not set(found.agents) <= set(AGENTS):
        return f"has the agents {', '.join(map(str, found.agents)) or '(none)'}: they are designer, and critic and analyzer if wished"
    return (
        ""
        if found.composition in PRESETS
        else f"has the composition {found.composition!r}: presets are {', '.join(PRESETS)}"
    )
