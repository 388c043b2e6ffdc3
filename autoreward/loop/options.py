"""Every option of a design, declared once.

The command line, `--config` files, `autoreward.design(**options)`, `bench` suites and the header of
a run (run.yaml) are derived from `DesignOptions`: the name, type, default, bounds, help and
destination of an option stand here and nowhere else.

Imports nothing heavy, so that `autoreward design --help` stays fast.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from autoreward.errors import USAGE, UserError
from autoreward.seeds import MAX_RUN_SEED, MAX_TRAINING_SEEDS

# The same as autoreward.methods.DEFAULT, which costs a second to import.
DEFAULT_METHOD = "auto-mc-reward"

# Settings (`--set`) that every method has; a method may declare more.
SETTINGS = (
    "critic",
    "analyzer",
    "tensorboard",
    "base_url",
    "key_command",
    "prices",
    "temperature",
    "max_tokens",
    "num_ctx",
    "strict",
    "timeout",
)

Destination = Literal["card", "header", "limits", "settings", "request", "folder"]


@dataclass(frozen=True)
class OptionInfo:
    """What is declared for an option beside its name, type and default.

    `destination` says where its value takes effect:

        card      which task card is read, and how
        header    the field `key` of the run's header (default: the option's name)
        limits    the field of that name in the header's limits
        settings  the entry of that name in the header's settings
        request   sent to the model's server with each request, never stored
        folder    where the run directory is created

    `flag` is its spelling on the command line if that differs from the name. An option with `flag`
    set to None is for Python only, an `internal` one for this package only.
    """

    help: str
    destination: Destination
    key: str = ""
    flag: str | None = ""
    metavar: str | None = None
    low: int | None = None
    high: int | None = None
    internal: bool = False


def _option(default: Any, destination: Destination, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"option": OptionInfo(help, destination, **more)})


def _mapping(destination: Destination, help: str, **more: Any) -> Any:
    info = OptionInfo(help, destination, **more)
    return field(default_factory=dict, metadata={"option": info})


@dataclass(frozen=True)
class DesignOptions:
    """Everything that decides a design.

    Raises UserError if a number is out of bounds.
    """

    task: str = field(
        metadata={
            "option": OptionInfo(
                "a task's name (autoreward envs list) or the path of a task card", "card"
            )
        }
    )
    model: str | None = _option(
        None,
        "header",
        "offline/search (default), replay/RUN, manual, cmd:COMMAND, or any litellm name",
    )
    method: str = _option(
        DEFAULT_METHOD, "header", "how programs are written (autoreward methods list)"
    )
    iterations: int = _option(
        2, "header", "rounds of drafting, training and analysis", low=1, high=100
    )
    candidates: int = _option(3, "header", "programs per iteration", low=1, high=26)
    steps: int | None = _option(
        None,
        "header",
        "environment steps per training [default: the card's]",
        low=1,
        high=10**12,
    )
    seed: int = _option(0, "header", "random seed of the run", low=0, high=MAX_RUN_SEED)
    final_seeds: int = _option(
        3,
        "header",
        "trainings of the winner and of each baseline for the final confirmation",
        low=1,
        high=MAX_TRAINING_SEEDS,
    )
    jobs: int | None = _option(
        None, "header", "trainings in parallel [default: one per core]", low=1, high=1024
    )
    device: str = _option("auto", "header", "auto, cpu or cuda")
    max_cost: float | None = _option(None, "limits", "limit on the model's cost, in dollars")
    max_tokens: int | None = _option(None, "limits", "limit on the model's tokens")
    max_calls: int | None = _option(None, "limits", "limit on model calls")
    max_time: float | None = _option(
        None, "limits", "limit on the run's time, in minutes; checked before each call"
    )
    hints: bool = _option(
        False, "header", "show the card's hints to the language model", key="hints_used"
    )
    settings: dict[str, str] = _mapping(
        "settings",
        "a setting of the method, the model or the trainer; repeatable (docs/methods.md)",
        flag="--set",
        metavar="KEY=VALUE",
    )
    prompts: Path | None = _option(
        None, "header", "folder of templates that override the shipped ones"
    )
    base_url: str | None = _option(None, "settings", "an OpenAI-compatible server or gateway")
    headers: dict[str, str] = _mapping(
        "request",
        "extra header for the model's server; repeatable, never stored",
        flag="--header",
        metavar="NAME: VALUE",
    )
    key_command: str | None = _option(None, "settings", "a command that prints the API key")
    prices: Path | None = _option(
        None, "settings", "your own table of prices, as YAML (docs/models.md)"
    )
    sandbox: str = _option("default", "header", "sandbox profile (autoreward sandboxes list)")
    unsafe_no_sandbox: bool = _option(
        False,
        "header",
        "run programs without the kernel's sandbox; the run records it",
        key="sandbox",
    )
    trainer_python: str | None = _option(
        None, "header", "Python interpreter that runs the trainers"
    )
    name: str | None = _option(None, "folder", "name of the run directory in ./runs")
    folder: Path = _option(
        Path("runs"), "folder", "folder that the run directory is created in", flag=None
    )
    origin: Path | None = _option(
        None,
        "header",
        "start from your own reward: a program, or a plain function of observation, action and "
        "next observation",
        flag="--from",
        metavar="FILE.py",
    )
    compose: str | None = _option(
        None,
        "header",
        "how terms become the reward: plain, signs, potential, gain, best, normalized, a YAML file "
        "(docs/composition.md), or `designer` to let the model choose [default: the method's]",
        metavar="FILE|PRESET",
    )
    episodic_return: bool = _option(
        False,
        "header",
        "withhold the environment's reward and pay its sum at the end of each episode",
    )
    external_training: bool = _option(
        False,
        "header",
        "the agents are trained by the caller of a Study",
        flag=None,
        internal=True,
    )

    def __post_init__(self) -> None:
        for name in DECLARED:
            _check_bounds(name, getattr(self, name), COMMAND_LINE)

    @property
    def sandbox_profile(self) -> str:
        """The sandbox profile that programs run in."""
        return "unsafe" if self.unsafe_no_sandbox else self.sandbox

    @property
    def stored_settings(self) -> dict[str, str]:
        """All settings of the run; an option of its own (`--base-url`) wins over `--set`."""
        return {**self.settings, **{k: str(v) for k, v in self.values_for("settings").items()}}

    def values_for(self, destination: Destination) -> dict[str, Any]:
        """Values with that destination, by the key they have there; None and mappings left out."""
        found = {}
        for name, declared in DECLARED.items():
            value = getattr(self, name)
            if info_of(declared).destination != destination or value is None:
                continue
            if not isinstance(value, dict):
                found[info_of(declared).key or name] = value
        return found


DECLARED: dict[str, Field[Any]] = {f.name: f for f in fields(DesignOptions)}
TYPES: dict[str, Any] = get_type_hints(DesignOptions)


def info_of(declared: Field[Any]) -> OptionInfo:
    """What is declared for an option."""
    info = declared.metadata["option"]
    assert isinstance(info, OptionInfo)
    return info


def flag_of(name: str) -> str | None:
    """Its spelling on the command line; None for an option that is not there."""
    flag = info_of(DECLARED[name]).flag
    if flag is None:
        return None
    return flag or "--" + name.replace("_", "-")


def command_line_names() -> list[str]:
    """Options of the command line, in the order of `--help`; the task is an argument."""
    return [name for name in DECLARED if name != "task" and flag_of(name) is not None]


# -- reading options -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Where option values come from, as error messages name it.

    `prefix` stands before an option's name. `reserved` names options that cannot be given there.
    """

    prefix: str
    hint: str
    code: int = USAGE
    reserved: tuple[str, ...] = ()
    # Options are spelled as on the command line, and only those are known.
    flags: bool = False

    def spell(self, name: str) -> str:
        """The option's name as a user of this source wrote it."""
        return (flag_of(name) or name) if self.flags else f"{self.prefix}{name}"

    def error(self, message: str, hint: str = "") -> UserError:
        return UserError(message, hint or self.hint, self.code)


