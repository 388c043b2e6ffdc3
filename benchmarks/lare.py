"""Compare return decomposition with and without factors, on tasks with a return only at the end.

    python benchmarks/lare.py [--tasks ...] [--arms ...] [--seeds 3]

Agents (--arms), all PPO with the card's hyperparameters and equal steps:

    dense            the environment's own reward at every step, hidden from all others
    return           its sum on the last step, and nothing else
    rd, rrd, rrdu    that sum decomposed over raw numbers (fields before, action, change of
                     fields), by RD, RRD and unbiased RRD
    +f               the same over the factors of benchmarks/factors/TASK.py, written by hand,
                     or of --factors FOLDER/TASK.py (a design's best/program.py)

Results are kept in OUT/TASK/ARM/seed-S and not computed again. The table gives each agent's mean
return on fresh episodes with a 95% t-interval over training seeds, the difference to its own loss
without factors with Welch's 95% interval, and the correlation of the decoded and the hidden dense
reward.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from raw_factors import raw_factors

from autoreward.loop.engine import Engine, Job
from autoreward.resources import cores
from autoreward.stats import T
from autoreward.store.io import read, write
from autoreward.store.jobs import EvaluateJob, TrainJob
from autoreward.store.records import Score, TrainingDone
from autoreward.tasks.find import LocatedCard, find, load

FACTORS = Path(__file__).parent / "factors"
TASKS = ("reacher", "halfcheetah", "hopper", "pusher")
LOSSES = {"rd": "rd", "rrd": "rrd", "rrdu": "rrd-unbiased"}
AGENTS = ("dense", "return", *LOSSES, *(f"{name}+f" for name in LOSSES))
HEAD = (
    "task",
    "arm",
    "seeds",
    "steps",
    "return",
    "95% t-interval",
    "against its loss without factors",
    "correlation with the hidden reward",
)


def located(task: str, training: Path | None, out: Path) -> LocatedCard:
    """Return the task's card; with `training`, a copy below `out` that trains as that file says."""
    card = find(task)
    if training is None:
        return card
    data = yaml.safe_load(card.path.read_text())
    data["training"] = yaml.safe_load(training.read_text())
    copy = out / f"{task}.yaml"
    write(copy, yaml.safe_dump(data, sort_keys=False))
    return load(copy)


def train_job(
    card: LocatedCard, agent: str, seed: int, out: Path, given: argparse.Namespace
) -> TrainJob:
    """Return one training of that agent; its program is written beside the seeds."""
    place = out / card.card.name / agent / f"seed-{seed}"
    common = {"card": str(card.path), "seed": seed, "out": str(place), "steps": given.steps}
    if agent in ("dense", "return"):
        return TrainJob(program=None, episodic_return=agent == "return", **common)
    loss, _, with_factors = agent.partition("+")
    program = place.parent / "program.py"
    if with_factors:
        text = (given.factors / f"{card.card.name}.py").read_text()
    else:
        text = raw_factors(card.card)
    write(program, text)
    settings = {"loss": LOSSES[loss]}
    if given.decoder_steps:
        settings["decoder_steps"] = str(given.decoder_steps)
    return TrainJob(
        program=str(program),
        episodic_return=True,
        signal="decoded",
        settings=settings,
        **common,
    )


def score_job(card: LocatedCard, train: TrainJob, episodes: int) -> EvaluateJob:
    """Return the evaluation of its policy on fresh episodes."""
    place = Path(train.out)
    return EvaluateJob(
        card=str(card.path),
        policies=(str(place / "policy.safetensors"),),
        outs=(str(place / "score.json"),),
        seeds=(train.seed,),
        episodes=episodes,
    )


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the variance of the mean and its degrees of freedom."""
    n = len(values)
    if n < 2:
        return math.nan, 1
    mean = sum(values) / n
    squares = sum((value - mean) ** 2 for value in values)
    return squares / (n - 1) / n, n - 1


def quantile(freedom: float) -> float:
    """Return the 97.5% quantile of the t distribution."""
    return T[min(max(int(freedom), 1), len(T)) - 1]


def interval(values: Sequence[float]) -> float:
    """Return half the 95% t-interval of the mean."""
    variance, freedom = spread(values)
    return quantile(freedom) * math.sqrt(variance)


def difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Return mean(a) - mean(b) and half of Welch's 95% interval."""
    (variance_a, freedom_a), (variance_b, freedom_b) = spread(a), spread(b)
    total = variance_a + variance_b
    freedom = freedom_a + freedom_b
    if total > 0:
        # Welch-Satterthwaite
        freedom = total**2 / (variance_a**2 / freedom_a + variance_b**2 / freedom_b)
    gap = sum(a) / len(a) - sum(b) / len(b)
    return gap, quantile(freedom) * math.sqrt(total)


