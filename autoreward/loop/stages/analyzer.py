"""Analyzer: why the trained agent behaves as it does.

Typed findings come first, by code (loop/diagnosis.py); then a language model names causes, and
cites episodes and steps.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from autoreward.tasks.card import Field, TaskCard

# Episodes of one batch that a model reads, and states of each.
EXCERPTS = 4
MAX_ROWS = 12
# Fields that are shown, and numbers that one of them may have.
MAX_FIELDS = 8
MAX_FIELD_SIZE = 3
# Limits on what is kept of a model's explanation: items, and characters of one.
MAX_ITEMS = 3
MAX_CITATIONS = 12
MAX_ITEM_LENGTH = 500
MAX_SUMMARY_LENGTH = 1000


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
    """Diagnose an agent from its recorded episodes, then ask a model for causes.

    If the model's explanation cannot be read, the analysis says so and keeps the findings by code.
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
        shown_to_designer=method.shows_findings(caller.settings),
    )
    if found.model_skipped_because:
        return found

    outcome = Outcome(
        iteration=iteration,
        candidate=candidate,
        program=program,
        status="evaluated",
        composition=(composition or Composition()).data(),
        evaluation=evaluation,
        curve=curve,
        terms=training[0].terms if training else (),
        analysis=found,
    )
    asked = _Explaining(caller, prompts, card, method, outcome, recorded, hints)
    explanation, problem = asked.explain()
    if explanation is None:
        return found.model_copy(
            update={"summary": f"the model's explanation could not be read: {problem}"}
        )
    return found.model_copy(update=_kept(explanation, recorded, caller.model.name))


@dataclass(frozen=True)
class _Explaining:
    """Asks a model why an agent behaves as it does."""

    caller: Caller
    prompts: Prompts
    card: TaskCard
    method: Method
    outcome: Outcome
    recorded: Trajectories
    hints: bool

    def explain(self) -> tuple[Explanation | None, str]:
        """An explanation of every batch of episodes, summed up; or None and why there is none."""
        batches = self._batches()
        answers = [self._ask(number, batch) for number, batch in enumerate(batches)]
        explanations = [said for said, _ in answers if said is not None]
        if len(explanations) > 1:
            parts = tuple(said.model_dump() for said in explanations)
            return self._ask(len(batches), parts=parts)
        if explanations:
            return explanations[0], ""
        return answers[0]

    def _batches(self) -> list[int]:
        """Batches worth reading: the first, and every other one with a failing episode."""
        wanted = int(self.method.own(self.caller.settings).get("batches", "1"))
        found = [0]
        for batch in range(1, wanted):
            episodes = [self.recorded.episodes[k] for k in _batch(self.recorded, batch)]
            if any(not episode.success for episode in episodes):
                found.append(batch)
        return found[:wanted]

    def _ask(
        self, number: int, batch: int = 0, parts: tuple[dict[str, Any], ...] = ()
    ) -> tuple[Explanation | None, str]:
        """The explanation that call `number` gives; or None and why it cannot be read."""

        def messages(problem: str) -> tuple[Message, ...]:
            made = message(
                self.prompts,
                self.card,
                self.method,
                self.outcome,
                self.recorded,
                hints=self.hints,
                problem=problem,
                batch=batch,
                parts=parts,
            )
            return (made,)

        request = Request(
            "analyzer",
            self.outcome.iteration,
            self.outcome.candidate,
            0,
            (),
            turn=TURNS * number,
            max_tokens=2048,
        )
        try:
            return ask_for_record(self.caller, request, Explanation, messages), ""
        except UnreadableReply as error:
            return None, error.message


def _kept(said: Explanation, recorded: Trajectories, model: str) -> dict[str, Any]:
    """What an analysis keeps of an explanation."""
    return {
        "causes": tuple(cause[:MAX_ITEM_LENGTH] for cause in said.causes[:MAX_ITEMS]),
        "suggestions": tuple(item[:MAX_ITEM_LENGTH] for item in said.suggestions[:MAX_ITEMS]),
        "citations": tuple(_checked(c, recorded) for c in said.citations[:MAX_CITATIONS]),
        "summary": said.summary[:MAX_SUMMARY_LENGTH],
        "by": f"code + {model}",
    }


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
    """The prompt: an outcome's numbers and findings, its program, and excerpts of episodes.

    The program comes without its comments, as for the critic. `batch` selects the episodes;
    `parts` are explanations of earlier batches, to be summed up instead.
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
    name = "summarize" if parts else "explain"
    return Message("user", prompts.render(f"{method.name}/analyzer/{name}", variables))


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
    """Run the program over the recorded episodes.

    Returns the names of its terms as shaped, before they are weighed; their values (T, k) for each
    episode; and how right the program's judgements are. There are no terms if a signal learned
    them in training: the training reports about them itself (signal.json).
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
        # Rare, since it has trained: a state that training never met.
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
        # No term depends on the task reward, but a gate may wait for it.
        task=last * float(episode.success),
    )


def _batch(recorded: Trajectories, batch: int) -> list[int]:
    """The numbers of the episodes in a batch; failures come in the first ones."""
    order = sorted(range(len(recorded.episodes)), key=lambda k: (recorded.episodes[k].success, k))
    return order[EXCERPTS * batch : EXCERPTS * (batch + 1)]


def excerpts(recorded: Trajectories, card: TaskCard, batch: int = 0) -> list[dict[str, Any]]:
    """Some states of each episode of a batch, with the small fields and the action taken there."""
    names = [f.name for f in card.fields if f.reward and _size(f) <= MAX_FIELD_SIZE][:MAX_FIELDS]
    found = []
    for k in _batch(recorded, batch):
        episode = recorded.episodes[k]
        states = recorded.states(k)
        # In row s stands what was done in state s; nothing was done in the last one.
        actions = [_cell(action) for action in episode.actions] + ["-"]
        rows = []
        for step in sorted({int(s) for s in np.linspace(0, episode.length, MAX_ROWS)}):
            values = [_cell(getattr(states, name)[step]) for name in names]
            rows.append({"step": step, "values": [*values, actions[step]]})
        found.append(
            {
                "number": k,
                "ending": _ending(episode),
                "length": episode.length,
                "fields": [*names, "action"],
                "rows": rows,
            }
        )
    return found


def _size(field: Field) -> int:
    return int(np.prod(field.shape, dtype=int))


def _ending(episode: Episode) -> str:
    if episode.success:
        return "success"
    return "ran to the limit" if episode.truncated else "ended in failure"


def _cell(value: Any) -> str:
    return ", ".join(f"{v:.3g}" for v in np.ravel(value))


def _checked(cited: Explanation.Cited, recorded: Trajectories) -> Citation:
    """Check that the cited episode, step and field exist; the claim stays the model's."""
    return Citation(
        episode=cited.episode,
        step=cited.step,
        field=cited.field[:80],
        claim=cited.claim[:MAX_ITEM_LENGTH],
        checked=_exists(cited, recorded),
    )


def _exists(cited: Explanation.Cited, recorded: Trajectories) -> bool:
    if not 0 <= cited.episode < len(recorded.episodes):
        return False
    length = recorded.episodes[cited.episode].length
    if cited.step is not None and not 0 <= cited.step <= length:
        return False
    return not cited.field or cited.field.split("[")[0] in recorded.layout.names