COMMAND_LINE = Source("", "autoreward design --help", flags=True)
PYTHON = Source("", "options are named as in `autoreward design --help`, with _ for -")


def read_options(*layers: tuple[Mapping[str, Any], Source]) -> DesignOptions:
    """Options from one or more sources; a later one overrides an earlier one.

    Settings and headers are merged key by key. None stands for the default.

    Raises UserError, naming source, option, value and what is expected, if an option is unknown,
    has the wrong type or is out of bounds, and if the method has no such setting.
    """
    merged: dict[str, Any] = {}
    settings: list[tuple[dict[str, str], Source]] = []
    for given, source in layers:
        for written, value in given.items():
            name = _known(str(written), source)
            read = None if value is None else _read(name, value, source)
            if read is None:
                continue
            if name == "settings":
                settings.append((read, source))
            merged[name] = {**merged.get(name, {}), **read} if isinstance(read, dict) else read
    if "task" not in merged:
        raise layers[-1][1].error("a design needs a task", "autoreward envs list")
    for pairs, source in settings:
        check_settings(pairs, merged.get("method", DEFAULT_METHOD), source)
    return DesignOptions(**merged)


def check_settings(pairs: Mapping[str, str], method: str | None, source: Source) -> None:
    """Raise UserError if one of these is no setting, neither a general one nor the method's."""
    known = list(SETTINGS)
    if pairs and method is not None:
        from autoreward.methods import find_method

        known += [s.name for s in find_method(method).settings]
    for key, value in pairs.items():
        if key not in known:
            written = f"{source.spell('settings')} {key}={value}"
            raise source.error(f"{written}: unknown setting {key!r}", f"settings: {_list(known)}")


