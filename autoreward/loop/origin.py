"""A reward to begin from (`design --from FILE`): candidate 1a is that file, as it is, in a
mechanical wrapper, or ported by the Designer.

    program    it follows our contract (autoreward check): taken as it is
    function   a plain function of observation, action, next observation, one number a transition: called row by row, the observation
               put together from the card's fields again, where they hold all of it
    port       anything else: the Designer writes it in our contract; where the original runs in the jail at all, the port must give
               the same numbers on the recorded transitions, and the largest difference is kept

RUN/origin/ holds given.py, program.py (what 1a was made of) and origin.json. The file is text here:
it runs in the jail alone.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoreward.errors import REFUSED, UserError
from autoreward.loop.context import RunContext
from autoreward.loop.stages import check
from autoreward.rewards.composition import shape_potentials
from autoreward.rewards.linter import lint
from autoreward.rewards.program import facts
from autoreward.sandbox.outside.replay import probe_transitions, replay
from autoreward.sandbox.outside.worker import ProgramRejected
from autoreward.store.candidate import CandidateFolder
from autoreward.store.files import read, read_arrays, read_bytes_safely, text, write
from autoreward.store.records import Check, Origin, Verdict
from autoreward.store.run import Run, RunFolder
from autoreward.tasks.card import TaskCard

FIRST = "1a"
# relative to the original's largest value on the probes
SAME = 1e-6
BEFORE = {
    "obs",
    "observation",
    "state",
    "s",
    "ob",
    "prev_obs",
    "prev_state",
    "old_obs",
    "last_obs",
    "o",
    "x",
}
ACTION = {"action", "act", "a", "u", "actions"}
AFTER = {
    "next_obs",
    "next_observation",
    "next_state",
    "obs_next",
    "new_obs",
    "next_s",
    "s2",
    "s_next",
    "obs2",
    "next_o",
    "o2",
    "new_state",
    "observation_next",
    "x_next",
}
NAMES = (
    "reward",
    "compute_reward",
    "reward_function",
    "reward_fn",
    "get_reward",
    "calculate_reward",
    "calc_reward",
    "_reward",
    "_get_reward",
)


class NotConvertible(Exception):
    """Why a function cannot be taken mechanically, in words."""


def keep(run: Run, given: Path) -> None:
    """Copy the file into a new run, before anything else happens there."""
    write(run.given_path, read_bytes_safely(given))


def require(given: Path) -> None:
    """UserError where the file is no Python, or holds no reward; before a run begins."""
    try:
        code = read_bytes_safely(given).decode()
        tree = ast.parse(code)
    except FileNotFoundError:
        raise UserError(
            f"--from {given}: there is no such file",
            "a reward program, or a Python file with your reward function",
        ) from None
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UserError(
            f"--from {given} is no readable Python: {error}", "mend the file", REFUSED
        ) from None
    if not any(isinstance(n, ast.FunctionDef) for n in ast.walk(tree)):
        raise UserError(
            f"--from {given} defines no function", "def reward(obs, action, next_obs): ...", REFUSED
        )


def drafted(context: RunContext, candidate: CandidateFolder, attempt: int) -> str | None:
    """The program of candidate 1a where it needs no model; None for every other draft."""
    origin = prepared(context) if candidate.id == FIRST else None
    return (
        text(context.run.original_path)
        if origin and origin.kind != "port" and attempt == 0
        else None
    )


def to_port(context: RunContext, candidate: CandidateFolder) -> dict[str, object] | None:
    """What the Designer is shown for candidate 1a where it must port: code, sources of fields,
    why.
    """
    origin = prepared(context) if candidate.id == FIRST else None
    if origin is None or origin.kind != "port":
        return None
    return {
        "code": text(context.run.given_path).strip(),
        "sources": [(f.name, f.source) for f in context.card.card.fields if f.reward],
        "why": origin.why,
    }


def prepared(context: RunContext) -> Origin | None:
    """How the given file is taken; decided once, on the run's probes.

    None where the run began from nothing.
    """
    if context.run.header.origin is None:
        return None
    place = context.run.origin_path
    if (known := read(place, Origin)) is not None:
        return known
    given, card = text(context.run.given_path), context.card.card
    if _follows_contract(given):
        made, program = Origin(kind="program"), given
    else:
        program = ""
        try:
            wrapped = wrap(given, card, _width(context.run))
            program = wrapped.text
            findings = [v for v in lint(program, card.reward_layout) if v.severity == "refuse"]
            result = (
                check.check(
                    program,
                    card,
                    context.run.probes_path,
                    context.run.header.sandbox,
                    context.template,
                )
                if not findings
                else None
            )
            refused = findings or [
                v for v in (result.verdicts if result else ()) if v.severity == "refuse"
            ]
            if refused:
                raise NotConvertible(f"{refused[0].kind}: {refused[0].message}")
            made = Origin(kind="function", function=wrapped.function)
        except NotConvertible as error:
            made = Origin(kind="port", why=str(error))
            if not context.caller.model.language:
                hint = "name a language model with --model, which ports it; or write it as a reward program (autoreward check FILE --task TASK)"
                raise UserError(
                    f"--from {context.run.header.origin} cannot be taken as it is: {error}",
                    hint,
                    REFUSED,
                ) from None
    write(context.run.original_path, program)
    write(place, made)
    context.say(
        "designer",
        "begins from",
        1,
        "a",
        file=context.run.header.origin,
        kind=made.kind,
        why=made.why or None,
    )
    return made


def compare_with_original(
    context: RunContext, candidate: CandidateFolder, program: str, result: Check
) -> Check:
    """The check of candidate 1a with one more refusal where it is a port that gives other numbers
    than the original.
    """
    origin = prepared(context) if candidate.id == FIRST else None
    if origin is None or origin.kind != "port" or not result.ok:
        return result
    original = text(context.run.original_path)
    values, why = program_sums(context, original) if original else (None, origin.why)
    if values is None:
        write(context.run.origin_path, origin.model_copy(update={"uncompared": why}))
        context.say("check", "port not compared", 1, "a", why=why)
        return result
    ported, _ = program_sums(context, program)
    assert ported is not None
    gaps = np.abs(ported - values)
    worst, scale = np.unravel_index(int(gaps.argmax()), gaps.shape), float(np.abs(values).max())
    write(
        context.run.origin_path,
        origin.model_copy(
            update={"difference": float(gaps.max()), "largest": scale, "compared": int(values.size)}
        ),
    )
    context.say(
        "check",
        "port compared",
        1,
        "a",
        transitions=int(values.size),
        max_difference=float(gaps.max()),
    )
    far = gaps > SAME * max(1.0, scale)
    if not far.any():
        return result
    message = f"on {int(far.sum())} of {values.size} recorded transitions the port's sum differs from the original's; the most: {ported[worst]:.6g} instead of {values[worst]:.6g}"
    verdict = Verdict(
        kind="port-differs",
        message=message,
        hint="the same constants, conditions and sides; no potential()",
    )
    return result.model_copy(update={"ok": False, "verdicts": (*result.verdicts, verdict)})


def program_sums(context: RunContext, program: str) -> tuple[np.ndarray | None, str]:
    """(T, n) sums of a program's terms on the run's probes, computed in the jail; None and why
    where it fails there.
    """
    card, recorded = context.card.card, read_arrays(context.run.probes_path)
    try:
        replayed = replay(
            program,
            card,
            [probe_transitions(card, recorded)],
            sandbox=context.run.header.sandbox,
            template=context.template,
        )
    except ProgramRejected as error:
        return None, f"the original fails in the jail: {error.verdict.message}"
    (answer,) = replayed.answers
    shaped = shape_potentials(
        answer.before, answer.after, recorded["terminated"], card.training.gamma
    )
    return answer.terms.sum(-1) + shaped.sum(-1), ""


# -- a plain function, mechanically ----------------------------------------------------------------


@dataclass(frozen=True)
class Wrapped:
    text: str
    function: str


def _follows_contract(code: str) -> bool:
    """Whether it defines reward(prev, action, curr, memory), or potential(state)."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return False
    given = {
        n.name: [a.arg for a in [*n.args.posonlyargs, *n.args.args]]
        for n in tree.body
        if isinstance(n, ast.FunctionDef)
    }
    if "reward" in given:
        return len(given["reward"]) == 4 and given["reward"][2] not in AFTER
    return "potential" in facts(code).entry_points


