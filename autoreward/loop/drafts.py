"""Drafts: designer, critic and check, in rounds, until every candidate has a program or none.

A rejected draft goes back to the designer with the exact error, as often as the method allows.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from autoreward.loop import origin
from autoreward.loop.context import RunContext
from autoreward.loop.stages import check, critic, designer
from autoreward.loop.stages.designer import Draft
from autoreward.rewards.composition import DESIGNER, Composition, chosen
from autoreward.rewards.linter import lint
from autoreward.store.candidate import CandidateFolder, blocking, rejection
from autoreward.store.records import Check, Feedback, Review, Verdict

# Models that are asked at the same time.
MAX_REQUESTS = 8


@dataclass(frozen=True)
class ReviewedDraft:
    """A draft of a candidate, with the critic's review; `attempt` counts from 0."""

    candidate: CandidateFolder
    attempt: int
    draft: Draft
    review: Review


def draft_candidates(context: RunContext, iteration: int) -> list[CandidateFolder]:
    """Draft every candidate of an iteration.

    In each round the models of all open candidates are asked side by side; the reward workers then
    run one after another.
    """
    candidates = [
        context.run.candidate(iteration, chr(ord("a") + k))
        for k in range(context.run.header.candidates)
    ]
    feedback = context.run.feedback(iteration - 1)
    # This may start reward workers, so it must happen in this thread.
    origin.prepared(context)
    while pending := [c for c in candidates if not c.drafted]:
        with ThreadPoolExecutor(max_workers=min(MAX_REQUESTS, len(pending))) as pool:
            drafts = list(pool.map(lambda c: _propose(context, c, feedback), pending))
        for proposed in drafts:
            _decide(context, proposed, candidates)
    return candidates


# -- proposing -------------------------------------------------------------------------------------


def _propose(
    context: RunContext, candidate: CandidateFolder, feedback: Feedback | None
) -> ReviewedDraft:
    """Ask for one draft and its review.

    Only the model calls are persisted here, so an interrupted draft is replayed from disk for free.
    """
    attempt = len(candidate.rejected_drafts())
    given = origin.drafted(context, candidate, attempt)
    if given is not None:
        return ReviewedDraft(candidate, attempt, Draft(given), _lint_review(context, given))

    try:
        draft = designer.design(
            context.caller,
            context.prompts,
            context.card.card,
            context.method,
            _question(context, candidate, attempt, feedback),
        )
    except designer.Unparseable as error:
        review = Review(ok=False, verdicts=(error.verdict,), by="parser")
        return ReviewedDraft(candidate, attempt, Draft(error.program), review)

    review = critic.review(
        context.caller,
        context.prompts,
        context.card.card,
        context.method,
        draft.program,
        candidate.iteration,
        candidate.name,
        attempt,
        hints=context.run.header.hints_used,
        composition=draft.composition or _pinned(context),
    )
    return ReviewedDraft(candidate, attempt, draft, review)


def _lint_review(context: RunContext, program: str) -> Review:
    """The review of a program that no model wrote: the linter's findings only."""
    found = tuple(lint(program, context.card.card.reward_layout))
    only_warnings = all(verdict.severity == "warn" for verdict in found)
    return Review(ok=only_warnings, verdicts=found, by="lint")


def _question(
    context: RunContext, candidate: CandidateFolder, attempt: int, feedback: Feedback | None
) -> designer.Question:
    header = context.run.header
    rejected = candidate.rejected_drafts()
    is_last = attempt + 1 == _max_drafts(context, candidate)
    return designer.Question(
        iteration=candidate.iteration,
        candidate=candidate.name,
        attempt=attempt,
        candidates=header.candidates,
        feedback=feedback,
        refusals=rejected[-1].verdicts if rejected else (),
        previous=candidate.rejected_program(attempt - 1) if attempt else "",
        from_scratch=attempt > 0 and is_last,
        hints=header.hints_used,
        seed=header.seed,
        origin=origin.to_port(context, candidate),
        composing=header.compose == DESIGNER,
        composition=_pinned(context),
    )


def _pinned(context: RunContext) -> Composition:
    """The composition of the run, which holds unless the designer chooses one."""
    return Composition.model_validate(context.run.header.composition)


def _max_drafts(context: RunContext, candidate: CandidateFolder) -> int:
    given = context.run.header.origin is not None and candidate.id == origin.FIRST
    return context.method.drafts(given=given)


# -- deciding --------------------------------------------------------------------------------------


def _decide(
    context: RunContext, proposed: ReviewedDraft, siblings: Sequence[CandidateFolder]
) -> None:
    """Check a draft that the critic accepted, and write what became of it."""
    candidate = proposed.candidate
    program = proposed.draft.program
    review = proposed.review
    result = _check(context, proposed, siblings) if review.ok else None
    if result is not None and result.ok:
        candidate.accept_draft(program, proposed.draft.composition, review, result)
        context.say(
            "check",
            "passed",
            candidate.iteration,
            candidate.name,
            attempt=proposed.attempt,
            terms=[term.name for term in result.terms],
        )
        return

    candidate.reject_draft(proposed.attempt, program, review, result)
    rejected = rejection(review, result)
    reasons = blocking(rejected.verdicts)
    context.say(
        rejected.stage,
        "refused",
        candidate.iteration,
        candidate.name,
        attempt=proposed.attempt,
        why=reasons[0].message if reasons else "",
    )
    if proposed.attempt + 1 >= _max_drafts(context, candidate):
        candidate.reject(program, review, result)
        context.say(rejected.stage, "rejected", candidate.iteration, candidate.name)


def _check(
    context: RunContext, proposed: ReviewedDraft, siblings: Sequence[CandidateFolder]
) -> Check:
    """Run a draft in the sandbox, unless another candidate has the same program already."""
    header = context.run.header
    program = proposed.draft.program
    composition = proposed.draft.composition or _pinned(context)
    twin = _twin(context, proposed, composition, siblings)
    if twin is not None:
        verdict = Verdict(
            kind="duplicate",
            stage="check",
            message=f"this program is identical to candidate {twin.id}'s",
            hint="write a different program",
        )
        return Check(ok=False, verdicts=(verdict,), sandbox=header.sandbox)

    result = check.check(
        program,
        context.card.card,
        context.run.probes_path,
        header.sandbox,
        context.template,
        composition,
        context.method.signal_class,
    )
    return origin.compare_with_original(context, proposed.candidate, program, result)


def _twin(
    context: RunContext,
    proposed: ReviewedDraft,
    composition: Composition,
    siblings: Sequence[CandidateFolder],
) -> CandidateFolder | None:
    """An earlier candidate with the same program and composition."""
    candidate = proposed.candidate
    earlier = [c for c in siblings if c.name < candidate.name]
    earlier += [c for c in context.run.candidates() if c.iteration < candidate.iteration]
    for other in earlier:
        if not other.program or not same_program(other.program, proposed.draft.program):
            continue
        if chosen(context.run.header, other.composition_path) == composition:
            return other
    return None


def same_program(one: str, other: str) -> bool:
    """True if two programs differ in layout and comments only."""
    try:
        return ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return one == other
