"""`autoreward envs new`: a first task card of the user's own environment."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from autoreward.cli.options import Json, options_of, takes
from autoreward.errors import REFUSED, USAGE, UserError


@takes(
    "model",
    "max_cost",
    "prompts",
    "base_url",
    "headers",
    "key_command",
    "prices",
    "trainer_python",
    help={
        "model": "a language model that writes description, meanings and names; without one they "
        "come from documentation and numbers",
        "trainer_python": "Python interpreter that has the environment installed",
    },
)
def new_env(
    context: typer.Context,
    env_id: Annotated[
        str | None,
        Option(
            "--env-id", help="a gymnasium id: Hopper-v5, or module:Id where a module registers it"
        ),
    ] = None,
    factory: Annotated[
        str | None, Option(help="a function that makes the environment: pkg.mod:make")
    ] = None,
    kwargs: Annotated[str | None, Option(help="arguments of the environment, as JSON")] = None,
    out: Annotated[
        Path | None,
        Option(help="where to write the card [default: envs/NAME.yaml]", show_default=False),
    ] = None,
    steps: Annotated[int, Option(help="random steps to look at")] = 3000,
    seed: Annotated[int, Option(help="seed of the random steps")] = 0,
    force: Annotated[bool, Option("--force", help="write over a file that is there")] = False,
    no_source: Annotated[
        bool, Option("--no-source", help="send the model no source, only facts and documentation")
    ] = False,
    yes: Annotated[bool, Option("--yes", help="send without asking first")] = False,
    as_json: Json = False,
    **given: Any,
) -> None:
    """Write a first task card from an environment: its spaces, its documentation, and random steps
    in it.
    """
    from autoreward.cli.live import clean
    from autoreward.drafting import draft
    from autoreward.drafting.card import card_name
    from autoreward.store.files import write

    options = options_of("", given, context)
    connected = None
    if options.model:
        from autoreward.loop.setup import model_options
        from autoreward.models import connect

        connected = connect(options.model, model_options(options.stored_settings, options.headers))
        if not connected.language:
            raise UserError(
                f"--model {options.model}: not a language model, so it cannot write a card",
                "leave --model out, or name a language model: autoreward models list",
            )
    survey = look(env_id, factory, _arguments(kwargs), steps, seed, options.trainer_python)
    place = out or Path("envs") / f"{card_name(survey)}.yaml"
    if place.exists() and not force:
        raise UserError(
            f"{place} is there already, and is left alone",
            "--out ANOTHER.yaml, or --force to write over it",
            REFUSED,
        )
    drafted, failed = draft(survey), None
    judged: list[Any] = []
    if connected:
        from autoreward.drafting.card import limit_of
        from autoreward.drafting.words import prompt_variables, words_of

        variables = prompt_variables(
            survey, drafted.fields, limit_of(survey)[0], source=not no_source
        )
        try:
            answer = _asked(
                connected,
                variables,
                place,
                yes=yes,
                max_cost=options.max_cost,
                prompts=str(options.prompts) if options.prompts else None,
            )
            if answer is not None:
                words, judged = words_of(answer, survey, drafted.fields, connected.name)
                drafted = draft(survey, words)
        except UserError as error:
            if error.code == USAGE:
                raise
            failed = error
    write(place, drafted.text)
    if as_json:
        left = [{"line": line, "what": what} for line, what in drafted.left]
        claims = [vars(j) for j in judged]
        print(
            json.dumps(
                {
                    "card": str(place),
                    "left": left,
                    "claims": claims,
                    "survey": survey.model_dump(mode="json", exclude={"doc", "source"}),
                },
                indent=1,
            )
        )
    else:
        print(clean("\n".join([*told(survey, drafted), *_claims(judged), "", f"written  {place}"])))
        if drafted.left:
            print(
                clean(
                    "\nleft for you\n"
                    + "\n".join(
                        f"  {k}. {place}:{line}: {what}"
                        for k, (line, what) in enumerate(drafted.left, 1)
                    )
                )
            )
        print(f"\nnext: autoreward envs check {place}")
    if failed:
        raise UserError(
            f"{failed.message}; {place} is written without the model's words",
            failed.hint.replace("autoreward resume", "the same command with --force"),
            failed.code,
        )


def _asked(
    model: Any,
    variables: dict[str, Any],
    place: Path,
    *,
    yes: bool,
    max_cost: float | None,
    prompts: str | None,
) -> Any:
    """The model's answer; None where the person says no, or where it could not be read.

    What is sent lies beside the card, before it is sent.
    """
    from autoreward.drafting.words import ask, prompt
    from autoreward.models.caller import Caller
    from autoreward.models.templates import Prompts
    from autoreward.store.files import write
    from autoreward.store.records import Limits

    templates = Prompts(prompts)
    text = prompt(templates, variables).content
    folder = place.with_suffix(".words") / hashlib.sha256(text.encode()).hexdigest()[:8]
    stays = model.name == "manual" or model.name.startswith("replay/")
    tokens = model.tokens(text)
    cost = model.price(tokens, 2000)
    parts = [
        f"facts and questions ({len(text) - len(variables['documentation']) - len(variables['source']):,} characters)"
    ]
    parts += [
        f"its {what} ({len(variables[what]):,} characters)"
        for what in ("documentation", "source")
        if variables[what]
    ]
    write(folder / "prompt.md", text + "\n")
    price = "price unknown" if cost is None else f"about {cost:.3f} dollars"
    print(
        f"to {model.name} goes: {', '.join(parts)}: about {tokens:,} tokens, {price}\nthe whole text: {folder / 'prompt.md'}",
        file=sys.stderr,
    )
    if not (yes or stays):
        if not sys.stdin.isatty():
            raise UserError(
                "nothing was sent: there is no terminal to ask on",
                "read the text above, then the same command with --yes (and --no-source to keep the source here)",
                USAGE,
            )
        if not typer.confirm("Send it?", default=False, err=True):
            return None
    answer = ask(Caller(model, folder / "calls", Limits(max_cost=max_cost)), templates, variables)
    if isinstance(answer, str):
        print(
            f"the model's answer could not be read, twice: {answer}; the card is written without its words",
            file=sys.stderr,
        )
        return None
    return answer


def _claims(judged: list[Any]) -> list[str]:
    """How the model's claims stand, for people."""
    if not judged:
        return []
    counts = {
        mark: sum(j.mark == mark for j in judged)
        for mark in ("probed", "contradicted", "unchecked")
    }
    wrong = [
        f"contradicted {j.field}: {j.claim}: {j.why}" for j in judged if j.mark == "contradicted"
    ]
    return [f"claims       {', '.join(f'{n} {mark}' for mark, n in counts.items())}", *wrong]


