"""What there is: task cards, prompt templates, methods, models, jail profiles; and what this
machine can do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from autoreward.cli.captions import caption_env
from autoreward.cli.card_check import check_env
from autoreward.cli.card_draft import new_env
from autoreward.cli.model_test import test_model
from autoreward.cli.options import takes
from autoreward.errors import MISSING, REFUSED, UserError

Json = Annotated[bool, Option("--json", help="one JSON document on stdout")]


def _group(text: str) -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help=text)
    # so that a group of one command stays a group
    app.callback()(lambda: None)
    return app


envs = _group("Task cards.")
prompts = _group("Prompt templates.")
methods = _group("Methods.")
models = _group("Models.")
sandboxes = _group("Jail profiles.")


def _tell(data: Any, text: str, as_json: bool) -> None:
    from autoreward.cli.live import clean

    print(json.dumps(data, indent=1) if as_json else clean(text))


# -- envs ------------------------------------------------------------------------------------------


envs.command("new")(new_env)
envs.command("check")(check_env)
envs.command("caption")(caption_env)


@envs.command("list")
def list_envs(as_json: Json = False) -> None:
    """All cards: ./envs, installed packages, shipped."""
    from autoreward.tasks.find import listing, load

    found, text = [], []
    for name, (origin, path) in listing().items():
        try:
            card = load(path).card
            found.append(
                {
                    "name": name,
                    "title": card.title,
                    "origin": origin,
                    "path": str(path),
                    "extra": card.environment.extra,
                    "steps": card.training.steps,
                }
            )
            text.append(f"{name:<16} {card.title:<44} {card.environment.extra or '-':<10} {origin}")
        except UserError as error:
            found.append(
                {"name": name, "origin": origin, "path": str(path), "problem": error.message}
            )
            text.append(f"{name:<16} broken: {error.message}")
    _tell(found, "\n".join(text), as_json)


@envs.command("show")
def show_env(
    task: Annotated[str, Argument(help="a task's name or its card's path")], as_json: Json = False
) -> None:
    """One card: fields, success, budget, hints."""
    from autoreward.models import variables as briefing
    from autoreward.tasks.find import find

    located = find(task)
    card = located.card
    told = briefing.task(card)
    text = [
        f"{card.name}: {card.title}",
        f"card     {located.path}",
        "",
        told["description"],
        "",
        f"success  {told['success'] or '-'}",
        f"endings  {told['endings']}",
        f"limit    {told['limit']} steps",
    ]
    text += [
        f"action   {told['action']['type']}, {told['action']['shape']}: {told['action']['meaning']}",
        "",
        "fields",
    ]
    for field in card.fields:
        seen = ", ".join(
            w
            for w, no in (
                ("not for the policy", not field.policy),
                ("not for rewards", not field.reward),
            )
            if no
        )
        text.append(
            f"  {field.name:<24} {list(field.shape)!s:<8} {field.unit:<14} {field.range:<24} {field.meaning}"
            + (f" ({seen})" if seen else "")
        )
    t = card.training
    text += [
        "",
        f"training {t.algorithm}, {t.steps:,} steps, {t.n_envs} environments, gamma {t.gamma}"
        + (f", hindsight {t.her} to 1" if t.her else ""),
        f"human    {card.human or '-'}",
        "hints    (read by offline/search; shown to a language model with --hints)",
    ]
    text += [f"  - {h}" for h in briefing.hints(card, True)] or ["  none"]
    text += ["", f"next: autoreward envs check {task}; autoreward design {task}"]
    _tell(card.model_dump(mode="json", by_alias=True), "\n".join(text), as_json)


# -- prompts ---------------------------------------------------------------------------------------

Folder = Annotated[
    str | None, Option("--prompts", help="folder of templates that override the shipped ones")
]


@prompts.command("list")
def list_prompts(folder: Folder = None, as_json: Json = False) -> None:
    """All templates and the files that count."""
    from autoreward.models.templates import VARIABLES, Prompts

    found = {n: str(p) for n, p in Prompts(folder).listing().items()}
    text = [f"{n:<36} {p}" for n, p in found.items()] + ["", "variables"]
    for agent, variables in VARIABLES.items():
        text += [f"  {agent}:"] + [f"    {k:<14} {v}" for k, v in variables.items()]
    _tell({"templates": found, "variables": VARIABLES}, "\n".join(text), as_json)


@prompts.command("show")
def show_prompt(
    name: Annotated[str, Argument(help="METHOD/AGENT/NAME")], folder: Folder = None
) -> None:
    """A template's text."""
    from autoreward.models.templates import Prompts

    print(Prompts(folder).path(name).read_text(encoding="utf-8"), end="")


