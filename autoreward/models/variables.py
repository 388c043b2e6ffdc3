"""Prompt variables: one table for each agent, with meaning, example and value.

The tables are all there is: stages get their variables from `variables_for`, `prompts check`
renders templates with `examples`, and `prompts list` and docs/prompts.md print `meanings`. So a
template that passes the check has every name that it uses when the run reaches it; a list that is
filled in the example may be empty then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from autoreward.models import briefing
from autoreward.rewards.composition import Composition
from autoreward.store.records import Feedback, Outcome, Verdict
from autoreward.tasks.card import TaskCard


@dataclass(frozen=True)
class CardContext:
    """What every prompt about a task starts from."""

    card: TaskCard
    hints: bool
    """Whether the card's hints are shown."""
    composition: Composition | None
    """How terms become the reward, if it is already decided."""


@dataclass(frozen=True)
class DesignerContext(CardContext):
    """What a designer's prompt starts from."""

    iteration: int
    candidate: str
    candidates: int
    feedback: Feedback | None
    refusals: Sequence[Verdict]
    from_scratch: bool
    origin: Mapping[str, Any] | None
    composing: bool
    given: Sequence[Mapping[str, str]]
    replies: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class CriticContext(CardContext):
    """What a critic's prompt starts from."""

    program: str
    warnings: Sequence[Verdict]
    problem: str


@dataclass(frozen=True)
class AnalyzerContext(CardContext):
    """What an analyzer's prompt starts from."""

    outcome: Outcome
    episodes: Sequence[Mapping[str, Any]]
    parts: Sequence[Mapping[str, Any]]
    problem: str


@dataclass(frozen=True)
class DrafterContext:
    """What a drafter's prompt starts from."""

    facts: Mapping[str, Any]
    documentation: str
    source: str
    problem: str


@dataclass(frozen=True)
class AnnotatorContext:
    """What an annotator's prompt starts from; `given` comes from the method (`Judging`)."""

    given: Mapping[str, Any]
    captions: Sequence[str]
    problem: str


C = TypeVar("C", contravariant=True)


@dataclass(frozen=True)
class Variable(Generic[C]):
    """One variable of an agent's templates.

    `example` has the structure of a real value, with every branch filled. `value` computes the real
    one from the agent's context; None if a template sets the variable itself, in a loop, for the
    templates that it includes.
    """

    meaning: str
    example: Any
    value: Callable[[C], Any] | None


EXAMPLE_FIELD: dict[str, Any] = {
    "name": "x",
    "shape": [2],
    "unit": "m",
    "range": "0 .. 1",
    "meaning": "meaning",
}
EXAMPLE_TASK: dict[str, Any] = {
    "title": "title",
    "description": "description",
    "success": "success",
    "metric": "metric",
    "constraints": ["constraint"],
    "ends_at_success": True,
    "endings": "endings",
    "limit": 100,
    "own_reward": True,
    "episodic_return": True,
    "action": {"type": "discrete", "shape": "(n,)", "meaning": "meaning"},
    "fields": [EXAMPLE_FIELD],
    "policy": "the fields",
    "relabelled": "goal",
    "training": {"algorithm": "PPO", "steps": 1000, "n_envs": 8, "gamma": 0.99},
}
EXAMPLE_OUTCOME: dict[str, Any] = {
    "id": "1a",
    "full": True,
    "program": "def reward(prev, action, curr, memory):\n    return {}",
    "composition": "transforms:\n- kind: signs\n",
    "status": "evaluated",
    "success": 0.5,
    "metric": 1.0,
    "broken": ["energy at most 4: 5.2"],
    "why": "why",
    "steps": 1000,
    "steps_to_80": 800,
    "verdicts": [
        {"kind": "import", "severity": "refuse", "line": 1, "message": "message"},
        {"kind": "scale", "severity": "warn", "line": 1, "message": "message"},
    ],
    "curve": [{"steps": 100, "success": float("nan"), "length": 10.0}],
    "terms": [
        {
            "name": "progress",
            "sum": 1.0,
            "first": 0.1,
            "share": 0.9,
            "curve": [0.1, None, 1.0],
            "most": 1.0,
            "mean": 0.5,
            "least": 0.1,
        }
    ],
    "endings": {"success": 0.5, "failure": 0.2, "limit": 0.3, "mean_length": 20.0},
    "parts": [
        (
            "unsuccessful",
            {
                "episodes": 3,
                "mean_length": 20.0,
                "term_sums": {"progress": 1.0},
                "fields": {"x": {"end": 1.0, "end_std": 0.1, "lowest": 0.0, "highest": 2.0}},
                "flags": {"has_key": {"ever": 0.5, "changes": 2.0}},
            },
        )
    ],
    "diagnostics": [{"kind": "hovering", "words": "words"}],
    "causes": ["a cause"],
    "suggestions": ["a suggestion"],
    "notes": ["a note"],
}

