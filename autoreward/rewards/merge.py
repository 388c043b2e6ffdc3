"""Merge several reward programs into one, whose terms are the programs' totals.

The merged program is what `ensemble` is for: mean, worst case or mean less variance of the totals
(Reward Model Ensembles Help Mitigate Overoptimization, arXiv 2310.02743). Each program keeps its
names to itself in a function of its own, and its memory under its number. Programs are handled as
text and syntax trees; nothing is executed.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Mapping

from autoreward.errors import REFUSED, UserError
from autoreward.rewards.program import MAX_CHARACTERS, facts, parse

TOTAL = """def _total(terms, n):
    total = np.zeros(n)
    for value in terms.values():
        total = total + value
    return total
"""
CHECK = "run autoreward check FILE --task TASK to see what is wrong"


def merged(programs: Mapping[str, str]) -> str:
    """Return the text of one program with a term for each program: the sum of its terms.

    `programs` maps names, which are identifiers, to two or more texts. Raises UserError if one of
    them does not define reward(), defines potentials (their shaping needs gamma and the end of the
    episode, which belong to the learner), has a MEMORY that cannot be read without running it, or
    cannot be put into a function.
    """
    memories = {name: _memory_names(name, text) for name, text in programs.items()}
    lines = [
        f'"""An ensemble of {len(programs)} programs: {", ".join(programs)}. '
        'Each term is the sum of one program\'s terms."""',
        "import numpy as np",
        "",
    ]
    for number, (name, text) in enumerate(programs.items(), 1):
        lines += ["", *_wrapped(f"_p{number}", name, text, bool(memories[name])), ""]
    lines += _common_memory(memories)
    lines += ["", *TOTAL.splitlines(), "", ""]
    lines += _common_reward(memories)
    text = "\n".join(lines) + "\n"
    _require_loadable(text)
    return text


def _common_memory(memories: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the lines of MEMORY with the keys of all programs; [] if none has memory."""
    entries = [
        f"    {_key(number, key)}: _p{number}_memory[{key!r}],"
        for number, keys in enumerate(memories.values(), 1)
        for key in keys
    ]
    return ["MEMORY = {", *entries, "}", ""] if entries else []


def _common_reward(memories: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the lines of reward(), which calls each program with its own memory."""
    lines = ["def reward(prev, action, curr, memory):", "    n, terms = len(curr), {}"]
    for number, (name, keys) in enumerate(memories.items(), 1):
        entries = [f"{key!r}: memory[{_key(number, key)}]" for key in keys]
        own = ", ".join(entries)
        lines.append(f"    own = {{{own}}}")
        lines.append(f'    terms["{name}"] = _total(_p{number}_reward(prev, action, curr, own), n)')
        lines += [f"    memory[{_key(number, key)}] = own[{key!r}]" for key in keys]
    lines.append("    return terms")
    return lines


def _require_loadable(text: str) -> None:
    """Raise UserError if the merged text is too long or does not compile. Nothing is run."""
    if len(text) > MAX_CHARACTERS:
        raise UserError(
            f"the merged program has {len(text)} characters; at most {MAX_CHARACTERS} are allowed",
            "merge fewer programs",
            REFUSED,
        )
    try:
        symtable.symtable(text, "ensemble", "exec")
    except SyntaxError as error:
        raise UserError(
            f"one of the programs cannot be put into a function: {error.msg}",
            "merge the others",
            REFUSED,
        ) from None


def _key(number: int, key: str) -> str:
    """Return the literal under which the merged program keeps a program's memory."""
    return repr(f"p{number}_{key}")


def _memory_names(name: str, text: str) -> tuple[str, ...]:
    """Return the names in a program's MEMORY. Raises UserError if it cannot be merged."""
    found = facts(text)
    if "reward" not in found.entry_points:
        raise UserError(
            f"{name}: does not define reward(prev, action, curr, memory)", CHECK, REFUSED
        )
    if "potential" in found.entry_points:
        raise UserError(
            f"{name}: potentials are shaped by the learner, one program at a time",
            "merge programs that define only reward()",
            REFUSED,
        )
    tree = parse(text)
    if _imports_star(tree):
        raise UserError(
            f"{name}: `import *` is not allowed in a function", "import numpy as np", REFUSED
        )
    uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "MEMORY"]
    if not uses:
        return ()
    keys = _literal_keys(tree, uses)
    if keys is None:
        raise UserError(
            f"{name}: MEMORY is not a literal dict of names",
            'write it once, as MEMORY = {"best": np.inf}',
            REFUSED,
        )
    return keys


def _imports_star(tree: ast.Module) -> bool:
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return any(node.names[0].name == "*" for node in imports)


def _literal_keys(tree: ast.Module, uses: list[ast.Name]) -> tuple[str, ...] | None:
    """Return the keys of MEMORY; None unless its only use is one assignment of literal names."""
    values = []
    for node in tree.body:
        if (isinstance(node, ast.Assign) and node.targets == uses) or (
            isinstance(node, ast.AnnAssign) and [node.target] == uses
        ):
            values.append(node.value)
    if len(values) != 1 or not isinstance(values[0], ast.Dict):
        return None
    names = []
    for key in values[0].keys:
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            return None
        names.append(key.value)
    return tuple(dict.fromkeys(names))


def _wrapped(function: str, name: str, text: str, memory: bool) -> list[str]:
    """Return the program in a function that returns its reward() and MEMORY."""
    statements = []
    for node in parse(text).body:
        # allowed only at the top of a file
        if not isinstance(node, ast.ImportFrom) or node.module != "__future__":
            statements.append(node)
    try:
        body = "\n".join(ast.unparse(node) for node in statements)
    except RecursionError:
        raise UserError(f"{name}: nested too deeply to be read", CHECK, REFUSED) from None
    indented = [f"    {line}" if line else "" for line in body.splitlines()]
    return [
        f"def {function}():",
        *indented,
        f"    return reward, {'MEMORY' if memory else '{}'}",
        "",
        "",
        f"{function}_reward, {function}_memory = {function}()",
    ]
