"""Return decomposition with and without factors, on tasks that tell their return at the end alone:
python benchmarks/lare.py [--tasks ...] [--arms ...] [--seeds 3]

Arms, all PPO with the card's hyperparameters and equal steps:
    dense            the environment's own reward at every step: what is hidden from all others
    return           its sum on the last step, and nothing else
    rd, rrd, rrdu    that sum decomposed over raw numbers (fields before, action, change of fields), by RD, RRD and unbiased RRD
    +f               the same over the factors of benchmarks/factors/TASK.py, written by hand, or of --factors FOLDER/TASK.py (a design's best/program.py)

What is done is not done again: OUT/TASK/ARM/seed-S. The table gives each arm's mean return on fresh
episodes with a 95% t-interval over training seeds, the difference to its own loss without factors
with Welch's 95% interval, and the correlation of decoded and hidden dense reward.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from raw_factors import raw_factors

from autoreward.loop.engine import Engine, Job
from autoreward.resources import cores
from autoreward.stats import T
from autoreward.store.files import read, write
from autoreward.store.jobs import EvaluateJob, TrainJob
from autoreward.store.records import Score, TrainingDone
from autoreward.tasks.find import LocatedCard, find, load

HERE = Path(__file__).parent
TASKS = ("reacher", "halfcheetah", "hopper", "pusher")
LOSSES = {"rd": "rd", "rrd": "rrd", "rrdu": "rrd-unbiased"}
ARMS = ("dense", "return", *LOSSES, *(f"{name}+f" for name in LOSSES))


def located(task: str, training: Path | None, out: Path) -> LocatedCard:
    """The task's card; with `training`, a copy below `out` that trains as that file says."""
    card = find(task)
    if training is None:
        return card
    copy = out / f"{task}.yaml"
    write(
        copy,
        yaml.safe_dump(
            {
                **yaml.safe_load(card.path.read_text()),
                "training": yaml.safe_load(training.read_text()),
            },
            sort_keys=False,
        ),
    )
    return load(copy)


def job(
    card: LocatedCard,
    arm: str,
    seed: int,
    out: Path,
    steps: int | None,
    factors: Path,
    settings: dict[str, str],
) -> TrainJob:
    """One training of that arm; programs are written beside its seeds."""
    place = out / card.card.name / arm / f"seed-{seed}"
    common = {"card": str(card.path), "seed": seed, "out": str(place), "steps": steps}
    if arm in ("dense", "return"):
        return TrainJob(program=None, episodic_return=arm == "return", **common)
    loss, _, with_factors = arm.partition("+")
    program = place.parent / "program.py"
    write(
        program,
        (factors / f"{card.card.name}.py").read_text() if with_factors else raw_factors(card.card),
    )
    return TrainJob(
        program=str(program),
        episodic_return=True,
        signal="decoded",
        settings={"loss": LOSSES[loss], **settings},
        **common,
    )


def scored(card: LocatedCard, train: TrainJob, episodes: int) -> EvaluateJob:
    """Its policy on fresh episodes, the environment's own return as the metric."""
    place = Path(train.out)
    return EvaluateJob(
        card=str(card.path),
        policies=(str(place / "policy.safetensors"),),
        outs=(str(place / "score.json"),),
        seeds=(train.seed,),
        episodes=episodes,
    )


def spread(values: Sequence[float]) -> tuple[float, float]:
    """(variance of the mean, degrees of freedom)."""
    n = len(values)
    mean = sum(values) / n
    return (sum((v - mean) ** 2 for v in values) / (n - 1) / n, n - 1) if n > 1 else (math.nan, 1)


def quantile(freedom: float) -> float:
    return T[min(max(int(freedom), 1), len(T)) - 1]


def interval(values: Sequence[float]) -> float:
    """Half the 95% t-interval of the mean."""
    variance, freedom = spread(values)
    return quantile(freedom) * math.sqrt(variance)


def difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """mean(a) - mean(b), and half of Welch's 95% interval."""
    (va, fa), (vb, fb) = spread(a), spread(b)
    total = va + vb
    freedom = total**2 / (va**2 / fa + vb**2 / fb) if total > 0 else fa + fb
    return sum(a) / len(a) - sum(b) / len(b), quantile(freedom) * math.sqrt(total)


