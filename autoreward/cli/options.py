"""Options that several verbs take, and what is read out of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from autoreward.errors import UserError

Task = Annotated[str, Argument(help="a task's name (autoreward envs list), or the path of a card")]
Model = Annotated[
    str | None,
    Option(
        help="offline/search (default), replay/RUN, manual, cmd:COMMAND, or any litellm name",
        show_default=False,
    ),
]
Jobs = Annotated[
    int | None, Option(help="trainings side by side [default: one a core]", show_default=False)
]
Json = Annotated[bool, Option("--json", help="one JSON document on stdout")]
Set = Annotated[
    list[str] | None,
    Option("--set", metavar="KEY=VALUE", help="a setting, repeatable; see docs/cli.md"),
]
BaseUrl = Annotated[str | None, Option(help="an OpenAI-compatible server or gateway")]
Header = Annotated[
    list[str] | None,
    Option(
        "--header",
        metavar="NAME: VALUE",
        help="extra header for the server, repeatable; never stored",
    ),
]
KeyCommand = Annotated[str | None, Option(help="a command that prints the key")]
Prices = Annotated[Path | None, Option(help="your own price table (YAML), see docs/models.md")]
Sandbox = Annotated[str, Option(help="jail profile (autoreward sandboxes list)")]
Unsafe = Annotated[
    bool, Option("--unsafe-no-sandbox", help="run programs without the kernel's jail; recorded")
]
MethodName = Annotated[
    str,
    Option(
        help="the method that the program is written for: what it defines, and what becomes of it"
    ),
]
Compose = Annotated[
    str,
    Option(
        metavar="FILE|PRESET",
        help="how terms become the reward: plain, signs, potential, gain, best, normalized, or a YAML file (docs/composition.md)",
    ),
]
Composed = Annotated[
    str | None,
    Option(
        metavar="FILE|PRESET",
        help="as for train, or `designer`: it chooses [default: the method's, plain]",
        show_default=False,
    ),
]
EpisodicReturn = Annotated[
    bool,
    Option(
        "--episodic-return",
        help="hold the environment's reward back: its sum, at the end of an episode only",
    ),
]
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


def program_text(program: Path) -> str:
    """A program's file; UserError where there is none, or it is no UTF-8 text."""
    try:
        return program.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"no file {program}", "name a reward program; autoreward check --help"
        ) from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise UserError(
            f"{program} is not readable as UTF-8 text: {error}", "save it as UTF-8"
        ) from None


def with_config(context: typer.Context, config: Path | None) -> dict[str, Any]:
    """Options as typed, over those of the file, over the defaults."""
    values = dict(context.params)
    if config is None:
        return values
    import yaml

    try:
        data = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UserError(
            f"--config {config}: {str(error).splitlines()[0]}",
            "a mapping of option names, e.g. iterations: 3",
        ) from None
    if not isinstance(data, dict):
        raise UserError(
            f"--config {config}: this is {type(data).__name__}, not a mapping of option names",
            "e.g. iterations: 3",
        )
    for key, value in data.items():
        option = str(key).replace("-", "_")
        if option not in values or option in ("config", "task", "dry_run", "as_json"):
            raise UserError(
                f"--config {config}: no option {key!r}", "autoreward design --help lists them"
            )
        source = context.get_parameter_source(option)
        if source is not None and source.name != "COMMANDLINE":
            default = values[option]
            if (
                default is not None
                and not isinstance(value, type(default))
                and not (isinstance(default, float) and isinstance(value, int))
            ):
                raise UserError(
                    f"--config {config}: {key} is {value!r}, not {type(default).__name__}",
                    "autoreward design --help",
                )
            values[option] = value
    return values


def settings_of(pairs: list[str] | None, method: str | None = None) -> dict[str, str]:
    """`--set` as a mapping; UserError for a name that is no setting, and none of the method's own."""
    out = {}
    known = list(SETTINGS)
    if method is not None and pairs:
        from autoreward.methods import find_method

        known += [s.name for s in find_method(method).settings]
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or key not in known:
            raise UserError(
                f"--set {pair}: " + (f"no setting {key!r}" if equals else "write KEY=VALUE"),
                f"settings: {', '.join(known)}",
            )
        out[key] = value
    return out


def headers_of(lines: list[str] | None) -> dict[str, str]:
    """`--header` as a mapping."""
    out = {}
    for line in lines or []:
        name, colon, value = line.partition(":")
        if not colon:
            raise UserError(
                "--header takes NAME: VALUE, and what was given has no colon",
                "--header 'X-Team: robots'",
            )
        out[name.strip()] = value.strip()
    return out
