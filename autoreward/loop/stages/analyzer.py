"""Analyzer: what the trained agent did.

Typed findings by code first; then a language model names causes, citing episode and step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from autoreward.loop.diagnosis import DiagnosisInput, diagnose, endings, part
from autoreward.methods import Method
from autoreward.models import Message, Request
from autoreward.models.asking import TURNS, ask_for_record
from autoreward.models.caller import Caller
from autoreward.models.replies import UnreadableReply
from autoreward.models.templates import Prompts
from autoreward.models.variables import AnalyzerContext, variables_for
from autoreward.rewards.composition import Composition
from autoreward.rewards.program import without_comments
from autoreward.rewards.reward import ProgramReward
from autoreward.rewards.signals import SignalContext, StepBatch
from autoreward.sandbox.outside.replay import Transitions, episode_transitions, replay
from autoreward.sandbox.outside.worker import ProgramRejected, Template
from autoreward.store.episodes import Episode, Trajectories
from autoreward.store.records import Analysis, Citation, Evaluation, Measure, Outcome, TrainingDone
from autoreward.tasks.card import TaskCard

EXCERPTS = 4
ROWS = 12


class Explanation(BaseModel):
    """What the model answers."""

    model_config = ConfigDict(extra="ignore")

    class Cited(BaseModel):
        model_config = ConfigDict(extra="ignore")
        episode: int
        step: int | None = None
        field: str = ""
        claim: str = ""

    causes: list[str]
    suggestions: list[str] = []
    citations: list[Cited] = []
    summary: str = ""


def analyze(
    caller: Caller,
    prompts: Prompts,
    card: TaskCard,
    method: Method,
    *,
    program: str,
    composition: Composition | None = None,
    trajectories: Path,
    evaluation: Evaluation,
    training: list[TrainingDone],
    curve: tuple[tuple[int, float | None, float | None], ...] = (),
    iteration: int,
    candidate: str,
    hints: bool = False,
    sandbox: str = "default",
    template: Template | None = None,
) -> Analysis:
    """The record of 7-analyzer.json.

    An explanation that cannot be read is told and costs nobody anything.
    """
    recorded = Trajectories.load(trajectories)
    names, terms, measures = _replay(
        program,
        composition or Composition(),
        card,
        method,
        recorded,
        caller.settings,
        sandbox,
        template,
    )
    evidence = DiagnosisInput(card, recorded, names, terms)
    found = Analysis(
        diagnostics=diagnose(evidence, evaluation, training),
        endings=endings(evidence),
        successes=part(evidence, True),
        failures=part(evidence, False),
        measures=measures,
        by="code",
        model_skipped_because=method.model_skipped_because(
            "analyzer", caller.settings, caller.model
        ),
        shown_to_designer=method.tells_findings(caller.settings),
    )
    if found.model_skipped_because:
        return found
    told = training[0].terms if training else ()
    outcome = Outcome(
        iteration=iteration,
        candidate=candidate,
        program=program,
        status="evaluated",
        composition=(composition or Composition()).data(),
        evaluation=evaluation,
        curve=curve,
        terms=told,
        analysis=found,
    )

    def ask(
        number: int, batch: int = 0, parts: tuple[dict[str, Any], ...] = ()
    ) -> tuple[Explanation | None, str]:
        """The explanation of one call; or why there is none."""

        def messages(problem: str) -> tuple[Message, ...]:
            return (
                message(
                    prompts,
                    card,
                    method,
                    outcome,
                    recorded,
                    hints=hints,
                    problem=problem,
                    batch=batch,
                    parts=parts,
                ),
            )

        turn = TURNS * number
        request = Request("analyzer", iteration, candidate, 0, (), turn=turn, max_tokens=2048)
        try:
            return ask_for_record(caller, request, Explanation, messages), ""
        except UnreadableReply as error:
            return None, error.message

    wanted = int(method.own(caller.settings).get("batches", "1"))
    batches = [
        k
        for k in range(wanted)
        if k == 0 or any(not recorded.episodes[e].success for e in _batch(recorded, k))
    ]
    read = [ask(number, batch) for number, batch in enumerate(batches)]
    parts = tuple(said.model_dump() for said, _ in read if said)
    said, problem = (
        ask(len(batches), parts=parts)
        if len(parts) > 1
        else next((one for one in read if one[0]), read[0])
    )
    if said is None:
        return found.model_copy(
            update={"summary": f"the model's explanation could not be read: {problem}"}
        )
    return found.model_copy(
        update={
            "causes": tuple(c[:500] for c in said.causes[:3]),
            "suggestions": tuple(s[:500] for s in said.suggestions[:3]),
            "citations": tuple(_checked(c, recorded) for c in said.citations[:12]),
            "summary": said.summary[:1000],
            "by": f"code + {caller.model.name}",
        }
    )


def message(
    prompts: Prompts,
    card: TaskCard,
    method: Method,
    outcome: Outcome,
    recorded: Trajectories,
    *,
    hints: bool = False,
    problem: str = "",
    batch: int = 0,
    parts: tuple[dict[str, Any], ...] = (),
) -> Message:
    """The prompt: the outcome's numbers and findings, excerpts of a batch of the recorded
    episodes, and the program as the critic reads it.

    `parts`: what was said of each batch, to be summed up.
    """
    context = AnalyzerContext(
        card=card,
        hints=hints,
        composition=Composition.model_validate(outcome.composition),
        outcome=outcome.model_copy(update={"program": without_comments(outcome.program)}),
        episodes=[] if parts else excerpts(recorded, card, batch),
        parts=parts,
        problem=problem,
    )
    variables = variables_for("analyzer", context)
    return Message(
        "user",
        prompts.render(f"{method.name}/analyzer/{'summarize' if parts else 'explain'}", variables),
    )


def _replay(
    program: str,
    composition: Composition,
    card: TaskCard,
    method: Method,
    recorded: Trajectories,
    settings: dict[str, str],
    sandbox: str,
    template: Template | None,
) -> tuple[tuple[str, ...], list[np.ndarray], tuple[Measure, ...]]:
    """Names of terms as shaped, before they are weighed, and their values (T, k) per recorded
    episode; and how right the program's judgements are.

    No terms where a signal learned them in training: there the training itself tells (signal.json).
    """
    signal_class = method.signal_class
    recordings = [episode_transitions(card, episode) for episode in recorded.episodes]
    names: tuple[str, ...] = ()
    shaped_terms = []
    try:
        replayed = replay(
            program, card, recordings, entry=signal_class.entry, sandbox=sandbox, template=template
        )
        context = SignalContext(
            card,
            replayed.terms,
            replayed.potentials,
            replayed.sparse,
            settings=method.own(settings),
        )
        for episode, transitions, answer in zip(
            recorded.episodes, recordings, replayed.answers, strict=True
        ):
            if not signal_class.replayable:
                shaped_terms.append(np.zeros((episode.length, 0)))
                continue
            reward = ProgramReward(signal_class, composition, context)
            _, shaped = reward.replay(*answer, _step_batch(episode, transitions))
            names = reward.names
            shaped_terms.append(shaped[:, 0])
    except ProgramRejected:
        # it trained, so this is rare: a state that training never met
        return (), [np.zeros((e.length, 0)) for e in recorded.episodes], ()
    answers = [
        (episode.fields, answer.terms[:, 0])
        for episode, answer in zip(recorded.episodes, replayed.answers, strict=True)
    ]
    measures = signal_class.measure(card, recorded.layout, replayed.terms, answers)
    return names, shaped_terms, measures


def _step_batch(episode: Episode, transitions: Transitions) -> StepBatch:
    """The T steps of one episode (T, 1, ...), as a signal gets them in training."""
    last = np.arange(episode.length)[:, None] == episode.length - 1
    return StepBatch(
        prev=transitions.prev,
        action=transitions.action,
        curr=transitions.curr,
        first=transitions.first,
        terminated=last & episode.terminated,
        done=last,
        success=last & episode.success,
        # no term depends on the task reward, but a gate may wait for it
        task=last * float(episode.success),
    )


def _batch(recorded: Trajectories, batch: int) -> list[int]:
    """A few episodes' numbers, failures first."""
    order = sorted(range(len(recorded.episodes)), key=lambda k: (recorded.episodes[k].success, k))
    return order[EXCERPTS * batch : EXCERPTS * (batch + 1)]