@prompts.command("eject")
def eject_prompts(
    prefix: Annotated[
        str, Argument(help="METHOD, METHOD/AGENT or METHOD/AGENT/NAME")
    ] = "auto-mc-reward",
    to: Annotated[Path, Option(help="where to")] = Path("prompts"),
) -> None:
    """Copy shipped templates to ./prompts, to be changed there; they override from then on."""
    from autoreward.models.templates import Prompts

    written = Prompts().eject(prefix, to)
    for path in written:
        print(path)
    print(
        f"{len(written)} written; next: change them, then autoreward prompts check"
        if written
        else "nothing written: they are all there already"
    )


@prompts.command("render")
def render_prompt(
    agent: Annotated[str, Argument(help="designer, critic or analyzer, or METHOD/AGENT")],
    task: Annotated[str, Option(help="the task")],
    run: Annotated[
        str | None,
        Option(
            help="a run: its feedback goes into the designer's prompt, its best candidate into the analyzer's"
        ),
    ] = None,
    program: Annotated[Path | None, Option(help="the program under review (critic)")] = None,
    hints: Annotated[bool, Option("--hints", help="with the card's hints")] = False,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """The exact message for a task, and its size in tokens."""
    from autoreward.cli.options import program_text
    from autoreward.loop.stages import analyzer, critic, designer
    from autoreward.methods import DEFAULT, find_method
    from autoreward.models.templates import Prompts
    from autoreward.rewards.linter import lint
    from autoreward.store.episodes import Trajectories
    from autoreward.store.run import find_run
    from autoreward.tasks.find import find

    name, _, last = agent.partition("/")
    found = find_run(run) if run else None
    method = find_method(name if last else found.header.method if found else DEFAULT)
    kind, card, templates = last or name, find(task), Prompts(folder)
    feedback = (
        next((f for i in range(found.header.iterations, 0, -1) if (f := found.feedback(i))), None)
        if found
        else None
    )
    if kind not in method.agents:
        raise UserError(
            f"the method {method.name} has no agent {kind!r}", f"it has {', '.join(method.agents)}"
        )
    if kind == "designer":
        messages = designer.messages(
            templates, card.card, method, designer.Question(feedback=feedback, hints=hints)
        )
    elif kind == "critic":
        text = (
            program_text(program)
            if program
            else card.human.read_text(encoding="utf-8")
            if card.human
            else "(the program)"
        )
        warnings = tuple(v for v in lint(text, card.card.reward_layout) if v.severity == "warn")
        messages = (critic.message(templates, card.card, method, text, warnings, hints=hints),)
    else:
        if found is None or feedback is None or feedback.best is None:
            raise UserError(
                "the analyzer's prompt needs a trained agent, so name a run that has one",
                f"autoreward prompts render analyzer --task {task} --run last",
            )
        best = feedback.best
        recorded = Trajectories.load(
            found.candidate(best.iteration, best.candidate).path / "6-episodes.npz"
        )
        unexplained = best.model_copy(
            update={
                "analysis": best.analysis.model_copy(update={"causes": (), "suggestions": ()})
                if best.analysis
                else None
            }
        )
        messages = (
            analyzer.message(templates, card.card, method, unexplained, recorded, hints=hints),
        )
    whole = "\n\n".join(f"--- {m.role} ---\n{m.content}" for m in messages)
    tokens, how = _count("".join(m.content for m in messages))
    if as_json:
        print(
            json.dumps(
                {
                    "messages": [{"role": m.role, "content": m.content} for m in messages],
                    "tokens": tokens,
                    "counted_by": how,
                },
                indent=1,
            )
        )
    else:
        print(whole)
        typer.echo(f"\n{tokens:,} tokens ({how}), {len(whole):,} characters", err=True)


def _count(text: str) -> tuple[int, str]:
    try:
        import tiktoken

        return len(tiktoken.get_encoding("cl100k_base").encode(text)), "cl100k_base"
    except Exception:
        # not installed, or its vocabulary is not on this machine
        return len(text) // 4, "a quarter of the characters"


@prompts.command("check")
def check_prompts(folder: Folder = None, as_json: Json = False) -> None:
    """Undefined variables, syntax errors, lost required parts: with file and line."""
    from autoreward.models.templates import Prompts

    templates = Prompts(folder)
    names = templates.listing()
    problems = list(dict.fromkeys(p for name in names for p in templates.problems(name)))
    problems += [p for p in _trial(templates) if p not in problems] if not problems else []
    _tell(
        {"templates": len(names), "problems": problems},
        "\n".join([*problems, f"{len(names)} templates, {len(problems)} problems"]),
        as_json,
    )
    if problems:
        raise typer.Exit(REFUSED)


def _trial(templates: Any) -> list[str]:
    """Render every agent's templates on an example, so that a misspelled attribute is found, too."""
    from autoreward.models.examples import variables

    found = []
    for name in templates.listing():
        agent = name.split("/")[1]
        try:
            templates.render(name, variables(agent))
        except UserError as error:
            found.append(error.message)
    return found


# -- methods, models, sandboxes --------------------------------------------------------------------


@methods.command("list")
def list_methods(as_json: Json = False) -> None:
    """All methods: shipped ones and those of installed packages."""
    from autoreward.methods import find_method, names

    found, text = [], []
    for name, place in names().items():
        try:
            method = find_method(name)
            found.append(
                {"name": name, "title": method.title, "paper": method.paper, "origin": place}
            )
            text.append(f"{name:<18} {method.title} ({method.paper})")
        except UserError as error:
            found.append({"name": name, "origin": place, "problem": error.message})
            typer.echo(f"warning: {error.message}", err=True)
    _tell(
        found,
        "\n".join(
            [*text, "", "next: autoreward methods show NAME; autoreward design TASK --method NAME"]
        ),
        as_json,
    )


@methods.command("show")
def show_method(name: Annotated[str, Argument(help="a method")], as_json: Json = False) -> None:
    """One method: its paper, what the model writes, calls per iteration, what the card must have."""
    from dataclasses import asdict, replace

    from autoreward.methods import find_method, names
    from autoreward.models.templates import Prompts

    method, candidates = find_method(name), 3
    least, most = method.calls(candidates, {})
    before = method.prepares({})
    templates = [n for n in Prompts().listing() if n.startswith(f"{name}/")]
    refused = (
        f"up to {method.repairs} times back to the designer with the error, then one new design"
        if method.repairs
        else "dropped"
    )
    off = [f"--set {agent}=off" for agent in ("critic", "analyzer") if agent in method.agents]
    text = [
        f"{name}: {method.title}",
        f"paper        {method.paper}",
        f"from         {names()[name]}",
        f"writes       {method.writes}",
        f"asks         {', '.join(method.agents)}"
        + (f" (leave out: {', '.join(off)})" if off else ""),
        f"calls        {least if least == most else f'{least} to {most}'} per iteration of {candidates} candidates"
        + (f", and {candidates * before} before the first" if before else ""),
        f"refused      a draft that fails linter, critic or check: {refused}",
        f"composition  {method.composition}, unless --compose says otherwise",
        *(
            [f"card         needs `{n.key}`: {n.why}; {n.add}" for n in method.needs]
            or ["card         any; with --model offline/search it needs hints"]
        ),
        *(
            f"--set         {s.name}={'|'.join(s.values) or 'NUMBER' if s.low is not None or s.values else 'TEXT'}: {s.means} [{s.default}]"
            for s in method.settings
        ),
        f"templates    {', '.join(t.partition('/')[2] for t in templates)}",
        "",
        f"next: autoreward design TASK --method {name}; autoreward prompts render {name}/designer --task TASK",
    ]
    needs = [{"key": n.key, "why": n.why, "add": n.add} for n in method.needs]
    data = {
        **asdict(replace(method, given=None, judging=None, needs=())),
        "needs": needs,
        "calls": {"candidates": candidates, "least": least, "most": most},
        "templates": templates,
        "origin": names()[name],
    }
    _tell(data, "\n".join(text), as_json)


models.command("test")(test_model)


@models.command("list")
def list_models(as_json: Json = False) -> None:
    """The built-in designers, and how to name any other model."""
    from autoreward.models import BUILT_IN

    _tell(
        BUILT_IN,
        "\n".join(
            [
                *(f"{k:<20} {v}" for k, v in BUILT_IN.items()),
                "",
                "your own server: --model NAME --base-url URL; keys, prices, limits: docs/models.md",
            ]
        ),
        as_json,
    )


@models.command("show")
@takes("base_url")
def show_model(
    model: Annotated[str, Argument(help="as for --model")],
    as_json: Json = False,
    **given: Any,
) -> None:
    """Whether that model can be asked from here: its key, its price, its window. Asks nothing."""
    from autoreward.models import ModelOptions, connect

    found = connect(model, ModelOptions(base_url=given["base_url"]))
    price = found.price(1_000_000, 0), found.price(0, 1_000_000)
    window = getattr(found, "window", lambda: None)()
    data = {
        "model": model,
        "language": found.language,
        "dollars_per_million_in": price[0],
        "dollars_per_million_out": price[1],
        "window": window,
    }
    _tell(
        data,
        "\n".join(
            f"{k.replace('_', ' '):<24} {'unknown' if v is None else v}" for k, v in data.items()
        ),
        as_json,
    )


@sandboxes.command("list")
def list_sandboxes(as_json: Json = False) -> None:
    """All jail profiles."""
    from autoreward.sandbox.outside.profiles import find_profile, listing

    found = {n: {**find_profile(n).model_dump(), "path": str(p)} for n, p in listing().items()}
    _tell(
        found,
        "\n".join(f"{n:<10} {p['backend']:<8} {p['description']}" for n, p in found.items()),
        as_json,
    )


@sandboxes.command("show")
def show_sandbox(name: Annotated[str, Argument()] = "default", as_json: Json = False) -> None:
    """One profile's limits."""
    from autoreward.sandbox.outside.profiles import find_profile

    data = find_profile(name).model_dump()
    _tell(data, "\n".join(f"{k:<18} {v}" for k, v in data.items()), as_json)


# -- doctor ----------------------------------------------------------------------------------------


def doctor(as_json: Json = False) -> None:
    """Check this machine: Python, packages, jail, GPU, simulators, disk, keys."""
    from autoreward.cli.doctor import examine

    found = examine()
    mark = {True: "ok  ", False: "FAIL", None: "-   "}
    _tell(
        [{"what": w, "ok": ok, "told": t} for w, ok, t in found],
        "\n".join(f"{mark[ok]} {w:<22} {t}" for w, ok, t in found),
        as_json,
    )
    if any(ok is False for _, ok, _ in found):
        raise typer.Exit(MISSING)
