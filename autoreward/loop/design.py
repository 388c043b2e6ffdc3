"""The design loop: a small state machine over stages and iterations.

It looks at which files exist, does what comes next, and looks again. For each iteration and
candidate the first missing file is the next stage (store/candidate.py draws the folder):

    designer -> critic -> check     drafts (drafts.py)
    screening -> training -> evaluation -> analyzer
    feedback.json                   all outcomes so far, ranked: what the next designer reads

Then come leaders.json and final.json (confirm.py) and report.html. A run that was killed at any
point continues where its files end: replies on disk are not asked for again, and an unfinished
training starts again from step 0 with its seed. Choices depend on ids and records, never on the
order in which things finish, and no time limit decides about a candidate.
"""

from __future__ import annotations

from collections.abc import Sequence

from autoreward.errors import USAGE, UserError
from autoreward.loop.agents import AgentSpec, candidate_agent, evaluate_agents, pooled
from autoreward.loop.confirm import confirm, find_leaders, keep_best
from autoreward.loop.context import RunContext
from autoreward.loop.drafts import draft_candidates
from autoreward.loop.ranking import feedback_of
from autoreward.loop.stages import analyzer, screening, training
from autoreward.rewards.composition import chosen
from autoreward.seeds import training_seeds
from autoreward.store.candidate import CandidateFolder
from autoreward.store.jobs import ProbeJob
from autoreward.store.records import Analysis, Evaluation, Final

# Episodes of every evaluation that are recorded for the analyzer.
RECORDED_EPISODES = 20


def design(context: RunContext) -> Final:
    """Take the run from wherever its files end to final.json, and return that.

    Raises UserError if a model, a trainer or a limit stops it; the run can then be resumed.
    """
    run = context.run
    if run.final is not None:
        return run.final
    if run.header.external_training:
        raise UserError(
            f"{run.path} is a study: its agents are trained elsewhere",
            f"in Python: autoreward.Study(run={str(run.path)!r})",
            USAGE,
        )

    with context.template:
        record_probes(context)
        for iteration in range(1, run.header.iterations + 1):
            if run.feedback(iteration) is None:
                candidates = draft_candidates(context, iteration)
                _train_candidates(context, [c for c in candidates if c.accepted])
                conclude(context, iteration)
        final = confirm(context, find_leaders(context))
    finish(context, final)
    return final


def record_probes(context: RunContext) -> None:
    """Record the transitions that `check` uses, once a run and from their own seed stream."""
    run = context.run
    if run.probes_path.exists():
        return
    context.say("check", "recording probes")
    job = ProbeJob(card=run.header.card_path, seed=run.header.seed, out=str(run.probes_path))
    context.engine.run([("probes", job)], context.progress)


# -- training and evaluation -----------------------------------------------------------------------


def _train_candidates(context: RunContext, candidates: Sequence[CandidateFolder]) -> None:
    """Train and score one agent for every candidate that has no evaluation yet."""
    seed = training_seeds(context.run.header.seed, 1)[0]
    for candidate in candidates:
        candidate.keep_screening(screening.screen())

    pending = [c for c in candidates if c.evaluation is None]
    agents = [candidate_agent(context, candidate, seed) for candidate in pending]
    evaluate_agents(
        context, agents, stage="training", purpose="evaluation", record=RECORDED_EPISODES
    )
    for candidate, agent in zip(pending, agents, strict=True):
        _keep_evaluation(context, candidate, agent)


def _keep_evaluation(context: RunContext, candidate: CandidateFolder, agent: AgentSpec) -> None:
    evaluation = pooled(context.card.card, [agent])
    candidate.take_episodes(agent.folder)
    candidate.keep_evaluation(evaluation)
    done = agent.folder.done
    context.say(
        "evaluation",
        "scored",
        candidate.iteration,
        candidate.name,
        **_numbers(evaluation),
        steps=done.steps if done else None,
    )


def _numbers(evaluation: Evaluation) -> dict[str, object]:
    """What is reported of an evaluation."""
    return evaluation.model_dump(include={"success", "low", "high", "metric", "broken", "why"})


# -- analysis, feedback and choice -----------------------------------------------------------------


def conclude(context: RunContext, iteration: int) -> None:
    """Run once every candidate has been evaluated or rejected: analyze each, then rank all so far.

    Writes the iteration's feedback, which ends it.
    """
    run = context.run
    for candidate in run.candidates():
        if candidate.iteration == iteration:
            _analyze(context, candidate)

    feedback = feedback_of(context, iteration)
    run.write_feedback(feedback)
    best = feedback.best
    if best:
        keep_best(context, run.candidate(best.iteration, best.candidate))
    context.say("analyzer", "feedback", iteration, best=best.id if best else None)


def _analyze(context: RunContext, candidate: CandidateFolder) -> None:
    """Write the analysis of a candidate that was evaluated, unless there is one."""
    evaluation = candidate.evaluation
    if candidate.analysis_path.exists() or not candidate.accepted:
        return
    if evaluation is None or not evaluation.ok:
        return

    header = context.run.header
    if header.external_training and not candidate.episodes_path.exists():
        candidate.keep_analysis(Analysis(summary="no recorded episodes were reported"))
        return

    analysis = analyzer.analyze(
        context.caller,
        context.prompts,
        context.card.card,
        context.method,
        program=candidate.program,
        composition=chosen(header, candidate.composition_path),
        trajectories=candidate.episodes_path,
        evaluation=evaluation,
        training=candidate.trainings(),
        curve=training.curve(candidate.first_training),
        iteration=candidate.iteration,
        candidate=candidate.name,
        hints=header.hints_used,
        sandbox=header.sandbox,
        template=context.template,
    )
    candidate.keep_analysis(analysis)
    findings = [diagnostic.kind for diagnostic in analysis.diagnostics]
    context.say(
        "analyzer", "done", candidate.iteration, candidate.name, findings=findings or "none"
    )


def finish(context: RunContext, final: Final) -> None:
    """Write the result, which ends the run, and report it."""
    context.run.write_final(final)
    best = final.arms.get("winner") if final.winner else None
    context.say(
        "evaluation",
        "final",
        winner=final.winner,
        success=best.success if best else None,
        metric=best.metric if best else None,
    )
