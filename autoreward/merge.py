"""Several reward programs as one whose terms are their totals, so that a composition can take them together (`ensemble`: mean, worst case, careful).

Text and syntax trees alone: nothing is executed here. Each program keeps its names to itself in a function of its own, and its memory under its
term's name. Source of ensembles: Reward Model Ensembles Help Mitigate Overoptimization, arXiv 2310.02743.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from autoreward.errors import REFUSED, UserError
from autoreward.program import Facts, facts

TOTAL = """def _total(terms, n):
    total = np.zeros(n)
    for value in terms.values():
        total = total + value
    return total
"""


def merged(programs: Mapping[str, str]) -> str:
    """The text of one program with a term a name: the sum of that program's own terms.

    `programs`: texts by name, two or more; names are identifiers. UserError where one has no reward(), has potentials (their shaping needs gamma
    and the ending, which belong to the learner), or says its MEMORY in a way that cannot be read without running it.
    """
    known = {name: facts(text) for name, text in programs.items()}
    for name, found in known.items():
        if "reward" not in found.entry_points:
            raise UserError(f"{name}: it defines no reward(prev, action, curr, memory)", "autoreward check FILE --task TASK says what is wrong", REFUSED)
        if "potential" in found.entry_points:
            raise UserError(f"{name}: potentials are shaped by the learner, one program at a time", "merge programs that have reward() alone", REFUSED)
        if not found.memory and _assigns(programs[name], "MEMORY"):
            raise UserError(f"{name}: its MEMORY is no literal of names", 'write it as MEMORY = {"best": np.inf}', REFUSED)
    lines = [f'"""An ensemble of {len(programs)} programs: {", ".join(programs)}. Each term is the sum of one program\'s terms."""', "import numpy as np", ""]
    for name, text in programs.items():
        lines += ["", *_own(name, text, known[name]), ""]
    if any(found.memory for found in known.values()):
        lines += ["MEMORY = {", *[f'    "{name}_{key}": _{name}_memory["{key}"],' for name, found in known.items() for key in found.memory], "}", ""]
    lines += ["", *TOTAL.splitlines(), "", "", "def reward(prev, action, curr, memory):", "    n, terms = len(curr), {}"]
    for name, found in known.items():
        rows = ", ".join(f'"{key}": memory["{name}_{key}"]' for key in found.memory)
        lines.append(f"    own = {{{rows}}}")
        lines.append(f'    terms["{name}"] = _total(_{name}_reward(prev, action, curr, own), n)')
        lines += [f'    memory["{name}_{key}"] = own["{key}"]' for key in found.memory]
    return "\n".join([*lines, "    return terms"]) + "\n"


def _own(name: str, text: str, found: Facts) -> list[str]:
    """The program in a function that gives what is called from outside."""
    tree = ast.parse(text.removeprefix("\ufeff"))
    future = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    try:
        body = "\n".join(ast.unparse(n) for n in tree.body if n not in future)
    except RecursionError:
        raise UserError(f"{name}: it is nested too deep to be read", "autoreward check FILE --task TASK says what is wrong", REFUSED) from None
    gives = "reward, MEMORY" if found.memory else "reward, {}"
    inside = [f"    {line}" if line else "" for line in body.splitlines()]
    return [f"def _{name}():", *inside, f"    return {gives}", "", "", f"_{name}_reward, _{name}_memory = _{name}()"]


def _assigns(text: str, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store) for n in ast.walk(ast.parse(text.removeprefix("\ufeff"))))