TASK = Variable[CardContext](
    "the card without its hints: title, description, success, metric, constraints, endings, "
    "limit, action, fields, policy (what it observes), own_reward, episodic_return, "
    "ends_at_success, relabelled (the goal that hindsight replaces), training (algorithm, "
    "steps, n_envs, gamma)",
    EXAMPLE_TASK,
    lambda c: briefing.task(c.card),
)
HINTS = Variable[CardContext](
    "the card's hints as sentences; empty without --hints",
    ["bring a to b"],
    lambda c: briefing.hints(c.card, c.hints),
)
COMPOSITION = Variable[CardContext](
    "how terms become the reward: YAML and a line on each transform; empty for the plain sum",
    "```yaml\ntransforms:\n- kind: signs\n```",
    lambda c: briefing.composition(c.composition),
)
PROBLEM = "why the last reply could not be read; empty in the first turn"

DESIGNER: dict[str, Variable[DesignerContext]] = {
    "task": TASK,
    "hints": HINTS,
    "composition": COMPOSITION,
    "number": Variable(
        "this candidate's number, from 1", 2, lambda c: ord(c.candidate) - ord("a") + 1
    ),
    "candidates": Variable("how many candidates this iteration has", 3, lambda c: c.candidates),
    "iteration": Variable("the iteration's number, from 1", 2, lambda c: c.iteration),
    "feedback": Variable(
        "outcomes so far, best first: id, full (shown with its numbers), program, composition "
        "(YAML; empty for the plain sum), status, success, metric, broken (constraints), why, "
        "steps, steps_to_80, verdicts, curve, terms (each with curve, most, mean and least over "
        "training), endings, diagnostics, parts, causes, suggestions, notes (of the signal)",
        [EXAMPLE_OUTCOME, {**EXAMPLE_OUTCOME, "full": False}],
        lambda c: briefing.feedback(c.feedback, c.hints),
    ),
    "outcome": Variable(
        "one item of `feedback`, in templates that a loop over `feedback` includes",
        EXAMPLE_OUTCOME,
        None,
    ),
    "verdicts": Variable(
        "why the last draft was rejected: kind, line, message, hint",
        [
            {
                "kind": "import",
                "severity": "refuse",
                "stage": "check",
                "line": 1,
                "message": "message",
                "hint": "hint",
            }
        ],
        lambda c: [v.model_dump() for v in c.refusals],
    ),
    "from_scratch": Variable("true once all repairs are used up", False, lambda c: c.from_scratch),
    "origin": Variable(
        "in port.md.j2, the reward function to port: code, sources (of its fields), why (it could "
        "not be used directly); otherwise empty",
        {
            "code": "def reward(obs, action, next_obs):\n    return 0.0",
            "sources": [("x", "0:2")],
            "why": "why",
        },
        lambda c: dict(c.origin or {}),
    ),
    "given": Variable(
        "what the method's settings provide, such as the subgoals of the card or of a file: name, "
        "means; otherwise empty",
        [{"name": "take_key", "means": "the agent carries the key"}],
        lambda c: list(c.given),
    ),
    "replies": Variable(
        "replies to the calls that prepare the first program: template, number, text",
        [{"template": "sample", "number": 1, "text": "text"}],
        lambda c: list(c.replies),
    ),
    "transforms": Variable(
        "with --compose designer, the transforms to choose from: kind, fields, title, equation, "
        "paper, use; otherwise empty",
        [
            {
                "kind": "weights",
                "fields": "weights: {}",
                "title": "title",
                "equation": "r = w * x",
                "paper": "paper",
                "use": "use",
            }
        ],
        lambda c: briefing.transforms() if c.composing else [],
    ),
}

