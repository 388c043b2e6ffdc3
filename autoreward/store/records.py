"""What lies on disk: every stage's record, and the run's own header.

Plain pydantic, imports nothing of ours.

Whoever reads a run directory needs this module alone. One record is one file, written whole or not
at all (`run.py`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

STAGES = ("designer", "critic", "check", "screening", "training", "evaluation", "analyzer")
Stage = Literal["designer", "critic", "check", "screening", "training", "evaluation", "analyzer"]


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Verdict(Record):
    """One finding about a program: a refusal, or a warning that goes along.

    Classes are listed in docs/verdicts.md.
    """

    kind: str
    severity: Literal["refuse", "warn"] = "refuse"
    stage: Stage = "check"
    line: int | None = None
    message: str
    hint: str = ""


class Refused(Record):
    """tries/N-designer.json: a draft that did not pass, and why (beside tries/N-designer.py)."""

    stage: Stage
    verdicts: tuple[Verdict, ...]


class Review(Record):
    """2-critic.json. `by` says who read it: "lint", or "lint + MODEL"; `alone` why no model did."""

    ok: bool
    verdicts: tuple[Verdict, ...] = ()
    by: str = "lint"
    opinion: str = ""
    alone: str = ""


class TermProbe(Record):
    """What one term (or shaped potential) did on the probe transitions."""

    name: str
    kind: Literal["dense", "sparse", "potential"] = "dense"
    mean: float
    std: float
    low: float
    high: float
    nonzero: float
    share: float
    # fields it depends on that the policy does not see
    unseen: tuple[str, ...] = ()


class Check(Record):
    """3-check.json."""

    ok: bool
    verdicts: tuple[Verdict, ...] = ()
    terms: tuple[TermProbe, ...] = ()
    memory: bool = False
    probes: int = 0
    sandbox: str = ""


class Screening(Record):
    """4-screening.json."""

    verdict: Literal["passed", "refused", "skipped"] = "skipped"
    why: str = ""


class TermCurve(Record):
    """How one term behaved over a training: means over the episodes that ended in the last window."""

    name: str
    episode_sum: float
    share: float
    first_window_sum: float = 0.0


class TrainingDone(Record):
    """5-training/seed-S/done.json: written last, so its presence says that the folder is whole."""

    seed: int
    stopped: Literal["solved", "hopeless", "budget", "refused"]
    steps: int
    budget: int
    episodes: int = 0
    success: float | None = None
    steps_to_80: int | None = None
    refusal: Verdict | None = None
    terms: tuple[TermCurve, ...] = ()
    device: str = "cpu"
    threads: int = 1
    versions: dict[str, str] = {}


class Score(Record):
    """One trained policy on fresh seeds.

    Metrics are means over episodes, by name; `values` of the card's own metric, by episode.
    """

    seed: int
    episodes: int
    successes: int | None = None
    metrics: dict[str, float] = {}
    values: tuple[float, ...] = ()
    mean_length: float = 0.0
    terminated_failures: int = 0
    truncations: int = 0


class Evaluation(Record):
    """6-evaluation.json, and each arm of final.json: pooled over training seeds, with an interval
    over seeds.
    """

    ok: bool = True
    scores: tuple[Score, ...] = ()
    success: float | None = None
    low: float | None = None
    high: float | None = None
    metric: float | None = None
    metric_low: float | None = None
    metric_high: float | None = None
    steps_to_80: tuple[int | None, ...] = ()
    steps: tuple[int, ...] = ()
    constraints_kept: bool = True
    # constraints, with the value that broke them
    broken: tuple[str, ...] = ()
    why: str = ""


class Citation(Record):
    """Evidence: an episode of the recorded trajectories, a step, and a field or term, as claimed;
    `checked` by code.
    """

    episode: int
    step: int | None = None
    field: str = ""
    claim: str = ""
    checked: bool | None = None


class Diagnostic(Record):
    """A typed finding about a trained agent. Kinds are listed in docs/diagnostics.md."""

    kind: str
    term: str | None = None
    fields: tuple[str, ...] = ()
    severity: float = 0.0
    words: str
    evidence: tuple[Citation, ...] = ()
    from_hints: bool = False


class EpisodeGroup(Record):
    """Statistics of one group of episodes (successes, or failures)."""

    episodes: int
    mean_length: float
    term_sums: dict[str, float] = {}
    fields: dict[str, dict[str, float]] = {}
    flags: dict[str, dict[str, float]] = {}


class Measure(Record):
    """How often a program's (or an annotator's) judgements of transitions were right, against
    trusted ones; `what`: which of them.
    """

    what: str
    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def accuracy(self) -> float:
        return (self.true_positive + self.true_negative) / max(
            1, self.true_positive + self.false_positive + self.false_negative + self.true_negative
        )

    @property
    def precision(self) -> float:
        return self.true_positive / max(1, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        return self.true_positive / max(1, self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        return (
            2
            * self.true_positive
            / max(1, 2 * self.true_positive + self.false_positive + self.false_negative)
        )

    def words(self) -> str:
        return f"accuracy {self.accuracy:.3f}, precision {self.precision:.3f}, recall {self.recall:.3f}, F1 {self.f1:.3f}"


class Analysis(Record):
    """7-analyzer.json.

    `by`: "code", or "code + MODEL"; `alone` says why no model was asked, `told` whether the
    designer reads any of this.
    """

    diagnostics: tuple[Diagnostic, ...] = ()
    endings: dict[str, float] = {}
    successes: EpisodeGroup | None = None
    failures: EpisodeGroup | None = None
    summary: str = ""
    causes: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    citations: tuple[Citation, ...] = ()
    measures: tuple[Measure, ...] = ()
    by: str = "code"
    alone: str = ""
    told: bool = True


class Outcome(Record):
    """What became of one candidate, as the next iteration's Designer reads it.

    `windows`: term -> its mean sum per episode in each row of `curve`; `notes`: what its signal
    says of the training.
    """

    iteration: int
    candidate: str
    program: str
    # {} = the plain sum
    composition: dict[str, Any] = {}
    status: Literal["evaluated", "rejected", "failed"]
    verdicts: tuple[Verdict, ...] = ()
    evaluation: Evaluation | None = None
    curve: tuple[tuple[int, float | None, float | None], ...] = ()
    terms: tuple[TermCurve, ...] = ()
    windows: dict[str, tuple[float | None, ...]] = {}
    analysis: Analysis | None = None
    notes: tuple[str, ...] = ()


class Feedback(Record):
    """iteration-I/feedback.json: all outcomes so far, best first; the order is the ranking."""

    iteration: int
    outcomes: tuple[Outcome, ...]

    @property
    def best(self) -> Outcome | None:
        return next((o for o in self.outcomes if o.status == "evaluated"), None)


class Usage(Record):
    """What was spent on a model. `cost` is None where no price is known: unknown, never 0."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0


