"""`autoreward export` and `autoreward play`: a run's reward and agent, taken out and shown."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from autoreward.cli.options import Candidate, Json, RunName, Trust
from autoreward.errors import USAGE, UserError

if TYPE_CHECKING:
    from autoreward.store.jobs import Played
    from autoreward.store.run import Run

Seed = Annotated[
    int | None,
    Option(help="training seed of the agent [default: the first]", show_default=False),
]


def export(
    run: RunName = "last",
    candidate: Candidate = None,
    out: Annotated[
        Path | None,
        Option(help="file to write [default: TASK_reward.py]", show_default=False),
    ] = None,
    policy: Annotated[
        Path | None,
        Option(metavar="FILE.onnx", help="write the trained agent as ONNX instead"),
    ] = None,
    seed: Seed = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Write the winning reward as one Python file, or its agent as ONNX.

    The file needs only numpy and gymnasium. With --policy, the trained agent is written instead.
    """
    from autoreward.store.run import find_run

    found = find_run(run)
    if policy is not None:
        data, lines = _export_policy(found, candidate, policy, seed, trust)
    else:
        data, lines = _export_reward(found, candidate, out)
    print(json.dumps(data) if as_json else "\n".join(lines))


def _export_policy(
    run: Run, candidate: str | None, policy: Path, seed: int | None, trust: bool
) -> tuple[dict[str, Any], list[str]]:
    """Write the agent; its file is made in a trainer, which has torch."""
    from autoreward.loop.trust import card_of, require_trusted
    from autoreward.store.io import write
    from autoreward.store.jobs import NetworkJob

    if policy.suffix != ".onnx":
        raise UserError(
            f"--policy {policy}: the file name must end in .onnx",
            f"--policy {policy.with_suffix('.onnx')}",
            USAGE,
        )
    require_trusted(run, trust, "autoreward export RUN --policy FILE.onnx --trust")
    weights = run.agent(candidate, seed)
    card = card_of(run)

    def job(folder: Path) -> NetworkJob:
        out = str(folder / "policy.onnx")
        return NetworkJob(card=str(card.path), policy=str(weights.resolve()), out=out)

    network = _in_trainer(run, "export", job, lambda folder: (folder / "policy.onnx").read_bytes())
    write(policy, network)
    lines = [
        f"wrote {policy}, the agent from {weights.parent}",
        "input `observation` (n, k) float32, as load_run(RUN).environment() returns it; "
        "docs/export.md",
    ]
    return {"policy": str(policy), "of": str(weights)}, lines


def _export_reward(
    run: Run, candidate: str | None, out: Path | None
) -> tuple[dict[str, Any], list[str]]:
    """Write the reward as one file."""
    from autoreward.loop.trust import card_of
    from autoreward.results.export import export as exported
    from autoreward.store.io import write

    try:
        card = card_of(run)
    except UserError:
        # The user then brings the card's trusted functions.
        card = None
    made = exported(run, card, candidate)
    place = out or Path(f"{run.header.task.replace('-', '_')}_reward.py")
    write(place, made.text)
    lines = [
        f"wrote {place}: candidate {made.candidate} of {run.path}",
        "it needs only numpy and gymnasium, and runs a generated program without a sandbox: "
        "read it before you import it",
    ]
    if made.missing:
        lines.append(
            f"it also needs {', '.join(made.missing)} from the card's Python file: "
            "DesignedReward(env, functions={...})"
        )
    lines.append(f"next: its first lines say how to use it: head -30 {place}")
    data = {"file": str(place), "candidate": made.candidate, "bring": list(made.missing)}
    return data, lines


def play(
    run: RunName = "last",
    candidate: Candidate = None,
    seed: Seed = None,
    episodes: Annotated[int, Option(help="episodes to play", min=1, max=100)] = 3,
    out: Annotated[
        Path | None,
        Option(metavar="FILE.gif|.png", help="draw them: an animated GIF, or a strip of frames"),
    ] = None,
    sparse: Annotated[
        bool, Option("--sparse", help="play the agent trained on the sparse task reward")
    ] = False,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Play the trained agent, and show its episodes in numbers and pictures.

    Prints how each episode ends and how long it is; --out draws them if the environment can.
    """
    from autoreward.loop.trust import card_of, require_trusted
    from autoreward.store.io import read
    from autoreward.store.jobs import Played, PlayJob
    from autoreward.store.run import find_run
    from autoreward.tasks.find import require_simulator

    found = find_run(run)
    require_trusted(found, trust, "autoreward play RUN --trust")
    if out is not None and out.suffix not in (".gif", ".png"):
        raise UserError(
            f"--out {out}: the file name must end in .gif or .png", "--out agent.gif", USAGE
        )
    weights = found.agent(candidate, seed, sparse)
    card = card_of(found)
    require_simulator(card.card)

    def job(folder: Path) -> PlayJob:
        return PlayJob(
            card=str(card.path),
            policy=str(weights.resolve()),
            out=str(folder / "played.json"),
            picture=str(out.resolve()) if out else None,
            episodes=episodes,
            seed=found.header.seed,
        )

    played = _in_trainer(found, "play", job, lambda folder: read(folder / "played.json", Played))
    if as_json:
        print(played.model_dump_json(indent=1))
    else:
        print("\n".join([f"the agent from {weights.parent}", *_played_lines(played, out)]))


def _in_trainer(
    run: Run, label: str, job: Callable[[Path], Any], result: Callable[[Path], Any]
) -> Any:
    """Do a job in a trainer, in a temporary folder, and return `result` of that folder."""
    from autoreward.loop.engine import Engine

    with tempfile.TemporaryDirectory() as folder:
        Engine(1, run.header.trainer_python).run([(label, job(Path(folder)))])
        return result(Path(folder))


def _played_lines(played: Played, out: Path | None) -> list[str]:
    from autoreward.cli.live import clean

    lines = [clean(_episode_line(k, e)) for k, e in enumerate(played.episodes, 1)]
    if played.picture:
        return [*lines, f"picture  {out}"]
    if played.why:
        lines.append(played.why)
    return [*lines, "the first episode in numbers:", "", clean(_table(played.episodes[0].rows))]


def _episode_line(number: int, episode: Any) -> str:
    ending = "reached the step limit" if episode.ending == "limit" else episode.ending
    line = (
        f"episode {number}: {ending}, {episode.length} steps, task reward {episode.task_return:.4g}"
    )
    for name, value in episode.metrics.items():
        line += f", {name} {value:.4g}"
    return line


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    """Columns side by side, each as wide as its longest cell."""
    if not rows:
        return ""
    names = list(rows[0])
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    lines = ["  ".join(name.rjust(widths[name]) for name in names)]
    lines += ["  ".join(row[name].rjust(widths[name]) for name in names) for row in rows]
    return "\n".join(lines)
