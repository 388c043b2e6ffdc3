"""Export a run's winning program as one Python file that needs only numpy and gymnasium.

The file is put together from text: the program and the card's functions as they are, the modules of
COPIED_MODULES, and data from the run's records, each written with `repr`. Nothing of a run is
executed here; whoever imports the file runs it.
"""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import MISSING as MISSING_DEFAULT
from dataclasses import Field, dataclass, fields
from importlib.resources import files
from typing import Any

from autoreward.errors import REFUSED, UserError
from autoreward.methods import find_method
from autoreward.resources import VERSION
from autoreward.results.card_functions import self_contained_functions
from autoreward.results.exported_docstring import exported_docstring
from autoreward.rewards.composition import Composition, chosen
from autoreward.rewards.linter import lint
from autoreward.rewards.signals import PLAIN
from autoreward.store.candidate import CandidateFolder
from autoreward.store.run import Run
from autoreward.tasks.card import TaskCard
from autoreward.tasks.find import LocatedCard
from autoreward.tasks.plain_task import plain_task
from autoreward.tasks.runtime import Task

# copied into every exported file, in this order
COPIED_MODULES = (
    "state.py",
    "tasks/source.py",
    "tasks/runtime.py",
    "trainer/wrappers.py",
)


@dataclass(frozen=True)
class Exported:
    """An exported file: its text, the candidate it holds, and the trusted functions it lacks.

    `missing` names the functions of the card that its user must pass.
    """

    text: str
    candidate: str
    missing: tuple[str, ...]


def export(run: Run, card: LocatedCard | None, candidate: str | None = None) -> Exported:
    """Return the exported file of a candidate, the winner by default.

    `card` is the run's card if it was found; its Python file is read for trusted functions, never
    run. Raises UserError if the candidate is unknown, if the linter rejects its program, or if its
    reward needs more than a program and a weighted sum.
    """
    folder = run.chosen(candidate)
    card_data = TaskCard.model_validate(run.header.card)
    program = _exportable_program(run, folder, card_data)
    weights = _weights(chosen(run.header, folder.composition_path), folder.id)
    task = plain_task(card_data)
    needed = task.needed_functions
    code = _card_functions(card, needed) if needed else None
    missing = needed if code is None else ()

    parts = [
        exported_docstring(run, folder, card_data, missing),
        "from __future__ import annotations\n\n" + _imports(),
        "# -- the reward program: written by a model, and run here without a sandbox. Read it "
        "before you import this file.\n\n\n" + _as_function("_program", _indented(program)),
    ]
    if needed:
        body = _indented(code) if code else "    # pass them: DesignedReward(env, functions={...})"
        parts.append(
            "# -- trusted functions of the task card\n\n\n" + _as_function("_functions", body)
        )
    parts += [_body(module) for module in COPIED_MODULES]
    parts += [_task(task, weights), ENDING]
    text = "\n\n\n".join(part.strip("\n") for part in parts) + "\n"
    _require_compilable(text, folder.id)
    return Exported(text, folder.id, missing)


def _exportable_program(run: Run, folder: CandidateFolder, card: TaskCard) -> str:
    """Return the candidate's program; UserError if an exported file cannot run it."""
    signal = find_method(run.header.method).signal
    if signal != PLAIN:
        raise UserError(
            f"rewards of method {run.header.method} come from its signal {signal!r}, which an "
            "exported file cannot contain",
            f"export the trained agent instead: autoreward export {run.path} --policy FILE.onnx",
            REFUSED,
        )
    program = folder.program
    rejections = [v for v in lint(program, card.reward_layout) if v.severity == "refuse"]
    if rejections or not program:
        why = rejections[0].message if rejections else "its file is missing"
        raise UserError(
            f"candidate {folder.id} has no program to export: {why}",
            f"autoreward runs show {run.path}, then --candidate ID",
            REFUSED,
        )
    return program


def _card_functions(card: LocatedCard | None, needed: tuple[str, ...]) -> str | None:
    """Return the source of the card's trusted functions; None if it cannot be copied."""
    if card is None or card.code is None or not card.code.is_file():
        return None
    return self_contained_functions(card.code.read_text(encoding="utf-8"), needed)


def _require_compilable(text: str, candidate: str) -> None:
    """Raise UserError if the file is not Python; it is parsed, not run."""
    try:
        compile(text, "exported.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(
            f"the program of candidate {candidate} does not compile inside a function: {error}",
            "avoid `from numpy import *`; fix the program, then: autoreward train",
            REFUSED,
        ) from None


