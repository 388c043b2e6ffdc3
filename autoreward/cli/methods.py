"""`autoreward methods`: the methods that can write programs, and what each asks and needs."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument

from autoreward.cli.options import Json, group, show
from autoreward.errors import UserError

if TYPE_CHECKING:
    from autoreward.methods import Method, Setting

# Candidates per iteration that calls are counted for: the default of `design`.
CANDIDATES = 3

app = group("Methods: how reward programs are written, checked and used.")


@app.command("list")
def list_methods(as_json: Json = False) -> None:
    """List methods, shipped and installed."""
    from autoreward.methods import find_method, names

    data: list[dict[str, Any]] = []
    lines = []
    for name, origin in names().items():
        try:
            method = find_method(name)
        except UserError as error:
            data.append({"name": name, "origin": origin, "problem": error.message})
            typer.echo(f"warning: {error.message}", err=True)
            continue
        data.append({"name": name, "title": method.title, "paper": method.paper, "origin": origin})
        lines.append(f"{name:<18} {method.title} ({method.paper})")
    lines += ["", "next: autoreward methods show NAME; autoreward design TASK --method NAME"]
    show(data, "\n".join(lines), as_json)


@app.command("show")
def show_method(
    name: Annotated[str, Argument(help="a method (autoreward methods list)")],
    as_json: Json = False,
) -> None:
    """Show a method: paper, model calls, settings, needs."""
    from autoreward.methods import find_method, names
    from autoreward.models.templates import Prompts

    method = find_method(name)
    origin = names()[name]
    templates = [t for t in Prompts().listing() if t.startswith(f"{name}/")]
    least, most = method.calls(CANDIDATES, {})
    data = {
        **asdict(replace(method, given=None, judging=None, needs=())),
        "needs": [{"key": n.key, "why": n.why, "add": n.add} for n in method.needs],
        "calls": {"candidates": CANDIDATES, "least": least, "most": most},
        "templates": templates,
        "origin": origin,
    }
    show(data, "\n".join(_lines(method, origin, templates)), as_json)


def _lines(method: Method, origin: str, templates: list[str]) -> list[str]:
    short = [template.partition("/")[2] for template in templates]
    return [
        f"{method.name}: {method.title}",
        f"paper        {method.paper}",
        f"from         {origin}",
        f"writes       {method.writes}",
        f"agents       {_agents(method)}",
        f"calls        {_calls(method)}",
        f"rejected     a draft that fails the linter, the critic or the check {_repair(method)}",
        f"composition  {method.composition} (--compose changes it)",
        *_needs(method),
        *(_setting(setting) for setting in method.settings),
        f"templates    {', '.join(short)}",
        "",
        f"next: autoreward design TASK --method {method.name}; "
        f"autoreward prompts render {method.name}/designer --task TASK",
    ]


def _agents(method: Method) -> str:
    switches = [f"--set {agent}=off" for agent in ("critic", "analyzer") if agent in method.agents]
    named = ", ".join(method.agents)
    return f"{named} (to skip one: {', '.join(switches)})" if switches else named


def _calls(method: Method) -> str:
    least, most = method.calls(CANDIDATES, {})
    between = str(least) if least == most else f"{least} to {most}"
    text = f"{between} per iteration of {CANDIDATES} candidates"
    if before := method.prepares({}):
        text += f", and {CANDIDATES * before} before the first"
    return text


def _repair(method: Method) -> str:
    if not method.repairs:
        return "is dropped"
    return (
        f"goes back to the designer with the error up to {method.repairs} times, "
        "then one new design is requested"
    )


def _needs(method: Method) -> list[str]:
    if not method.needs:
        return ["card         any; with --model offline/search it needs hints"]
    return [f"card         needs `{n.key}`: {n.why}; {n.add}" for n in method.needs]


def _setting(setting: Setting) -> str:
    if setting.values:
        takes = "|".join(setting.values)
    else:
        takes = "TEXT" if setting.low is None else "NUMBER"
    line = f"--set        {setting.name}={takes}: {setting.means}"
    return f"{line} [default: {setting.default}]" if setting.default else line