def excerpts(recorded: Trajectories, card: TaskCard, batch: int = 0) -> list[dict[str, Any]]:
    """A dozen states of each episode of a batch, fields of one to three numbers."""
    names = [f.name for f in card.fields if f.reward and int(np.prod(f.shape, dtype=int)) <= 3][:8]
    found = []
    for k in _batch(recorded, batch):
        episode, states = recorded.episodes[k], recorded.states(k)
        steps = sorted({int(s) for s in np.linspace(0, episode.length, ROWS)})
        # in row s: what was done in that state
        actions = [_cell(a) for a in episode.actions] + ["-"]
        rows = [
            {"step": s, "values": [*(_cell(getattr(states, n)[s]) for n in names), actions[s]]}
            for s in steps
        ]
        ending = (
            "success"
            if episode.success
            else "ran to the limit"
            if episode.truncated
            else "ended in failure"
        )
        found.append(
            {
                "number": k,
                "ending": ending,
                "length": episode.length,
                "fields": [*names, "action"],
                "rows": rows,
            }
        )
    return found


def _cell(value: Any) -> str:
    return ", ".join(f"{v:.3g}" for v in np.ravel(value))


def _checked(cited: Explanation.Cited, recorded: Trajectories) -> Citation:
    """Whether the cited episode, step and field exist; what is claimed about them is the model's
    word.
    """
    there = 0 <= cited.episode < len(recorded.episodes)
    there = there and (
        cited.step is None or 0 <= cited.step <= recorded.episodes[cited.episode].length
    )
    there = there and (not cited.field or cited.field.split("[")[0] in recorded.layout.names)
    return Citation(
        episode=cited.episode,
        step=cited.step,
        field=cited.field[:80],
        claim=cited.claim[:500],
        checked=there,
    )
