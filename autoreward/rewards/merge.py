"""Several reward programs as one whose terms are their totals, so that a composition can take them
together (`ensemble`: mean, worst case, careful).

Text and syntax trees alone: nothing is executed here. Each program keeps its names to itself in a
function of its own, and its memory under its number. Source of ensembles: Reward Model Ensembles
Help Mitigate Overoptimization, arXiv 2310.02743.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Mapping

from autoreward.errors import REFUSED, UserError
from autoreward.rewards.program import MAX_CHARACTERS, facts

TOTAL = """def _total(terms, n):
    total = np.zeros(n)
    for value in terms.values():
        total = total + value
    return total
"""


def merged(programs: Mapping[str, str]) -> str:
    """The text of one program with a term a name: the sum of that program's own terms.

    `programs`: texts by name, two or more; names are identifiers. UserError where one has no
    reward(), has potentials (their shaping needs gamma and the ending, which belong to the
    learner), says its MEMORY in a way that cannot be read without running it, or cannot stand in a
    function.
    """
    memories = {name: _memory(name, text) for name, text in programs.items()}
    lines = [
        f'"""An ensemble of {len(programs)} programs: {", ".join(programs)}. Each term is the sum of one program\'s terms."""',
        "import numpy as np",
        "",
    ]
    for number, (name, text) in enumerate(programs.items(), 1):
        lines += ["", *_own(f"_p{number}", name, text, bool(memories[name])), ""]
    rows = [(number, key) for number, memory in enumerate(memories.values(), 1) for key in memory]
    if rows:
        lines += [
            "MEMORY = {",
            *[f"    {_key(number, key)}: _p{number}_memory[{key!r}]," for number, key in rows],
            "}",
            "",
        ]
    lines += [
        "",
        *TOTAL.splitlines(),
        "",
        "",
        "def reward(prev, action, curr, memory):",
        "    n, terms = len(curr), {}",
    ]
    for number, (name, memory) in enumerate(memories.items(), 1):
        held = ", ".join(f"{key!r}: memory[{_key(number, key)}]" for key in memory)
        lines += [
            f"    own = {{{held}}}",
            f'    terms["{name}"] = _total(_p{number}_reward(prev, action, curr, own), n)',
        ]
        lines += [f"    memory[{_key(number, key)}] = own[{key!r}]" for key in memory]
    made = "\n".join([*lines, "    return terms"]) + "\n"
    if len(made) > MAX_CHARACTERS:
        raise UserError(
            f"together they have {len(made)} characters, and a program may have {MAX_CHARACTERS}",
            "merge fewer",
            REFUSED,
        )
    try:
        # looks, and runs nothing
        symtable.symtable(made, "ensemble", "exec")
    except SyntaxError as error:
        raise UserError(
            f"one of them cannot stand in a function: {error.msg}", "merge the others", REFUSED
        ) from None
    return made


def _key(number: int, key: str) -> str:
    """Of a program's memory in the common one, as a literal."""
    return repr(f"p{number}_{key}")


def _memory(name: str, text: str) -> tuple[str, ...]:
    """The names in its MEMORY; UserError for a program that cannot be merged."""
    found = facts(text)
    if "reward" not in found.entry_points:
        raise UserError(
            f"{name}: it defines no reward(prev, action, curr, memory)",
            "autoreward check FILE --task TASK says what is wrong",
            REFUSED,
        )
    if "potential" in found.entry_points:
        raise UserError(
            f"{name}: potentials are shaped by the learner, one program at a time",
            "merge programs that have reward() alone",
            REFUSED,
        )
    tree = ast.parse(text.removeprefix("\ufeff"))
    if any(isinstance(n, ast.ImportFrom) and n.names[0].name == "*" for n in ast.walk(tree)):
        raise UserError(
            f"{name}: `import *` cannot stand in a function", "import numpy as np", REFUSED
        )
    used = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "MEMORY"]
    if not used:
        return ()
    given = [
        n.value
        for n in tree.body
        if (isinstance(n, ast.Assign) and n.targets == used)
        or (isinstance(n, ast.AnnAssign) and [n.target] == used)
    ]
    keys = given[0].keys if len(given) == 1 and isinstance(given[0], ast.Dict) else [None]
    names = tuple(k.value for k in keys if isinstance(k, ast.Constant) and isinstance(k.value, str))
    if len(names) < len(keys):
        raise UserError(
            f"{name}: its MEMORY is no literal of names",
            'write it as MEMORY = {"best": np.inf}, once',
            REFUSED,
        )
    return tuple(dict.fromkeys(names))


def _own(called: str, name: str, text: str, memory: bool) -> list[str]:
    """The program in a function that gives what is called from outside."""
    tree = ast.parse(text.removeprefix("\ufeff"))
    future = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    try:
        body = "\n".join(ast.unparse(n) for n in tree.body if n not in future)
    except RecursionError:
        raise UserError(
            f"{name}: it is nested too deep to be read",
            "autoreward check FILE --task TASK says what is wrong",
            REFUSED,
        ) from None
    inside = [f"    {line}" if line else "" for line in body.splitlines()]
    return [
        f"def {called}():",
        *inside,
        f"    return reward, {'MEMORY' if memory else '{}'}",
        "",
        "",
        f"{called}_reward, {called}_memory = {called}()",
    ]