def results(place: Path, seeds: Sequence[int]) -> tuple[list[float], list[float], list[int]]:
    """Mean return of each seed that is done, correlations where they are known, and steps that
    were trained.
    """
    means, correlations, steps = [], [], []
    for seed in seeds:
        folder = place / f"seed-{seed}"
        score, done = read(folder / "score.json", Score), read(folder / "done.json", TrainingDone)
        if score and done:
            means.append(sum(score.values) / len(score.values))
            steps.append(done.steps)
        if (folder / "signal.json").exists() and (
            known := json.loads((folder / "signal.json").read_text())["evidence"].get("correlation")
        ) is not None:
            correlations.append(known)
    return means, correlations, steps


def table(out: Path, tasks: Sequence[str], arms: Sequence[str], seeds: Sequence[int]) -> list[str]:
    lines = [
        "| task | arm | seeds | steps | return | 95% t-interval | against its loss without factors | correlation with the hidden reward |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for task in tasks:
        for arm in arms:
            means, correlations, steps = results(out / task / arm, seeds)
            if not means:
                continue
            mean, half = sum(means) / len(means), interval(means)
            around = f"{mean - half:.1f} .. {mean + half:.1f}" if len(means) > 1 else "one seed"
            versus, raw = "", results(out / task / arm.removesuffix("+f"), seeds)[0]
            if arm.endswith("+f") and raw:
                gap, sure = difference(means, raw)
                versus = f"{gap:+.1f}" + (
                    f" ({gap - sure:+.1f} .. {gap + sure:+.1f})"
                    if len(means) > 1 and len(raw) > 1
                    else ""
                )
            told = f"{sum(correlations) / len(correlations):.2f}" if correlations else ""
            lines.append(
                f"| {task} | {arm} | {len(means)} | {max(steps) // 1000}k | {mean:.1f} | {around} | {versus} | {told} |"
            )
    return lines


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--tasks", nargs="+", default=list(TASKS))
    options.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--first", type=int, default=0, help="the first seed")
    options.add_argument("--steps", type=int, help="environment steps [the card's]")
    options.add_argument(
        "--episodes", type=int, default=100, help="fresh episodes that a policy is scored on"
    )
    options.add_argument(
        "--factors", type=Path, default=HERE / "factors", help="folder of TASK.py with factors()"
    )
    options.add_argument(
        "--training",
        type=Path,
        help="a YAML file that takes the place of the cards' `training`, such as benchmarks/sac.yaml",
    )
    options.add_argument(
        "--decoder-steps", type=int, help="gradient steps of the decoder between two rollouts"
    )
    options.add_argument("--jobs", type=int, default=cores())
    options.add_argument("--out", type=Path, default=Path("bench") / "lare")
    options.add_argument("--table", action="store_true", help="only print what is there")
    given = options.parse_args()
    engine, seeds = Engine(given.jobs), range(given.first, given.first + given.seeds)
    settings = {"decoder_steps": str(given.decoder_steps)} if given.decoder_steps else {}
    trainings: list[tuple[LocatedCard, TrainJob, str]] = []
    # a seed of everything first: a table that is cut short compares like with like
    for seed in seeds if not given.table else ():
        for task in given.tasks:
            for arm in given.arms:
                card = located(task, given.training, given.out.resolve())
                made = job(
                    card, arm, seed, given.out.resolve(), given.steps, given.factors, settings
                )
                trainings.append((card, made, f"{task} {arm} seed {seed}"))
    for k in range(0, len(trainings), engine.jobs):
        part = trainings[k : k + engine.jobs]
        waiting: list[tuple[str, Job]] = [
            (label, made) for _, made, label in part if not (Path(made.out) / "done.json").exists()
        ]
        engine.run(waiting)
        engine.run(
            [
                (label, scored(card, made, given.episodes))
                for card, made, label in part
                if not (Path(made.out) / "score.json").exists()
            ]
        )
        if waiting:
            print(
                f"{k + len(part)} of {len(trainings)}: {', '.join(label for label, _ in waiting)}",
                file=sys.stderr,
                flush=True,
            )
    print("\n".join(table(given.out, given.tasks, given.arms, seeds)))


if __name__ == "__main__":
    main()
