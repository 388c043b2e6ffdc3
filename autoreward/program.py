"""A reward program as text: what it defines and what is plainly wrong with it, by `ast` alone. Nothing is executed here.

This is a linter, for good error messages; the wall is the reward worker's jail. Classes of findings: docs/verdicts.md.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from autoreward.records import Verdict
from autoreward.state import Layout

LONGEST = 40_000  # characters
SIGNATURES = {"reward": 4, "potential": 1}
BANNED_CALLS = {"open", "exec", "eval", "compile", "__import__", "input", "print", "breakpoint", "globals", "vars", "setattr", "delattr", "exit", "quit"}
BANNED_NUMPY = {"random", "save", "savez", "savez_compressed", "savetxt", "load", "loadtxt", "fromfile", "memmap", "genfromtxt", "f2py", "ctypeslib", "testing", "lib"}


@dataclass(frozen=True)
class Facts:
    """What a program says of itself; empty where it does not parse."""

    entry_points: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    doc: str = ""
    lines: int = 0


def facts(text: str) -> Facts:
    """Entry points, memory names, first line of the docstring."""
    tree = _parse(text)
    if isinstance(tree, Verdict):
        return Facts(lines=text.count("\n") + 1)
    defined = tuple(n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in SIGNATURES)
    names: tuple[str, ...] = ()
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
        if isinstance(target, ast.Name) and target.id == "MEMORY" and isinstance(value, ast.Dict):
            names = tuple(str(k.value) for k in value.keys if isinstance(k, ast.Constant))
    doc = (ast.get_docstring(tree) or "").strip().split("\n")[0]
    return Facts(defined, names, doc, text.count("\n") + 1)


def lint(text: str, layout: Layout) -> list[Verdict]:
    """Findings in the order of lines; the program is refused where one of them is not a warning."""
    if len(text) > LONGEST:
        return [_refuse("too-long", None, f"the program has {len(text)} characters, at most {LONGEST} are taken")]
    tree = _parse(text)
    if isinstance(tree, Verdict):
        return [tree]
    found: list[Verdict] = []
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    if not SIGNATURES.keys() & functions.keys():
        found.append(_refuse("missing-entry-point", None, "the program defines neither reward(prev, action, curr, memory) nor potential(state)", "define one of them, or both"))
    for name, count in SIGNATURES.items():
        if name in functions:
            found += _signature(functions[name], count)
            found += _fields(functions[name], layout, (0, 2) if name == "reward" else (0,))
    for node in ast.walk(tree):
        found += _statement(node)
    return sorted(found, key=lambda v: v.line or 0)


def _parse(text: str) -> ast.Module | Verdict:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        return _refuse("syntax", error.lineno, f"{error.msg}: {(error.text or '').strip()[:120]}", "answer with one complete Python file")
    except (ValueError, RecursionError, MemoryError) as error:
        return _refuse("syntax", None, f"not parseable: {error}", "answer with one complete Python file")


def _refuse(kind: str, line: int | None, message: str, hint: str = "") -> Verdict:
    return Verdict(kind=kind, stage="critic", line=line, message=message, hint=hint)


def _signature(function: ast.FunctionDef, count: int) -> list[Verdict]:
    given = function.args
    required = len(given.posonlyargs) + len(given.args) - len(given.defaults)
    most = len(given.posonlyargs) + len(given.args)
    if (required <= count <= most or given.vararg) and not [k for k, d in zip(given.kwonlyargs, given.kw_defaults, strict=True) if d is None]:
        return []
    form = "reward(prev, action, curr, memory)" if function.name == "reward" else "potential(state)"
    return [_refuse("signature", function.lineno, f"{function.name}() takes {most} arguments; we call {form}", f"def {form}:")]


def _fields(function: ast.FunctionDef, layout: Layout, places: tuple[int, ...]) -> list[Verdict]:
    names = [a.arg for a in [*function.args.posonlyargs, *function.args.args]]
    states = {names[p] for p in places if p < len(names)}
    found = []
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in states and node.attr not in layout.names:
            found.append(_refuse("unknown-field", node.lineno, f"there is no field {node.attr!r}", f"the fields are {', '.join(layout.names)}"))
    return found


def _statement(node: ast.AST) -> list[Verdict]:
    line = getattr(node, "lineno", None)
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or "."]
        wrong = [m for m in modules if m != "numpy" and not m.startswith("numpy.linalg")]
        if wrong:
            return [_refuse("import", line, f"import of {', '.join(wrong)}", "`import numpy as np` is the only import")]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BANNED_CALLS:
        return [_refuse("forbidden-call", line, f"{node.func.id}() has no place in a reward program", "compute with numpy and return named terms")]
    elif isinstance(node, ast.Attribute):
        if node.attr.startswith("__") and node.attr.endswith("__"):
            return [_refuse("forbidden-name", line, f"{node.attr} has no place in a reward program")]
        if isinstance(node.value, ast.Name) and node.value.id in ("np", "numpy") and node.attr in BANNED_NUMPY:
            why = "a reward is the same for the same transition" if node.attr == "random" else "no files and no internals"
            return [_refuse("forbidden-name", line, f"np.{node.attr}: {why}")]
    elif isinstance(node, (ast.Global, ast.Nonlocal)):
        return [_refuse("global-state", line, "state outside of `memory` is not reset between episodes", "declare it in MEMORY")]
    elif isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.Yield, ast.YieldFrom)):
        return [_refuse("forbidden-name", line, "a reward program is plain functions")]
    return []