def _known(written: str, source: Source) -> str:
    """The option that a source calls so: by its name, or as on the command line without dashes."""
    spelled = written.replace("-", "_")
    names = {}
    for name, declared in DECLARED.items():
        if info_of(declared).internal or name in source.reserved:
            continue
        names[name] = name
        if flag := flag_of(name):
            names[flag.removeprefix("--").replace("-", "_")] = name
    if spelled in names:
        return names[spelled]
    close = difflib.get_close_matches(spelled, names, 1)
    suggestion = f"did you mean {close[0]!r}? " if close else ""
    raise source.error(f"{source.prefix}unknown option {written!r}", f"{suggestion}{source.hint}")


def _read(name: str, value: Any, source: Source) -> Any:
    """The value in the option's type.

    Raises UserError if it has another type or is out of bounds.
    """
    kind = kind_of(name)
    read: Any = None
    if kind is dict:
        return _pairs(name, value, source)
    if kind is bool:
        read = value if isinstance(value, bool) else None
    elif isinstance(value, bool):
        read = None
    elif kind is int:
        read = int(value) if isinstance(value, Integral) else None
    elif kind is float:
        read = float(value) if isinstance(value, Real) else None
    elif kind is Path:
        read = Path(value) if isinstance(value, (str, PathLike)) else None
    elif isinstance(value, (str, PathLike)):
        read = str(value)
    if read is None:
        raise source.error(f"{source.spell(name)} is {value!r}; it must be {expected(name)}")
    _check_bounds(name, read, source)
    return read


def _check_bounds(name: str, value: Any, source: Source) -> None:
    info = info_of(DECLARED[name])
    if value is None or info.low is None or info.high is None:
        return
    if not info.low <= value <= info.high:
        raise source.error(f"{source.spell(name)} is {value}; it must be {expected(name)}")


def kind_of(name: str) -> type:
    """The option's type: bool, int, float, str, Path or dict."""
    declared = TYPES[name]
    if get_origin(declared) is dict:
        return dict
    choices = [t for t in get_args(declared) if t is not type(None)]
    kind = choices[0] if choices else declared
    assert isinstance(kind, type)
    return kind


def expected(name: str) -> str:
    """What the option takes, for error messages."""
    info, kind = info_of(DECLARED[name]), kind_of(name)
    if info.low is not None:
        return f"a whole number from {info.low} to {info.high}"
    words = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        Path: "a path",
        str: "text",
        dict: f"a mapping, or a list of {info.metavar}",
    }
    return words[kind]


def _pairs(name: str, value: Any, source: Source) -> dict[str, str]:
    """`{KEY: VALUE}`, from a mapping or from a list of KEY=VALUE (headers: NAME: VALUE)."""
    if isinstance(value, Mapping):
        return {str(k): _text(v) for k, v in value.items()}
    if not isinstance(value, (list, tuple)):
        raise source.error(f"{source.spell(name)} is {value!r}; it must be {expected(name)}")
    separator = ":" if name == "headers" else "="
    found = {}
    for pair in value:
        key, separates, text = str(pair).partition(separator)
        if not separates:
            raise _malformed(name, str(pair), source)
        found[key.strip()] = text.strip() if name == "headers" else text
    return found


def _malformed(name: str, pair: str, source: Source) -> UserError:
    takes = f"{source.spell(name)} takes {info_of(DECLARED[name]).metavar}"
    if name == "headers":
        # The value may be a bare secret, so the message does not repeat it.
        return source.error(f"{takes}; the value has no colon", "--header 'X-Team: robots'")
    return source.error(f"{takes}, not {pair!r}", f"settings: {_list(SETTINGS)}")


def _text(value: Any) -> str:
    """A setting as text; YAML reads `on` and `off` as booleans."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _list(names: Any) -> str:
    return ", ".join(names)
