"""The first lines of an exported file: how to use it, where it came from, what was measured."""

from __future__ import annotations

from autoreward.sandbox.outside.worker import clean
from autoreward.store.candidate import CandidateFolder
from autoreward.store.records import Evaluation
from autoreward.store.run import Run
from autoreward.tasks.card import Environment, TaskCard

NAMED_VERSIONS = ("autoreward-rl", "numpy", "gymnasium", "stable-baselines3", "torch")
MAX_TEXT = 10_000


def exported_docstring(
    run: Run, folder: CandidateFolder, task: TaskCard, missing: tuple[str, ...]
) -> str:
    """Return the docstring of an exported file, with its quotes.

    `missing` names the trusted functions that the user must pass. Text from the run cannot end the
    docstring.
    """
    lines = [
        f"A designed reward for {task.title!r}, written by {run.header.model}.",
        "",
        *_usage(task),
        "",
        *_origin(run, folder, task),
        *_measured(run, folder, task),
        _composition(task),
    ]
    if missing:
        names = ", ".join(f'"{name}": ...' for name in missing)
        lines += [
            "",
            f"YOU MUST PASS functions={{{names}}}, from the card's Python file {task.code}: they",
            "use more than numpy and gymnasium.",
        ]
    text = clean("\n".join(lines) + "\n", MAX_TEXT)
    quoted = text.replace("\\", "\\\\").replace('"', "'")
    return f'"""{quoted}"""'


def _usage(task: TaskCard) -> list[str]:
    """Return the two calls, what they do, and the warning."""
    make, note = _make_call(task.environment, task.code)
    ends = " and at success" if task.success and task.success.ends_episode else ""
    return [
        f"    env = DesignedReward({make}){note}",
        f"    venv = designed_vec(lambda: {make}, 8)    # for stable-baselines3",
        "",
        f"Observations are those of the environment. The episode ends at the task's limit{ends}.",
        "info['autoreward'] holds the named fields, the terms of the reward, the task's own",
        "reward, and whether the task has succeeded.",
        "",
        "CAUTION: this file contains code that a language model or a search wrote (the function",
        "_program), and runs it without a sandbox. Read it before you import the file. autoreward",
        "itself runs such code only in a sandbox, and wrote this file without running it.",
    ]


def _make_call(environment: Environment, code: str | None) -> tuple[str, str]:
    """Return the call that makes the environment, and a comment on where its function is."""
    arguments = [f"{key}={value!r}" for key, value in environment.kwargs.items()]
    if environment.id:
        arguments = [f'"{environment.id}"', "max_episode_steps=-1", *arguments]
        return f"gym.make({', '.join(arguments)})", ""
    factory = environment.factory or ""
    module, _, name = factory.rpartition(":")
    place = f"in the card's Python file, {code}" if module == "here" else factory
    return f"{name}({', '.join(arguments)})", f"    # {place}"


def _origin(run: Run, folder: CandidateFolder, task: TaskCard) -> list[str]:
    """Return the run, the candidate, the model and the versions."""
    header = run.header
    versions = ", ".join(
        f"{name} {version}" for name, version in header.versions.items() if name in NAMED_VERSIONS
    )
    return [
        f"From run {run.path.resolve().name}, candidate {folder.id},",
        f"task {task.name} (card {header.card_digest}), model {header.model},",
        f"method {header.method}, seed {header.seed}, started {header.created};",
        f"{versions}.",
    ]


def _measured(run: Run, folder: CandidateFolder, task: TaskCard) -> list[str]:
    """Return the success of the program, and of the baselines if it was confirmed."""
    final = run.final
    results: dict[str, Evaluation] = {}
    if final is not None and final.winner == folder.id:
        how = "on new training seeds and new episodes"
        results = dict(final.arms)
    else:
        how = "during the search; this candidate was not confirmed on new seeds"
        evaluation = folder.evaluation
        if evaluation:
            results = {"this program": evaluation}
    lines = [f"    {name:<13} {_result(result)}" for name, result in results.items()]
    heading = f"Measured {how}, with {task.training.algorithm} (95% intervals):"
    return [heading, *(lines or ["    nothing yet"])]


def _result(result: Evaluation) -> str:
    """Return an evaluation in words."""
    parts: list[str] = []
    if result.success is not None and result.low is not None and result.high is not None:
        seeds = len(result.scores)
        interval = f"{result.low:.0%} to {result.high:.0%}"
        parts.append(f"success {result.success:.0%} ({interval}), {seeds} training seeds")
    if result.metric is not None:
        parts.append(f"metric {result.metric:.4g}")
    return "; ".join(parts) or result.why or "nothing"


def _composition(task: TaskCard) -> str:
    """Return what the reward adds up."""
    added = "1 at the first success of an episode"
    if task.task_reward == "environment":
        added = "the environment's own reward"
    if task.episodic_return:
        added += ", given as its sum on an episode's last step"
    gamma = f"{task.training.gamma:g}"
    return f"The reward is the program's terms and {added}; gamma {gamma} shapes its potentials."
