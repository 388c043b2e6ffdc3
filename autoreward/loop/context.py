"""Everything that one run works with, built once (setup.py) and passed through the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from autoreward.loop.engine import Engine, Progress
from autoreward.methods import Method
from autoreward.models.caller import Caller
from autoreward.models.templates import Prompts
from autoreward.sandbox.outside.worker import Template
from autoreward.store.run import Run
from autoreward.tasks.find import LocatedCard

Say = Callable[..., None]


@dataclass
class RunContext:
    """A run with its card, models and trainers, and where its progress is reported."""

    run: Run
    card: LocatedCard
    method: Method
    caller: Caller
    # Judges transitions, for methods that ask for labels; shares the caller's limits.
    annotator: Caller
    prompts: Prompts
    engine: Engine
    # The user's cache, shared by all runs: trainings of baselines, and labels.
    cache: Path
    # Reports an event: stage, what happened, iteration, candidate, then named data.
    say: Say
    progress: Progress
    # A process that reward workers are forked from; it starts with the first of them.
    template: Template = field(default_factory=Template)
