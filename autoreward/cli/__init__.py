"""The command line: commands by name, errors as one sentence and an exit code.

A command's module is imported when it is used, so that `autoreward --help` is instant.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from autoreward.errors import BUG, INTERRUPTED, MISSING, USAGE, UserError

# Newer versions of typer bring their own copy of click.
try:
    from typer._click import exceptions as click_errors
except ImportError:
    from click import exceptions as click_errors  # type: ignore[no-redef]

# command -> (module, attribute, one line of help). `app` is a group of commands.
VERBS = {
    "design": (
        "design",
        "design",
        "Design a reward for a task, train agents on it, and keep the evidence.",
    ),
    "resume": ("design", "resume", "Continue a run that was stopped, wherever it stopped."),
    "check": ("programs", "check", "Lint a program and try it in the sandbox."),
    "merge": ("programs", "merge", "Merge several programs into one ensemble."),
    "train": ("programs", "train", "Train and evaluate agents on a program (or sparse, human)."),
    "runs": ("runs", "app", "Run directories: list, show, compare, path, labels."),
    "report": ("runs", "report", "Rebuild a run's report.html."),
    "export": ("export", "export", "Write the winning reward as one Python file, or its agent."),
    "play": ("export", "play", "Play the trained agent: numbers and pictures of episodes."),
    "envs": ("envs", "app", "Task cards: new, list, show, check, caption."),
    "prompts": ("prompts", "app", "Prompt templates: list, show, eject, render, check."),
    "methods": ("methods", "app", "Methods: list, show."),
    "models": ("models", "app", "Models: list, show, test."),
    "sandboxes": ("sandboxes", "app", "Sandbox profiles: list, show."),
    "bench": ("bench", "bench", "Run a grid of designs: tasks x variants x models x seeds."),
    "doctor": ("doctor", "doctor", "Check this machine."),
}


class LazyGroup(TyperGroup):
    """A group that lists its commands without importing them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            return None
        module, attribute, _ = VERBS[cmd_name]
        found: Any = getattr(importlib.import_module(f"autoreward.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(cmd_name)(found)
        command = typer.main.get_command(alone)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], VERBS, 1)
            suggestion = f"did you mean {close[0]!r}? " if close else ""
            raise UserError(
                f"unknown command {args[0]!r}",
                f"{suggestion}autoreward --help lists the commands",
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
    debug: bool = typer.Option(False, "--debug", help="show tracebacks on errors"),
) -> None:
    """Reward design for reinforcement learning, with a language model.

    The model writes reward programs for a task whose own reward is sparse. autoreward checks them,
    runs them in a sandbox, trains agents on them, and shows the model what they achieved.

    \b
    First:  autoreward design corridor    (one minute, no API key needed)
    Then:   autoreward envs list
    """


def _stop(message: str, hint: str, code: int) -> NoReturn:
    from autoreward.cli.live import clean

    print(clean(f"error: {message}"), file=sys.stderr)
    if hint:
        print(clean(f"next:  {hint}"), file=sys.stderr)
    sys.exit(code)


def main() -> None:
    """Run the console script. Exit codes: errors.py and docs/cli.md."""
    debug = "--debug" in sys.argv or bool(os.environ.get("AUTOREWARD_DEBUG"))
    # `--debug` may stand anywhere, so it is read here.
    sys.argv[1:] = [word for word in sys.argv[1:] if word != "--debug"]
    if sys.platform == "win32" and not {"--help", "--version"} & set(sys.argv):
        _stop(
            "native Windows is not supported: it has no sandbox for reward programs",
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
        sys.exit(USAGE)
    except click_errors.UsageError as error:
        command = error.ctx.command_path if error.ctx else "autoreward"
        _stop(error.format_message(), f"{command} --help", USAGE)
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
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        _stop(
            f"{error.filename or 'the file system'}: {error.strerror or error}",
            "free some space, then: autoreward resume"
            if full
            else "check the path and its permissions",
            MISSING,
        )
    except Exception as error:
        if debug:
            raise
        _stop(
            f"this is a bug in autoreward: {type(error).__name__}: {error}",
            "--debug shows the traceback; please report it. No run is lost: autoreward resume",
            BUG,
        )
