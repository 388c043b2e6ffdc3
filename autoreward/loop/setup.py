"""From a person's options to a run: its header, and the tools that the loop works with.

Used by the command line and `bench`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from autoreward.errors import USAGE, UserError
from autoreward.loop import origin
from autoreward.loop.engine import Engine, Progress
from autoreward.loop.tools import Tools
from autoreward.loop.trust import card_of, mark_trusted, require_trusted
from autoreward.methods import DEFAULT, Method, find_method
from autoreward.models import ModelOptions, connect
from autoreward.models.caller import Caller
from autoreward.models.templates import Prompts
from autoreward.resources import cache_folder
from autoreward.rewards.composition import (
    DESIGNER,
    Composition,
    UnsuitableComposition,
    read,
    refusal,
)
from autoreward.sandbox.outside.profiles import find_profile
from autoreward.seeds import MAX_RUN_SEED, MAX_TRAINING_SEEDS
from autoreward.store.records import Limits, RunHeader
from autoreward.store.run import Run
from autoreward.tasks.find import LocatedCard, find, require_simulator

PR_SET_DUMPABLE = 4
DEFAULT_MODEL = "offline/search"
DECIDING = (
    "autoreward-rl",
    "numpy",
    "torch",
    "stable-baselines3",
    "gymnasium",
    "sb3-contrib",
    "minigrid",
    "mujoco",
    "gymnasium-robotics",
    "metaworld",
)


@dataclass
class Options:
    """What decides a run, as typed; see `autoreward design --help`."""

    task: str
    model: str | None = None
    method: str = DEFAULT
    iterations: int = 2
    candidates: int = 3
    steps: int | None = None
    seed: int = 0
    final_seeds: int = 3
    jobs: int | None = None
    device: str = "auto"
    hints: bool = False
    sandbox: str = "default"
    trainer_python: str | None = None
    prompts: str | None = None
    limits: Limits = field(default_factory=Limits)
    settings: dict[str, str] = field(default_factory=dict)
    # None: the method's
    compose: str | None = None
    told: bool = False
    episodic_return: bool = False
    origin: str | None = None
    name: str | None = None
    folder: Path = Path("runs")


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    found = {}
    for name in DECIDING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def chosen(options: Options) -> LocatedCard:
    """The task that is meant, its return held back where that was asked for."""
    card = find(options.task)
    return card.at_end() if options.episodic_return else card


def header(options: Options, card: LocatedCard) -> RunHeader:
    """The run's header; UserError where an option is out of range. `card`: as `chosen` gives it."""
    for name, value, low, high in (
        ("--iterations", options.iterations, 1, 100),
        ("--candidates", options.candidates, 1, 26),
        ("--final-seeds", options.final_seeds, 1, MAX_TRAINING_SEEDS),
        ("--seed", options.seed, 0, MAX_RUN_SEED),
        ("--steps", options.steps if options.steps is not None else 1, 1, 10**12),
        ("--jobs", options.jobs if options.jobs is not None else 1, 1, 1024),
    ):
        if not low <= value <= high:
            raise UserError(
                f"{name} is {value}; it must be {low} to {high}", "autoreward design --help"
            )
    method = find_method(options.method)
    compose = options.compose or method.composition
    composition = composed(compose, card)
    return RunHeader(
        task=card.card.name,
        card=card.card.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        card_path=str(card.path),
        card_digest=card.digest(),
        method=options.method,
        model=options.model or os.environ.get("AUTOREWARD_MODEL") or DEFAULT_MODEL,
        hints_used=options.hints,
        iterations=options.iterations,
        candidates=options.candidates,
        steps=options.steps,
        seed=options.seed,
        final_seeds=options.final_seeds,
        jobs=options.jobs or cores(),
        device=options.device,
        sandbox=options.sandbox,
        trainer_python=options.trainer_python,
        prompts=options.prompts,
        limits=options.limits,
        settings=method.settled(options.settings),
        compose=Path(compose).name,
        composition=composition.data(),
        told=options.told,
        episodic_return=options.episodic_return,
        origin=Path(options.origin).name if options.origin else None,
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def composed(given: str, card: LocatedCard) -> Composition:
    """The composition that `--compose` names, held against the task.

    UserError with the place and the way out.
    """
    if given == DESIGNER:
        return Composition()
    found = read(given)
    try:
        found.require(card.card)
    except UnsuitableComposition as error:
        raise refusal(error, given) from None
    return found


def start(options: Options, model_options: ModelOptions) -> Run:
    """Check everything that can be wrong before a folder is made, then make the run directory."""
    card = chosen(options)
    require_simulator(card.card)
    made = header(options, card)
    method = find_method(made.method)
    method.require(card, made.model, made.settings)
    if method.kind.entry != "reward" and (options.told or options.origin):
        what = "a study" if options.told else "--from"
        raise UserError(
            f"{what} works with methods that write reward(), and {method.name} writes {method.kind.entry}()",
            "--method auto-mc-reward",
            USAGE,
        )
    if options.told and made.compose != "plain":
        raise UserError(
            f"a study adds up terms plainly: compose={made.compose!r} is for trainings of our own",
            "autoreward design --compose",
            USAGE,
        )
    connect(made.model, model_options)
    _judge(method, made, model_options)
    find_profile(made.sandbox)
    Prompts(made.prompts).require(method.name, method.agents)
    free = shutil.disk_usage(Path.cwd()).free
    if free < 50 * 2**20:
        raise UserError(
            f"only {free // 2**20} MB are free on this disk",
            "free some space, or run in another folder",
            3,
        )
    if options.origin:
        origin.require(Path(options.origin))
    run = Run.create(options.folder, made, options.name)
    if options.origin:
        origin.keep(run, Path(options.origin))
    mark_trusted(run)
    return run


def _judge(method: Method, made: RunHeader, model_options: ModelOptions) -> None:
    """UserError where transitions are to be judged and nobody can."""
    judge = method.annotator(made.settings, made.model)
    if (
        method.judging
        and made.settings.get("judge") == "model"
        and not connect(judge, model_options, judging=True).language
    ):
        raise UserError(
            f"--set judge=model: {judge} is no language model, and cannot judge transitions",
            "--set annotator=PROVIDER/MODEL; for trying things out, --set annotator=simulated/p=0.9",
            USAGE,
        )


def shut() -> None:
    """Make this process, which holds the keys, unreadable to others of the same user
    (/proc/PID/environ, ptrace); Linux only.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def tools(
    run: Run,
    model_options: ModelOptions,
    say: Callable[..., None],
    progress: Progress,
    limits: Limits | None = None,
) -> Tools:
    """What the loop needs for this run; UserError where it is not to be trusted, or the card
    changed since the run began.
    """
    require_trusted(run, False)
    shut()
    made = run.header
    card = card_of(run)
    require_simulator(card.card)
    run.header = made = made.model_copy(update={"card_path": str(card.path)})
    if made.versions != versions():
        changed = [
            f"{k} {made.versions.get(k, 'absent')} -> {versions().get(k, 'absent')}"
            for k in sorted({*made.versions, *versions()})
            if made.versions.get(k) != versions().get(k)
        ]
        say("run", "versions changed", changed=changed)
    method = find_method(made.method)
    caller = Caller(
        connect(made.model, model_options), run.path / "calls", limits or made.limits, made.settings
    )
    judge = method.annotator(made.settings, made.model)
    return Tools(
        run=run,
        card=card,
        method=method,
        caller=caller,
        annotator=caller.beside(connect(judge, model_options, judging=True))
        if judge != made.model
        else caller,
        prompts=Prompts(made.prompts),
        engine=Engine(made.jobs, made.trainer_python),
        controls=cache_folder() / "controls",
        say=say,
        progress=progress,
    )


def model_options(settings: dict[str, str], headers: dict[str, str] | None = None) -> ModelOptions:
    """Options of the model layer, from a run's settings; headers are given anew each time, and
    never stored.
    """
    try:
        return ModelOptions(
            base_url=settings.get("base_url"),
            headers=headers or {},
            key_command=settings.get("key_command"),
            prices=settings.get("prices"),
            num_ctx=int(settings["num_ctx"]) if "num_ctx" in settings else None,
            strict=settings.get("strict", "off") == "on",
            timeout=float(settings.get("timeout", 600)),
        )
    except ValueError as error:
        raise UserError(
            f"--set num_ctx, timeout: {error}", "whole numbers of tokens, seconds"
        ) from None
