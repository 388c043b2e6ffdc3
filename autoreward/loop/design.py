"""The heart: a small state machine over stages, iterations and budget.

It looks at which files exist, does the next, and looks again.

For each iteration and candidate the first missing file is the next stage (`run.py` draws the
folder):

    designer -> critic -> check     drafts; a refused one goes back to the designer with the exact error (tries/), as often as its method says
    screening -> training -> evaluation -> analyzer
    feedback.json                   all outcomes so far, ranked; what the next iteration's designer reads

then leaders.json and final.json (confirmation.py) and report.html. Killed at any point, the same
call goes on where the files end: replies on disk are not asked for again, an unfinished training
starts again from step 0 with its seed. Choices depend on ids and records, never on the order in
which things finish, and no limit in seconds decides a candidate.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from autoreward.errors import USAGE, UserError
from autoreward.loop import origin
from autoreward.loop.agents import candidate_arm, score_arms, train_arms
from autoreward.loop.confirm import confirm, keep_best, leaders
from autoreward.loop.stages import (
    analyzer,
    check,
    critic,
    designer,
    evaluation,
    screening,
    training,
)
from autoreward.loop.stages.designer import Draft
from autoreward.loop.tools import Tools
from autoreward.rewards.composition import DESIGNER, Composition, chosen
from autoreward.rewards.linter import lint
from autoreward.seeds import training_seeds
from autoreward.store.files import read, write
from autoreward.store.jobs import ProbeJob
from autoreward.store.records import (
    Analysis,
    Check,
    Feedback,
    Final,
    Outcome,
    Refused,
    Review,
    RunHeader,
    Verdict,
)
from autoreward.store.run import CandidateFolder

# episodes kept of every evaluation, for the analyzer
RECORDED = 20


def design(tools: Tools) -> Final:
    """Take the run from wherever its files end to final.json, and return it.

    Raises UserError; the run can then be resumed.
    """
    run, header = tools.run, tools.run.header
    if (final := run.final) is not None:
        return final
    if header.told:
        raise UserError(
            f"{run.path} is a study: its agents are trained elsewhere",
            f"in Python: autoreward.Study(run={str(run.path)!r})",
            USAGE,
        )
    with tools.template:
        probe(tools)
        for iteration in range(1, header.iterations + 1):
            if run.feedback(iteration) is not None:
                continue
            candidates = draft(tools, iteration)
            _train(tools, [c for c in candidates if c.accepted])
            conclude(tools, iteration)
        final = confirm(tools, leaders(tools))
    write(run.path / "final.json", final)
    best = final.arms["winner"] if final.winner else None
    tools.say(
        "evaluation",
        "final",
        winner=final.winner,
        success=best.success if best else None,
        metric=best.metric if best else None,
    )
    return final


# -- designer, critic, check -----------------------------------------------------------------------


def draft(tools: Tools, iteration: int) -> list[CandidateFolder]:
    """Rounds of drafts: the models of all open candidates are asked side by side, the reward
    workers one after another.
    """
    candidates = [
        tools.run.candidate(iteration, chr(ord("a") + k))
        for k in range(tools.run.header.candidates)
    ]
    feedback = tools.run.feedback(iteration - 1)
    # starts workers, so in this thread
    origin.prepared(tools)
    while open_ := [c for c in candidates if not c.drafted]:
        with ThreadPoolExecutor(max_workers=min(8, len(open_))) as pool:
            drafts = list(pool.map(lambda c: _propose(tools, c, feedback), open_))
        for candidate, (attempt, proposed, review) in zip(open_, drafts, strict=True):
            _judge(
                tools,
                candidate,
                attempt,
                proposed,
                review,
                [d for d in candidates if d.name < candidate.name],
            )
    return candidates


def _propose(
    tools: Tools, candidate: CandidateFolder, feedback: Feedback | None
) -> tuple[int, Draft, Review]:
    """One draft and its review.

    Nothing of it is written but the calls themselves, so a kill repeats this at no price.
    """
    header, refused = tools.run.header, candidate.refused_drafts()
    pinned = Composition.model_validate(header.composition)
    attempt = len(refused)
    if (given := origin.drafted(tools, candidate, attempt)) is not None:
        found = tuple(lint(given, tools.card.card.reward_layout))
        return (
            attempt,
            Draft(given),
            Review(ok=all(v.severity == "warn" for v in found), verdicts=found, by="lint"),
        )
    try:
        draft = designer.design(
            tools.caller,
            tools.prompts,
            tools.card.card,
            tools.method,
            designer.Question(
                iteration=candidate.iteration,
                candidate=candidate.name,
                attempt=attempt,
                candidates=header.candidates,
                feedback=feedback,
                refusals=refused[-1].verdicts if refused else (),
                previous=candidate.refused_program(attempt - 1) if attempt else "",
                from_scratch=attempt > 0 and attempt + 1 == _drafts(tools, candidate),
                hints=header.hints_used,
                seed=header.seed,
                origin=origin.to_port(tools, candidate),
                composing=header.compose == DESIGNER,
                composition=pinned,
            ),
        )
    except designer.Unparseable as error:
        return (
            attempt,
            Draft(error.program),
            Review(ok=False, verdicts=(error.verdict,), by="parser"),
        )
    review = critic.review(
        tools.caller,
        tools.prompts,
        tools.card.card,
        tools.method,
        draft.program,
        candidate.iteration,
        candidate.name,
        attempt,
        hints=header.hints_used,
        composition=draft.composition or pinned,
    )
    return attempt, draft, review


def _judge(
    tools: Tools,
    candidate: CandidateFolder,
    attempt: int,
    draft: Draft,
    review: Review,
    earlier: Sequence[CandidateFolder],
) -> None:
    header, program = tools.run.header, draft.program
    composition = draft.composition or Composition.model_validate(header.composition)
    result: Check | None = None
    if review.ok:
        others = [
            *earlier,
            *(c for c in tools.run.candidates() if c.iteration < candidate.iteration),
        ]
        twin = next(
            (
                c
                for c in others
                if c.program
                and _same(c.program, program)
                and chosen(header, c.composition_path) == composition
            ),
            None,
        )
        if twin:
            verdict = Verdict(
                kind="duplicate",
                stage="check",
                message=f"this is the program of candidate {twin.id} again",
                hint="write a different program",
            )
            result = Check(ok=False, verdicts=(verdict,), sandbox=header.sandbox)
        else:
            result = check.check(
                program,
                tools.card.card,
                tools.run.path / "probes.npz",
                header.sandbox,
                tools.template,
                composition,
                tools.method.kind,
            )
            result = origin.held_against(tools, candidate, program, result)
    if result is not None and result.ok:
        if draft.composition is not None:
            write(candidate.composition_path, draft.composition)
        write(candidate.program_path, program)
        write(candidate.path / "2-critic.json", review)
        write(candidate.path / "3-check.json", result)
        tools.say(
            "check",
            "passed",
            candidate.iteration,
            candidate.name,
            attempt=attempt,
            terms=[t.name for t in result.terms],
        )
        return
    verdicts = review.verdicts if result is None else result.verdicts
    stage = "critic" if result is None else "check"
    blocking = tuple(v for v in verdicts if v.severity == "refuse") or verdicts
    write(candidate.path / "tries" / f"{attempt}-designer.py", program)
    write(
        candidate.path / "tries" / f"{attempt}-designer.json",
        Refused(stage="critic" if stage == "critic" else "check", verdicts=verdicts),
    )
    tools.say(
        stage,
        "refused",
        candidate.iteration,
        candidate.name,
        attempt=attempt,
        why=blocking[0].message if blocking else "",
    )
    if attempt + 1 >= _drafts(tools, candidate):
        if program:
            write(candidate.program_path, program)
        if result is not None:
            write(candidate.path / "2-critic.json", review)
            write(candidate.path / "3-check.json", result)
        else:
            write(candidate.path / "2-critic.json", review)
        tools.say(stage, "rejected", candidate.iteration, candidate.name)


def _drafts(tools: Tools, candidate: CandidateFolder) -> int:
    return tools.method.drafts(
        given=tools.run.header.origin is not None and candidate.id == origin.FIRST
    )


def _same(one: str, other: str) -> bool:
    try:
        return ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return one == other


# -- training, evaluation, analyzer ----------------------------------------------------------------


def probe(tools: Tools) -> None:
    """Recorded transitions, for `check`; made once a run, from a seed stream of their own."""
    out = tools.run.path / "probes.npz"
    if not out.exists():
        tools.say("check", "recording probes")
        job = ProbeJob(card=tools.run.header.card_path, seed=tools.run.header.seed, out=str(out))
        tools.engine.run([("probes", job)], tools.progress)


def _train(tools: Tools, candidates: Sequence[CandidateFolder]) -> None:
    """Train and evaluate what has neither; all trainings side by side, then all evaluations in one
    process a time.
    """
    header = tools.run.header
    seed = training_seeds(header.seed, 1)[0]
    for candidate in candidates:
        if not (candidate.path / "4-screening.json").exists():
            write(candidate.path / "4-screening.json", screening.screen())
    arms = [candidate_arm(tools, c, seed) for c in candidates if c.evaluation is None]
    train_arms(tools, arms, "training")
    score_arms(tools, arms, "evaluation", record=RECORDED)
    for candidate in candidates:
        if candidate.evaluation is None:
            done = candidate.training(seed)
            score = candidate.path / "5-training" / f"seed-{seed}" / "score.json"
            result = evaluation.pool(tools.card.card, [score], [done] if done else [])
            episodes = score.with_suffix(".npz")
            if episodes.exists():
                shutil.copyfile(episodes, candidate.path / ".6-episodes.tmp")
                (candidate.path / ".6-episodes.tmp").replace(candidate.path / "6-episodes.npz")
                episodes.unlink()
            write(candidate.path / "6-evaluation.json", result)
            numbers = result.model_dump(
                include={"success", "low", "high", "metric", "broken", "why"}
            )
            tools.say(
                "evaluation",
                "scored",
                candidate.iteration,
                candidate.name,
                **numbers,
                steps=done.steps if done else None,
            )


def _analyze(tools: Tools, candidate: CandidateFolder) -> None:
    path, result = candidate.path / "7-analyzer.json", candidate.evaluation
    if path.exists() or not candidate.accepted or result is None or not result.ok:
        return
    episodes = candidate.path / "6-episodes.npz"
    header = tools.run.header
    if header.told and not episodes.exists():
        write(path, Analysis(summary="no recorded episodes were told"))
        return
    analysis = analyzer.analyze(
        tools.caller,
        tools.prompts,
        tools.card.card,
        tools.method,
        program=candidate.program,
        composition=chosen(header, candidate.composition_path),
        trajectories=episodes,
        evaluation=result,
        training=candidate.trainings(),
        curve=training.curve(candidate.first_training),
        iteration=candidate.iteration,
        candidate=candidate.name,
        hints=header.hints_used,
        sandbox=header.sandbox,
        template=tools.template,
    )
    write(path, analysis)
    tools.say(
        "analyzer",
        "done",
        candidate.iteration,
        candidate.name,
        findings=[d.kind for d in analysis.diagnostics] or "none",
    )


# -- feedback and choice ---------------------------------------------------------------------------


def conclude(tools: Tools, iteration: int) -> None:
    """All of an iteration's candidates are evaluated or out: analyze, rank everything so far,
    write feedback.json.
    """
    for candidate in (c for c in tools.run.candidates() if c.iteration == iteration):
        _analyze(tools, candidate)
    write(tools.run.path / f"iteration-{iteration}" / "feedback.json", _feedback(tools, iteration))
    _tell_best(tools, iteration)


def _outcome(header: RunHeader, candidate: CandidateFolder) -> Outcome:
    result, trainings, analysis = (
        candidate.evaluation,
        candidate.trainings(),
        read(candidate.path / "7-analyzer.json", Analysis),
    )
    review, checked = candidate.review, candidate.check
    verdicts = (
        (review.verdicts if review else ())
        + (checked.verdicts if checked else ())
        + tuple(t.refusal for t in trainings if t.refusal)
    )
    status = (
        "rejected" if not candidate.accepted else "evaluated" if result and result.ok else "failed"
    )
    return Outcome(
        iteration=candidate.iteration,
        candidate=candidate.name,
        program=candidate.program,
        composition=chosen(header, candidate.composition_path).data(),
        status=status,  # type: ignore[arg-type]
        verdicts=verdicts,
        evaluation=result,
        curve=training.curve(candidate.first_training),
        terms=trainings[0].terms if trainings else (),
        windows=training.windows(candidate.first_training),
        analysis=analysis if analysis and analysis.told else None,
        notes=candidate.notes,
    )


def _feedback(tools: Tools, iteration: int) -> Feedback:
    outcomes = [
        _outcome(tools.run.header, c) for c in tools.run.candidates() if c.iteration <= iteration
    ]
    card = tools.card.card

    def key(outcome: Outcome) -> tuple[object, ...]:
        rejected = {"evaluated": 0, "failed": 1, "rejected": 2}[outcome.status]
        name = f"{outcome.iteration:03d}{outcome.candidate}"
        return (
            (rejected, *evaluation.rank_key(card, outcome.evaluation, name))
            if outcome.evaluation
            else (rejected, name)
        )

    ranked = [
        o
        for status in ("evaluated", "failed", "rejected")
        for o in sorted((x for x in outcomes if x.status == status), key=key)
    ]
    return Feedback(iteration=iteration, outcomes=tuple(ranked))


def _tell_best(tools: Tools, iteration: int) -> None:
    feedback = tools.run.feedback(iteration)
    best = feedback.best if feedback else None
    if best:
        keep_best(tools, tools.run.candidate(best.iteration, best.candidate))
    tools.say(
        "analyzer",
        "feedback",
        iteration,
        best=f"{best.iteration}{best.candidate}" if best else None,
    )
