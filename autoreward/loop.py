"""The heart: a small state machine over stages, iterations and budget. It looks at which files exist, does the next, and looks again.

For each iteration and candidate the first missing file is the next stage (`run.py` draws the folder):

    designer -> critic -> check     drafts; a refused one goes back to the designer with the exact error (tries/), see REPAIRS
    screening -> training -> evaluation -> analyzer
    feedback.json                   all outcomes so far, ranked; what the next iteration's designer reads

then leaders.json (the best candidates again on more training seeds), final.json (the winner, the sparse and the human reward on
seeds and episodes never used for choosing) and report.html. Killed at any point, the same call goes on where the files end: replies
on disk are not asked for again, an unfinished training starts again from step 0 with its seed. Choices depend on ids and records,
never on the order in which things finish, and no limit in seconds decides a candidate.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from autoreward.cards import LocatedCard
from autoreward.engine import Engine, Job, Progress
from autoreward.errors import MISSING, UserError
from autoreward.files import read, write
from autoreward.methods import Method
from autoreward.models.caller import Caller
from autoreward.prompts import Prompts
from autoreward.records import Analysis, Check, Evaluation, Feedback, Final, Outcome, ProbeJob, Refused, Review, TrainingDone, Verdict
from autoreward.run import CandidateFolder, Run
from autoreward.sandbox import Template
from autoreward.stages import analyzer, check, critic, designer, evaluation, screening, training

REPAIRS = 3  # refused drafts that go back to the designer; then one new design from scratch; then the candidate is rejected
LEADERS = 2  # candidates trained again on more seeds before the winner is chosen
LEADER_SEEDS = 3  # training seeds of a leader in all
RECORDED = 20  # episodes kept of every evaluation, for the analyzer

Say = Callable[..., None]


@dataclass
class Tools:
    """What the stages work with; built once by the command line."""

    run: Run
    card: LocatedCard
    method: Method
    caller: Caller
    prompts: Prompts
    engine: Engine
    controls: Path  # cache of sparse and human trainings, shared by runs of the same card, versions and seeds
    say: Say
    progress: Progress
    template: Template = field(default_factory=Template)  # started with its first worker


def design(tools: Tools) -> Final:
    """Take the run from wherever its files end to final.json, and return it. Raises UserError; the run can then be resumed."""
    run, header = tools.run, tools.run.header
    if (final := run.final) is not None:
        return final
    with tools.template:
        _probe(tools)
        for iteration in range(1, header.iterations + 1):
            if run.feedback(iteration) is not None:
                continue
            candidates = [run.candidate(iteration, chr(ord("a") + k)) for k in range(header.candidates)]
            _draft(tools, iteration, candidates)
            _train(tools, [c for c in candidates if c.accepted])
            for candidate in candidates:
                _analyze(tools, candidate)
            write(run.path / f"iteration-{iteration}" / "feedback.json", _feedback(tools, iteration))
            _tell_best(tools, iteration)
        final = _confirm(tools, _leaders(tools))
    write(run.path / "final.json", final)
    best = final.arms["winner"] if final.winner else None
    tools.say("evaluation", "final", winner=final.winner, success=best.success if best else None, metric=best.metric if best else None)
    return final


def training_seed(seed: int, k: int, final: bool = False) -> int:
    """Training seeds of a run: the same for every candidate (common random numbers), and others for the confirmation."""
    return seed * 100 + k + (50 if final else 0)


# -- designer, critic, check ------------------------------------------------------------------------------------------------


def _draft(tools: Tools, iteration: int, candidates: Sequence[CandidateFolder]) -> None:
    """Rounds of drafts: the models of all open candidates are asked side by side, the reward workers one after another."""
    feedback = tools.run.feedback(iteration - 1)
    while open_ := [c for c in candidates if not c.drafted]:
        with ThreadPoolExecutor(max_workers=min(8, len(open_))) as pool:
            drafts = list(pool.map(lambda c: _propose(tools, c, feedback), open_))
        for candidate, (attempt, program, review) in zip(open_, drafts, strict=True):
            _judge(tools, candidate, attempt, program, review, [d for d in candidates if d.name < candidate.name])


def _propose(tools: Tools, candidate: CandidateFolder, feedback: Feedback | None) -> tuple[int, str, Review]:
    """One draft and its review. Nothing of it is written but the calls themselves, so a kill repeats this at no price."""
    header, refused = tools.run.header, candidate.refused_drafts()
    attempt = len(refused)
    try:
        draft = designer.design(
            tools.caller,
            tools.prompts,
            tools.card.card,
            tools.method,
            iteration=candidate.iteration,
            candidate=candidate.name,
            attempt=attempt,
            candidates=header.candidates,
            feedback=feedback,
            refusals=refused[-1].verdicts if refused else (),
            previous=candidate.refused_program(attempt - 1) if attempt else "",
            from_scratch=attempt > REPAIRS,
            hints=header.hints_used,
            seed=header.seed,
        )
    except designer.Unparseable as error:
        return attempt, "", Review(ok=False, verdicts=(error.verdict,), by="parser")
    review = critic.review(tools.caller, tools.prompts, tools.card.card, tools.method, draft.program, candidate.iteration, candidate.name, attempt, hints=header.hints_used)
    return attempt, draft.program, review


def _judge(tools: Tools, candidate: CandidateFolder, attempt: int, program: str, review: Review, earlier: Sequence[CandidateFolder]) -> None:
    header = tools.run.header
    result: Check | None = None
    if review.ok:
        twin = next((c for c in [*earlier, *(c for c in tools.run.candidates() if c.iteration < candidate.iteration)] if c.program and _same(c.program, program)), None)
        if twin:
            verdict = Verdict(kind="duplicate", stage="check", message=f"this is the program of candidate {twin.id} again", hint="write a different program")
            result = Check(ok=False, verdicts=(verdict,), sandbox=header.sandbox)
        else:
            result = check.check(program, tools.card.card, tools.run.path / "probes.npz", header.sandbox, tools.template)
    if result is not None and result.ok:
        write(candidate.program_path, program)
        write(candidate.path / "2-critic.json", review)
        write(candidate.path / "3-check.json", result)
        tools.say("check", "passed", candidate.iteration, candidate.name, attempt=attempt, terms=[t.name for t in result.terms])
        return
    verdicts = review.verdicts if result is None else result.verdicts
    stage = "critic" if result is None else "check"
    blocking = tuple(v for v in verdicts if v.severity == "refuse") or verdicts
    write(candidate.path / "tries" / f"{attempt}-designer.py", program)
    write(candidate.path / "tries" / f"{attempt}-designer.json", Refused(stage="critic" if stage == "critic" else "check", verdicts=verdicts))
    tools.say(stage, "refused", candidate.iteration, candidate.name, attempt=attempt, why=blocking[0].message if blocking else "")
    if attempt > REPAIRS:
        if program:
            write(candidate.program_path, program)
        if result is not None:
            write(candidate.path / "2-critic.json", review)
            write(candidate.path / "3-check.json", result)
        else:
            write(candidate.path / "2-critic.json", review)
        tools.say(stage, "rejected", candidate.iteration, candidate.name)


def _same(one: str, other: str) -> bool:
    import ast

    try:
        return ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return one == other


# -- training, evaluation, analyzer -----------------------------------------------------------------------------------------


def _probe(tools: Tools) -> None:
    """Recorded transitions, for `check`; made once a run, from a seed stream of their own."""
    out = tools.run.path / "probes.npz"
    if not out.exists():
        tools.say("check", "recording probes")
        job = ProbeJob(card=tools.run.header.card_path, seed=tools.run.header.seed, out=str(out))
        tools.engine.run([("probes", job)], tools.progress)


def _train(tools: Tools, candidates: Sequence[CandidateFolder]) -> None:
    """Train and evaluate what has neither; all trainings side by side, then all evaluations in one process a time."""
    header = tools.run.header
    seed = training_seed(header.seed, 0)
    for candidate in candidates:
        if not (candidate.path / "4-screening.json").exists():
            write(candidate.path / "4-screening.json", screening.screen())
    arms = [_Arm(c.id, c.program_path, c.path / "5-training" / f"seed-{seed}", seed) for c in candidates if c.evaluation is None]
    _run_arms(tools, arms, "training")
    _score(tools, arms, "evaluation", record=RECORDED)
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
            numbers = result.model_dump(include={"success", "low", "high", "metric", "broken", "why"})
            tools.say("evaluation", "scored", candidate.iteration, candidate.name, **numbers, steps=done.steps if done else None)


@dataclass(frozen=True)
class _Arm:
    label: str
    program: Path | None
    out: Path
    seed: int


def _run_arms(tools: Tools, arms: Sequence[_Arm], stage: str) -> None:
    jobs: list[tuple[str, Job]] = []
    for arm in arms:
        if training.done(arm.out) is None:
            jobs.append((f"{arm.label} seed {arm.seed}", training.job(tools.run.header, arm.program, arm.seed, arm.out)))
    if jobs:
        tools.say(stage, "begins to train", agents=[label for label, _ in jobs])
        tools.engine.run(jobs, tools.progress)


def _score(tools: Tools, arms: Sequence[_Arm], purpose: str, record: int = 0) -> None:
    """Scores of every trained policy that has none, in at most `jobs` processes."""
    todo = [a for a in arms if not (a.out / "score.json").exists() and (done := training.done(a.out)) and done.refusal is None]
    jobs: list[tuple[str, Job]] = []
    for k in range(min(tools.engine.jobs, len(todo))):
        share = todo[k :: tools.engine.jobs]
        kind = "confirmation" if purpose == "confirmation" else "evaluation"
        job = evaluation.job(tools.run.header, [a.out for a in share], [a.out / "score.json" for a in share], [a.seed for a in share], kind, record)  # type: ignore[arg-type]
        jobs.append((f"evaluation of {', '.join(dict.fromkeys(a.label for a in share))}", job))
    tools.engine.run(jobs, tools.progress)


def _analyze(tools: Tools, candidate: CandidateFolder) -> None:
    path, result = candidate.path / "7-analyzer.json", candidate.evaluation
    if path.exists() or not candidate.accepted or result is None or not result.ok:
        return
    episodes = candidate.path / "6-episodes.npz"
    header = tools.run.header
    analysis = analyzer.analyze(
        tools.caller,
        tools.prompts,
        tools.card.card,
        tools.method,
        program=candidate.program,
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
    tools.say("analyzer", "done", candidate.iteration, candidate.name, findings=[d.kind for d in analysis.diagnostics] or "none")


# -- feedback and choice ----------------------------------------------------------------------------------------------------


def _outcome(candidate: CandidateFolder) -> Outcome:
    result, trainings = candidate.evaluation, candidate.trainings()
    review, checked = candidate.review, candidate.check
    verdicts = (checked.verdicts if checked else review.verdicts if review else ()) + tuple(t.refusal for t in trainings if t.refusal)
    status = "rejected" if not candidate.accepted else "evaluated" if result and result.ok else "failed"
    return Outcome(
        iteration=candidate.iteration,
        candidate=candidate.name,
        program=candidate.program,
        status=status,  # type: ignore[arg-type]
        verdicts=verdicts,
        evaluation=result,
        curve=training.curve(candidate.first_training),
        terms=trainings[0].terms if trainings else (),
        analysis=read(candidate.path / "7-analyzer.json", Analysis),
    )


def _feedback(tools: Tools, iteration: int) -> Feedback:
    outcomes = [_outcome(c) for c in tools.run.candidates() if c.iteration <= iteration]
    card = tools.card.card

    def key(outcome: Outcome) -> tuple[object, ...]:
        rejected = {"evaluated": 0, "failed": 1, "rejected": 2}[outcome.status]
        name = f"{outcome.iteration:03d}{outcome.candidate}"
        return (rejected, *evaluation.rank_key(card, outcome.evaluation, name)) if outcome.evaluation else (rejected, name)

    ranked = [o for status in ("evaluated", "failed", "rejected") for o in sorted((x for x in outcomes if x.status == status), key=key)]
    return Feedback(iteration=iteration, outcomes=tuple(ranked))


def _tell_best(tools: Tools, iteration: int) -> None:
    feedback = tools.run.feedback(iteration)
    best = feedback.best if feedback else None
    if best:
        write(tools.run.path / "best" / "program.py", best.program)
    tools.say("analyzer", "feedback", iteration, best=f"{best.iteration}{best.candidate}" if best else None)


def _leaders(tools: Tools) -> dict[str, Evaluation]:
    """The best candidates of all iterations, on more training seeds; counts pooled with what is known. id -> Evaluation."""
    from pydantic import BaseModel

    class Leaders(BaseModel):
        leaders: dict[str, Evaluation]

    path, run, header = tools.run.path / "leaders.json", tools.run, tools.run.header
    if (known := read(path, Leaders)) is not None:
        return known.leaders
    feedback = run.feedback(header.iterations)
    best = [o for o in feedback.outcomes if o.status == "evaluated"][:LEADERS] if feedback else []
    arms: list[_Arm] = []
    for outcome in best:
        folder = run.candidate(outcome.iteration, outcome.candidate)
        for k in range(LEADER_SEEDS):
            seed = training_seed(header.seed, k)
            arms.append(_Arm(folder.id, folder.program_path, folder.path / "5-training" / f"seed-{seed}", seed))
    if len(best) > 1:
        _run_arms(tools, arms, "training")
        _score(tools, arms, "evaluation")
    found: dict[str, Evaluation] = {}
    for outcome in best:
        folder = run.candidate(outcome.iteration, outcome.candidate)
        mine = [a for a in arms if a.label == folder.id and training.done(a.out)]
        done = [d for a in mine if (d := training.done(a.out))]
        found[folder.id] = evaluation.pool(tools.card.card, [a.out / "score.json" for a in mine], done)
    write(path, Leaders(leaders=found))
    return found


def _confirm(tools: Tools, leaders: dict[str, Evaluation]) -> Final:
    """Train winner, sparse and human reward on new seeds, and score them on episodes never used for choosing."""
    run, header, card = tools.run, tools.run.header, tools.card
    ranked = sorted(leaders, key=lambda name: evaluation.rank_key(card.card, leaders[name], name))
    if not ranked or not leaders[ranked[0]].ok:
        return Final(winner=None, hints_used=header.hints_used or tools.method.reads_hints(header.model), why="no candidate came through training")
    winner = next(c for c in run.candidates() if c.id == ranked[0])
    write(run.path / "best" / "program.py", winner.program)
    tools.say("evaluation", "winner chosen", winner.iteration, winner.name, among=ranked)
    seeds = [training_seed(header.seed, k, final=True) for k in range(header.final_seeds)]
    arms = {"winner": [_Arm("winner", winner.program_path, run.path / "final" / "winner" / f"seed-{s}", s) for s in seeds]}
    arms["sparse"] = [_Arm("sparse", None, run.path / "final" / "sparse" / f"seed-{s}", s) for s in seeds]
    if card.human:
        if not card.human.is_file():
            raise UserError(f"{card.path}: human: there is no file {card.card.human} beside the card", "mend the card, then: autoreward resume", MISSING)
        arms["human"] = [_Arm("human", card.human, run.path / "final" / "human" / f"seed-{s}", s) for s in seeds]
    controls = [a for name in ("sparse", "human") for a in arms.get(name, [])]
    for arm in controls:
        _from_cache(tools, arm)
    everything = [a for group in arms.values() for a in group]
    _run_arms(tools, everything, "evaluation")
    _score(tools, everything, "confirmation")
    for arm in controls:
        _to_cache(tools, arm)
    pooled = {}
    for name, group in arms.items():
        done: list[TrainingDone] = [d for a in group if (d := training.done(a.out))]
        pooled[name] = evaluation.pool(card.card, [a.out / "score.json" for a in group], done)
    return Final(winner=winner.id, program=winner.program, arms=pooled, hints_used=header.hints_used or tools.method.reads_hints(header.model))


def _cached(tools: Tools, arm: _Arm) -> Path:
    import hashlib

    program = arm.program.read_text(encoding="utf-8") if arm.program else ""
    header = tools.run.header
    versions = sorted(header.versions.items())
    key = f"{header.card_digest}|{versions}|{header.steps}|{header.device}|{header.threads}|{program}"
    return tools.controls / hashlib.sha256(key.encode()).hexdigest()[:16] / arm.out.parent.name / f"seed-{arm.seed}"


def _from_cache(tools: Tools, arm: _Arm) -> None:
    """Copy a control that was trained before with the same card, versions and seed; a broken or missing cache costs only time."""
    cached = _cached(tools, arm)
    if (cached / "done.json").exists() and not arm.out.exists():
        temporary = arm.out.with_name(f".{arm.out.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(cached, temporary)
        temporary.replace(arm.out)


def _to_cache(tools: Tools, arm: _Arm) -> None:
    cached = _cached(tools, arm)
    if not (cached / "done.json").exists() and (arm.out / "done.json").exists():
        temporary = cached.with_name(f".{cached.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(arm.out, temporary, ignore=shutil.ignore_patterns("job.json", "*.stderr"))
        shutil.rmtree(cached, ignore_errors=True)
        temporary.replace(cached)
