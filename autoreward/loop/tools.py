"""What a run works with, built once: its files, card, model, trainers, and whom to tell."""

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
class Tools:
    """What the stages work with; launch.py builds it."""

    run: Run
    card: LocatedCard
    method: Method
    caller: Caller
    # who judges transitions, for methods that ask for it; shares the limits
    annotator: Caller
    prompts: Prompts
    engine: Engine
    # cache of sparse and human trainings, shared by runs of the same card, versions and seeds
    controls: Path
    say: Say
    progress: Progress
    # started with its first worker
    template: Template = field(default_factory=Template)
