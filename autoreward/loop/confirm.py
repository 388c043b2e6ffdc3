"""Confirmation: the leaders on more training seeds, then the winner beside its baselines.

The winner, the sparse task reward and the human reward are trained at the same budget on new seeds,
and scored on episodes that no choice depended on.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from autoreward.errors import MISSING, UserError
from autoreward.loop.agents import AgentSpec, candidate_agent, evaluate_agents, pooled
from autoreward.loop.context import RunContext
from autoreward.loop.ranking import rank_key
from autoreward.rewards.composition import chosen, yaml_of
from autoreward.seeds import training_seeds
from autoreward.store.candidate import CandidateFolder
from autoreward.store.records import Evaluation, Final, Leaders
from autoreward.store.training import TrainingFolder

# Candidates that train again on more seeds before the winner is chosen.
LEADERS = 2
# Training seeds of a leader in all.
LEADER_SEEDS = 3


def find_leaders(context: RunContext) -> dict[str, Evaluation]:
    """Train the best candidates of all iterations on more seeds; id -> its evaluation over all.

    A single candidate has nobody to be compared with, so it trains no further here.
    """
    run = context.run
    known = run.leaders
    if known is not None:
        return known.leaders

    feedback = run.feedback(run.header.iterations)
    evaluated = [o for o in feedback.outcomes if o.status == "evaluated"] if feedback else []
    seeds = training_seeds(run.header.seed, LEADER_SEEDS)
    agents: dict[str, list[AgentSpec]] = {}
    for outcome in evaluated[:LEADERS]:
        candidate = run.candidate(outcome.iteration, outcome.candidate)
        agents[candidate.id] = [candidate_agent(context, candidate, seed) for seed in seeds]

    if len(agents) > 1:
        everyone = [agent for group in agents.values() for agent in group]
        evaluate_agents(context, everyone, stage="training", purpose="evaluation")
    card = context.card.card
    leaders = {name: pooled(card, group) for name, group in agents.items()}
    run.write_leaders(Leaders(leaders=leaders))
    return leaders


def confirm(context: RunContext, leaders: dict[str, Evaluation]) -> Final:
    """Train the winner and its baselines on the final seeds, and score them on new episodes."""
    run = context.run
    header = run.header
    card = context.card.card
    hints_used = header.hints_used or context.method.reads_hints(header.model, header.settings)
    ranked = sorted(leaders, key=lambda name: rank_key(card, leaders[name], name))
    if not ranked or not leaders[ranked[0]].ok:
        return Final(
            winner=None,
            hints_used=hints_used,
            why="no candidate survived checking and training",
        )

    winner = run.chosen(ranked[0])
    keep_best(context, winner)
    context.say("evaluation", "winner chosen", winner.iteration, winner.name, among=ranked)
    seeds = training_seeds(header.seed, header.final_seeds, final=True)
    baselines = _baselines(context, seeds)
    agents = {"winner": _winners(context, winner, seeds), **baselines}
    for baseline in _all(baselines):
        _copy_from_cache(context, baseline)
    evaluate_agents(context, _all(agents), stage="evaluation", purpose="confirmation")
    for baseline in _all(baselines):
        _copy_to_cache(context, baseline)
    return Final(
        winner=winner.id,
        program=winner.program,
        arms={name: pooled(card, group) for name, group in agents.items()},
        hints_used=hints_used,
    )


def _all(groups: dict[str, list[AgentSpec]]) -> list[AgentSpec]:
    return [agent for group in groups.values() for agent in group]


def _winners(context: RunContext, winner: CandidateFolder, seeds: Sequence[int]) -> list[AgentSpec]:
    return [
        candidate_agent(
            context,
            winner,
            seed,
            label="winner",
            folder=context.run.final_training("winner", seed),
        )
        for seed in seeds
    ]


def _baselines(context: RunContext, seeds: Sequence[int]) -> dict[str, list[AgentSpec]]:
    """Agents on the sparse task reward, and on the card's human program if it names one."""
    programs: dict[str, Path | None] = {"sparse": None}
    if human := context.card.human:
        if not human.is_file():
            raise UserError(
                f"{context.card.path}: human: {context.card.card.human} not found beside the card",
                "fix the card, then: autoreward resume",
                MISSING,
            )
        programs["human"] = human

    found = {}
    for name, program in programs.items():
        found[name] = [
            AgentSpec(name, program, context.run.final_training(name, seed), seed) for seed in seeds
        ]
    return found


def keep_best(context: RunContext, candidate: CandidateFolder) -> None:
    """Keep a candidate's program, and its composition unless it is the plain sum, as the best."""
    composition = chosen(context.run.header, candidate.composition_path)
    context.run.write_best(candidate.program, None if composition.plain else yaml_of(composition))


# -- the cache of baselines ------------------------------------------------------------------------


def _cached(context: RunContext, agent: AgentSpec) -> TrainingFolder:
    """Where a baseline with this card, these versions and this budget is kept between runs."""
    header = context.run.header
    program = agent.program.read_text(encoding="utf-8") if agent.program else ""
    versions = sorted(header.versions.items())
    key = (
        f"{header.card_digest}|{versions}|{header.steps}|{header.device}|{header.threads}|{program}"
    )
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return TrainingFolder.of_seed(context.cache / "controls" / digest / agent.label, agent.seed)


def _copy_from_cache(context: RunContext, agent: AgentSpec) -> None:
    """Take a baseline that another run trained. A missing or broken cache only costs time."""
    cached = _cached(context, agent)
    if cached.done_path.exists() and not agent.folder.path.exists():
        _copy_folder(cached.path, agent.folder.path)


def _copy_to_cache(context: RunContext, agent: AgentSpec) -> None:
    cached = _cached(context, agent)
    if agent.folder.done_path.exists() and not cached.done_path.exists():
        job = agent.folder.job_path.name
        _copy_folder(agent.folder.path, cached.path, job, "*.stderr")


def _copy_folder(source: Path, target: Path, *ignored: str) -> None:
    """Copy a folder so that `target` is complete or absent, whatever interrupts it."""
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, temporary, ignore=shutil.ignore_patterns(*ignored))
    shutil.rmtree(target, ignore_errors=True)
    temporary.replace(target)
