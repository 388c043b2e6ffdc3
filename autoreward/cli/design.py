"""The everyday verbs: design, resume, check, train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from autoreward.cli.options import (
    BaseUrl,
    Compose,
    Composed,
    EpisodicReturn,
    Header,
    Jobs,
    Json,
    KeyCommand,
    MethodName,
    Model,
    Prices,
    Sandbox,
    Set,
    Task,
    Unsafe,
    headers_of,
    program_text,
    settings_of,
    with_config,
)
from autoreward.errors import INTERRUPTED, REFUSED, UserError
from autoreward.seeds import MAX_TRAINING_SEEDS


def design(
    context: typer.Context,
    task: Task,
    model: Model = None,
    method: Annotated[str, Option(help="autoreward methods list")] = "auto-mc-reward",
    iterations: Annotated[int, Option(help="rounds of design, training, analysis")] = 2,
    candidates: Annotated[int, Option(help="programs per iteration")] = 3,
    steps: Annotated[
        int | None,
        Option(help="environment steps per training [default: the card's]", show_default=False),
    ] = None,
    seed: Annotated[int, Option(help="seed of everything random")] = 0,
    final_seeds: Annotated[
        int, Option(help="trainings of winner, sparse and human reward at the end")
    ] = 3,
    jobs: Jobs = None,
    device: Annotated[str, Option(help="auto, cpu, cuda")] = "auto",
    max_cost: Annotated[float | None, Option(help="limit on the model's price, in dollars")] = None,
    max_tokens: Annotated[int | None, Option(help="limit on the model's tokens")] = None,
    max_calls: Annotated[int | None, Option(help="limit on model calls")] = None,
    max_time: Annotated[
        float | None, Option(help="limit on the run's time, in minutes; checked before each call")
    ] = None,
    hints: Annotated[
        bool, Option("--hints", help="show the card's hints to the language model")
    ] = False,
    setting: Set = None,
    config: Annotated[
        Path | None, Option(help="options from a YAML file; what is typed wins")
    ] = None,
    prompts: Annotated[
        Path | None, Option(help="folder of templates that override the shipped ones")
    ] = None,
    base_url: BaseUrl = None,
    header: Header = None,
    key_command: KeyCommand = None,
    prices: Prices = None,
    sandbox: Sandbox = "default",
    unsafe_no_sandbox: Unsafe = False,
    trainer_python: Annotated[str | None, Option(help="another interpreter for trainers")] = None,
    name: Annotated[str | None, Option(help="name of the run's folder below ./runs")] = None,
    origin: Annotated[
        Path | None,
        Option(
            "--from",
            metavar="FILE.py",
            help="begin from your own reward: a program, or a plain function of observation, action, next observation",
        ),
    ] = None,
    compose: Composed = None,
    episodic_return: EpisodicReturn = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="print calls, steps and money, and stop")
    ] = False,
    as_json: Json = False,
) -> None:
    """Design a reward for TASK, train agents on it, and keep the evidence."""
    from autoreward.loop import setup
    from autoreward.store.records import Limits

    typed = with_config(context, config)
    given = setup.Options(
        task=typed["task"],
        model=typed["model"],
        method=typed["method"],
        iterations=typed["iterations"],
        candidates=typed["candidates"],
        steps=typed["steps"],
        seed=typed["seed"],
        final_seeds=typed["final_seeds"],
        jobs=typed["jobs"],
        device=typed["device"],
        hints=typed["hints"],
        sandbox="unsafe" if unsafe_no_sandbox else typed["sandbox"],
        trainer_python=typed["trainer_python"],
        prompts=str(Path(typed["prompts"]).resolve()) if typed["prompts"] else None,
        limits=Limits(
            max_cost=typed["max_cost"],
            max_tokens=typed["max_tokens"],
            max_calls=typed["max_calls"],
            max_time=typed["max_time"] * 60 if typed["max_time"] else None,
        ),
        settings={
            **settings_of(setting, typed["method"]),
            **{
                k: str(v)
                for k, v in (
                    ("base_url", base_url),
                    ("key_command", key_command),
                    ("prices", prices),
                )
                if v
            },
        },
        compose=typed["compose"],
        episodic_return=typed["episodic_return"],
        name=typed["name"],
        origin=str(typed["origin"]) if typed["origin"] else None,
    )
    options = setup.model_options(given.settings, headers=headers_of(header))
    if dry_run:
        _dry_run(given, options, as_json)
        return
    _go(setup.start(given, options), options, as_json)


def resume(
    run: Annotated[str, Argument(help="a run's folder, its name in ./runs, or `last`")] = "last",
    max_cost: Annotated[float | None, Option(help="another limit, in dollars")] = None,
    max_tokens: Annotated[int | None, Option(help="another limit")] = None,
    max_calls: Annotated[int | None, Option(help="another limit")] = None,
    max_time: Annotated[float | None, Option(help="another limit, in minutes")] = None,
    header: Header = None,
    trust: Annotated[
        bool,
        Option(
            "--trust",
            help="go on with a run that was begun elsewhere, and with the commands, servers and cards it names",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Go on with a run that was stopped, at any point."""
    from autoreward.loop import setup
    from autoreward.loop.trust import require_trusted
    from autoreward.store.run import find_run

    found = find_run(run)
    require_trusted(found, trust)
    given = {
        "max_cost": max_cost,
        "max_tokens": max_tokens,
        "max_calls": max_calls,
        "max_time": max_time * 60 if max_time else None,
    }
    limits = found.header.limits.model_copy(
        update={k: v for k, v in given.items() if v is not None}
    )
    _go(
        found,
        setup.model_options(found.header.settings, headers=headers_of(header)),
        as_json,
        limits,
    )


