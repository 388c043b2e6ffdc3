"""`autoreward check`, `train` and `merge`: what you do with a program outside a design."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from autoreward.cli.options import ForTask, Json, options_of, program_text, takes
from autoreward.errors import REFUSED, USAGE, UserError
from autoreward.seeds import MAX_TRAINING_SEEDS

if TYPE_CHECKING:
    from autoreward.store.records import TermProbe, Verdict
    from autoreward.tasks.find import LocatedCard

COMPOSE = (
    "how terms become the reward: plain, signs, potential, gain, best, normalized, or a YAML file "
    "(docs/composition.md)"
)
METHOD = "the method that the program is written for"


@takes(
    "sandbox",
    "unsafe_no_sandbox",
    "trainer_python",
    "compose",
    "method",
    help={"compose": COMPOSE, "method": METHOD},
    defaults={"compose": "plain"},
)
def check(
    context: typer.Context,
    program: Annotated[Path, Argument(help="a reward program")],
    task: ForTask,
    as_json: Json = False,
    **given: Any,
) -> None:
    """Lint a program and try it in the sandbox: each finding with its line and a fix."""
    from autoreward.loop import single_program
    from autoreward.loop.engine import Engine
    from autoreward.loop.header import composition_for
    from autoreward.methods import find_method
    from autoreward.tasks.find import find, require_simulator

    options = options_of(task, given, context)
    card = find(task)
    require_simulator(card.card)
    result = single_program.check_program(
        program_text(program),
        card,
        options.sandbox_profile,
        Engine(1, options.trainer_python),
        composition_for(options.compose or "plain", card),
        find_method(options.method),
    )
    if as_json:
        print(result.model_dump_json(indent=1))
    else:
        for verdict in result.verdicts:
            print(_verdict_line(verdict, program))
        for term in result.terms:
            print(_term_line(term))
        outcome = "accepted" if result.ok else "rejected"
        print(f"{outcome} on {result.probes} probe transitions (sandbox {result.sandbox})")
    if not result.ok:
        raise typer.Exit(REFUSED)


def _verdict_line(verdict: Verdict, program: Path) -> str:
    place = f"{program}:{verdict.line}" if verdict.line else str(program)
    severity = "error" if verdict.severity == "refuse" else "warning"
    line = f"{place}: {severity} [{verdict.kind}] {verdict.message}"
    return f"{line}\n    {verdict.hint}" if verdict.hint else line


def _term_line(term: TermProbe) -> str:
    line = (
        f"{term.name:<20} {term.kind:<9} mean {term.mean: .3g}  std {term.std:.3g}  "
        f"range {term.low:.3g} to {term.high:.3g}  share {term.share:.0%}"
    )
    if term.unseen:
        line += f"  uses {', '.join(term.unseen)}, which the policy does not see"
    return line


@takes(
    "seed",
    "steps",
    "jobs",
    "device",
    "sandbox",
    "unsafe_no_sandbox",
    "trainer_python",
    "settings",
    "compose",
    "method",
    "episodic_return",
    help={
        "seed": "the first training seed is a hundred times this",
        "compose": COMPOSE,
        "method": METHOD,
    },
    defaults={"compose": "plain"},
)
def train(
    context: typer.Context,
    program: Annotated[str, Argument(help="a reward program, or `sparse`, or `human`")],
    task: ForTask,
    seeds: Annotated[int, Option(help="agents to train, one per training seed")] = 3,
    out: Annotated[
        Path | None,
        Option(
            help="folder for curves and weights [default: runs/train-TASK-...]", show_default=False
        ),
    ] = None,
    as_json: Json = False,
    **given: Any,
) -> None:
    """Train and evaluate agents on a program as the loop would.

    Prints the success rate with its interval, and the steps until 80% success.
    """
    from autoreward.cli.live import Display
    from autoreward.loop import single_program
    from autoreward.loop.engine import Engine
    from autoreward.loop.header import card_for
    from autoreward.resources import cores
    from autoreward.results.scores import detailed_score_words
    from autoreward.tasks.find import require_simulator

    options = options_of(task, given, context)
    card = card_for(options)
    require_simulator(card.card)
    if not 1 <= seeds <= MAX_TRAINING_SEEDS:
        raise UserError(
            f"--seeds is {seeds}; it must be a whole number from 1 to {MAX_TRAINING_SEEDS}",
            "autoreward train --help",
        )
    path = _program_path(program, card)
    place = out or Path("runs") / f"train-{card.card.name}-{secrets.token_hex(2)[:3]}"
    with Display(None) as display:
        result = single_program.train_program(
            path,
            options,
            card,
            seeds,
            place,
            Engine(options.jobs or cores(), options.trainer_python),
            display.progress,
        )
    if as_json:
        print(result.model_dump_json(indent=1))
    else:
        print(f"{program} on {card.card.name}: {detailed_score_words(result)}\nfiles in {place}")
    if not result.ok:
        raise typer.Exit(REFUSED)


def _program_path(program: str, card: LocatedCard) -> Path | None:
    """The file to train on; None for the sparse task reward."""
    if program == "sparse":
        return None
    if program == "human" and card.human is None:
        raise UserError(
            f"the card {card.card.name} has no human program", "name a file instead, or `sparse`"
        )
    path = card.human if program == "human" and card.human else Path(program)
    program_text(path)
    return path


# -- merge -----------------------------------------------------------------------------------------


def merge(
    programs: Annotated[
        list[Path],
        Argument(
            help="two or more reward programs, e.g. RUN/iteration-2/candidate-*/1-designer.py"
        ),
    ],
    out: Annotated[
        Path,
        Option(help="the program to write; its composition is written beside it, as .yaml"),
    ] = Path("ensemble.py"),
    how: Annotated[
        Literal["mean", "worst", "careful"],
        Option(help="careful: the mean minus `caution` times the variance; worst: the minimum"),
    ] = "careful",
    caution: Annotated[float, Option(min=0, help="used by careful")] = 0.1,
    normalize: Annotated[
        bool,
        Option(help="first divide each program by its running scale (not for SAC, TD3, DQN)"),
    ] = True,
) -> None:
    """Merge several programs into one ensemble.

    Writes a program with one term for each, and the composition that combines them.
    """
    import yaml

    from autoreward.rewards.merge import merged
    from autoreward.rewards.program import constant
    from autoreward.store.io import write

    composition = out.with_suffix(".yaml")
    _require_mergeable(programs, out, composition)
    texts = dict(zip(_term_names(programs), map(program_text, programs), strict=True))
    program = merged(texts)
    write(
        composition,
        yaml.safe_dump(_ensemble(list(texts), how, caution, normalize), sort_keys=False),
    )
    write(out, program)
    for name, path in zip(texts, programs, strict=True):
        print(f"{name:<12} {path}")
    sparse = [name for name, text in texts.items() if constant(text, "SPARSE")]
    if sparse:
        print(f"note: {', '.join(sparse)} declares SPARSE terms; their sum is a dense term")
    scaled = ", each divided by its running scale" if normalize else ""
    print(f"wrote {out} and {composition}: {how} of {len(texts)} programs{scaled}")
    print(f"next: autoreward train {out} --task TASK --compose {composition}")


def _require_mergeable(programs: list[Path], out: Path, composition: Path) -> None:
    """Raise UserError for a single program, another suffix than .py, or a file that exists."""
    if len(programs) < 2:
        raise UserError(
            f"an ensemble of one program is {programs[0]} itself", "name two or more", USAGE
        )
    if out.suffix != ".py":
        raise UserError(
            f"--out {out}: the program's file name must end in .py",
            f"--out {out.with_suffix('.py')}",
            USAGE,
        )
    for place in (out, composition):
        if place.exists():
            raise UserError(f"{place} already exists", "--out ANOTHER.py", USAGE)


def _ensemble(names: list[str], how: str, caution: float, normalize: bool) -> dict[str, Any]:
    """The composition that combines these terms, as its YAML file holds it."""
    transforms: list[dict[str, Any]] = []
    if normalize:
        transforms.append({"kind": "normalize", "over": names})
    ensemble: dict[str, Any] = {"kind": "ensemble", "over": list(names), "how": how}
    if how == "careful":
        ensemble["caution"] = caution
    transforms.append(ensemble)
    return {"transforms": transforms}


def _term_names(programs: list[Path]) -> list[str]:
    """A term name for each program: its file's name, or its candidate's if file names repeat."""
    stems = [p.stem for p in programs]
    if len(set(stems)) < len(stems):
        stems = [
            f"{p.parent.parent.name}_{p.parent.name}".replace("iteration-", "").replace(
                "_candidate-", ""
            )
            for p in programs
        ]
    plain = [re.sub(r"[^A-Za-z0-9_]", "_", stem) for stem in stems]
    named = [name if re.match(r"[A-Za-z]", name) else f"p{name}" for name in plain]
    if len(set(named)) < len(named):
        return [f"p{k + 1}" for k in range(len(named))]
    return named
