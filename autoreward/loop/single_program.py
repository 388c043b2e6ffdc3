"""One program on its own, for people who already have one: checked and trained exactly as the loop
would.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from autoreward.errors import USAGE, UserError
from autoreward.loop.engine import Engine, Progress
from autoreward.loop.header import header, versions
from autoreward.loop.options import DesignOptions
from autoreward.loop.stages import check as check_stage
from autoreward.loop.stages import evaluation, training
from autoreward.methods import DEFAULT, Method, find_method
from autoreward.resources import cache_folder
from autoreward.rewards.composition import DESIGNER, Composition
from autoreward.rewards.signals import PLAIN
from autoreward.seeds import training_seeds
from autoreward.store.files import write
from autoreward.store.jobs import ProbeJob
from autoreward.store.records import Check, Evaluation, TrainingDone
from autoreward.tasks.find import LocatedCard


def probes(card: LocatedCard, engine: Engine, progress: Progress | None = None) -> Path:
    """Recorded transitions of the card's environment, made once per card and versions."""
    key = hashlib.sha256(f"{card.digest()}|{sorted(versions().items())}".encode()).hexdigest()[:16]
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
    """Lint and sandbox verdicts of a program, and whether it has the terms that a composition
    names. `method`: the one it was written for.
    """
    from autoreward.rewards.linter import lint

    kind = (method or find_method(DEFAULT)).kind
    found = tuple(lint(program, card.card.reward_layout, kind.entry))
    if any(v.severity == "refuse" for v in found):
        return Check(ok=False, verdicts=found, sandbox=sandbox)
    result = check_stage.check(
        program, card.card, probes(card, engine), sandbox, composition=composition, signal=kind
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
    """Train `seeds` agents on a program (None: the sparse task reward), score them on fresh seeds,
    and pool.
    """
    if options.compose == DESIGNER:
        raise UserError(
            "compose: no designer chooses here",
            "a preset, or the file that one chose: RUN/best/composition.yaml",
            USAGE,
        )
    made, method = header(options, card), find_method(options.method)
    method.require(card, "", made.settings)
    if method.judging and method.own(made.settings).get("judge") == "model":
        raise UserError(
            "--set judge=model: transitions are judged in a run, which keeps what was asked",
            f"autoreward design {options.task} --method {method.name} --set judge=model",
            USAGE,
        )
    signal = method.signal if program != card.human else PLAIN
    if program is not None:
        write(out / "program.py", program.read_bytes())
        program = out / "program.py"
    write(out / "header.json", made)
    numbers = training_seeds(options.seed, seeds)
    places = [out / f"seed-{s}" for s in numbers]
    label = program.stem if program else "sparse"
    own = method.own(made.settings)
    todo = [(s, p) for s, p in zip(numbers, places, strict=True) if training.done(p) is None]
    engine.run(
        [
            (
                f"{label} seed {s}",
                training.job(
                    made, program, s, p, composition=made.composition, signal=signal, settings=own
                ),
            )
            for s, p in todo
        ],
        progress,
    )
    done: list[TrainingDone] = [d for p in places if (d := training.done(p))]
    whole = [
        (p, d)
        for p, d in zip(places, done, strict=True)
        if d.refusal is None and not (p / "score.json").exists()
    ]
    if whole:
        job = evaluation.job(
            made,
            [p for p, _ in whole],
            [p / "score.json" for p, _ in whole],
            [d.seed for _, d in whole],
            "evaluation",
        )
        engine.run([("evaluation", job)], progress)
    result = evaluation.pool(card.card, [p / "score.json" for p in places], done)
    write(out / "evaluation.json", result)
    return result
