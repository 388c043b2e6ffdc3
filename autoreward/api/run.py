"""The Python side of what is typed: `design`, `load_run`, `check`, `train`.

`import autoreward` offers them, and loads this when one is used.

Options are those of the command line (`setup.Options`), errors are `UserError`, nothing is printed
but by `tell`. Call from the main thread: reward workers die with the thread that started them. No
event loop and no signal handler is touched, so a notebook is fine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoreward.errors import UserError
from autoreward.loop.options import PYTHON, read_options
from autoreward.results.export import export
from autoreward.store.files import write
from autoreward.store.records import Check, Evaluation, Final
from autoreward.store.run import Run, find_run
from autoreward.tasks.find import LocatedCard, find, require_simulator

if TYPE_CHECKING:
    import gymnasium
    from stable_baselines3.common.base_class import BaseAlgorithm

Tell = Callable[[str], None]


class LoadedRun:
    """A run directory.

    Opening it and reading from it executes nothing of it; `policy` and `environment` import the
    card's Python.

    `trust`: a run that was begun elsewhere may use the card it names.
    """

    def __init__(self, path: str | Path, trust: bool = False) -> None:
        self._run, self._trust = find_run(str(path)), trust
        self.path, self.header = self._run.path, self._run.header

    def __repr__(self) -> str:
        return f"<autoreward run {self.path}: {self.header.task}, {self.header.model}>"

    @property
    def final(self) -> Final | None:
        """The winner, confirmed on new seeds, beside its controls; None while the run is not done."""
        return self._run.final

    @property
    def summary(self) -> dict[str, Any]:
        """What `autoreward runs show --json` prints."""
        from autoreward.results.summary import summary

        return summary(self.path)

    def program(self, candidate: str | None = None) -> str:
        """A candidate's reward program, as text; without a name the winner's, or the best one's so
        far.
        """
        return self._run.chosen(candidate).program

    def export(self, out: str | Path, candidate: str | None = None) -> Path:
        """Write the program as one standalone file that needs numpy and gymnasium alone."""
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
        """One environment of the task: observations as `policy()` takes them, the task's own
        reward, `info["success"]` at an episode's end.
        """
        from autoreward.trainer.takeaway import environment

        return environment(self._card(), render_mode)

    def policy(
        self,
        candidate: str | None = None,
        seed: int | None = None,
        *,
        sparse: bool = False,
        device: str = "cpu",
    ) -> BaseAlgorithm:
        """A trained agent as a stable-baselines3 model: of the confirmed winner, or of a
        candidate; `seed`: of its training, None: the first.

        `model.predict(observation)` takes what `environment()` returns: normalization is inside. As
        in the task's evaluation, most policies draw their actions: `header.card` says under
        `evaluation` whether success was measured with `deterministic=True`.
        """
        from autoreward.trainer.takeaway import model

        return model(self._card(), self._run.agent(candidate, seed, sparse).resolve(), device)


def load_run(path: str | Path = "last", *, trust: bool = False) -> LoadedRun:
    """Open a run: a folder, a name in ./runs, or `last`."""
    return LoadedRun(path, trust)


def teller(run: Run, tell: Tell | None) -> Callable[..., None]:
    """`say` for the loop: into events.jsonl, and one line to `tell`."""

    def say(
        stage: str,
        what: str,
        iteration: int | None = None,
        candidate: str | None = None,
        **data: Any,
    ) -> None:
        run.event(stage, what, iteration, candidate, **data)
        if tell:
            tell(
                " ".join(
                    [
                        f"{iteration or ''}{candidate or ''}".ljust(3),
                        f"{stage}: {what}",
                        *(f"{k}={v}" for k, v in data.items() if v is not None),
                    ]
                )
            )

    return say


def design(
    task: str, *, tell: Tell | None = None, headers: dict[str, str] | None = None, **given: Any
) -> LoadedRun:
    """Design a reward for a task: `autoreward design`, with its options as keywords (`model=`,
    `iterations=`, `max_cost=`, ...).

    `tell`: takes a line of progress at a time, e.g. `print`. UserError where something is wrong;
    the run is then kept, see `resume`.
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
    """Go on with a run that was stopped."""
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
        loop.design(setup.tools(run, how, teller(run, tell), _silent))
        write_report(run.path)
    return LoadedRun(run.path)


def check(program: str | Path, task: str, *, sandbox: str = "default") -> Check:
    """Lint a program and try it in the jail on recorded transitions.

    `program`: its text, or the path of a .py file.
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
    """Train `seeds` agents on a program (None: the sparse task reward) and score them: `autoreward
    train`. Files stay in `out`.
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
        path = place / "program.py"
        write(path, program_text(program))

    def progress(label: str, numbers: dict[str, float | None]) -> None:
        if tell:
            tell(f"{label}: " + " ".join(f"{k}={v:g}" for k, v in numbers.items() if v is not None))

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
    """A program given as text, or as the path of a file."""
    if isinstance(program, Path) or (program.endswith(".py") and "\n" not in program):
        try:
            return Path(program).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{program} is not readable: {error}",
                "give the program's text, or the path of its file",
            ) from None
    return program


def _silent(label: str, numbers: dict[str, float | None]) -> None:
    """Progress that nobody asked for."""
