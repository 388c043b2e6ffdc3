"""The command line: verbs by name, loaded when used, so that `--help` is instant; errors become
one sentence and an exit code.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from autoreward.errors import INTERRUPTED, MISSING, UserError

# newer typer brings its own copy of click
try:
    from typer._click import exceptions as click_errors
except ImportError:
    from click import exceptions as click_errors  # type: ignore[no-redef]

# word -> (module, function, one line of help). Functions are commands; `app` is a group of its own.
VERBS = {
    "design": (
        "design",
        "design",
        "Design a reward for a task, train agents on it, and keep the evidence.",
    ),
    "resume": ("design", "resume", "Go on with a run that was stopped, at any point."),
    "check": ("programs", "check", "Lint a program and try it in the sandbox."),
    "merge": ("programs", "merge", "Make one program of several: their ensemble."),
    "train": ("programs", "train", "Train and evaluate agents on a program (or: sparse, human)."),
    "runs": ("runs", "app", "Look into run directories: list, show, compare, path, labels."),
    "report": ("runs", "report", "Write a run's report.html again."),
    "export": (
        "export",
        "export",
        "Write the winning reward as one Python file (or the agent as ONNX).",
    ),
    "play": ("export", "play", "Show the trained agent: episodes in numbers and pictures."),
    "envs": ("catalog", "envs", "Task cards: new, list, show, check."),
    "prompts": ("catalog", "prompts", "Prompt templates: list, show, eject, render, check."),
    "methods": ("catalog", "methods", "Methods: list, show."),
    "models": ("catalog", "models", "Models: list, show, test."),
    "sandboxes": ("catalog", "sandboxes", "Jail profiles: list, show."),
    "bench": ("bench", "bench", "Run a grid of designs: tasks x models x seeds."),
    "doctor": ("catalog", "doctor", "Check this machine."),
}


class LazyGroup(TyperGroup):
    """Knows the verbs by heart and imports a verb's module when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            return None
        module, attribute, _ = VERBS[cmd_name]
        found: Any = getattr(importlib.import_module(f"autoreward.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(cmd_name)(found)
        command = typer.main.get_command(app)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], VERBS, 1)
            raise UserError(
                f"no command {args[0]!r}",
                (f"did you mean {close[0]!r}? " if close else "") + "autoreward --help lists them",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in VERBS.items()])


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        from autoreward.resources import VERSION

        print(f"autoreward {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="print the version"
    ),
    debug: bool = typer.Option(False, "--debug", help="show tracebacks"),
) -> None:
    """A model writes reward programs for sparse tasks; autoreward checks, jails, trains, scores
    and explains them, and asks again.

    \b
    First:  autoreward design corridor      (a minute, no key needed)
    Then:   autoreward envs list
    """


def _stop(message: str, hint: str, code: int) -> NoReturn:
    from autoreward.cli.live import clean

    print(clean(f"error: {message}"), file=sys.stderr)
    if hint:
        print(clean(f"next:  {hint}"), file=sys.stderr)
    sys.exit(code)


def main() -> None:
    """The console script. Exit codes: errors.py and docs/cli.md."""
    debug = "--debug" in sys.argv or bool(os.environ.get("AUTOREWARD_DEBUG"))
    sys.argv[1:] = (["--debug"] if debug and "--debug" in sys.argv else []) + [
        a for a in sys.argv[1:] if a != "--debug"
    ]
    if sys.platform == "win32" and not {"--help", "--version"} & set(sys.argv):
        _stop(
            "native Windows is not supported: reward programs cannot be jailed there",
            "wsl --install, then install autoreward inside WSL2 (docs/cli.md)",
            MISSING,
        )
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except UserError as error:
        if debug:
            raise
        _stop(error.message, error.hint, error.code)
    except click_errors.NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(2)
    except click_errors.UsageError as error:
        where = error.ctx.command_path if error.ctx else "autoreward"
        _stop(error.format_message(), f"{where} --help", 2)
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        _stop("stopped", "autoreward resume", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except OSError as error:
        if debug:
            raise
        full = error.errno in (28, 122)
        _stop(
            f"{error.filename or 'the file system'}: {error.strerror or error}",
            "free some space, then: autoreward resume"
            if full
            else "is the path right, and may you write there?",
            MISSING,
        )
    except Exception as error:
        if debug:
            raise
        _stop(
            f"this is a fault of autoreward: {type(error).__name__}: {error}",
            "again with --debug shows where; please report it. A run is not lost: autoreward resume",
            70,
        )
