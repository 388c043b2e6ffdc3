"""`autoreward merge`: several programs in one, and the composition that takes them together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from autoreward.cli.options import program_text
from autoreward.errors import USAGE, UserError


def merge(
    programs: Annotated[
        list[Path],
        Argument(
            help="two or more reward programs, e.g. RUN/iteration-2/candidate-*/1-designer.py"
        ),
    ],
    out: Annotated[
        Path, Option(help="the program to write; its composition is written beside it, as .yaml")
    ] = Path("ensemble.py"),
    how: Annotated[
        Literal["mean", "worst", "careful"],
        Option(help="careful: the mean less `caution` times the variance; worst: the least"),
    ] = "careful",
    caution: Annotated[float, Option(min=0, help="with careful")] = 0.1,
    normalize: Annotated[
        bool, Option(help="each program on its own running scale first (not for SAC, TD3, DQN)")
    ] = True,
) -> None:
    """Make one program of several, with a term for each, and the composition that is their
    ensemble.
    """
    import yaml

    from autoreward.rewards.merge import merged
    from autoreward.rewards.program import constant
    from autoreward.store.files import write

    if len(programs) < 2:
        raise UserError(
            f"an ensemble of one program is {programs[0]} itself", "name two or more", USAGE
        )
    if out.suffix != ".py":
        raise UserError(
            f"--out {out}: the program must be called .py", f"--out {out.with_suffix('.py')}", USAGE
        )
    composition = out.with_suffix(".yaml")
    for place in (out, composition):
        if place.exists():
            raise UserError(f"{place} is there already", "--out ANOTHER.py", USAGE)
    texts = dict(zip(_names(programs), map(program_text, programs), strict=True))
    program = merged(texts)
    ensemble = {
        "kind": "ensemble",
        "over": list(texts),
        "how": how,
        **({"caution": caution} if how == "careful" else {}),
    }
    scale = [{"kind": "normalize", "over": list(texts)}] if normalize else []
    write(composition, yaml.safe_dump({"transforms": [*scale, ensemble]}, sort_keys=False))
    write(out, program)
    print("\n".join(f"{name:<12} {path}" for name, path in zip(texts, programs, strict=True)))
    if sparse := [name for name, text in texts.items() if constant(text, "SPARSE")]:
        print(f"note: {', '.join(sparse)} declares SPARSE terms; a total is a dense term")
    print(
        f"wrote {out} and {composition}: {how} of {len(texts)} programs{', each on its own running scale' if normalize else ''}\nnext: autoreward train {out} --task TASK --compose {composition}"
    )


def _names(programs: list[Path]) -> list[str]:
    """A term's name for each: the file's, the candidate's where files are called alike."""
    stems = [p.stem for p in programs]
    if len(set(stems)) < len(stems):
        stems = [
            f"{p.parent.parent.name}_{p.parent.name}".replace("iteration-", "").replace(
                "_candidate-", ""
            )
            for p in programs
        ]
    plain = [re.sub(r"[^A-Za-z0-9_]", "_", s) for s in stems]
    named = [p if re.match(r"[A-Za-z]", p) else f"p{p}" for p in plain]
    return named if len(set(named)) == len(named) else [f"p{k + 1}" for k in range(len(named))]
