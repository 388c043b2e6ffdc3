"""What is on disk: the record of every stage, and the run's own header.

Plain pydantic. Whoever reads a run directory needs this module only. A record is one file, written
complete or not at all (store/io.py); where each file is, run.py says. A field that was renamed is
still read under its old name.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

STAGES = ("designer", "critic", "check", "screening", "training", "evaluation", "analyzer")
Stage = Literal["designer", "critic", "check", "screening", "training", "evaluation", "analyzer"]
OutcomeStatus = Literal["evaluated", "rejected", "failed"]


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# -- one candidate ---------------------------------------------------------------------------------


class Verdict(Record):
    """One finding about a program: a refusal, which rejects the draft, or a warning.

    The kinds are listed in docs/verdicts.md.
    """

    kind: str
    severity: Literal["refuse", "warn"] = "refuse"
    stage: Stage = "check"
    line: int | None = None
    message: str
    hint: str = ""


class Refused(Record):
    """tries/N-designer.json: why a draft was rejected (its program is beside it)."""

    stage: Stage
    verdicts: tuple[Verdict, ...]


class Review(Record):
    """2-critic.json: what the critic found."""

    ok: bool
    verdicts: tuple[Verdict, ...] = ()
    # Who read the program: "lint", "lint + MODEL", or "parser" if no program was found.
    by: str = "lint"
    opinion: str = ""
    # Empty if a model was asked.
    model_skipped_because: str = Field(
        default="", validation_alias=AliasChoices("model_skipped_because", "alone")
    )


class TermProbe(Record):
    """What one term (or shaped potential) gave on the probe transitions."""

    name: str
    kind: Literal["dense", "sparse", "potential"] = "dense"
    mean: float
    std: float
    low: float
    high: float
    # Share of transitions on which the term is not zero.
    nonzero: float
    # Share of the sum of all terms' absolute values.
    share: float
    # Fields that it depends on and the policy does not see.
    unseen: tuple[str, ...] = ()


class Check(Record):
    """3-check.json: the program's run in the sandbox over the probes."""

    ok: bool
    verdicts: tuple[Verdict, ...] = ()
    terms: tuple[TermProbe, ...] = ()
    # The program keeps state between transitions.
    memory: bool = False
    # Transitions that it ran over.
    probes: int = 0
    sandbox: str = ""


class Screening(Record):
    """4-screening.json."""

    verdict: Literal["passed", "refused", "skipped"] = "skipped"
    why: str = ""


class TermCurve(Record):
    """How one term behaved in a training: means over the episodes of the last window."""

    name: str
    episode_sum: float
    # Share of the sum of all terms' absolute values.
    share: float
    first_window_sum: float = 0.0


class TrainingDone(Record):
    """5-training/seed-S/done.json: written last, so the folder is complete if it exists."""

    seed: int
    stopped: Literal["solved", "hopeless", "budget", "refused"]
    steps: int
    budget: int
    episodes: int = 0
    # Success rate of the last training episodes.
    success: float | None = None
    steps_to_80: int | None = None
    # Why the program was stopped, if it was.
    refusal: Verdict | None = None
    terms: tuple[TermCurve, ...] = ()
    device: str = "cpu"
    threads: int = 1
    versions: dict[str, str] = {}


class Score(Record):
    """score.json: one agent on fresh episodes."""

    seed: int
    episodes: int
    successes: int | None = None
    # Means over episodes, by name.
    metrics: dict[str, float] = {}
    # The card's own metric, by episode.
    values: tuple[float, ...] = ()
    mean_length: float = 0.0
    terminated_failures: int = 0
    truncations: int = 0


class Evaluation(Record):
    """6-evaluation.json, and each agent of final.json: scores pooled over training seeds.

    `low` and `high` are the ends of a 95% interval over training seeds (stats.py).
    """

    ok: bool = True
    scores: tuple[Score, ...] = ()
    success: float | None = None
    low: float | None = None
    high: float | None = None
    metric: float | None = None
    metric_low: float | None = None
    metric_high: float | None = None
    # By training; None if the agent never reached 80% success.
    steps_to_80: tuple[int | None, ...] = ()
    steps: tuple[int, ...] = ()
    constraints_kept: bool = True
    # Constraints that were broken, each with the value that broke it.
    broken: tuple[str, ...] = ()
    why: str = ""


class Citation(Record):
    """Evidence that a model names: an episode of the recorded ones, a step, a field or term.

    `checked` is whether they exist; the claim itself is the model's.
    """

    episode: int
    step: int | None = None
    field: str = ""
    claim: str = ""
    checked: bool | None = None


class Diagnostic(Record):
    """A typed finding about a trained agent. The kinds are listed in docs/diagnostics.md."""

    kind: str
    term: str | None = None
    fields: tuple[str, ...] = ()
    # From 0 to 1; the most severe comes first.
    severity: float = 0.0
    words: str
    evidence: tuple[Citation, ...] = ()
    # It was found with hints of the card.
    from_hints: bool = False


class EpisodeGroup(Record):
    """Statistics of one group of recorded episodes: the successes, or the failures."""

    episodes: int
    mean_length: float
    term_sums: dict[str, float] = {}
    fields: dict[str, dict[str, float]] = {}
    flags: dict[str, dict[str, float]] = {}


