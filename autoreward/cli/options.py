"""Options that several commands take, and how the command line reads them.

Options of a design come from `loop/options.py`, where each is declared once; `takes` adds them to
a command.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer import Argument, Option

from autoreward.errors import UserError
from autoreward.loop.options import (
    COMMAND_LINE,
    DECLARED,
    TYPES,
    DesignOptions,
    Source,
    flag_of,
    info_of,
    kind_of,
    read_options,
)

Json = Annotated[bool, Option("--json", help="print one JSON document on stdout")]
RunName = Annotated[str, Argument(help="a run directory, its name in ./runs, or `last`")]
TaskName = Annotated[str, Argument(help=info_of(DECLARED["task"]).help)]
ForTask = Annotated[str, Option("--task", help=info_of(DECLARED["task"]).help)]
Candidate = Annotated[
    str | None,
    Option(help="a candidate such as 2a [default: the confirmed winner]", show_default=False),
]
Trust = Annotated[
    bool,
    Option(
        "--trust",
        help="allow a run created elsewhere to use the card and interpreter that it names",
    ),
]

# Options about the command itself; `--help` shows them last.
LAST = ("config", "dry_run", "as_json")


def takes(
    *names: str, help: Mapping[str, str] | None = None, defaults: Mapping[str, Any] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add declared options to a command, which gets them in its `**given`.

    In `--help` they stand after the command's own options, but for those of `LAST`. `help` and
    `defaults` replace what is declared, if a command differs from `design`.
    """
    texts, values = help or {}, defaults or {}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [
            p.replace(annotation=hints[p.name])
            for p in inspect.signature(command).parameters.values()
            if p.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        added = [_parameter(name, texts.get(name), values.get(name)) for name in names]
        last = [p for p in own if p.name in LAST]
        first = [p for p in own if p.name not in LAST]
        # Options may follow a default, so all of them are keywords.
        all_of_them = [
            p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in [*first, *added, *last]
        ]
        command.__signature__ = inspect.Signature(all_of_them)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in all_of_them}
        return command

    return decorate


def _parameter(name: str, help: str | None, default: Any) -> inspect.Parameter:
    """The declared option as a typer parameter."""
    info, kind = info_of(DECLARED[name]), kind_of(name)
    if default is None and kind is not dict:
        default = DECLARED[name].default
    option = Option(
        flag_of(name),
        help=help or info.help,
        metavar=info.metavar,
        show_default=default is not None,
    )
    python_type = list[str] | None if kind is dict else TYPES[name]
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[python_type, option],
    )


def options_of(
    task: str, given: Mapping[str, Any], context: typer.Context, config: Path | None = None
) -> DesignOptions:
    """Options of a command: those of the command line, over those of `--config`, over defaults."""
    if config is None:
        return read_options(({**given, "task": task}, COMMAND_LINE))
    typed: dict[str, Any] = {"task": task}
    for name, value in given.items():
        given_by = context.get_parameter_source(name)
        if given_by is not None and given_by.name == "COMMANDLINE":
            typed[name] = value
    file = Source(
        f"--config {config}: ", "autoreward design --help lists the options", reserved=("task",)
    )
    return read_options((_config(config), file), (typed, COMMAND_LINE))


def _config(path: Path) -> dict[str, Any]:
    """The mapping that a `--config` file holds."""
    import yaml

    example = "a mapping of option names, for example iterations: 3"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"--config {path}: {reason}", example) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"--config {path}: this is a {type(data).__name__}", example)
    return data


def program_text(program: Path) -> str:
    """The text of a program's file. Raises UserError if it cannot be read as UTF-8."""
    try:
        return program.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{program}: file not found", "name a reward program; autoreward check --help"
        ) from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise UserError(
            f"{program} cannot be read as UTF-8 text: {error}", "save it as UTF-8"
        ) from None


def group(text: str) -> typer.Typer:
    """A group of commands; one with a single command stays a group."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help=text)
    app.callback()(lambda: None)
    return app


def show(data: Any, text: str, as_json: bool) -> None:
    """Print the data as JSON, or the text for people."""
    from autoreward.cli.live import clean

    print(json.dumps(data, indent=1) if as_json else clean(text))