def _go(run: Any, options: Any, as_json: bool, limits: Any = None) -> None:
    from autoreward.cli.live import Display
    from autoreward.loop import design as loop
    from autoreward.loop import setup
    from autoreward.results.report import write_report
    from autoreward.results.summary import summary

    with run.locked(), Display(run) as display:
        display.say(
            "run",
            "begins" if not (run.path / "probes.npz").exists() else "goes on",
            model=run.header.model,
            folder=str(run.path),
        )
        try:
            final = loop.design(setup.tools(run, options, display.say, display.progress, limits))
        except KeyboardInterrupt:
            display.say("run", "stopped")
            raise UserError(
                "stopped; nothing is lost", f"autoreward resume {run.path}", INTERRUPTED
            ) from None
        except UserError as error:
            display.say("run", "stopped", why=error.message)
            hint = (
                error.hint.replace("autoreward resume", f"autoreward resume {run.path}")
                if str(run.path) not in error.hint
                else error.hint
            )
            raise UserError(
                error.message, hint or f"then: autoreward resume {run.path}", error.code
            ) from None
        report = write_report(run.path)
    if as_json:
        print(json.dumps(summary(run.path), indent=1))
    else:
        _tell(run, final, report)
    if final.winner is None:
        raise UserError(
            f"no program came through: {final.why}",
            f"what became of each: autoreward runs show {run.path}",
            REFUSED,
        )


def _tell(run: Any, final: Any, report: Path) -> None:
    from autoreward.results.summary import called

    print()
    for arm, result in final.arms.items():
        print(
            f"{called(arm, {'own_reward': run.header.card.get('task_reward') == 'environment'}):<8} {_rate(result)}"
        )
    if final.hints_used:
        print(f"hints    used: {', '.join(h for h in _hints(run)) or 'none on the card'}")
    if run.header.model == "offline/search":
        print("model    offline/search: a search over a grammar of reward terms, no language model")
    print(f"\nprogram  {run.path}/best/program.py\nreport   {report}\n")
    composed = run.path / "best" / "composition.yaml"
    if composed.is_file():
        print(f"composed {composed}: {run.header.compose}")
    again = f" --compose {composed}" if composed.is_file() else ""
    again += " --episodic-return" if run.header.episodic_return else ""
    again += f" --method {run.header.method}" if run.header.method != "auto-mc-reward" else ""
    print(
        f"next     autoreward runs show {run.path}\n         autoreward train {run.path}/best/program.py --task {run.header.task} --seeds 5{again}"
    )


