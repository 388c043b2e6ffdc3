"""The way out: a run's reward as one file, its agent as ONNX, its agent shown."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from autoreward.errors import USAGE, UserError

RunName = Annotated[str, Argument(help="a run's folder, its name in ./runs, or `last`")]
Candidate = Annotated[
    str | None,
    Option(help="a candidate, as 2a [default: the confirmed winner]", show_default=False),
]
Seed = Annotated[
    int | None,
    Option(help="the agent of that training seed [default: the first]", show_default=False),
]
Trust = Annotated[
    bool,
    Option(
        "--trust", help="a run that was begun elsewhere may use the card and interpreter it names"
    ),
]
Json = Annotated[bool, Option("--json", help="one JSON document on stdout")]


def export(
    run: RunName = "last",
    candidate: Candidate = None,
    out: Annotated[
        Path | None, Option(help="the file to write [default: TASK_reward.py]", show_default=False)
    ] = None,
    policy: Annotated[
        Path | None, Option(metavar="FILE.onnx", help="write the trained agent as ONNX instead")
    ] = None,
    seed: Seed = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Write the winning reward as one Python file that needs numpy and gymnasium alone; or, with
    --policy, the agent as ONNX.
    """
    from autoreward.loop.trust import card_of, require_trusted
    from autoreward.results.export import export as exported
    from autoreward.store.files import write
    from autoreward.store.jobs import NetworkJob
    from autoreward.store.run import find_run

    found = find_run(run)
    if policy is not None:
        if policy.suffix != ".onnx":
            raise UserError(
                f"--policy {policy}: the file must be called .onnx",
                f"--policy {policy.with_suffix('.onnx')}",
                USAGE,
            )
        require_trusted(found, trust, "autoreward export RUN --policy FILE.onnx --trust")
        weights, card = found.agent(candidate, seed), card_of(found)
        network = _in_trainer(
            found,
            "export",
            lambda folder: NetworkJob(
                card=str(card.path), policy=str(weights.resolve()), out=str(folder / "policy.onnx")
            ),
            lambda folder: (folder / "policy.onnx").read_bytes(),
        )
        write(policy, network)
        data: dict[str, Any] = {"policy": str(policy), "of": str(weights)}
        told = [
            f"wrote {policy}, the agent of {weights.parent}",
            "input `observation` (n, k) float32: what load_run(RUN).environment() returns; docs/export.md",
        ]
    else:
        try:
            card = card_of(found)
        except UserError:
            # its trusted functions are then the user's to bring
            card = None
        made = exported(found, card, candidate)
        place = out or Path(f"{found.header.task.replace('-', '_')}_reward.py")
        write(place, made.text)
        data = {"file": str(place), "candidate": made.candidate, "bring": list(made.missing)}
        told = [
            f"wrote {place}: candidate {made.candidate} of {found.path}",
            "it needs numpy and gymnasium alone, and runs a generated program without a sandbox: read it before you import it",
        ]
        if made.missing:
            told.append(
                f"bring along {', '.join(made.missing)} of the card's Python file: DesignedReward(env, functions={{...}})"
            )
        told.append(f"next  its first lines say how to use it: head -30 {place}")
    print(json.dumps(data) if as_json else "\n".join(told))


def play(
    run: RunName = "last",
    candidate: Candidate = None,
    seed: Seed = None,
    episodes: Annotated[int, Option(help="episodes to show", min=1, max=100)] = 3,
    out: Annotated[
        Path | None,
        Option(
            metavar="FILE.gif|.png", help="where to draw them: a moving GIF, or a strip of frames"
        ),
    ] = None,
    sparse: Annotated[
        bool, Option("--sparse", help="the agent trained on the sparse task reward alone")
    ] = False,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Show the trained agent: every episode's end and length, and a picture where the environment
    draws itself.
    """
    from autoreward.cli.live import clean
    from autoreward.loop.trust import card_of, require_trusted
    from autoreward.store.files import read
    from autoreward.store.jobs import Played, PlayJob
    from autoreward.store.run import find_run
    from autoreward.tasks.find import require_simulator

    found = find_run(run)
    require_trusted(found, trust, "autoreward play RUN --trust")
    if out is not None and out.suffix not in (".gif", ".png"):
        raise UserError(f"--out {out}: a picture is a .gif or a .png", "--out agent.gif", USAGE)
    weights, card = found.agent(candidate, seed, sparse), card_of(found)
    require_simulator(card.card)

    def job(folder: Path) -> PlayJob:
        picture = str(out.resolve()) if out else None
        return PlayJob(
            card=str(card.path),
            policy=str(weights.resolve()),
            out=str(folder / "played.json"),
            picture=picture,
            episodes=episodes,
            seed=found.header.seed,
        )

    shown = _in_trainer(found, "play", job, lambda folder: read(folder / "played.json", Played))
    if as_json:
        print(shown.model_dump_json(indent=1))
        return
    print(f"the agent of {weights.parent}")
    for k, episode in enumerate(shown.episodes, 1):
        metrics = "".join(f", {name} {value:.4g}" for name, value in episode.metrics.items())
        print(
            clean(
                f"episode {k}: {'ran to the limit' if episode.ending == 'limit' else episode.ending}, {episode.length} steps, task reward {episode.task_return:.4g}{metrics}"
            )
        )
    if shown.picture:
        print(f"picture  {out}")
    else:
        print(
            *([shown.why] if shown.why else []),
            "the first episode in numbers:",
            "",
            clean(_table(shown.episodes[0].rows)),
            sep="\n",
        )


def _in_trainer(
    run: Any, what: str, job: Callable[[Path], Any], result: Callable[[Path], Any]
) -> Any:
    """`result` of a folder of its own, after the job made for it was done there."""
    from autoreward.loop.engine import Engine

    with tempfile.TemporaryDirectory() as folder:
        Engine(1, run.header.trainer_python).run([(what, job(Path(folder)))])
        return result(Path(folder))


def _table(rows: Any) -> str:
    """Columns side by side, as wide as their longest cell."""
    if not rows:
        return ""
    names = list(rows[0])
    width = {n: max(len(n), *(len(r[n]) for r in rows)) for n in names}
    return "\n".join(
        "  ".join(cell.rjust(width[n]) for n, cell in zip(names, cells, strict=True))
        for cells in [names, *([r[n] for n in names] for r in rows)]
    )