CRITIC: dict[str, Variable[CriticContext]] = {
    "task": TASK,
    "hints": HINTS,
    "composition": COMPOSITION,
    "program": Variable(
        "the program under review, without comments and docstrings",
        EXAMPLE_OUTCOME["program"],
        lambda c: c.program,
    ),
    "warnings": Variable(
        "the linter's warnings", ["warning"], lambda c: [v.message for v in c.warnings]
    ),
    "problem": Variable(PROBLEM, "problem", lambda c: c.problem),
}

ANALYZER: dict[str, Variable[AnalyzerContext]] = {
    "task": TASK,
    "hints": HINTS,
    "composition": COMPOSITION,
    "program": Variable(
        "the trained program, without comments and docstrings",
        EXAMPLE_OUTCOME["program"],
        lambda c: c.outcome.program,
    ),
    "outcome": Variable(
        "its numbers: one item of the designer's `feedback`",
        EXAMPLE_OUTCOME,
        lambda c: briefing.outcome(c.outcome, c.hints),
    ),
    "episodes": Variable(
        "excerpts of recorded episodes: number, ending, length, fields, rows (step, values)",
        [
            {
                "number": 0,
                "ending": "success",
                "length": 10,
                "fields": ["x"],
                "rows": [{"step": 0, "values": ["1"]}],
            }
        ],
        lambda c: list(c.episodes),
    ),
    "parts": Variable(
        "in summarize.md.j2, the answers for each batch of episodes: summary, causes, "
        "suggestions, citations; otherwise empty",
        [
            {
                "summary": "summary",
                "causes": ["cause"],
                "suggestions": ["suggestion"],
                "citations": [{"episode": 0, "step": 1, "field": "x", "claim": "claim"}],
            }
        ],
        lambda c: list(c.parts),
    ),
    "problem": Variable(PROBLEM, "problem", lambda c: c.problem),
}

DRAFTER: dict[str, Variable[DrafterContext]] = {
    "facts": Variable(
        "what random play found: title, observation, action, reward, endings, info (keys), "
        "fields (name, source, shape, unit, range, meaning, by)",
        {
            "title": "Reach-v0",
            "observation": "Box",
            "action": "Box",
            "reward": "sparse",
            "endings": "endings",
            "info": ["speed"],
            "fields": [{**EXAMPLE_FIELD, "source": "0:2", "by": "nobody"}],
        },
        lambda c: c.facts,
    ),
    "documentation": Variable(
        "the environment's docstring; may be empty", "text", lambda c: c.documentation
    ),
    "source": Variable(
        "the source code of the environment's class; empty with --no-source",
        "class Reach: ...",
        lambda c: c.source,
    ),
    "problem": Variable(PROBLEM, "problem", lambda c: c.problem),
}

ANNOTATOR: dict[str, Variable[AnnotatorContext]] = {
    "task": Variable(TASK.meaning, EXAMPLE_TASK, lambda c: c.given.get("task", "")),
    "subgoals": Variable(
        "what to look for: name, means",
        [{"name": "take_key", "means": "has_key == 1"}],
        lambda c: c.given.get("subgoals", ""),
    ),
    "captions": Variable(
        "captions of transitions (autoreward envs caption TASK), to be numbered from 1",
        ["pick up: has_key 0 -> 1"],
        lambda c: c.captions,
    ),
    "problem": Variable(PROBLEM, "problem", lambda c: c.problem),
}

VARIABLES: dict[str, dict[str, Variable[Any]]] = {
    "designer": {**DESIGNER},
    "critic": {**CRITIC},
    "analyzer": {**ANALYZER},
    "drafter": {**DRAFTER},
    "annotator": {**ANNOTATOR},
}


def variables_for(agent: str, context: Any) -> dict[str, Any]:
    """Return the variables of an agent's templates.

    `context` is that agent's: DesignerContext, CriticContext, AnalyzerContext, DrafterContext or
    AnnotatorContext.
    """
    found = {}
    for name, variable in VARIABLES[agent].items():
        if variable.value is not None:
            found[name] = variable.value(context)
    return found


def meanings(agent: str) -> dict[str, str]:
    """Return what each variable of an agent's templates means."""
    return {name: variable.meaning for name, variable in VARIABLES[agent].items()}


def examples(agent: str, included: bool = False) -> dict[str, Any]:
    """Return an example of each variable that `variables_for` gives.

    `included` adds those that templates set for the templates they include.
    """
    found = {}
    for name, variable in VARIABLES[agent].items():
        if included or variable.value is not None:
            found[name] = variable.example
    return found
