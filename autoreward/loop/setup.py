"""From options to a run directory, and from a run directory to the context of the loop."""

from __future__ import annotations

import ctypes
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from autoreward.errors import MISSING, USAGE, UserError
from autoreward.loop import origin
from autoreward.loop.card_copy import card_files, changed_card
from autoreward.loop.context import RunContext
from autoreward.loop.engine import Engine, Progress
from autoreward.loop.header import card_for, header, versions
from autoreward.loop.options import DesignOptions
from autoreward.loop.trust import card_of, mark_trusted, require_trusted
from autoreward.methods import Method, find_method
from autoreward.models import ModelOptions, connect
from autoreward.models.caller import Caller
from autoreward.models.templates import Prompts
from autoreward.resources import cache_folder
from autoreward.sandbox.outside.profiles import find_profile
from autoreward.store.records import Limits, RunHeader
from autoreward.store.run import Run
from autoreward.tasks.find import require_simulator

PR_SET_DUMPABLE = 4
MIN_FREE_BYTES = 50 * 2**20


def start(options: DesignOptions, model_options: ModelOptions) -> Run:
    """Create the run directory, after checking everything that can be wrong.

    Raises UserError before anything is written.
    """
    card = card_for(options)
    require_simulator(card.card)
    made = header(options, card)
    method = find_method(made.method)
    method.require(card, made.model, made.settings)
    _require_entry_point(options, made, method)
    connect(made.model, model_options)
    _require_annotator(method, made, model_options)
    find_profile(made.sandbox)
    Prompts(made.prompts).require(method.name, method.agents)
    _require_disk_space()
    if options.origin:
        origin.require(options.origin)
    card_copy, task_files = card_files(card)
    made = made.model_copy(update={"card_copy": str(card_copy)})
    run = Run.create(options.folder, made, options.name, task_files)
    if options.origin:
        origin.keep(run, options.origin)
    mark_trusted(run)
    return run


def _require_entry_point(options: DesignOptions, made: RunHeader, method: Method) -> None:
    """Raise UserError if a study or `--from` is used with a method that cannot serve it."""
    entry = method.signal_class.entry
    if entry != "reward" and (options.external_training or options.origin):
        what = "a study" if options.external_training else "--from"
        raise UserError(
            f"{what} needs a method that writes reward(); {method.name} writes {entry}()",
            "--method auto-mc-reward",
            USAGE,
        )
    if options.external_training and made.compose != "plain":
        raise UserError(
            f"a study sums the terms: compose={made.compose!r} needs autoreward to train",
            "autoreward design --compose",
            USAGE,
        )


def _require_annotator(method: Method, made: RunHeader, model_options: ModelOptions) -> None:
    """Raise UserError if a model must label transitions and the one named cannot."""
    annotator = method.annotator(made.settings, made.model)
    if not method.judging or made.settings.get("judge") != "model":
        return
    if not connect(annotator, model_options, judging=True).language:
        raise UserError(
            f"--set judge=model: {annotator} is not a language model and cannot label transitions",
            "--set annotator=PROVIDER/MODEL, or to try it out --set annotator=simulated/p=0.9",
            USAGE,
        )


def _require_disk_space() -> None:
    free = shutil.disk_usage(Path.cwd()).free
    if free < MIN_FREE_BYTES:
        raise UserError(
            f"only {free // 2**20} MB are free on this disk",
            "free some space, or run in another folder",
            MISSING,
        )


def hide_process() -> None:
    """Make this process, which holds the keys, unreadable to the user's other processes.

    That closes /proc/PID/environ and ptrace; Linux only.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def run_context(
    run: Run,
    model_options: ModelOptions,
    say: Callable[..., None],
    progress: Progress,
    limits: Limits | None = None,
) -> RunContext:
    """Build what the loop needs for this run; `limits` replace those of its header.

    Raises UserError if the run is not trusted, or if its card has changed since it was created.
    """
    require_trusted(run, False)
    hide_process()
    card = card_of(run)
    require_simulator(card.card)
    if changed_path := changed_card(run):
        say("run", "keeps its own card", why=f"{changed_path} has changed since the run started")
    run.header = run.header.model_copy(update={"card_path": str(card.path)})
    made = run.header
    if changed := _version_changes(made):
        say("run", "versions changed", changed=changed)
    method = find_method(made.method)
    model = connect(made.model, model_options)
    caller = Caller(model, run.calls_path, limits or made.limits, made.settings)
    annotator_name = method.annotator(made.settings, made.model)
    annotator = caller
    if annotator_name != made.model:
        annotator = caller.beside(connect(annotator_name, model_options, judging=True))
    return RunContext(
        run=run,
        card=card,
        method=method,
        caller=caller,
        annotator=annotator,
        prompts=Prompts(made.prompts),
        engine=Engine(made.jobs, made.trainer_python),
        cache=cache_folder(),
        say=say,
        progress=progress,
    )


def _version_changes(made: RunHeader) -> list[str]:
    """`PACKAGE OLD -> NEW` for each package whose version differs from the run's."""
    now = versions()
    changes = []
    for package in sorted({*made.versions, *now}):
        before, after = made.versions.get(package, "absent"), now.get(package, "absent")
        if before != after:
            changes.append(f"{package} {before} -> {after}")
    return changes


def model_options(settings: dict[str, str], headers: dict[str, str] | None = None) -> ModelOptions:
    """How to reach the model, from a run's settings.

    Headers are given anew each time and never stored. Raises UserError if a number is malformed.
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
            f"--set num_ctx, timeout: {error}", "a whole number of tokens, a number of seconds"
        ) from None