def _width(run: RunFolder) -> int | None:
    """Columns of the environment's observation where it is one vector, from the probes' report."""
    import json

    try:
        space = str(json.loads(read_bytes_safely(run.probes_report_path)).get("observation", ""))
    except (OSError, ValueError):
        return None
    found = re.match(r"Box\(.*\((\d+),\), \w+\)$", space)
    return int(found[1]) if found else None


def wrap(code: str, card: TaskCard, width: int | None) -> Wrapped:
    """A program in our contract that calls the function for every row.

    Unfit, with the reason, where that cannot mean the same.
    """
    tree = ast.parse(code)
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    name = next((n for n in NAMES if n in functions), None) or (
        next(iter(functions)) if len(functions) == 1 else None
    )
    if name is None:
        raise NotConvertible(
            f"none of its functions is called {' or '.join(NAMES[:3])}"
            if functions
            else "it has no function at its top level (a method needs its object)"
        )
    called = ", ".join(_argument(a) for a in _parameters(functions[name]))
    inner = name
    if name in ("reward", "potential"):
        inner = f"given_{name}"
        code = _renamed(code, tree, name, inner)
    body = f"""

def _observations(state, n):
    return {_assembly(card, width)}


def reward(prev, action, curr, memory):
    n = len(curr)
    before, after = _observations(prev, n), _observations(curr, n)
    values = [{inner}({called}) for k in range(n)]
    return {{"{name.strip("_")}": np.array([float(v[0]) if isinstance(v, tuple) else float(v) for v in values], float)}}
"""
    return Wrapped("import numpy as np\n\n" + code.strip() + "\n" + body, name)


