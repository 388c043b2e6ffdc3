"""After the last iteration: the leaders on more training seeds, then the winner beside its
controls, on seeds and episodes never used for choosing.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from pydantic import BaseModel

from autoreward.errors import MISSING, UserError
from autoreward.loop.agents import AgentSpec, candidate_arm, score_arms, train_arms
from autoreward.loop.stages import evaluation, training
from autoreward.loop.tools import Tools
from autoreward.rewards.composition import chosen, yaml_of
from autoreward.seeds import training_seeds
from autoreward.store.files import read, write
from autoreward.store.records import Evaluation, Final, TrainingDone
from autoreward.store.run import CandidateFolder

# candidates trained again on more seeds before the winner is chosen
LEADERS = 2
# training seeds of a leader in all
LEADER_SEEDS = 3


class Leaders(BaseModel):
    """leaders.json: candidate -> its evaluation, pooled over training seeds."""

    leaders: dict[str, Evaluation]


def leaders(tools: Tools) -> dict[str, Evaluation]:
    """The best candidates of all iterations, on more training seeds; counts pooled with what is
    known. id -> Evaluation.
    """
    path, run, header = tools.run.path / "leaders.json", tools.run, tools.run.header
    if (known := read(path, Leaders)) is not None:
        return known.leaders
    feedback = run.feedback(header.iterations)
    best = [o for o in feedback.outcomes if o.status == "evaluated"][:LEADERS] if feedback else []
    arms: list[AgentSpec] = []
    for outcome in best:
        folder = run.candidate(outcome.iteration, outcome.candidate)
        for seed in training_seeds(header.seed, LEADER_SEEDS):
            arms.append(candidate_arm(tools, folder, seed))
    if len(best) > 1:
        train_arms(tools, arms, "training")
        score_arms(tools, arms, "evaluation")
    found: dict[str, Evaluation] = {}
    for outcome in best:
        folder = run.candidate(outcome.iteration, outcome.candidate)
        mine = [a for a in arms if a.label == folder.id and training.done(a.out)]
        done = [d for a in mine if (d := training.done(a.out))]
        found[folder.id] = evaluation.pool(
            tools.card.card, [a.out / "score.json" for a in mine], done
        )
    write(path, Leaders(leaders=found))
    return found


def confirm(tools: Tools, found: dict[str, Evaluation]) -> Final:
    """Train winner, sparse and human reward on new seeds, and score them on episodes never used
    for choosing.
    """
    run, header, card = tools.run, tools.run.header, tools.card
    ranked = sorted(found, key=lambda name: evaluation.rank_key(card.card, found[name], name))
    if not ranked or not found[ranked[0]].ok:
        return Final(
            winner=None,
            hints_used=header.hints_used or tools.method.reads_hints(header.model, header.settings),
            why="no candidate came through training",
        )
    winner = next(c for c in run.candidates() if c.id == ranked[0])
    keep_best(tools, winner)
    tools.say("evaluation", "winner chosen", winner.iteration, winner.name, among=ranked)
    seeds = training_seeds(header.seed, header.final_seeds, final=True)
    arms = {
        "winner": [
            candidate_arm(tools, winner, s, "winner", run.path / "final" / "winner" / f"seed-{s}")
            for s in seeds
        ]
    }
    arms["sparse"] = [
        AgentSpec("sparse", None, run.path / "final" / "sparse" / f"seed-{s}", s) for s in seeds
    ]
    if card.human:
        if not card.human.is_file():
            raise UserError(
                f"{card.path}: human: there is no file {card.card.human} beside the card",
                "mend the card, then: autoreward resume",
                MISSING,
            )
        arms["human"] = [
            AgentSpec("human", card.human, run.path / "final" / "human" / f"seed-{s}", s)
            for s in seeds
        ]
    controls = [a for name in ("sparse", "human") for a in arms.get(name, [])]
    for arm in controls:
        _from_cache(tools, arm)
    everything = [a for group in arms.values() for a in group]
    train_arms(tools, everything, "evaluation")
    score_arms(tools, everything, "confirmation")
    for arm in controls:
        _to_cache(tools, arm)
    pooled = {}
    for name, group in arms.items():
        done: list[TrainingDone] = [d for a in group if (d := training.done(a.out))]
        pooled[name] = evaluation.pool(card.card, [a.out / "score.json" for a in group], done)
    return Final(
        winner=winner.id,
        program=winner.program,
        arms=pooled,
        hints_used=header.hints_used or tools.method.reads_hints(header.model, header.settings),
    )


def keep_best(tools: Tools, candidate: CandidateFolder) -> None:
    """best/program.py, and composition.yaml beside it where it is not the plain sum: what
    `autoreward train` takes.
    """
    best, composition = (
        tools.run.path / "best",
        chosen(tools.run.header, candidate.composition_path),
    )
    write(best / "program.py", candidate.program)
    # of one that was best before
    (best / "composition.yaml").unlink(missing_ok=True)
    if not composition.plain:
        write(best / "composition.yaml", yaml_of(composition))


def _cached(tools: Tools, arm: AgentSpec) -> Path:
    program = arm.program.read_text(encoding="utf-8") if arm.program else ""
    header = tools.run.header
    versions = sorted(header.versions.items())
    key = (
        f"{header.card_digest}|{versions}|{header.steps}|{header.device}|{header.threads}|{program}"
    )
    return (
        tools.controls
        / hashlib.sha256(key.encode()).hexdigest()[:16]
        / arm.out.parent.name
        / f"seed-{arm.seed}"
    )


def _from_cache(tools: Tools, arm: AgentSpec) -> None:
    """Copy a control that was trained before with the same card, versions and seed; a broken or
    missing cache costs only time.
    """
    cached = _cached(tools, arm)
    if (cached / "done.json").exists() and not arm.out.exists():
        temporary = arm.out.with_name(f".{arm.out.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(cached, temporary)
        temporary.replace(arm.out)


def _to_cache(tools: Tools, arm: AgentSpec) -> None:
    cached = _cached(tools, arm)
    if not (cached / "done.json").exists() and (arm.out / "done.json").exists():
        temporary = cached.with_name(f".{cached.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(arm.out, temporary, ignore=shutil.ignore_patterns("job.json", "*.stderr"))
        shutil.rmtree(cached, ignore_errors=True)
        temporary.replace(cached)
