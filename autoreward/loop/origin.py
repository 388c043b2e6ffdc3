"""A run that starts from a reward (`design --from FILE`): how that file becomes candidate 1a.

    program    it follows the contract of reward programs (autoreward check): taken as it is
    function   a plain function of observation, action and next observation that gives one number
               for each transition: called row by row (wrapped_function.py)
    port       anything else: the designer rewrites it as a program. If the original runs in the
               sandbox, the port must give the same numbers on the recorded transitions, and the
               largest difference is kept

RUN/origin/ holds the file as it was given, the program made of it, and origin.json. The file is
only text here: nothing but the sandbox runs it.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import numpy as np

from autoreward.errors import REFUSED, UserError
from autoreward.loop.context import RunContext
from autoreward.loop.stages import check
from autoreward.loop.wrapped_function import (
    NotConvertible,
    WrappedFunction,
    follows_contract,
    wrap,
)
from autoreward.rewards.composition import shape_potentials
from autoreward.rewards.linter import lint
from autoreward.sandbox.outside.replay import probe_transitions, replay
from autoreward.sandbox.outside.worker import ProgramRejected
from autoreward.state import Array
from autoreward.store.candidate import CandidateFolder
from autoreward.store.io import read, read_arrays, read_bytes_safely, text, write
from autoreward.store.records import Check, Origin, Verdict
from autoreward.store.run import Run, RunFolder

FIRST = "1a"
# How far a port may be from the original, relative to the original's largest sum on the probes.
RELATIVE_TOLERANCE = 1e-6


def keep(run: Run, given: Path) -> None:
    """Copy the file into a new run, before anything else happens there."""
    write(run.given_path, read_bytes_safely(given))


def require(given: Path) -> None:
    """Raise UserError if the file is not Python, or defines no function."""
    try:
        code = read_bytes_safely(given).decode()
        tree = ast.parse(code)
    except FileNotFoundError:
        raise UserError(
            f"--from {given}: file not found",
            "name a reward program, or a Python file with your reward function",
        ) from None
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UserError(
            f"--from {given} cannot be read as Python: {error}", "fix the file", REFUSED
        ) from None
    if not any(isinstance(node, ast.FunctionDef) for node in ast.walk(tree)):
        raise UserError(
            f"--from {given} defines no function", "def reward(obs, action, next_obs): ...", REFUSED
        )


def drafted(context: RunContext, candidate: CandidateFolder, attempt: int) -> str | None:
    """The first draft of candidate 1a if no model is needed; None for every other draft."""
    origin = _origin_of(context, candidate)
    if origin is None or origin.kind == "port" or attempt > 0:
        return None
    return text(context.run.original_path)


def to_port(context: RunContext, candidate: CandidateFolder) -> dict[str, object] | None:
    """What the designer is shown of the file that it must port; None if there is nothing to port.

    The code, the source of each field, and why the file cannot be converted mechanically.
    """
    origin = _origin_of(context, candidate)
    if origin is None or origin.kind != "port":
        return None
    return {
        "code": text(context.run.given_path).strip(),
        "sources": [(f.name, f.source) for f in context.card.card.fields if f.reward],
        "why": origin.why,
    }


def _origin_of(context: RunContext, candidate: CandidateFolder) -> Origin | None:
    return prepared(context) if candidate.id == FIRST else None


# -- how the file is taken -------------------------------------------------------------------------


def prepared(context: RunContext) -> Origin | None:
    """Decide how the given file becomes candidate 1a: once, with the run's probes.

    Returns None if the run started from nothing. Raises UserError if the file must be ported and
    the run has no language model.
    """
    run = context.run
    if run.header.origin is None:
        return None
    known = read(run.origin_path, Origin)
    if known is not None:
        return known

    given = text(run.given_path)
    if follows_contract(given):
        program = given
        made = Origin(kind="program")
    else:
        program, made = _converted(context, given)
    write(run.original_path, program)
    write(run.origin_path, made)
    context.say(
        "designer",
        "begins from",
        1,
        "a",
        file=run.header.origin,
        kind=made.kind,
        why=made.why or None,
    )
    return made


def _converted(context: RunContext, given: str) -> tuple[str, Origin]:
    """The function as a program, or what is left of that if it must be ported."""
    program = ""
    try:
        wrapped = wrap(given, context.card.card, _observation_width(context.run))
        program = wrapped.text
        _require_valid(context, wrapped)
        return program, Origin(kind="function", function=wrapped.function)
    except NotConvertible as error:
        if not context.caller.model.language:
            raise UserError(
                f"--from {context.run.header.origin} cannot be used directly: {error}",
                "name a language model with --model, which ports it, or rewrite it as a reward "
                "program (autoreward check FILE --task TASK)",
                REFUSED,
            ) from None
        return program, Origin(kind="port", why=str(error))


def _require_valid(context: RunContext, wrapped: WrappedFunction) -> None:
    """Raise NotConvertible if the linter or the check rejects the program."""
    card = context.card.card
    verdicts = tuple(lint(wrapped.text, card.reward_layout))
    if not any(verdict.severity == "refuse" for verdict in verdicts):
        run = context.run
        result = check.check(
            wrapped.text, card, run.probes_path, run.header.sandbox, context.template
        )
        verdicts = result.verdicts
    for verdict in verdicts:
        if verdict.severity == "refuse":
            raise NotConvertible(f"{verdict.kind}: {verdict.message}")


def _observation_width(run: RunFolder) -> int | None:
    """Columns of the environment's observation if it is one vector, from the probes' report."""
    try:
        report = json.loads(read_bytes_safely(run.probes_report_path))
        space = str(report.get("observation", ""))
    except (OSError, ValueError):
        return None
    found = re.match(r"Box\(.*\((\d+),\), \w+\)$", space)
    return int(found[1]) if found else None


# -- comparing a port with its original ------------------------------------------------------------


def compare_with_original(
    context: RunContext, candidate: CandidateFolder, program: str, result: Check
) -> Check:
    """Reject a port that gives other numbers than its original.

    Returns the check as it is for every other candidate, and if the original does not run in the
    sandbox; the difference, or why there is none, is kept in origin.json.
    """
    origin = _origin_of(context, candidate)
    if origin is None or origin.kind != "port" or not result.ok:
        return result

    original = text(context.run.original_path)
    wanted, why = _sums(context, original) if original else (None, origin.why)
    if wanted is None:
        write(context.run.origin_path, origin.model_copy(update={"uncompared": why}))
        context.say("check", "port not compared", 1, "a", why=why)
        return result

    ported, _ = _sums(context, program)
    # The check has just run it over the same transitions.
    assert ported is not None
    gaps = np.abs(ported - wanted)
    largest = float(np.abs(wanted).max())
    numbers = {
        "difference": float(gaps.max()),
        "largest": largest,
        "compared": int(wanted.size),
    }
    write(context.run.origin_path, origin.model_copy(update=numbers))
    context.say(
        "check",
        "port compared",
        1,
        "a",
        transitions=numbers["compared"],
        max_difference=numbers["difference"],
    )
    far = gaps > RELATIVE_TOLERANCE * max(1.0, largest)
    if not far.any():
        return result

    verdict = _differs(ported, wanted, int(far.sum()))
    return result.model_copy(update={"ok": False, "verdicts": (*result.verdicts, verdict)})


def _differs(ported: Array, wanted: Array, count: int) -> Verdict:
    worst = np.unravel_index(int(np.abs(ported - wanted).argmax()), wanted.shape)
    return Verdict(
        kind="port-differs",
        message=(
            f"on {count} of {wanted.size} recorded transitions the port's sum differs from the "
            f"original's; the largest difference is {ported[worst]:.6g} instead of "
            f"{wanted[worst]:.6g}"
        ),
        hint="keep the same constants, conditions and sides; no potential()",
    )


def _sums(context: RunContext, program: str) -> tuple[Array | None, str]:
    """(T, n) sums of a program's terms on the run's probes; or None and why it fails there."""
    card = context.card.card
    recorded = read_arrays(context.run.probes_path)
    try:
        replayed = replay(
            program,
            card,
            [probe_transitions(card, recorded)],
            sandbox=context.run.header.sandbox,
            template=context.template,
        )
    except ProgramRejected as error:
        return None, f"the original fails in the sandbox: {error.verdict.message}"

    (answer,) = replayed.answers
    shaped = shape_potentials(
        answer.before, answer.after, recorded["terminated"], card.training.gamma
    )
    return answer.terms.sum(-1) + shaped.sum(-1), ""
