"""`autoreward envs new`: draft a task card for the user's own environment."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from autoreward.cli.envs_check import GENERAL_HINT
from autoreward.cli.options import Json, options_of, takes
from autoreward.errors import REFUSED, USAGE, UserError

if TYPE_CHECKING:
    from autoreward.loop.options import DesignOptions
    from autoreward.store.survey import Survey

MIN_STEPS, MAX_STEPS = 200, 100_000
# Tokens that the price of a reply is estimated for.
REPLY_TOKENS = 2000
NAMED_BY = {
    "key": "from the observation's keys",
    "documentation": "from the documentation",
    "simulator": "from MuJoCo's own names",
    "nobody": "unnamed",
    "info": "from info",
    "space": "from the space",
}


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
        Option("--env-id", help="a gymnasium id: Hopper-v5, or module:Id if a module registers it"),
    ] = None,
    factory: Annotated[
        str | None, Option(help="a function that creates the environment: pkg.mod:make")
    ] = None,
    kwargs: Annotated[str | None, Option(help="arguments for the environment, as JSON")] = None,
    out: Annotated[
        Path | None,
        Option(help="file to write the card to [default: envs/NAME.yaml]", show_default=False),
    ] = None,
    steps: Annotated[int, Option(help="random steps to play")] = 3000,
    seed: Annotated[int, Option(help="seed of the random steps")] = 0,
    force: Annotated[bool, Option("--force", help="overwrite an existing file")] = False,
    no_source: Annotated[
        bool,
        Option("--no-source", help="do not send the environment's source code to the model"),
    ] = False,
    yes: Annotated[bool, Option("--yes", help="send without asking first")] = False,
    as_json: Json = False,
    **given: Any,
) -> None:
    """Draft a task card from your environment.

    It is written from the spaces, the documentation, and random steps in the environment.
    """
    from autoreward.cli.live import clean
    from autoreward.drafting import draft
    from autoreward.drafting.card import card_name
    from autoreward.store.io import write

    options = options_of("", given, context)
    model = _language_model(options)
    survey = look(env_id, factory, _arguments(kwargs), steps, seed, options.trainer_python)
    place = out or Path("envs") / f"{card_name(survey)}.yaml"
    if place.exists() and not force:
        raise UserError(
            f"{place} already exists", "--out ANOTHER.yaml, or --force to overwrite it", REFUSED
        )
    drafted = draft(survey)
    claims: list[Any] = []
    failed: UserError | None = None
    if model:
        try:
            drafted, claims = _with_words(model, survey, drafted, place, options, no_source, yes)
        except UserError as error:
            if error.code == USAGE:
                raise
            failed = error
    write(place, drafted.text)
    if as_json:
        print(json.dumps(_data(place, survey, drafted, claims), indent=1))
    else:
        print(clean("\n".join(_lines(place, survey, drafted, claims))))
    if failed:
        raise UserError(
            f"{failed.message}; {place} is written without the model's suggestions",
            failed.hint.replace("autoreward resume", "the same command with --force"),
            failed.code,
        )


def _arguments(text: str | None) -> dict[str, Any]:
    """`--kwargs` as a mapping."""
    example = """--kwargs '{"size": 8}'"""
    if not text:
        return {}
    try:
        data = json.loads(text)
    except ValueError as error:
        raise UserError(f"--kwargs: not JSON: {error}", example) from None
    if not isinstance(data, dict):
        raise UserError("--kwargs must be a JSON object", example)
    return data


# -- the environment -------------------------------------------------------------------------------


def look(
    env_id: str | None,
    factory: str | None,
    kwargs: dict[str, Any],
    steps: int,
    seed: int,
    trainer_python: str | None,
) -> Survey:
    """Survey an environment in a trainer process.

    Raises UserError, in the environment's own words, if it fails.
    """
    from autoreward.loop.engine import Engine
    from autoreward.store.survey import Survey, SurveyJob

    _require_environment(env_id, factory, steps)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "survey.json"
        job = SurveyJob(
            id=env_id, factory=factory, kwargs=kwargs, seed=seed, steps=steps, out=str(place)
        )
        try:
            Engine(1, trainer_python).run([(env_id or factory or "", job)])
        except UserError as error:
            raise UserError(
                GENERAL_HINT.sub("", error.message),
                error.hint.replace("then: autoreward resume", "then run the same command again"),
                error.code,
            ) from None
        return Survey.model_validate_json(place.read_text(encoding="utf-8"))


def _require_environment(env_id: str | None, factory: str | None, steps: int) -> None:
    """Raise UserError unless exactly one environment is named, in a form that can be read."""
    if (env_id is None) == (factory is None):
        raise UserError(
            "give exactly one of --env-id and --factory", "autoreward envs new --env-id Hopper-v5"
        )
    if factory is not None:
        module, colon, function = factory.partition(":")
        if not (module and colon and function):
            raise UserError(
                f"--factory {factory}: it must name a module and a function",
                "--factory my_package.my_module:make_env",
            )
    if not MIN_STEPS <= steps <= MAX_STEPS:
        raise UserError(
            f"--steps is {steps}; it must be a whole number from {MIN_STEPS} to {MAX_STEPS}",
            "--steps 3000",
        )


# -- a model's words -------------------------------------------------------------------------------


def _language_model(options: DesignOptions) -> Any:
    """The connected `--model`; None without one."""
    from autoreward.loop.setup import model_options
    from autoreward.models import connect

    if not options.model:
        return None
    model = connect(options.model, model_options(options.stored_settings, options.headers))
    if not model.language:
        raise UserError(
            f"--model {options.model}: not a language model, so it cannot describe a card",
            "leave --model out, or name a language model: autoreward models list",
        )
    return model


def _with_words(
    model: Any,
    survey: Survey,
    drafted: Any,
    place: Path,
    options: DesignOptions,
    no_source: bool,
    yes: bool,
) -> tuple[Any, list[Any]]:
    """Return the card with the model's words, and how each of its claims stands.

    The card is unchanged if the user declines to send, or if the reply cannot be read.
    """
    from autoreward.drafting import draft
    from autoreward.drafting.card import limit_of
    from autoreward.drafting.words import prompt_variables, words_of
    from autoreward.models.templates import Prompts

    variables = prompt_variables(survey, drafted.fields, limit_of(survey)[0], source=not no_source)
    templates = Prompts(str(options.prompts) if options.prompts else None)
    answer = _ask(model, variables, templates, place, yes, options.max_cost)
    if answer is None:
        return drafted, []
    words, claims = words_of(answer, survey, drafted.fields, model.name)
    return draft(survey, words), claims


def _ask(
    model: Any,
    variables: dict[str, Any],
    templates: Any,
    place: Path,
    yes: bool,
    max_cost: float | None,
) -> Any:
    """The model's answer; None if the user declines, or if the reply cannot be read.

    The prompt is written beside the card before it is sent.
    """
    from autoreward.drafting.words import ask, prompt
    from autoreward.models.caller import Caller
    from autoreward.store.io import write
    from autoreward.store.records import Limits

    text = prompt(templates, variables).content
    folder = place.with_suffix(".words") / hashlib.sha256(text.encode()).hexdigest()[:8]
    write(folder / "prompt.md", text + "\n")
    print(_announcement(model, variables, text), file=sys.stderr)
    print(f"the whole prompt: {folder / 'prompt.md'}", file=sys.stderr)
    stays_here = model.name == "manual" or model.name.startswith("replay/")
    if not (yes or stays_here) and not _confirmed():
        return None
    answer = ask(Caller(model, folder / "calls", Limits(max_cost=max_cost)), templates, variables)
    if isinstance(answer, str):
        print(
            f"the model's reply could not be read, twice: {answer}; "
            "the card is written without its suggestions",
            file=sys.stderr,
        )
        return None
    return answer


def _announcement(model: Any, variables: dict[str, Any], text: str) -> str:
    """What would be sent, how long it is, and what it costs."""
    attached = {what: variables[what] for what in ("documentation", "source") if variables[what]}
    rest = len(text) - sum(len(part) for part in attached.values())
    parts = [f"facts and questions ({rest:,} characters)"]
    parts += [f"its {what} ({len(part):,} characters)" for what, part in attached.items()]
    tokens = model.tokens(text)
    cost = model.price(tokens, REPLY_TOKENS)
    price = "price unknown" if cost is None else f"about {cost:.3f} dollars"
    return f"sending to {model.name}: {', '.join(parts)}; about {tokens:,} tokens, {price}"


def _confirmed() -> bool:
    """Ask the user. Raises UserError without a terminal."""
    if not sys.stdin.isatty():
        raise UserError(
            "nothing was sent: confirming needs a terminal",
            "read the prompt above, then repeat the command with --yes "
            "(and --no-source to keep the source here)",
            USAGE,
        )
    return typer.confirm("Send it?", default=False, err=True)


# -- what is printed -------------------------------------------------------------------------------


def _data(place: Path, survey: Survey, drafted: Any, claims: list[Any]) -> dict[str, Any]:
    return {
        "card": str(place),
        "left": [{"line": line, "what": what} for line, what in drafted.left],
        "claims": [vars(claim) for claim in claims],
        "survey": survey.model_dump(mode="json", exclude={"doc", "source"}),
    }


def _lines(place: Path, survey: Survey, drafted: Any, claims: list[Any]) -> list[str]:
    lines = [*_found(survey, drafted), *_claims(claims), "", f"written      {place}"]
    if drafted.left:
        lines += ["", "left for you"]
        for number, (line, what) in enumerate(drafted.left, 1):
            lines.append(f"  {number}. {place}:{line}: {what}")
    return [*lines, "", f"next: autoreward envs check {place}"]


def _found(survey: Survey, drafted: Any) -> list[str]:
    """What the survey found."""
    varying = [column for column in survey.columns if not column.constant]
    reward = survey.reward
    by = {source: sum(f.named_by == source for f in drafted.fields) for source in NAMED_BY}
    fields = ", ".join(f"{count} {NAMED_BY[source]}" for source, count in by.items() if count)
    lines = [
        f"observation  {survey.observation[:160]}",
        f"action       {survey.action.space}",
        f"played       {_played(survey)}",
        f"reward       {reward.manner}: {reward.low:.4g} .. {reward.high:.4g}, "
        f"nonzero on {reward.nonzero:.0%} of steps",
        f"columns      {len(survey.columns)}, "
        f"of which {len(survey.columns) - len(varying)} never changed",
        f"fields       {len(drafted.fields)}: {fields}",
    ]
    if survey.mujoco:
        lines.append(f"MuJoCo       {_matched(varying)}")
    lines.append(f"info         {', '.join(key.name for key in survey.info) or 'empty'}")
    lines += [f"left out     {leaf.left_out}" for leaf in survey.leaves if leaf.left_out]
    lines += [f"note         {note}" for note in survey.notes]
    if not survey.reproducible:
        lines.append(
            "note         the same seed and actions do not give the same states, "
            "so runs cannot be repeated exactly"
        )
    return lines


def _played(survey: Survey) -> str:
    lengths = survey.terminated
    if lengths:
        ended = f"{len(lengths)} episodes terminated, after {min(lengths)} to {max(lengths)} steps"
    else:
        ended = "no episode terminated"
    return (
        f"{survey.steps:,} random steps ({survey.steps_per_second:,.0f} per second); {ended}; "
        f"limit {survey.limit or 'unknown'}"
    )


def _matched(varying: list[Any]) -> str:
    matches = [column.match for column in varying if column.match]
    ambiguous = sum(bool(match.also) for match in matches)
    text = f"{len(matches)} of {len(varying)} varying columns matched"
    return f"{text}, {ambiguous} of them ambiguous" if ambiguous else text


def _claims(claims: list[Any]) -> list[str]:
    """How the model's claims stand: counts, then each contradicted one."""
    if not claims:
        return []
    marks = ("probed", "contradicted", "unchecked")
    counts = [f"{sum(claim.mark == mark for claim in claims)} {mark}" for mark in marks]
    wrong = [claim for claim in claims if claim.mark == "contradicted"]
    return [
        f"claims       {', '.join(counts)}",
        *(f"contradicted {claim.field}: {claim.claim}: {claim.why}" for claim in wrong),
    ]
