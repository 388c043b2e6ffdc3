"""A study: the design loop with your own training in place of ours.

`ask()` returns a candidate, `tell()` takes the outcome of its training.

    study = autoreward.Study("corridor", iterations=3, candidates=2, run="runs/mine")
    for candidate in study:
        env = candidate.wrap(my_environment())  # rewards come from the program in its sandbox
        agent = my_training(env)
        study.tell(candidate, study.evaluate(agent.act, env=my_environment()))

The run directory, the designer, critic, check and analyzer are those of a design; only training and
evaluation are yours. A study opened again on the same directory continues: evidence is kept, and a
pending candidate is returned again. Only one process at a time may work on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from autoreward.api.candidate import Candidate
from autoreward.api.evidence import Evidence
from autoreward.api.run import Tell, teller
from autoreward.errors import MISSING, REFUSED, USAGE, UserError
from autoreward.loop import setup
from autoreward.loop.design import conclude, finish, record_probes
from autoreward.loop.drafts import draft_candidates
from autoreward.loop.options import PYTHON, read_options
from autoreward.loop.stages import evaluation, screening
from autoreward.loop.trust import require_trusted
from autoreward.seeds import episode_seed
from autoreward.store.candidate import CandidateFolder
from autoreward.store.episodes import Episode, Trajectories
from autoreward.store.records import Evaluation, Final, Score, TermCurve, TrainingDone, Verdict
from autoreward.store.run import Run, RunFolder
from autoreward.tasks.find import LocatedCard

if TYPE_CHECKING:
    import gymnasium

    from autoreward.tasks.runtime import Task
    from autoreward.trainer.wrappers import View


class Study:
    """A design whose agents you train yourself.

    `run` is the study's directory; an existing study there is continued, otherwise one is created.
    Options are those of `autoreward.design`. `tell` is called with one line of progress at a time,
    for example `print`.

    Raises UserError if an option is wrong, if `run` is no study or one of another task, and if a
    study created elsewhere is opened without `trust=True`.
    """

    def __init__(
        self,
        task: str | None = None,
        *,
        run: str | Path | None = None,
        tell: Tell | None = None,
        headers: dict[str, str] | None = None,
        trust: bool = False,
        **given: Any,
    ) -> None:
        place = Path(run) if run is not None else None
        if place is not None and RunFolder(place).is_run:
            self._run = _open(place, task, trust)
        elif task is None:
            raise UserError("a new study needs a task", 'autoreward.Study("corridor")', USAGE)
        else:
            if place is not None:
                given |= {"folder": place.parent, "name": place.name}
            options = read_options(({**given, "task": task, "headers": headers}, PYTHON))
            options = replace(options, external_training=True)
            self._run = setup.start(options, setup.model_options(options.stored_settings, headers))
        model_options = setup.model_options(self._run.header.settings, headers)
        self._context = setup.run_context(
            self._run, model_options, teller(self._run, tell), lambda label, numbers: None
        )
        self.path = self._run.path
        self.card = self._context.card
        # candidates that `ask` has returned and `tell` has not seen yet
        self._pending: dict[str, Candidate] = {}
        self._task: Task | None = None

    def __repr__(self) -> str:
        return f"<autoreward study {self.path}: {self._run.header.task}, {self._run.header.model}>"

    @property
    def task(self) -> Task:
        """The task as the wrappers take it.

        Imports the card's Python file if its fields or its success need it.
        """
        if self._task is None:
            from autoreward.trainer.agent_export import task

            self._task = task(self.card)
        return self._task

    def make(self) -> gymnasium.Env:
        """Create an environment of the task, without any wrapper of ours."""
        from autoreward.trainer.agent_export import bare

        return bare(self.card)

    def ask(self) -> Candidate | None:
        """Return the next candidate, drafted, reviewed and checked.

        Returns None when every iteration is done; `final` is then available. Several candidates may
        be pending at once.

        Raises UserError if the next candidate needs the outcome of a pending one, if a model fails,
        and if a limit is reached.
        """
        with self._run.locked(), self._context.template:
            if self._run.final is not None:
                return None
            record_probes(self._context)
            for iteration in range(1, self._run.header.iterations + 1):
                if self._run.feedback(iteration) is not None:
                    continue
                if candidate := self._next(iteration):
                    return candidate
                conclude(self._context, iteration)
            self._finish()
        return None

    def _next(self, iteration: int) -> Candidate | None:
        """A candidate of this iteration that is not pending; None if all have their evidence."""
        drafted = draft_candidates(self._context, iteration)
        waiting = [c for c in drafted if c.accepted and c.evaluation is None]
        for folder in waiting:
            if folder.id not in self._pending:
                sandbox = self._run.header.sandbox
                self._pending[folder.id] = Candidate(folder, self.card, self.task, sandbox)
                return self._pending[folder.id]
        if waiting:
            pending = ", ".join(folder.id for folder in waiting)
            raise UserError(
                f"the next program is written from the outcome of {pending}",
                "study.tell(candidate, evidence) first",
                USAGE,
            )
        return None

    def __iter__(self) -> Iterator[Candidate]:
        """Yield candidates one after another; call `tell` for each before the next."""
        while (candidate := self.ask()) is not None:
            yield candidate

    def tell(
        self,
        candidate: Candidate | str,
        evidence: Evidence | Mapping[str, Any] | Sequence[Evidence | Mapping[str, Any]],
    ) -> Evaluation:
        """Record the outcome of your training of a candidate.

        `evidence` is a list if you trained several agents, each with its own `seed`.

        Raises UserError, and writes nothing, if the candidate is unknown or has its evidence
        already, or if the evidence is incomplete.
        """
        name = candidate if isinstance(candidate, str) else candidate.id
        given = [evidence] if isinstance(evidence, (Evidence, Mapping)) else list(evidence)
        parts = [_read(item) for item in given]
        with self._run.locked():
            folder = self._run.find_candidate(name)
            if folder is None or not folder.accepted:
                raise UserError(
                    f"unknown candidate {name!r}", "study.ask() returns candidates", MISSING
                )
            if folder.evaluation is not None:
                raise UserError(
                    f"candidate {name} already has its evidence",
                    "study.ask() returns the next one",
                    USAGE,
                )
            _require_seeds(parts, name)
            for item in parts:
                _require_complete(item, self.card, name)
            result = self._write(folder, parts)
        self._close(name, candidate)
        return result

    def _close(self, name: str, candidate: Candidate | str) -> None:
        """Stop the workers of a candidate that has its evidence."""
        if pending := self._pending.pop(name, None):
            pending.close()
        if isinstance(candidate, Candidate):
            candidate.close()

    def _write(self, folder: CandidateFolder, parts: Sequence[Evidence]) -> Evaluation:
        """Write the files that our own training and evaluation would leave, the evaluation last."""
        # What an interrupted `tell` left.
        folder.remove_trainings()
        trainings = [folder.training_folder(item.seed) for item in parts]
        for training, item in zip(trainings, parts, strict=True):
            if item.curve:
                training.write_curve(_curve_arrays(item))
            if not item.failure:
                training.write_score(_score(item))
            training.write_done(_training_done(item))

        episodes = tuple(episode for item in parts for episode in item.trajectories)
        if episodes:
            Trajectories(self.card.card.layout, episodes).save(folder.episodes_path)
        result = evaluation.pool(self.card.card, trainings)
        folder.keep_screening(screening.screen())
        folder.keep_evaluation(result)
        self._context.say(
            "evaluation",
            "evidence recorded",
            folder.iteration,
            folder.name,
            success=result.success,
            low=result.low,
            high=result.high,
            why=result.why,
        )
        return result

    def evaluate(
        self,
        act: Callable[[Any], Any],
        *,
        env: gymnasium.Env | None = None,
        view: View | None = None,
        episodes: int = 50,
        seed: int = 0,
        record: int = 20,
        **evidence: Any,
    ) -> Evidence:
        """Play whole episodes on the true task, with no program involved.

        `act(observation)` returns an action. `env` is your environment of the task (default: a new
        one), and `view` a wrapper around it that changes what your policy sees. The first `record`
        episodes are kept for the analyzer. `evidence` adds fields to the result: `steps=`,
        `curve=`, `metrics=`, ...
        """
        from autoreward.trainer.wrappers import TaskWrapper

        wrapped: Any = TaskWrapper(env if env is not None else self.make(), self.task)
        if view:
            wrapped = view(wrapped)
        outcomes, lengths, kept = [], [], []
        for number in range(episodes):
            episode = _play(wrapped, act, episode_seed(seed, number))
            outcomes.append(episode.success)
            lengths.append(episode.length)
            if number < record:
                kept.append(episode)
        found: dict[str, Any] = {
            "episodes": episodes,
            "mean_length": float(np.mean(lengths)),
            "trajectories": tuple(kept),
            "seed": seed,
        }
        if self.card.card.success:
            found["outcomes"] = tuple(outcomes)
        return _read({**found, **evidence})

    @property
    def final(self) -> Final | None:
        """The best candidate by your evidence; None until the study is done."""
        return self._run.final

    @property
    def best(self) -> str | None:
        """The text of the best program of all finished iterations; None before the first."""
        best = self._run.best
        return best.program if best else None

    def _finish(self) -> None:
        from autoreward.results.report import write_report

        header = self._run.header
        feedback = self._run.feedback(header.iterations)
        best = feedback.best if feedback else None
        hints = header.hints_used or self._context.method.reads_hints(header.model, header.settings)
        if best is None or best.evaluation is None:
            final = Final(
                winner=None, hints_used=hints, why="no candidate survived checking and training"
            )
        else:
            final = Final(
                winner=best.id,
                program=best.program,
                arms={"winner": best.evaluation},
                hints_used=hints,
                why="as reported by your own training; not confirmed on other seeds",
            )
        finish(self._context, final)
        write_report(self._run.path)


def _open(place: Path, task: str | None, trust: bool) -> Run:
    """The study in a directory.

    Raises UserError if it is another kind of run, or a study of another task.
    """
    run = Run(place)
    if not run.header.external_training:
        raise UserError(
            f"{place} is a run that trains its own agents, not a study",
            "use another `run=`",
            USAGE,
        )
    if task is not None and task != run.header.task:
        raise UserError(
            f"{place} is a study of {run.header.task}, not of {task}",
            "use a different `run=`, or leave out the task",
            USAGE,
        )
    require_trusted(run, trust, f"autoreward.Study(run={str(place)!r}, trust=True)")
    return run


def _play(env: Any, act: Callable[[Any], Any], seed: int) -> Episode:
    """Play one episode; its fields and actions as the wrapper records them."""
    from autoreward.trainer.wrappers import KEY

    observation, info = env.reset(seed=seed)
    fields = [info[KEY]["fields"]]
    actions = []
    terminated = truncated = False
    while not (terminated or truncated):
        observation, _, terminated, truncated, info = env.step(act(observation))
        fields.append(info[KEY]["fields"])
        actions.append(info[KEY]["action"])
    success = bool(info[KEY]["success"])
    return Episode(np.stack(fields), np.stack(actions), terminated, truncated, success)


def _curve_arrays(item: Evidence) -> dict[str, np.ndarray]:
    """The curve as a trainer writes it; the rewards and terms of its windows are unknown."""
    rows = [[np.nan if value is None else value for value in row] for row in item.curve]
    columns = np.array(rows, np.float64)
    return {
        "steps": columns[:, 0],
        "success": columns[:, 1],
        "length": columns[:, 2],
        "reward": np.full(len(columns), np.nan),
        "terms": np.zeros((len(columns), 0)),
        "names": np.zeros(0, "<U1"),
    }


def _score(item: Evidence) -> Score:
    return Score(
        seed=item.seed,
        episodes=item.count,
        successes=item.won,
        metrics=item.metrics,
        mean_length=item.mean_length,
    )


def _training_done(item: Evidence) -> TrainingDone:
    total = sum(abs(value) for value in item.terms.values()) or 1.0
    terms = tuple(
        TermCurve(name=name, episode_sum=value, share=abs(value) / total)
        for name, value in item.terms.items()
    )
    refusal = None
    if item.failure:
        refusal = Verdict(kind="told", stage="training", message=item.failure)
    return TrainingDone(
        seed=item.seed,
        stopped="refused" if item.failure else "budget",
        steps=item.steps,
        budget=item.steps,
        success=item.rate,
        steps_to_80=item.steps_to_80,
        refusal=refusal,
        terms=terms,
        device="told",
    )


def _read(given: Evidence | Mapping[str, Any]) -> Evidence:
    """Evidence from a mapping. Raises UserError, naming the field, if it cannot be read."""
    if isinstance(given, Evidence):
        return given
    try:
        return Evidence.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(
            f"evidence: {field}: {message}" if field else f"evidence: {message}",
            "docs/python.md lists the fields",
            USAGE,
        ) from None


def _require_seeds(parts: Sequence[Evidence], name: str) -> None:
    """Raise UserError unless there is evidence, and each training has its own seed."""
    hint = "one item per training, each with its own seed"
    if not parts:
        raise UserError(f"evidence of {name}: empty", hint, USAGE)
    seeds = [item.seed for item in parts]
    repeated = max(seeds, key=seeds.count)
    if seeds.count(repeated) > 1:
        raise UserError(f"evidence of {name}: two trainings share the seed {repeated}", hint, USAGE)


def _require_complete(item: Evidence, card: LocatedCard, name: str) -> None:
    """Raise UserError if the task asks for more than the evidence holds."""
    if item.failure:
        return
    task = card.card
    if task.success is not None and item.won is None:
        raise UserError(
            f"evidence of {name}: the task {task.name} defines success, "
            "so give `outcomes`, or `successes` and `episodes`",
            "Evidence(successes=37, episodes=50)",
            USAGE,
        )
    metrics = [task.metric, *(constraint.metric for constraint in task.constraints)]
    absent = [metric.name for metric in metrics if metric and metric.name not in item.metrics]
    if absent:
        raise UserError(
            f"evidence of {name}: the task needs its metric {absent[0]!r}",
            f"Evidence(metrics={{'{absent[0]}': ...}})",
            USAGE,
        )
    for episode in item.trajectories:
        expected = (episode.length + 1, task.layout.width)
        if episode.fields.shape != expected:
            raise UserError(
                f"evidence of {name}: an episode of {episode.length} actions has fields of shape "
                f"{episode.fields.shape}, not {expected}",
                f"all fields of the card in order, in each state: {', '.join(task.layout.names)}",
                REFUSED,
            )