class Measure(Record):
    """How often judgements of transitions were right, compared with trusted ones.

    They are a program's or an annotator's; `what` names them.
    """

    what: str
    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def accuracy(self) -> float:
        right = self.true_positive + self.true_negative
        wrong = self.false_positive + self.false_negative
        return right / max(1, right + wrong)

    @property
    def precision(self) -> float:
        return self.true_positive / max(1, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        return self.true_positive / max(1, self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        wrong = self.false_positive + self.false_negative
        return 2 * self.true_positive / max(1, 2 * self.true_positive + wrong)

    def words(self) -> str:
        return (
            f"accuracy {self.accuracy:.3f}, precision {self.precision:.3f}, "
            f"recall {self.recall:.3f}, F1 {self.f1:.3f}"
        )


class Analysis(Record):
    """7-analyzer.json: why an agent behaves as it does."""

    diagnostics: tuple[Diagnostic, ...] = ()
    # Share of each ending among the recorded episodes.
    endings: dict[str, float] = {}
    successes: EpisodeGroup | None = None
    failures: EpisodeGroup | None = None
    # What a model wrote, if one was asked.
    summary: str = ""
    causes: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    citations: tuple[Citation, ...] = ()
    measures: tuple[Measure, ...] = ()
    # "code", or "code + MODEL".
    by: str = "code"
    # Empty if a model was asked.
    model_skipped_because: str = Field(
        default="", validation_alias=AliasChoices("model_skipped_because", "alone")
    )
    shown_to_designer: bool = Field(
        default=True, validation_alias=AliasChoices("shown_to_designer", "told")
    )


class Outcome(Record):
    """What became of one candidate, as the next iteration's designer reads it.

    The program's text is not written again: `Run.feedback` reads it from the candidate's folder.
    """

    iteration: int
    candidate: str
    program: str = Field(default="", exclude=True)
    # Empty for the plain sum.
    composition: dict[str, Any] = {}
    status: OutcomeStatus
    verdicts: tuple[Verdict, ...] = ()
    evaluation: Evaluation | None = None
    # (steps, success rate, mean length) of each window of the first training.
    curve: tuple[tuple[int, float | None, float | None], ...] = ()
    terms: tuple[TermCurve, ...] = ()
    # Term -> its mean sum per episode in each row of `curve`.
    windows: dict[str, tuple[float | None, ...]] = {}
    analysis: Analysis | None = None
    # What the method's signal reports about the training.
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The candidate's iteration and letter, such as `1a`."""
        return f"{self.iteration}{self.candidate}"


# -- the run ---------------------------------------------------------------------------------------


class Feedback(Record):
    """iteration-I/feedback.json: all outcomes so far; their order is the ranking, best first."""

    iteration: int
    outcomes: tuple[Outcome, ...]

    @property
    def best(self) -> Outcome | None:
        return next((o for o in self.outcomes if o.status == "evaluated"), None)


class Usage(Record):
    """What was spent on models. `cost` is in dollars; None if a price is unknown, never 0."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0


class Limits(Record):
    """Limits of a run, checked before each call; None for no limit. `max_time` is in seconds."""

    max_cost: float | None = None
    max_tokens: int | None = None
    max_calls: int | None = None
    max_time: float | None = None


class RunHeader(Record):
    """run.yaml: everything that decides a run.

    The same header gives the same run on the same versions. `card_path` is the user's card, from
    which the run's own copy was made; jobs name that copy.
    """

    format: Literal[1] = 1
    task: str
    card: dict[str, Any]
    card_path: str
    # Of the card and its Python file together.
    card_digest: str
    # The run's own copy of the card, relative to RUN/task/; None in runs of earlier versions.
    card_copy: str | None = None
    method: str = "auto-mc-reward"
    model: str = "offline/search"
    hints_used: bool = False
    iterations: int = 2
    candidates: int = 3
    # Of one training; None for the card's own budget.
    steps: int | None = None
    seed: int = 0
    final_seeds: int = 3
    # Trainings side by side.
    jobs: int = 1
    device: str = "auto"
    threads: int = 1
    sandbox: str = "default"
    trainer_python: str | None = None
    prompts: str | None = None
    limits: Limits = Limits()
    settings: dict[str, str] = {}
    # The preset or file that `composition` was read from, or "designer": the designer then chooses
    # one for each candidate.
    compose: str = "plain"
    composition: dict[str, Any] = {}
    # A study: its agents are trained elsewhere, and their results are reported to it.
    external_training: bool = Field(
        default=False, validation_alias=AliasChoices("external_training", "told")
    )
    episodic_return: bool = False
    # The name of the file that the run started from; a copy is in RUN/origin/.
    origin: str | None = None
    versions: dict[str, str] = {}
    created: str = ""


class Origin(Record):
    """origin/origin.json: how the file that a run started from became candidate 1a."""

    kind: Literal["program", "function", "port"]
    # The function's name in the file.
    function: str = ""
    # Why a designer must port it.
    why: str = ""
    # Transitions on which a port was compared with the original, the largest difference of their
    # sums, and the original's largest sum.
    compared: int = 0
    difference: float | None = None
    largest: float | None = None
    # Why a port could not be compared.
    uncompared: str = ""


class Leaders(BaseModel):
    """leaders.json: candidate -> its evaluation, pooled over training seeds."""

    leaders: dict[str, Evaluation]


class Final(Record):
    """final.json: the winner, confirmed on new seeds, beside its baselines.

    The program's text is not written again: `Run.final` reads it from the winner's folder. `arms`
    are the evaluations of the agents called winner, sparse and human.
    """

    winner: str | None
    program: str = Field(default="", exclude=True)
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