def _arguments(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        data = json.loads(text)
    except ValueError as error:
        raise UserError(f"--kwargs: not JSON: {error}", """--kwargs '{"size": 8}'""") from None
    if not isinstance(data, dict):
        raise UserError("--kwargs: a JSON object is wanted", """--kwargs '{"size": 8}'""")
    return data


def look(
    env_id: str | None,
    factory: str | None,
    kwargs: dict[str, Any],
    steps: int,
    seed: int,
    trainer_python: str | None,
) -> Any:
    """The survey of an environment, made in a trainer.

    UserError in the environment's own words where it fails.
    """
    from autoreward.loop.engine import Engine
    from autoreward.store.survey import Survey, SurveyJob

    if (env_id is None) == (factory is None):
        raise UserError(
            "give exactly one of --env-id and --factory", "autoreward envs new --env-id Hopper-v5"
        )
    if factory is not None and (
        ":" not in factory or factory.startswith(":") or factory.endswith(":")
    ):
        raise UserError(
            f"--factory {factory}: a module and a function are wanted",
            "--factory my_package.my_module:make_env",
        )
    if not 200 <= steps <= 100_000:
        raise UserError(f"--steps is {steps}; 200 to 100,000 are possible", "--steps 3000")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "survey.json"
        job = SurveyJob(
            id=env_id, factory=factory, kwargs=kwargs, seed=seed, steps=steps, out=str(place)
        )
        try:
            Engine(1, trainer_python).run([(env_id or factory or "", job)])
        except UserError as error:
            what = error.message.replace(" (mend the card, then: autoreward envs check CARD)", "")
            raise UserError(
                what,
                error.hint.replace("then: autoreward resume", "then the same command again"),
                error.code,
            ) from None
        return Survey.model_validate_json(place.read_text(encoding="utf-8"))


def told(survey: Any, drafted: Any) -> list[str]:
    """What was found, for people."""
    lengths = survey.terminated
    by = {
        "key": "from the observation's keys",
        "documentation": "from the documentation",
        "simulator": "from MuJoCo's own names",
        "nobody": "unnamed",
        "info": "from info",
        "space": "from the space",
    }
    counts = {b: sum(f.named_by == b for f in drafted.fields) for b in by}
    varying = [c for c in survey.columns if not c.constant]
    lines = [
        f"observation  {survey.observation[:160]}",
        f"action       {survey.action.space}",
        f"played       {survey.steps:,} random steps ({survey.steps_per_second:,.0f} a second); "
        + (
            f"{len(lengths)} episodes ended by themselves, after {min(lengths)} to {max(lengths)} steps"
            if lengths
            else "no episode ended by itself"
        )
        + f"; limit {survey.limit or 'unknown'}",
        f"reward       {survey.reward.manner}: {survey.reward.low:.4g} .. {survey.reward.high:.4g}, {survey.reward.nonzero:.0%} of steps not 0",
        f"columns      {len(survey.columns)}, {len(survey.columns) - len(varying)} of them never changed",
        f"fields       {len(drafted.fields)}: "
        + ", ".join(f"{n} {by[b]}" for b, n in counts.items() if n),
    ]
    if survey.mujoco:
        matched = [c for c in varying if c.match]
        lines.append(
            f"MuJoCo       {len(matched)} of {len(varying)} varying columns matched"
            + (
                f", {sum(bool(c.match and c.match.also) for c in matched)} of them ambiguous"
                if any(c.match and c.match.also for c in matched)
                else ""
            )
        )
    lines.append(f"info         {', '.join(k.name for k in survey.info) or 'empty'}")
    lines += [f"left out     {leaf.left_out}" for leaf in survey.leaves if leaf.left_out]
    lines += [f"note         {note}" for note in survey.notes]
    if not survey.reproducible:
        lines.append(
            "note         the same seed and actions do not give the same states: runs on it cannot be repeated exactly"
        )
    return lines
