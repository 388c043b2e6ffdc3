"""`autoreward design` and `autoreward resume`: run the whole loop, or continue a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from autoreward.cli.options import Json, RunName, TaskName, options_of, takes
from autoreward.errors import INTERRUPTED, REFUSED, UserError
from autoreward.loop.options import (
    COMMAND_LINE,
    DEFAULT_METHOD,
    command_line_names,
    read_options,
)

if TYPE_CHECKING:
    from autoreward.loop.options import DesignOptions
    from autoreward.models import ModelOptions
    from autoreward.store.records import Final, Limits, RunHeader
    from autoreward.store.run import Run

LIMITS = ("max_cost", "max_tokens", "max_calls", "max_time")


@takes(*command_line_names())
def design(
    context: typer.Context,
    task: TaskName,
    config: Annotated[
        Path | None,
        Option(help="read options from a YAML file; the command line wins (docs/cli.md)"),
    ] = None,
    dry_run: Annotated[
        bool, Option("--dry-run", help="print the model calls, training steps and cost, and stop")
    ] = False,
    as_json: Json = False,
    **given: Any,
) -> None:
    """Design a reward for TASK, train agents on it, and keep the evidence."""
    from autoreward.loop import setup

    options = options_of(task, given, context, config)
    model_options = setup.model_options(options.stored_settings, headers=options.headers)
    if dry_run:
        _dry_run(options, model_options, as_json)
        return
    run_design(setup.start(options, model_options), model_options, as_json)


@takes(
    *LIMITS,
    "headers",
    help={
        "max_cost": "replace the limit on the model's cost, in dollars",
        "max_tokens": "replace the limit on the model's tokens",
        "max_calls": "replace the limit on model calls",
        "max_time": "replace the limit on the run's time, in minutes",
    },
)
def resume(
    run: RunName = "last",
    trust: Annotated[
        bool,
        Option(
            "--trust",
            help="continue a run created elsewhere, with the commands, servers and cards it names",
        ),
    ] = False,
    as_json: Json = False,
    **given: Any,
) -> None:
    """Continue a run that was stopped, wherever it stopped."""
    from autoreward.loop import setup
    from autoreward.loop.header import limits_for
    from autoreward.loop.trust import require_trusted
    from autoreward.store.run import find_run

    found = find_run(run)
    require_trusted(found, trust)
    options = read_options(({**given, "task": found.header.task}, COMMAND_LINE))
    replaced = limits_for(options).model_dump(exclude_none=True)
    limits = found.header.limits.model_copy(update=replaced)
    model_options = setup.model_options(found.header.settings, headers=options.headers)
    run_design(found, model_options, as_json, limits)


def run_design(
    run: Run, model_options: ModelOptions, as_json: bool, limits: Limits | None = None
) -> None:
    """Run the loop until it is done, and print what came of it.

    Raises UserError with the command that continues the run if it is stopped, and if no program
    passed.
    """
    from autoreward.cli.live import Display
    from autoreward.loop import design as loop
    from autoreward.loop import setup
    from autoreward.results.report import write_report
    from autoreward.results.summary import summary

    with run.locked(), Display(run) as display:
        display.say(
            "run",
            "continued" if run.probes_path.exists() else "started",
            model=run.header.model,
            folder=str(run.path),
        )
        try:
            context = setup.run_context(run, model_options, display.say, display.progress, limits)
            final = loop.design(context)
        except KeyboardInterrupt:
            display.say("run", "stopped")
            raise UserError(
                "stopped; nothing is lost", f"autoreward resume {run.path}", INTERRUPTED
            ) from None
        except UserError as error:
            display.say("run", "stopped", why=error.message)
            raise UserError(error.message, _resume_hint(error.hint, run), error.code) from None
        report = write_report(run.path)
    if as_json:
        print(json.dumps(summary(run.path), indent=1))
    else:
        _print_result(run, final, report)
    if final.winner is None:
        raise UserError(
            f"no program passed: {final.why}",
            f"what happened to each: autoreward runs show {run.path}",
            REFUSED,
        )


def _resume_hint(hint: str, run: Run) -> str:
    """The hint, with the run's path in the command that continues it."""
    if not hint:
        return f"then: autoreward resume {run.path}"
    if str(run.path) in hint:
        return hint
    return hint.replace("autoreward resume", f"autoreward resume {run.path}")