def _weights(composition: Composition, candidate: str) -> dict[str, Any]:
    """Return `weights` and `task_weight` of the file's Task.

    Raises UserError if the composition is more than a weighted sum.
    """
    weights = composition.weights_by_name()
    if weights is None:
        kinds = ", ".join(transform.kind for transform in composition.transforms)
        raise UserError(
            f"candidate {candidate} was trained with the composition {kinds}, but an exported file "
            "can only add up weighted terms",
            "export the trained agent instead (autoreward export --help), or train the program "
            "with --compose plain",
            REFUSED,
        )
    return {"weights": weights, "task_weight": composition.task_reward}


def _as_function(name: str, body: str) -> str:
    """Return a function that runs the body and returns the names it defines."""
    return f"def {name}() -> dict[str, Any]:\n{body}\n\n    return dict(locals())\n"


def _indented(code: str) -> str:
    """Indent code by four spaces, except lines inside a string, whose text must not change."""
    inside_string: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        is_f_string = tokenize.tok_name[token.type].startswith("FSTRING")
        if token.type == tokenize.STRING or is_f_string:
            inside_string.update(range(token.start[0] + 1, token.end[0] + 1))

    leading_blank_lines = len(code) - len(code.lstrip("\n"))
    indented: list[str] = []
    for number, line in enumerate(code.strip("\n").split("\n"), 1 + leading_blank_lines):
        keep = not line.strip() or number in inside_string
        indented.append(line if keep else "    " + line)
    return "\n".join(indented)


def _source(module: str) -> tuple[ast.Module, list[str]]:
    """Return a module of ours as a syntax tree and as lines; it is not imported."""
    text = (files("autoreward") / module).read_text(encoding="utf-8")
    return ast.parse(text), text.splitlines()


def _imports() -> str:
    """Return what COPIED_MODULES and ENDING import, once each; nothing of ours."""
    modules: set[str] = set()
    names: dict[str, set[str]] = {"dataclasses": {"replace"}}
    for copied in COPIED_MODULES:
        tree, _ = _source(copied)
        for node in tree.body:
            if isinstance(node, ast.Import):
                modules.add(ast.unparse(node))
            if not isinstance(node, ast.ImportFrom):
                continue
            origin = node.module or ""
            if origin.split(".")[0] not in ("__future__", "autoreward"):
                names.setdefault(origin, set()).update(alias.name for alias in node.names)

    lines = sorted(modules)
    for origin, found in sorted(names.items()):
        lines.append(f"from {origin} import {', '.join(sorted(found))}")
    return "\n".join(lines)


def _body(module: str) -> str:
    """Return a module's text after its docstring and imports."""
    tree, lines = _source(module)
    start = 0
    for node in tree.body:
        is_docstring = node is tree.body[0]
        if is_docstring or isinstance(node, (ast.Import, ast.ImportFrom)):
            start = node.end_lineno or 0
    heading = f"# -- {module} of autoreward {VERSION}: the same in every exported file\n\n"
    return heading + "\n".join(lines[start:])


def _task(task: Task, weights: dict[str, Any]) -> str:
    """Return `TASK = Task(...)` as source, with data only."""
    lines = ["# -- the task, from its card", "", "TASK = Task("]
    for field in fields(Task):
        value = {**vars(task), **weights}[field.name]
        if field.name != "functions" and value not in _defaults(field):
            lines.append(f"    {field.name}={value!r},")
    if task.needed_functions:
        lines.append("    functions=_functions(),")
    return "\n".join([*lines, ")"])


def _defaults(field: Field[Any]) -> list[Any]:
    """Return the field's default in a list, or an empty list if it has none."""
    if field.default is not MISSING_DEFAULT:
        return [field.default]
    return [{}] if field.default_factory is not MISSING_DEFAULT else []


ENDING = """
# -- what to use


def task(functions: dict[str, Callable[..., Any]] | None = None) -> Task:
    \"\"\"Return the task; `functions` adds trusted functions of the card by name.\"\"\"
    return replace(TASK, functions={**TASK.functions, **(functions or {})})


class DesignedReward(RewardWrapper):
    \"\"\"One environment of the task with the designed reward.\"\"\"

    def __init__(
        self, env: gym.Env[Any, Any], functions: dict[str, Callable[..., Any]] | None = None
    ) -> None:
        super().__init__(env, task(functions), Program(_program(), TASK.offered_layout))


def designed_vec(
    make: Callable[[], gym.Env[Any, Any]],
    n: int,
    functions: dict[str, Callable[..., Any]] | None = None,
) -> Any:
    \"\"\"Return n environments as a VecEnv for stable-baselines3, which must be installed.

    For example: PPO("MlpPolicy", designed_vec(make, 8)).
    \"\"\"
    return reward_vec(make, n, task(functions), Program(_program(), TASK.offered_layout))
"""