def _parameters(function: ast.FunctionDef) -> list[str]:
    """before, action, after, in the function's own order."""
    given = [a.arg for a in [*function.args.posonlyargs, *function.args.args]]
    needed = given[: len(given) - len(function.args.defaults)] if function.args.defaults else given
    kinds = []
    for arg in needed:
        kind = (
            "before"
            if arg in BEFORE
            else "action"
            if arg in ACTION
            else "after"
            if arg in AFTER
            else None
        )
        if kind is None:
            raise NotConvertible(
                f"{function.name}() takes {arg!r}, and only an observation, an action and the next observation can be given"
            )
        kinds.append(kind)
    if (
        any(d is None for d in function.args.kw_defaults)
        or len(set(kinds)) < len(kinds)
        or not kinds
    ):
        raise NotConvertible(
            f"{function.name}({', '.join(given)}) is no function of observation, action, next observation"
        )
    if kinds == ["before"] or ("after" not in kinds and "before" in kinds):
        # one observation alone: the one that the action led to
        kinds = ["after" if k == "before" else k for k in kinds]
    return kinds


def _argument(kind: str) -> str:
    return "action[k]" if kind == "action" else f"{kind}[k]"


def _assembly(card: TaskCard, width: int | None) -> str:
    """An expression: the observations of n rows, from `state`; rows of a vector, or dicts by key.

    Unfit where fields leave something out.
    """
    fields = [f for f in card.fields if f.reward]
    if all(f.source.startswith("obs.") and f.source.count(".") == 1 for f in fields):
        return (
            "[{"
            + ", ".join(f'"{f.source[4:]}": state.{f.name}[k]' for f in fields)
            + "} for k in range(n)]"
        )
    spans: list[tuple[int, int, str]] = []
    for f in fields:
        first, colon, last = f.source.partition(":")
        if first.isdigit():
            spans.append((int(first), int(last) if colon else int(first) + 1, f.name))
    at, chosen = 0, []
    for start, end, name in sorted(spans):
        if start == at:
            chosen.append(name)
            at = end
    if width is None or at != width:
        missing = (
            "the observation is no plain vector"
            if width is None
            else f"the card's fields hold {at} of its {width} columns in a row from the first"
        )
        raise NotConvertible(
            f"the observation cannot be put together from the card's fields: {missing}"
        )
    return (
        "np.concatenate([" + ", ".join(f"state.{name}.reshape(n, -1)" for name in chosen) + "], 1)"
    )


def _renamed(code: str, tree: ast.Module, name: str, new: str) -> str:
    """The function's name changed where it is defined and where it is called."""
    places = [
        (n.lineno, n.col_offset + len("def "))
        for n in tree.body
        if isinstance(n, ast.FunctionDef) and n.name == name
    ]
    places += [
        (n.func.lineno, n.func.col_offset)
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == name
    ]
    lines = [line.encode() for line in code.split("\n")]
    for row, column in sorted(places, reverse=True):
        line = lines[row - 1]
        at = line.index(name.encode(), column)
        lines[row - 1] = line[:at] + new.encode() + line[at + len(name.encode()) :]
    return "\n".join(line.decode() for line in lines)
