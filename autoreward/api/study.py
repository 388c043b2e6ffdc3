"""A study: the loop of design with your own training in place of ours.

`ask()` gives a candidate, `tell()` takes what became of it.

    study = autoreward.Study("corridor", model="offline/search", iterations=3, candidates=2, run="runs/mine")
    for candidate in study:
        env = candidate.wrap(my_environment())          # the program answers from its jail
        agent = my_training(env)
        study.tell(candidate, study.evaluate(agent.act, env=my_environment()))

The run directory, the designer, critic, check and analyzer are those of `loop.py`; only training
and evaluation are told. Reopened on the same directory, a study goes on: what was told is kept, a
candidate that was out is given again. One process at a time works on it.
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

    from autoreward.tasks.standalone import Task
    from autoreward.trainer.wrappers import View


class Study:
    """`run`: the study's directory; one that is there is opened and goes on, else it is begun.

    Options as in `autoreward.design`.

    `tell`: takes a line of progress at a time, e.g. `print`. UserError where something is wrong;
    nothing told is lost.
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
            self._run = Run(place)
            if not self._run.header.external_training:
                raise UserError(
                    f"{place} is a run that trains its own agents, not a study",
                    "another `run=`",
                    USAGE,
                )
            if task is not None and task != self._run.header.task:
                raise UserError(
                    f"{place} is a study of {self._run.header.task}, not of {task}",
                    "another `run=`, or no task",
                    USAGE,
                )
            require_trusted(self._run, trust, f"autoreward.Study(run={str(place)!r}, trust=True)")
        elif task is None:
            raise UserError("a new study needs a task", 'autoreward.Study("corridor")', USAGE)
        else:
            if place is not None:
                given |= {"folder": place.parent, "name": place.name}
            options = read_options(({**given, "task": task, "headers": headers}, PYTHON))
            options = replace(options, external_training=True)
            self._run = setup.start(options, setup.model_options(options.stored_settings, headers))
        how = setup.model_options(self._run.header.settings, headers)
        self._tools = setup.tools(
            self._run, how, teller(self._run, tell), lambda label, numbers: None
        )
        self.path, self.card = self._run.path, self._tools.card
        self._out: dict[str, Candidate] = {}
        self._known: Task | None = None

    def __repr__(self) -> str:
        return f"<autoreward study {self.path}: {self._run.header.task}, {self._run.header.model}>"

    @property
    def task(self) -> Task:
        """The task as the wrappers take it; imports the card's Python where fields or success need
        it.
        """
        if self._known is None:
            from autoreward.trainer.takeaway import task

            self._known = task(self.card)
        return self._known

    def make(self) -> gymnasium.Env:
        """A fresh environment of the task, as its makers wrote it."""
        from autoreward.trainer.takeaway import bare

        return bare(self.card)

    def ask(self) -> Candidate | None:
        """The next candidate: drafted, reviewed and checked.

        None when every iteration is done; then `final` is there.

        Several may be out at once. UserError where the next one needs the outcome of one that is
        out, and where a model fails or a limit is reached.
        """
        tools, header = self._tools, self._run.header
        with self._run.locked(), tools.template:
            if self._run.final is not None:
                return None
            record_probes(tools)
            for iteration in range(1, header.iterations + 1):
                if self._run.feedback(iteration) is not None:
                    continue
                waiting = [
                    c
                    for c in draft_candidates(tools, iteration)
                    if c.accepted and c.evaluation is None
                ]
                for folder in waiting:
                    if folder.id not in self._out:
                        self._out[folder.id] = Candidate(
                            folder, self.card, self.task, header.sandbox
                        )
                        return self._out[folder.id]
                if waiting:
                    raise UserError(
                        f"the next program is written from what became of {', '.join(c.id for c in waiting)}",
                        "study.tell(candidate, evidence) first",
                        USAGE,
                    )
                conclude(tools, iteration)
            self._finish()
        return None

    def __iter__(self) -> Iterator[Candidate]:
        """Candidates one after another; tell each before the next."""
        while (candidate := self.ask()) is not None:
            yield candidate

    def tell(
        self,
        candidate: Candidate | str,
        evidence: Evidence | Mapping[str, Any] | Sequence[Evidence | Mapping[str, Any]],
    ) -> Evaluation:
        """What your training of that candidate came to; a list where you trained several agents,
        each with its own `seed`.
        """
        name = candidate if isinstance(candidate, str) else candidate.id
        given = [evidence] if isinstance(evidence, (Evidence, Mapping)) else list(evidence)
        parts = [_read(e) for e in given]
        with self._run.locked():
            folder = self._run.find_candidate(name)
            if folder is None or not folder.accepted:
                raise UserError(
                    f"there is no candidate {name!r} to tell of", "study.ask() gives one", MISSING
                )
            if folder.evaluation is not None:
                raise UserError(
                    f"candidate {name} was told already", "study.ask() gives the next one", USAGE
                )
            seeds = [e.seed for e in parts]
            if not parts or len(set(seeds)) < len(seeds):
                raise UserError(
                    f"evidence of {name}: "
                    + (
                        "empty"
                        if not parts
                        else f"two trainings have the same seed {max(seeds, key=seeds.count)}"
                    ),
                    "one item per training, each with its own seed",
                    USAGE,
                )
            for item in parts:
                _fits(item, self.card, name)
            result = self._write(folder, parts)
        for started in [
            self._out.pop(name, None),
            candidate if isinstance(candidate, Candidate) else None,
        ]:
            if started:
                started.close()
        return result

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
        self._tools.say(
            "evaluation",
            "told",
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
        **told: Any,
    ) -> Evidence:
        """Play whole episodes on the true task, no program near: `act(observation)` gives an
        action. The first `record` are kept for the analyzer.

        `env`: your environment of the task, else a fresh one; `view`: a wrapper around it, for what
        your policy sees; `told`: more for the Evidence, as `steps=`, `curve=`, `metrics=`.
        """
        from autoreward.trainer.wrappers import KEY, TaskWrapper

        watched: Any = TaskWrapper(env if env is not None else self.make(), self.task)
        watched = view(watched) if view else watched
        outcomes, lengths, kept = [], [], []
        for k in range(episodes):
            seen, info = watched.reset(seed=episode_seed(seed, k))
            fields, actions, ended = [info[KEY]["fields"]], [], False
            while not ended:
                action = act(seen)
                seen, _, terminated, truncated, info = watched.step(action)
                fields.append(info[KEY]["fields"])
                actions.append(info[KEY]["action"])
                ended = terminated or truncated
            outcomes.append(bool(info[KEY]["success"]))
            lengths.append(len(actions))
            if k < record:
                kept.append(
                    Episode(
                        np.stack(fields), np.stack(actions), terminated, truncated, outcomes[-1]
                    )
                )
        won = {"outcomes": tuple(outcomes)} if self.card.card.success else {}
        return _read(
            {
                **won,
                "episodes": episodes,
                "mean_length": float(np.mean(lengths)),
                "trajectories": tuple(kept),
                "seed": seed,
                **told,
            }
        )

    @property
    def final(self) -> Final | None:
        """The best candidate as told; None while the study goes on."""
        return self._run.final

    @property
    def best(self) -> str | None:
        """The best program so far, as text; of finished iterations."""
        best = self._run.best
        return best.program if best else None

    def _finish(self) -> None:
        from autoreward.results.report import write_report

        header = self._run.header
        feedback = self._run.feedback(header.iterations)
        best = feedback.best if feedback else None
        hints = header.hints_used or self._tools.method.reads_hints(header.model, header.settings)
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
        finish(self._tools, final)
        write_report(self._run.path)


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
    if isinstance(given, Evidence):
        return given
    try:
        return Evidence.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"evidence: {'.'.join(map(str, first['loc'])) or 'it'}: {first['msg'].removeprefix('Value error, ')}",
            "docs/python.md lists what may be told",
            USAGE,
        ) from None


def _fits(item: Evidence, card: LocatedCard, name: str) -> None:
    """UserError where the task asks for more than was told."""
    if item.failure:
        return
    if card.card.success is not None and item.won is None:
        raise UserError(
            f"evidence of {name}: the task {card.card.name} has a success; tell `outcomes`, or `successes` and `episodes`",
            "Evidence(successes=37, episodes=50)",
            USAGE,
        )
    wanted = [m.name for m in [card.card.metric, *(c.metric for c in card.card.constraints)] if m]
    if absent := [m for m in wanted if m not in item.metrics]:
        raise UserError(
            f"evidence of {name}: the task needs its metric {absent[0]!r}",
            f"Evidence(metrics={{'{absent[0]}': ...}})",
            USAGE,
        )
    for episode in item.trajectories:
        if episode.fields.shape != (episode.length + 1, card.card.layout.width):
            raise UserError(
                f"evidence of {name}: an episode of {episode.length} actions has fields of shape {episode.fields.shape}, not {(episode.length + 1, card.card.layout.width)}",
                f"all fields of the card in order, in every state: {', '.join(card.card.layout.names)}",
                REFUSED,
            )