def _print_result(run: Run, final: Final, report: Path) -> None:
    from autoreward.results.scores import agent_name, detailed_score_words

    header = run.header
    own_reward = header.card.get("task_reward") == "environment"
    print()
    for agent, result in final.arms.items():
        print(f"{agent_name(agent, own_reward):<8} {detailed_score_words(result)}")
    if final.hints_used:
        hints = ", ".join(next(iter(hint)) for hint in header.card.get("hints", []))
        print(f"hints    used: {hints or 'none on the card'}")
    if header.model == "offline/search":
        print("model    offline/search: a search over a grammar of reward terms, no language model")
    print(f"\nprogram  {run.best_program_path}\nreport   {report}\n")
    composition = run.best_composition_path
    if composition.is_file():
        print(f"composed {composition}: {header.compose}")
    print(f"next     autoreward runs show {run.path}")
    print(f"         {_train_command(run, composition)}")


def _train_command(run: Run, composition: Path) -> str:
    """The command that trains more agents on the winner, as the run did."""
    header = run.header
    words = [f"autoreward train {run.best_program_path} --task {header.task} --seeds 5"]
    if composition.is_file():
        words.append(f"--compose {composition}")
    if header.episodic_return:
        words.append("--episodic-return")
    if header.method != DEFAULT_METHOD:
        words.append(f"--method {header.method}")
    return " ".join(words)


# -- --dry-run -------------------------------------------------------------------------------------


def _dry_run(options: DesignOptions, model_options: ModelOptions, as_json: bool) -> None:
    data = forecast(options, model_options)
    if as_json:
        print(json.dumps(data, indent=1))
        return
    for key, value in data.items():
        shown = "unknown" if value is None else value
        print(f"{key.replace('_', ' '):<22} {_thousands(shown)}")
    print("no model was called and nothing was written; to start, leave out --dry-run")


def _thousands(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def forecast(options: DesignOptions, model_options: ModelOptions) -> Mapping[str, Any]:
    """Calls, tokens, cost, trainings and steps that a design would take; asks no model."""
    from autoreward.loop.confirm import LEADER_SEEDS, LEADERS
    from autoreward.loop.header import card_for, header
    from autoreward.methods import find_method
    from autoreward.models import connect, estimate

    card = card_for(options)
    made = header(options, card)
    method = find_method(made.method)
    method.require(card, made.model, made.settings)
    settings = made.settings
    if not connect(made.model, model_options).language:
        settings = {**settings, "critic": "off", "analyzer": "off"}
    guess = estimate(
        made,
        _first_prompt(made, card, method),
        model_options,
        method.calls(made.candidates, settings),
        made.candidates * method.prepares(made.settings),
    )
    candidates = made.iterations * made.candidates
    confirmed = LEADERS * (LEADER_SEEDS - 1)
    final = made.final_seeds * (2 + bool(card.human))
    trainings = candidates + confirmed + final
    return {
        **guess,
        "candidates": candidates,
        "trainings": trainings,
        "steps_at_most": (made.steps or card.card.training.steps) * trainings,
    }


def _first_prompt(made: RunHeader, card: Any, method: Any) -> str:
    from autoreward.loop.stages.designer import Question, messages
    from autoreward.models.templates import Prompts
    from autoreward.rewards.composition import DESIGNER, Composition

    question = Question(
        hints=made.hints_used,
        composing=made.compose == DESIGNER,
        composition=Composition.model_validate(made.composition),
    )
    asked = messages(Prompts(made.prompts), card.card, method, question, made.settings)
    return "".join(message.content for message in asked)