class Limits(Record):
    """Bounds checked before each call; None = no bound. `time` in seconds, for the whole run."""

    max_cost: float | None = None
    max_tokens: int | None = None
    max_calls: int | None = None
    max_time: float | None = None


class RunHeader(Record):
    """run.yaml: everything that decides a run, so that the same header on the same versions gives
    the same run.

    `origin`: the name of the file that the run began from, kept in RUN/origin/ (origin.py). `told`:
    agents are trained elsewhere, and a study is told what became of them (study.py). `compose`: the
    preset or file that `composition` was read from, or `designer`, who then chooses one for each
    candidate.
    """

    format: Literal[1] = 1
    task: str
    card: dict[str, Any]
    card_path: str
    card_digest: str
    method: str = "auto-mc-reward"
    model: str = "offline/search"
    hints_used: bool = False
    iterations: int = 2
    candidates: int = 3
    steps: int | None = None
    seed: int = 0
    final_seeds: int = 3
    jobs: int = 1
    device: str = "auto"
    threads: int = 1
    sandbox: str = "default"
    trainer_python: str | None = None
    prompts: str | None = None
    limits: Limits = Limits()
    settings: dict[str, str] = {}
    compose: str = "plain"
    composition: dict[str, Any] = {}
    told: bool = False
    episodic_return: bool = False
    origin: str | None = None
    versions: dict[str, str] = {}
    created: str = ""


class Origin(Record):
    """origin/origin.json: how the file that a run began from became candidate 1a.

    `difference`: the most a port's sum differs on `compared` transitions.
    """

    kind: Literal["program", "function", "port"]
    function: str = ""
    why: str = ""
    compared: int = 0
    difference: float | None = None
    largest: float | None = None
    uncompared: str = ""


class Final(Record):
    """final.json: the winner, confirmed on new seeds, beside its controls."""

    winner: str | None
    program: str = ""
    arms: dict[str, Evaluation] = {}
    hints_used: bool = False
    why: str = ""


class Event(Record):
    """One line of events.jsonl."""

    time: str
    stage: str
    what: str
    iteration: int | None = None
    candidate: str | None = None
    data: dict[str, Any] = {}
