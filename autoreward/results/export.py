"""One standalone Python file from a run: the winning program in a gymnasium wrapper that needs
numpy and gymnasium alone.

The file is put together from texts: the program and the card's functions as they stand, `state.py`
and `tasks/standalone.py`, and data from the run's records, each written with `repr`. Nothing of a run is
executed here, a stranger's neither; whoever imports the file does.
"""

from __future__ import annotations

import ast
import builtins
import io
import sys
import tokenize
from dataclasses import MISSING as MISSING_DEFAULT
from dataclasses import Field, dataclass, fields
from importlib.resources import files
from typing import Any

from autoreward.errors import REFUSED, UserError
from autoreward.methods import find_method
from autoreward.resources import VERSION
from autoreward.rewards.composition import Composition, chosen
from autoreward.rewards.linter import lint
from autoreward.rewards.signals import PLAIN
from autoreward.sandbox.outside.worker import clean
from autoreward.store.candidate import CandidateFolder
from autoreward.store.records import Evaluation
from autoreward.store.run import Run
from autoreward.tasks.card import TaskCard
from autoreward.tasks.find import LocatedCard
from autoreward.tasks.plain_task import plain_task
from autoreward.tasks.standalone import Task

# what an exported file may import
AVAILABLE_MODULES = {*sys.stdlib_module_names, "numpy", "gymnasium"}
# copied into every exported file, in this order
COPIED_MODULES = (
    "state.py",
    "tasks/source.py",
    "tasks/standalone.py",
    "trainer/wrappers.py",
)


@dataclass(frozen=True)
class Exported:
    """The file's text, the candidate it holds, and the names of trusted functions that its user
    must bring along.
    """

    text: str
    candidate: str
    missing: tuple[str, ...]


def export(run: Run, card: LocatedCard | None, candidate: str | None = None) -> Exported:
    """The standalone file.

    `card`: the run's card where it is at hand, for its trusted functions; only read.

    UserError where there is no such candidate, or where the linter refuses its program.
    """
    folder = run.chosen(candidate)
    task = TaskCard.model_validate(run.header.card)
    program = folder.program
    if (signal := find_method(run.header.method).signal) != PLAIN:
        message = f"the reward of method {run.header.method} is made by its signal {signal!r}, which the file would have to bring"
        raise UserError(
            message,
            f"the trained agent can be taken: autoreward export {run.path} --policy FILE.onnx",
            REFUSED,
        )
    refused = [v for v in lint(program, task.reward_layout) if v.severity == "refuse"]
    if refused or not program:
        why = refused[0].message if refused else "its file is not there"
        raise UserError(
            f"candidate {folder.id} has no program to export: {why}",
            f"autoreward runs show {run.path}, then --candidate ID",
            REFUSED,
        )
    weights = _weights(chosen(run.header, folder.composition_path), folder.id)
    plain = plain_task(task)
    needed = plain.needed_functions
    code = (
        plain_functions(card.code.read_text(encoding="utf-8"), needed)
        if needed and card and card.code and card.code.is_file()
        else None
    )
    missing = needed if needed and code is None else ()
    parts = [
        f'"""{_quoted(_docstring(run, folder, task, missing))}"""',
        "from __future__ import annotations\n\n" + _imports(),
        "# -- the reward program: written by a model, and this file runs it unguarded. Read it before you import the file.\n\n\n"
        f"def _program() -> dict[str, Any]:\n{_indented(program)}\n\n    return dict(locals())\n",
    ]
    if needed:
        body = (
            _indented(code)
            if code
            else "    # bring them along: DesignedReward(env, functions={...})"
        )
        parts.append(
            f"# -- trusted functions of the task card\n\n\ndef _functions() -> dict[str, Any]:\n{body}\n\n    return dict(locals())\n"
        )
    parts += [_body(module) for module in COPIED_MODULES]
    parts += [_task(plain, weights), ENDING]
    text = "\n\n\n".join(part.strip("\n") for part in parts) + "\n"
    try:
        # parsed, not run
        compile(text, "exported.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(
            f"candidate {folder.id} cannot stand inside of a function: {error}",
            "no `from numpy import *`; mend the program, then: autoreward train",
            REFUSED,
        ) from None
    return Exported(text, folder.id, missing)


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


def plain_functions(code: str, wanted: tuple[str, ...]) -> str | None:
    """The lines of those functions and of all they use; None where that is more than numpy,
    gymnasium and the standard library.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    places = {name: node for node in tree.body for name in _bound(node)}
    kept: set[ast.stmt] = set()
    todo = list(wanted)
    if "*" in places or any(name not in places for name in wanted):
        return None
    while todo:
        node = places.get(todo.pop())
        if node is None or node in kept:
            continue
        for part in ast.walk(node):
            modules = (
                [a.name for a in part.names]
                if isinstance(part, ast.Import)
                else [part.module or "."]
                if isinstance(part, ast.ImportFrom)
                else []
            )
            if any(m.split(".")[0] not in AVAILABLE_MODULES for m in modules) or (
                isinstance(part, ast.ImportFrom) and part.level
            ):
                return None
            if isinstance(part, ast.Name) and (part.id in places or not hasattr(builtins, part.id)):
                todo.append(part.id)
        kept.add(node)
    lines = code.splitlines()
    spans = [
        (min([n.lineno, *(d.lineno for d in getattr(n, "decorator_list", []))]), n.end_lineno)
        for n in tree.body
        if n in kept
    ]
    return "\n\n".join("\n".join(lines[start - 1 : end]) for start, end in spans)


def _bound(node: ast.stmt) -> list[str]:
    """Names that a statement of a module binds."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return []
    names = [
        n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    ]
    return names + [
        (a.asname or a.name).split(".")[0]
        for n in ast.walk(node)
        if isinstance(n, (ast.Import, ast.ImportFrom))
        for a in n.names
    ]