def _hints(run: Any) -> list[str]:
    return [next(iter(h)) for h in run.header.card.get("hints", [])]


def _rate(result: Any) -> str:
    if not result.ok:
        return result.why
    text = ""
    if result.success is not None:
        seeds = " ".join(f"{(s.successes or 0) / s.episodes:.2f}" for s in result.scores)
        text = f"success {result.success:.0%} (95% interval {result.low:.0%} to {result.high:.0%}; by seed {seeds})"
        reached = [s for s in result.steps_to_80 if s is not None]
        text += (
            f"; 80% after {', '.join(f'{s / 1000:.0f}k' if s is not None else 'never' for s in result.steps_to_80)} steps"
            if reached
            else "; 80% never reached"
        )
    if result.metric is not None:
        text += f"{'; ' if text else ''}metric {result.metric:.4g} (95% interval {result.metric_low:.4g} to {result.metric_high:.4g}; by seed {' '.join(f'{_own(s):.4g}' for s in result.scores)})"
    for words in result.broken:
        text += f"\n  breaks a constraint: {words}"
    return text + (f"\n  {result.why}" if result.why else "")


def _own(score: Any) -> float:
    """A score's mean of the card's own metric."""
    return sum(score.values) / len(score.values) if score.values else float("nan")


def _dry_run(given: Any, options: Any, as_json: bool) -> None:
    from autoreward.loop import setup
    from autoreward.loop.stages.designer import Question, messages
    from autoreward.methods import find_method
    from autoreward.models import connect, estimate
    from autoreward.models.templates import Prompts
    from autoreward.rewards.composition import DESIGNER, Composition

    card = setup.chosen(given)
    made = setup.header(given, card)
    method = find_method(made.method)
    method.require(card, made.model, made.settings)
    pinned = Composition.model_validate(made.composition)
    asked = messages(
        Prompts(made.prompts),
        card.card,
        method,
        Question(hints=made.hints_used, composing=made.compose == DESIGNER, composition=pinned),
        made.settings,
    )
    language = connect(made.model, options).language
    calls = method.calls(
        made.candidates,
        made.settings if language else {**made.settings, "critic": "off", "analyzer": "off"},
    )
    guess = estimate(
        made,
        "".join(m.content for m in asked),
        options,
        calls,
        made.candidates * method.prepares(made.settings),
    )
    steps = made.steps or card.card.training.steps
    controls = made.final_seeds * (2 + bool(card.human))
    data = {
        **guess,
        "candidates": made.iterations * made.candidates,
        "trainings": made.iterations * made.candidates + 4 + controls,
        "steps_at_most": steps * (made.iterations * made.candidates + 4 + controls),
    }
    if as_json:
        print(json.dumps(data, indent=1))
        return
    for key, value in data.items():
        print(
            f"{key.replace('_', ' '):<22} {'unknown' if value is None else f'{value:,}' if isinstance(value, int) else value}"
        )
    print("nothing was asked and nothing written; run the same without --dry-run")


