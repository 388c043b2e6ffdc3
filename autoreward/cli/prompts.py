"""`autoreward prompts`: the templates that models are asked with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from autoreward.cli.options import ForTask, Json, group, program_text, show
from autoreward.errors import REFUSED, UserError
from autoreward.loop.options import DEFAULT_METHOD

if TYPE_CHECKING:
    from autoreward.methods import Method
    from autoreward.models import Message
    from autoreward.models.templates import Prompts
    from autoreward.store.records import Feedback
    from autoreward.store.run import Run
    from autoreward.tasks.find import LocatedCard

Folder = Annotated[
    str | None, Option("--prompts", help="folder of templates that override the shipped ones")
]

app = group("Prompt templates: list, copy, change and check them.")


@app.command("list")
def list_prompts(folder: Folder = None, as_json: Json = False) -> None:
    """List templates, and the variables of each agent."""
    from autoreward.models.templates import Prompts
    from autoreward.models.variables import VARIABLES, meanings

    found = {name: str(path) for name, path in Prompts(folder).listing().items()}
    lines = [f"{name:<36} {path}" for name, path in found.items()]
    lines += ["", "variables"]
    variables = {agent: meanings(agent) for agent in VARIABLES}
    for agent, of_agent in variables.items():
        lines.append(f"  {agent}:")
        lines += [f"    {name:<14} {meaning}" for name, meaning in of_agent.items()]
    show({"templates": found, "variables": variables}, "\n".join(lines), as_json)


@app.command("show")
def show_prompt(
    name: Annotated[str, Argument(help="METHOD/AGENT/NAME")], folder: Folder = None
) -> None:
    """Print the text of a template."""
    from autoreward.models.templates import Prompts

    print(Prompts(folder).path(name).read_text(encoding="utf-8"), end="")


@app.command("eject")
def eject_prompts(
    prefix: Annotated[
        str, Argument(help="METHOD, METHOD/AGENT or METHOD/AGENT/NAME")
    ] = DEFAULT_METHOD,
    to: Annotated[Path, Option(help="folder to copy them to")] = Path("prompts"),
) -> None:
    """Copy shipped templates to ./prompts to change them.

    The copies are used from then on.
    """
    from autoreward.models.templates import Prompts

    written = Prompts().eject(prefix, to)
    for path in written:
        print(path)
    if written:
        print(f"{len(written)} written; next: edit them, then autoreward prompts check")
    else:
        print("nothing written: all of them already exist")


@app.command("render")
def render_prompt(
    agent: Annotated[str, Argument(help="designer, critic or analyzer, or METHOD/AGENT")],
    task: ForTask,
    run: Annotated[
        str | None,
        Option(
            help="a run: the designer's prompt gets its feedback, the analyzer's its best candidate"
        ),
    ] = None,
    program: Annotated[
        Path | None, Option(help="the program that the critic reads [default: the card's]")
    ] = None,
    hints: Annotated[bool, Option("--hints", help="include the card's hints")] = False,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Print the exact prompt for a task, and its size."""
    from autoreward.methods import DEFAULT, find_method
    from autoreward.models.templates import Prompts
    from autoreward.store.run import find_run
    from autoreward.tasks.find import find

    found = find_run(run) if run else None
    prefix, _, last = agent.partition("/")
    default = found.header.method if found else DEFAULT
    method = find_method(prefix if last else default)
    name = last or prefix
    if name not in method.agents:
        raise UserError(
            f"the method {method.name} has no agent {name!r}", f"it has {', '.join(method.agents)}"
        )
    card = find(task)
    templates = Prompts(folder)
    if name == "designer":
        messages = _designer(templates, card, method, found, hints)
    elif name == "critic":
        messages = _critic(templates, card, method, program, hints)
    else:
        messages = _analyzer(templates, card, method, found, hints)
    _print_messages(messages, as_json)


def _designer(
    templates: Prompts, card: LocatedCard, method: Method, run: Run | None, hints: bool
) -> Sequence[Message]:
    from autoreward.loop.stages import designer

    question = designer.Question(feedback=_last_feedback(run), hints=hints)
    return designer.messages(templates, card.card, method, question)


def _critic(
    templates: Prompts, card: LocatedCard, method: Method, program: Path | None, hints: bool
) -> Sequence[Message]:
    from autoreward.loop.stages import critic
    from autoreward.rewards.linter import lint

    text = "(the program)"
    if program:
        text = program_text(program)
    elif card.human:
        text = card.human.read_text(encoding="utf-8")
    warnings = tuple(v for v in lint(text, card.card.reward_layout) if v.severity == "warn")
    return (critic.message(templates, card.card, method, text, warnings, hints=hints),)


def _analyzer(
    templates: Prompts, card: LocatedCard, method: Method, run: Run | None, hints: bool
) -> Sequence[Message]:
    from autoreward.loop.stages import analyzer
    from autoreward.store.episodes import Trajectories

    feedback = _last_feedback(run)
    if run is None or feedback is None or feedback.best is None:
        raise UserError(
            "the analyzer's prompt needs a trained agent: name a run that has one",
            f"autoreward prompts render analyzer --task {card.card.name} --run last",
        )
    best = feedback.best
    folder = run.candidate(best.iteration, best.candidate)
    recorded = Trajectories.load(folder.episodes_path)
    # As the analyzer saw it: before its own causes and suggestions were added.
    if best.analysis:
        unexplained = best.analysis.model_copy(update={"causes": (), "suggestions": ()})
        best = best.model_copy(update={"analysis": unexplained})
    return (analyzer.message(templates, card.card, method, best, recorded, hints=hints),)


def _last_feedback(run: Run | None) -> Feedback | None:
    """The feedback of the run's last finished iteration."""
    if run is None:
        return None
    for iteration in range(run.header.iterations, 0, -1):
        if feedback := run.feedback(iteration):
            return feedback
    return None


def _print_messages(messages: Sequence[Message], as_json: bool) -> None:
    tokens, counted_by = _count("".join(m.content for m in messages))
    if as_json:
        data = {
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "tokens": tokens,
            "counted_by": counted_by,
        }
        print(json.dumps(data, indent=1))
        return
    text = "\n\n".join(f"--- {m.role} ---\n{m.content}" for m in messages)
    print(text)
    typer.echo(f"\n{tokens:,} tokens ({counted_by}), {len(text):,} characters", err=True)


def _count(text: str) -> tuple[int, str]:
    """Return the number of tokens, and how they were counted."""
    try:
        import tiktoken

        return len(tiktoken.get_encoding("cl100k_base").encode(text)), "cl100k_base"
    except Exception:
        # not installed, or its vocabulary is not on this machine
        return len(text) // 4, "a quarter of the characters"


@app.command("check")
def check_prompts(folder: Folder = None, as_json: Json = False) -> None:
    """Find mistakes in templates, with file and line.

    That is: unknown variables, syntax errors, and required parts that are missing.
    """
    from autoreward.models.templates import Prompts

    templates = Prompts(folder)
    names = templates.listing()
    problems: list[str] = []
    for name in names:
        problems += [p for p in templates.problems(name) if p not in problems]
    summary = f"{len(names)} templates, {len(problems)} problems"
    show({"templates": len(names), "problems": problems}, "\n".join([*problems, summary]), as_json)
    if problems:
        raise typer.Exit(REFUSED)
