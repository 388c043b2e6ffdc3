"""One program, for people who already have one: checked and trained as the loop would."""

from __future__ import annotations

import hashlib
from pathlib import Path

from autoreward.errors import USAGE, UserError
from autoreward.loop.agents import AgentSpec, pooled, score_agents, train_agents
from autoreward.loop.engine import Engine, Progress
from autoreward.loop.header import header, versions
from autoreward.loop.options import DesignOptions
from autoreward.loop.stages import check
from autoreward.methods import DEFAULT, Method, find_method
from autoreward.resources import cache_folder
from autoreward.rewards.composition import DESIGNER, Composition
from autoreward.rewards.linter import lint
from autoreward.rewards.signals import PLAIN
from autoreward.seeds import training_seeds
from autoreward.store.io import write
from autoreward.store.jobs import ProbeJob
from autoreward.store.records import Check, Evaluation, RunHeader
from autoreward.store.run import ProgramFolder
from autoreward.tasks.find import LocatedCard


def probes(card: LocatedCard, engine: Engine, progress: Progress | None = None) -> Path:
    """Recorded transitions of the card's environment, kept in the cache by card and versions."""
    identity = f"{card.digest()}|{sorted(versions().items())}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    out = cache_folder() / "probes" / f"{card.card.name}-{key}.npz"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        engine.run([("probes", ProbeJob(card=str(card.path), seed=0, out=str(out)))], progress)
    return out


def check_program(
    program: str,
    card: LocatedCard,
    sandbox: str,
    engine: Engine,
    composition: Composition | None = None,
    method: Method | None = None,
) -> Check:
    """Lint a program and run it in the sandbox.

    `composition` must fit the program's terms; `method` is the one that the program was written
    for.
    """
    signal_class = (method or find_method(DEFAULT)).signal_class
    found = tuple(lint(program, card.card.reward_layout, signal_class.entry))
    if any(verdict.severity == "refuse" for verdict in found):
        return Check(ok=False, verdicts=found, sandbox=sandbox)

    result = check.check(
        program,
        card.card,
        probes(card, engine),
        sandbox,
        composition=composition,
        signal=signal_class,
    )
    return result.model_copy(update={"verdicts": found + result.verdicts})


def train_program(
    program: Path | None,
    options: DesignOptions,
    card: LocatedCard,
    seeds: int,
    out: Path,
    engine: Engine,
    progress: Progress | None = None,
) -> Evaluation:
    """Train `seeds` agents on a program, score them on fresh episodes, and pool the scores.

    `program` is None for the sparse task reward. The files stay in `out`, so that an interrupted
    call continues. Raises UserError for options that only a run can follow.
    """
    if options.compose == DESIGNER:
        raise UserError(
            "compose: this command involves no designer",
            "name a preset, or the composition that a designer chose: RUN/best/composition.yaml",
            USAGE,
        )
    made = header(options, card)
    method = find_method(options.method)
    _require(method, options, made, card)
    folder = ProgramFolder(out)
    # A human program is a plain reward(), whatever the method.
    signal = PLAIN if program == card.human else method.signal
    if program is not None:
        write(folder.program_path, program.read_bytes())
        program = folder.program_path
    write(folder.header_path, made)

    agents = [
        AgentSpec(
            label=program.stem if program else "sparse",
            program=program,
            folder=folder.training_folder(seed),
            seed=seed,
            composition=made.composition,
            signal=signal,
            settings=method.own(made.settings),
        )
        for seed in training_seeds(options.seed, seeds)
    ]
    train_agents(engine, made, agents, progress)
    score_agents(engine, made, agents, "evaluation", progress)
    result = pooled(card.card, agents)
    write(folder.evaluation_path, result)
    return result


def _require(method: Method, options: DesignOptions, header: RunHeader, card: LocatedCard) -> None:
    """Raise UserError if the method cannot train here on this card."""
    method.require(card, "", header.settings)
    if method.judging and method.own(header.settings).get("judge") == "model":
        raise UserError(
            "--set judge=model: a model labels transitions only in a run, which keeps its answers",
            f"autoreward design {options.task} --method {method.name} --set judge=model",
            USAGE,
        )