def check(
    program: Annotated[Path, Argument(help="a reward program")],
    task: Annotated[str, Option(help="the task it is for")],
    sandbox: Sandbox = "default",
    unsafe_no_sandbox: Unsafe = False,
    trainer_python: Annotated[str | None, Option(help="another interpreter for trainers")] = None,
    compose: Compose = "plain",
    method: MethodName = "auto-mc-reward",
    as_json: Json = False,
) -> None:
    """Lint a program and try it in the sandbox: verdicts with class, line, message, hint."""
    from autoreward.loop import setup, single_program
    from autoreward.loop.engine import Engine
    from autoreward.methods import find_method
    from autoreward.tasks.find import find, require_simulator

    card = find(task)
    require_simulator(card.card)
    composition = setup.composed(compose, card)
    result = single_program.check_program(
        program_text(program),
        card,
        "unsafe" if unsafe_no_sandbox else sandbox,
        Engine(1, trainer_python),
        composition,
        find_method(method),
    )
    if as_json:
        print(result.model_dump_json(indent=1))
    else:
        for v in result.verdicts:
            place = f"{program}:{v.line}" if v.line else str(program)
            print(
                f"{place}: {'refused' if v.severity == 'refuse' else 'warning'} [{v.kind}] {v.message}"
                + (f"\n    {v.hint}" if v.hint else "")
            )
        for t in result.terms:
            hidden = (
                f"  uses {', '.join(t.unseen)}, which the policy does not see" if t.unseen else ""
            )
            print(
                f"{t.name:<20} {t.kind:<9} mean {t.mean: .3g}  std {t.std:.3g}  range {t.low:.3g} to {t.high:.3g}  share {t.share:.0%}{hidden}"
            )
        print(
            f"{'accepted' if result.ok else 'refused'} on {result.probes} probe transitions (sandbox {result.sandbox})"
        )
    if not result.ok:
        raise typer.Exit(REFUSED)


def train(
    program: Annotated[str, Argument(help="a reward program, or `sparse`, or `human`")],
    task: Annotated[str, Option(help="the task")],
    seeds: Annotated[int, Option(help="agents to train, each with its seed")] = 3,
    seed: Annotated[int, Option(help="first seed is a hundred times this")] = 0,
    steps: Annotated[
        int | None, Option(help="environment steps [default: the card's]", show_default=False)
    ] = None,
    jobs: Jobs = None,
    device: Annotated[str, Option(help="auto, cpu, cuda")] = "auto",
    sandbox: Sandbox = "default",
    unsafe_no_sandbox: Unsafe = False,
    out: Annotated[
        Path | None,
        Option(
            help="folder for curves and weights [default: runs/train-TASK-...]", show_default=False
        ),
    ] = None,
    trainer_python: Annotated[str | None, Option(help="another interpreter for trainers")] = None,
    setting: Set = None,
    compose: Compose = "plain",
    method: MethodName = "auto-mc-reward",
    episodic_return: EpisodicReturn = False,
    as_json: Json = False,
) -> None:
    """Train and evaluate agents on a program as the loop would: success with its interval, steps
    to 80%.
    """
    import secrets

    from autoreward.cli.live import Display
    from autoreward.loop import setup, single_program
    from autoreward.loop.engine import Engine
    from autoreward.tasks.find import require_simulator

    card = setup.chosen(setup.Options(task=task, episodic_return=episodic_return))
    require_simulator(card.card)
    if not 1 <= seeds <= MAX_TRAINING_SEEDS:
        raise UserError(
            f"--seeds is {seeds}; it must be 1 to {MAX_TRAINING_SEEDS}", "autoreward train --help"
        )
    path = None if program == "sparse" else card.human if program == "human" else Path(program)
    if program == "human" and path is None:
        raise UserError(
            f"the card {card.card.name} has no human program", "name a file instead, or `sparse`"
        )
    if path is not None:
        program_text(path)
    jail = "unsafe" if unsafe_no_sandbox else sandbox
    options = setup.Options(
        task=task,
        steps=steps,
        seed=seed,
        jobs=jobs,
        device=device,
        sandbox=jail,
        trainer_python=trainer_python,
        settings=settings_of(setting, method),
        compose=compose,
        method=method,
        episodic_return=episodic_return,
    )
    place = out or Path("runs") / f"train-{card.card.name}-{secrets.token_hex(2)[:3]}"
    with Display(None) as display:
        result = single_program.train_program(
            path,
            options,
            card,
            seeds,
            place,
            Engine(jobs or setup.cores(), trainer_python),
            display.progress,
        )
    if as_json:
        print(result.model_dump_json(indent=1))
    else:
        print(f"{program} on {card.card.name}: {_rate(result)}\nfiles in {place}")
    if not result.ok:
        raise typer.Exit(REFUSED)