@dataclass
class Results:
    """Of one agent's finished seeds: mean returns, correlations if known, steps trained."""

    means: list[float] = field(default_factory=list)
    correlations: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)


def results(place: Path, seeds: Sequence[int]) -> Results:
    found = Results()
    for seed in seeds:
        folder = place / f"seed-{seed}"
        score, done = read(folder / "score.json", Score), read(folder / "done.json", TrainingDone)
        if score and done:
            found.means.append(sum(score.values) / len(score.values))
            found.steps.append(done.steps)
        signal = folder / "signal.json"
        if signal.exists():
            evidence = json.loads(signal.read_text())["evidence"]
            if evidence.get("correlation") is not None:
                found.correlations.append(evidence["correlation"])
    return found


def against(means: Sequence[float], raw: Sequence[float]) -> str:
    """Return the difference to the same loss over raw numbers, and its interval."""
    gap, half = difference(means, raw)
    if len(means) < 2 or len(raw) < 2:
        return f"{gap:+.1f}"
    return f"{gap:+.1f} ({gap - half:+.1f} .. {gap + half:+.1f})"


def table(
    out: Path, tasks: Sequence[str], agents: Sequence[str], seeds: Sequence[int]
) -> list[str]:
    """Return the lines of the Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (HEAD, ["---"] * len(HEAD))]
    for task in tasks:
        for agent in agents:
            found = results(out / task / agent, seeds)
            means = found.means
            if not means:
                continue
            mean = sum(means) / len(means)
            around, versus, correlation = "one seed", "", ""
            if len(means) > 1:
                half = interval(means)
                around = f"{mean - half:.1f} .. {mean + half:.1f}"
            raw = results(out / task / agent.removesuffix("+f"), seeds).means
            if agent.endswith("+f") and raw:
                versus = against(means, raw)
            if found.correlations:
                correlation = f"{sum(found.correlations) / len(found.correlations):.2f}"
            steps = f"{max(found.steps) // 1000}k"
            cells = (
                task,
                agent,
                str(len(means)),
                steps,
                f"{mean:.1f}",
                around,
                versus,
                correlation,
            )
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--tasks", nargs="+", default=list(TASKS))
    add("--arms", nargs="+", default=list(AGENTS), choices=AGENTS, help="the agents to train")
    add("--seeds", type=int, default=3)
    add("--first", type=int, default=0, help="the first seed")
    add("--steps", type=int, help="environment steps [the card's]")
    add("--episodes", type=int, default=100, help="fresh episodes for each policy's score")
    add("--factors", type=Path, default=FACTORS, help="folder of TASK.py with factors()")
    add("--training", type=Path, help="a YAML file that replaces the cards' `training`")
    add("--decoder-steps", type=int, help="gradient steps of the decoder between two rollouts")
    add("--jobs", type=int, default=cores())
    add("--out", type=Path, default=Path("bench") / "lare")
    add("--table", action="store_true", help="only print the results so far")
    return parser.parse_args()


def run(given: argparse.Namespace, seeds: Sequence[int]) -> None:
    """Train and score what is missing."""
    engine = Engine(given.jobs)
    out = given.out.resolve()
    trainings: list[tuple[str, LocatedCard, TrainJob]] = []
    # one seed of everything first: a run that is cut short compares like with like
    for seed in seeds:
        for task in given.tasks:
            for agent in given.arms:
                card = located(task, given.training, out)
                job = train_job(card, agent, seed, out, given)
                trainings.append((f"{task} {agent} seed {seed}", card, job))
    for k in range(0, len(trainings), engine.jobs):
        part = trainings[k : k + engine.jobs]
        to_train: list[tuple[str, Job]] = []
        for label, _, job in part:
            if not (Path(job.out) / "done.json").exists():
                to_train.append((label, job))
        engine.run(to_train)
        to_score: list[tuple[str, Job]] = []
        for label, card, job in part:
            if not (Path(job.out) / "score.json").exists():
                to_score.append((label, score_job(card, job, given.episodes)))
        engine.run(to_score)
        if to_train:
            labels = ", ".join(label for label, _ in to_train)
            progress = f"{k + len(part)} of {len(trainings)}: {labels}"
            print(progress, file=sys.stderr, flush=True)


def main() -> None:
    given = options()
    seeds = range(given.first, given.first + given.seeds)
    if not given.table:
        run(given, seeds)
    print("\n".join(table(given.out, given.tasks, given.arms, seeds)))


if __name__ == "__main__":
    main()