def _indented(code: str) -> str:
    """Four spaces before every line, but for lines that begin inside of a string: the code means
    what it meant.
    """
    inside: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.STRING or tokenize.tok_name[token.type].startswith("FSTRING"):
            inside |= set(range(token.start[0] + 1, token.end[0] + 1))
    return "\n".join(
        line if not line.strip() or k in inside else "    " + line
        for k, line in enumerate(
            code.strip("\n").split("\n"), 1 + len(code) - len(code.lstrip("\n"))
        )
    )


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
    \"\"\"The task; `functions`: trusted functions of the card by name, added to those of this file.\"\"\"
    return replace(TASK, functions={**TASK.functions, **(functions or {})})


class DesignedReward(RewardWrapper):
    \"\"\"The designed reward around one environment of the task.\"\"\"

    def __init__(self, env: gym.Env[Any, Any], functions: dict[str, Callable[..., Any]] | None = None) -> None:
        super().__init__(env, task(functions), Program(_program(), TASK.offered_layout))


def designed_vec(make: Callable[[], gym.Env[Any, Any]], n: int, functions: dict[str, Callable[..., Any]] | None = None) -> Any:
    \"\"\"n environments as a VecEnv for stable-baselines3, which must be installed: PPO("MlpPolicy", designed_vec(make, 8)).\"\"\"
    return reward_vec(make, n, task(functions), Program(_program(), TASK.offered_layout))
"""


def _docstring(run: Run, folder: CandidateFolder, task: TaskCard, missing: tuple[str, ...]) -> str:
    """Where it came from, what was measured, how to use it."""
    header, final = run.header, run.final
    made = task.environment
    kwargs = "".join(f", {k}={v!r}" for k, v in made.kwargs.items())
    make = (
        f'gym.make("{made.id}", max_episode_steps=-1{kwargs})'
        if made.id
        else f"{(made.factory or '').rpartition(':')[2]}({kwargs[2:]})"
    )
    own = (
        ""
        if made.id
        else f"    # of the card's own Python file, {task.code}"
        if (made.factory or "").startswith("here:")
        else f"    # {made.factory}"
    )
    confirmed = final is not None and final.winner == folder.id
    arms = (
        dict(final.arms)
        if final and confirmed
        else {"this program": e}
        if (e := folder.evaluation)
        else {}
    )
    versions = ", ".join(
        f"{k} {v}"
        for k, v in header.versions.items()
        if k in ("autoreward-rl", "numpy", "gymnasium", "stable-baselines3", "torch")
    )
    measured = [f"    {arm:<13} {_measured(result)}" for arm, result in arms.items()]
    added = (
        "1 at the first success of an episode"
        if task.task_reward == "success"
        else "the environment's own reward"
        + (", its sum at the end of an episode alone" if task.episodic_return else "")
    )
    ends = " and at success" if task.success and task.success.ends_episode else ""
    how = (
        "on new training seeds and new episodes"
        if confirmed
        else "in the search; this candidate was not confirmed on new seeds"
    )
    lines = [
        f"A designed reward for {task.title!r}, written by {header.model}.",
        "",
        "    env = DesignedReward(" + make + ")" + own,
        "    venv = designed_vec(lambda: " + make + ", 8)    # for stable-baselines3",
        "",
        f"The environment's observations stay as they are. The episode ends at the task's limit{ends}; info['autoreward'] holds",
        "the named fields, the terms of the reward, the task's own reward, and whether the task has succeeded.",
        "",
        "CAUTION: this file holds code that a language model or a search wrote (the function _program), and runs it without a sandbox.",
        "Read it before you import the file. autoreward itself runs such code in a jail alone, and wrote this file without running it.",
        "",
        f"From run {run.path.resolve().name}, candidate {folder.id}, task {task.name} (card {header.card_digest}), model {header.model}, method {header.method},",
        f"seed {header.seed}, begun {header.created}; {versions}.",
        f"Measured {how}, with {task.training.algorithm} (95% intervals):",
        *(measured or ["    nothing yet"]),
        f"The reward is the program's terms and {added}; gamma {task.training.gamma:g} shapes its potentials.",
    ]
    if missing:
        names = ", ".join(f'"{name}": ...' for name in missing)
        lines += [
            "",
            f"BRING ALONG: functions={{{names}}}, from the card's Python file {task.code}: they use more than numpy and gymnasium.",
        ]
    return "\n".join(lines) + "\n"


def _measured(result: Evaluation) -> str:
    parts = []
    if result.success is not None and result.low is not None and result.high is not None:
        parts.append(
            f"success {result.success:.0%} ({result.low:.0%} to {result.high:.0%}), {len(result.scores)} training seeds"
        )
    if result.metric is not None:
        parts.append(f"metric {result.metric:.4g}")
    return "; ".join(parts) or result.why or "nothing"


def _quoted(text: str) -> str:
    """Text of a run inside of a docstring: it cannot end it."""
    return clean(text, 10_000).replace("\\", "\\\\").replace('"', "'")
