"""The Python interface: `design`, `resume`, `load_run`, `check`, `train`.

`import autoreward` offers them, and loads this module when one is used. Options are those of the
command line (`loop/options.py`), errors are `UserError`, and nothing is printed except through
`tell`. Call them from the main thread, because reward workers die with the thread that started
them. No event loop or signal handler is touched, so they work in notebooks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoreward.errors import UserError
from autoreward.loop.options import PYTHON, read_options
from autoreward.results.export import export
from autoreward.store.io import write
from autoreward.store.records import Check, Evaluation, Final
from autoreward.store.run import ProgramFolder, Run, find_run
from autoreward.tasks.find import LocatedCard, find, require_simulator

if TYPE_CHECKING:
    import gymnasium
    from stable_baselines3.common.base_class import BaseAlgorithm

Tell = Callable[[str], None]


class LoadedRun:
    """A run directory.

    Opening it and reading from it executes nothing from it; `policy` and `environment` import the
    card's Python file. `trust` allows a run created elsewhere to use the card that it names.
    """

    def __init__(self, path: str | Path, trust: bool = False) -> None:
        self._run = find_run(str(path))
        self._trust = trust
        self.path = self._run.path
        self.header = self._run.header

    def __repr__(self) -> str:
        return f"<autoreward run {self.path}: {self.header.task}, {self.header.model}>"

    @property
    def final(self) -> Final | None:
        """The winner, confirmed on new seeds, and its baselines; None until the run is done."""
        return self._run.final

    @property
    def summary(self) -> dict[str, Any]:
        """The data that `autoreward runs show --json` prints."""
        from autoreward.results.summary import summary

        return summary(self.path)

    def program(self, candidate: str | None = None) -> str:
        """Return the text of a candidate's reward program.

        Without a name: the winner's, or the best one's so far.
        """
        return self._run.chosen(candidate).program

    def export(self, out: str | Path, candidate: str | None = None) -> Path:
        """Write the program as one standalone file that needs only numpy and gymnasium."""
        from autoreward.loop.trust import card_of

        try:
            card: LocatedCard | None = card_of(self._run)
        except UserError:
            card = None
        write(Path(out), export(self._run, card, candidate).text)
        return Path(out)

    def _card(self) -> LocatedCard:
        from autoreward.loop.trust import card_of, require_trusted

        require_trusted(self._run, self._trust, "load_run(path, trust=True)")
        card = card_of(self._run)
        require_simulator(card.card)
        return card

    def environment(self, render_mode: str | None = None) -> gymnasium.Env:
        """Create one environment of the task.

        It returns observations as `policy()` takes them, the task's own reward, and
        `info["success"]` at the end of an episode.
        """
        from autoreward.trainer.agent_export import environment

        return environment(self._card(), render_mode)

    def policy(
        self,
        candidate: str | None = None,
        seed: int | None = None,
        *,
        sparse: bool = False,
        device: str = "cpu",
    ) -> BaseAlgorithm:
        """Return a trained agent as a stable-baselines3 model.

        It is the agent of the confirmed winner or of a candidate, trained on `seed` (default: the
        first); with `sparse` the one trained on the sparse task reward.

        `model.predict(observation)` takes what `environment()` returns: normalization is inside the
        model. Most policies sample their actions, as in the task's evaluation; `header.card` says
        under `evaluation` whether success was measured with `deterministic=True`.
        """
        from autoreward.trainer.agent_export import model

        return model(self._card(), self._run.agent(candidate, seed, sparse).resolve(), device)


def load_run(path: str | Path = "last", *, trust: bool = False) -> LoadedRun:
    """Open a run: its directory, its name in ./runs, or `last`."""
    return LoadedRun(path, trust)


def teller(run: Run, tell: Tell | None) -> Callable[..., None]:
    """Return `say` for the loop: it records an event, and passes one line to `tell`."""

    def say(
        stage: str,
        what: str,
        iteration: int | None = None,
        candidate: str | None = None,
        **data: Any,
    ) -> None:
        run.event(stage, what, iteration, candidate, **data)
        if not tell:
            return
        words = [f"{iteration or ''}{candidate or ''}".ljust(3), f"{stage}: {what}"]
        words += [f"{key}={value}" for key, value in data.items() if value is not None]
        tell(" ".join(words))

    return say


def design(
    task: str, *, tell: Tell | None = None, headers: dict[str, str] | None = None, **given: Any
) -> LoadedRun:
    """Design a reward for a task, as `autoreward design` does.

    Options are keywords named as on the command line: `model=`, `iterations=`, `max_cost=`, ...;
    `settings=` stands for --set and `origin=` for --from. `tell` is called with one line of
    progress at a time, for example `print`.

    Raises UserError if an option is wrong, a model fails or a limit is reached. The run is kept and
    can be continued with `resume`.
    """
    from autoreward.loop import setup

    options = read_options(({**given, "task": task, "headers": headers}, PYTHON))
    model_options = setup.model_options(options.stored_settings, options.headers)
    return _go(setup.start(options, model_options), model_options, tell)


def resume(
    path: str | Path = "last",
    *,
    tell: Tell | None = None,
    headers: dict[str, str] | None = None,
    trust: bool = False,
) -> LoadedRun:
    """Continue a run that was stopped.

    Raises UserError as `design` does, and if the run was created elsewhere and `trust` is False.
    """
    from autoreward.loop import setup
    from autoreward.loop.trust import require_trusted

    run = find_run(str(path))
    require_trusted(run, trust, "autoreward.resume(path, trust=True)")
    return _go(run, setup.model_options(run.header.settings, headers), tell)


def _go(run: Run, how: Any, tell: Tell | None) -> LoadedRun:
    from autoreward.loop import design as loop
    from autoreward.loop import setup
    from autoreward.results.report import write_report

    with run.locked():
        loop.design(setup.run_context(run, how, teller(run, tell), _silent))
        write_report(run.path)
    return LoadedRun(run.path)


def check(program: str | Path, task: str, *, sandbox: str = "default") -> Check:
    """Lint a program and try it in the sandbox on recorded transitions.

    `program` is its text, or the path of a .py file. Findings are in `verdicts` of the result.
    """
    from autoreward.loop import single_program
    from autoreward.loop.engine import Engine

    card = find(task)
    require_simulator(card.card)
    return single_program.check_program(program_text(program), card, sandbox, Engine(1))


def train(
    program: str | Path | None,
    task: str,
    *,
    seeds: int = 3,
    out: str | Path | None = None,
    tell: Tell | None = None,
    **given: Any,
) -> Evaluation:
    """Train `seeds` agents on a program and evaluate them, as `autoreward train` does.

    `program` is its text, the path of a .py file, or None for the sparse task reward. Options are
    keywords, as for `design`. The files are kept in `out` (default: runs/train-TASK-...).
    """
    import secrets

    from autoreward.loop import single_program
    from autoreward.loop.engine import Engine
    from autoreward.resources import cores

    card = find(task)
    require_simulator(card.card)
    options = read_options(({**given, "task": task}, PYTHON))
    place = (
        Path(out) if out else Path("runs") / f"train-{card.card.name}-{secrets.token_hex(2)[:3]}"
    )
    path: Path | None = None
    if program is not None:
        path = ProgramFolder(place).program_path
        write(path, program_text(program))

    def progress(label: str, numbers: dict[str, float | None]) -> None:
        if tell:
            shown = [f"{key}={value:g}" for key, value in numbers.items() if value is not None]
            tell(f"{label}: {' '.join(shown)}")

    return single_program.train_program(
        path,
        options,
        card,
        seeds,
        place,
        Engine(options.jobs or cores(), options.trainer_python),
        progress,
    )


def program_text(program: str | Path) -> str:
    """Return a program that is given as text, or as the path of a .py file."""
    if isinstance(program, Path) or (program.endswith(".py") and "\n" not in program):
        try:
            return Path(program).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{program} cannot be read: {error}",
                "give the program's text, or the path of its file",
            ) from None
    return program


def _silent(label: str, numbers: dict[str, float | None]) -> None:
    """Ignore the progress of trainings."""
