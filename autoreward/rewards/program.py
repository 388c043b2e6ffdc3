"""A reward program as text: what it defines and what is plainly wrong with it, by `ast` alone.

Nothing is executed here.

This is a linter, for good error messages; the wall is the reward worker's jail. Classes of
findings: docs/verdicts.md.
"""

from __future__ import annotations

import ast
import difflib
import io
import re
import string
import tokenize
import unicodedata
from dataclasses import dataclass
from typing import Any

from autoreward.sandbox.wire import ENTRIES
from autoreward.state import Layout
from autoreward.store.records import Verdict

# characters
LONGEST = 40_000
SIGNATURES = {name: form.count(",") + 1 for name, form in ENTRIES.items()}
# findings; a reader mends the first ones
MOST = 20
# What a program may import: numpy and math is what prompts say; the rest computes, holds nothing,
# and is loaded in the jail anyway.
MODULES = {
    "numpy",
    "math",
    "numpy.fft",
    "numpy.linalg",
    "numpy.ma",
    "numpy.polynomial",
    "numpy.typing",
    "__future__",
    "typing",
}
MODULES |= {
    "abc",
    "collections",
    "collections.abc",
    "dataclasses",
    "enum",
    "functools",
    "itertools",
    "numbers",
    "operator",
}
HARMLESS = {"__init__", "__name__", "__doc__"}
# the letters of formulas; those that look like Latin ones are not among them
GREEK = set("αβγδεζηθλμξπστφχψωΓΔΘΛΞΠΣΦΨΩ")
COOKIE = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
# of names, dotted ones of modules among them
PLAIN = set(string.ascii_letters + string.digits + "_.*")
MUTATORS = {
    "append",
    "extend",
    "insert",
    "pop",
    "remove",
    "clear",
    "update",
    "setdefault",
    "add",
    "discard",
    "popitem",
    "sort",
    "reverse",
    "fill",
    "appendleft",
}
# of a string that the critic is shown: names are short, what is aimed at a reader is not
LONGEST_STRING, MOST_WORDS = 64, 3
BANNED_CALLS = {
    "open",
    "exec",
    "eval",
    "compile",
    "__import__",
    "input",
    "print",
    "breakpoint",
    "globals",
    "vars",
    "setattr",
    "delattr",
    "exit",
    "quit",
    "id",
    "hash",
}
BANNED_NUMPY = {
    "random",
    "save",
    "savez",
    "savez_compressed",
    "savetxt",
    "load",
    "loadtxt",
    "fromfile",
    "memmap",
    "genfromtxt",
    "f2py",
    "ctypeslib",
    "testing",
    "lib",
    "datetime64",
}

Function = ast.FunctionDef | ast.Lambda


@dataclass(frozen=True)
class ProgramFacts:
    """What a program says of itself; empty where it does not parse."""

    entry_points: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    doc: str = ""
    lines: int = 0


def facts(text: str) -> ProgramFacts:
    """Entry points, memory names, first line of the docstring."""
    tree = _parse(text)
    if isinstance(tree, Verdict):
        return ProgramFacts(lines=text.count("\n") + 1)
    defined = tuple(name for name in _functions(tree) if name in SIGNATURES)
    names: tuple[str, ...] = ()
    for node in tree.body:
        target = (
            node.targets[0]
            if isinstance(node, ast.Assign)
            else node.target
            if isinstance(node, ast.AnnAssign)
            else None
        )
        value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
        if isinstance(target, ast.Name) and target.id == "MEMORY" and isinstance(value, ast.Dict):
            names = tuple(str(k.value) for k in value.keys if isinstance(k, ast.Constant))
    doc = (ast.get_docstring(tree) or "").strip().split("\n")[0]
    return ProgramFacts(defined, names, doc, text.count("\n") + 1)


def constant(text: str, name: str) -> Any:
    """The value of `NAME = literal` at module level; None where there is none, or it is no literal.

    Nothing is executed.
    """
    tree = _parse(text)
    for node in [] if isinstance(tree, Verdict) else tree.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == name
        ):
            try:
                return ast.literal_eval(node.value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                return None
    return None


def lint(text: str, layout: Layout, entry: str = "reward") -> list[Verdict]:
    """Findings in the order of lines; the program is refused where one of them is not a warning.

    `entry`: what it must define (wire.ENTRIES).
    """
    if len(text) > LONGEST:
        return [
            _refuse(
                "too-long",
                None,
                f"the program has {len(text)} characters, at most {LONGEST} are taken",
                "a reward program is a page long",
            )
        ]
    # a byte order mark that an editor left; the worker passes over it, too
    found = _characters(text.removeprefix("\ufeff"))
    tree = _parse(text)
    if isinstance(tree, Verdict):
        return [*found, tree]
    functions = _functions(tree)
    wanted = (entry, "potential") if entry == "reward" else (entry,)
    if not set(wanted) & functions.keys():
        found.append(_entryless(functions, entry))
    for name in wanted:
        if name in functions:
            found += _signature(name, functions[name])
            found += _fields(functions[name], layout, (0,) if name == "potential" else (0, 2))
    for node in ast.walk(tree):
        found += _statement(node)
    shared = _shared(tree)
    for name, function in functions.items():
        found += _mutations(name, function, shared)
    return sorted(found, key=lambda v: v.line or 0)[:MOST]


def _entryless(functions: dict[str, Function], entry: str) -> Verdict:
    """It defines nothing that we call: which function may be meant."""
    if entry != "reward":
        other = next(
            (
                name
                for name in functions
                if name in SIGNATURES or difflib.get_close_matches(name, [entry], 1, 0.7)
            ),
            None,
        )
        hint = (
            f"rename {other}() to {entry}, if that is what it answers"
            if other
            else f"def {ENTRIES[entry]}:"
        )
        return _refuse(
            "missing-entry-point",
            functions[other].lineno if other else None,
            f"the program does not define {ENTRIES[entry]}",
            hint,
        )
    close = [
        name
        for name in functions
        if difflib.get_close_matches(name, ("reward", "potential"), 1, 0.75)
        or "reward" in name.lower()
        or "potential" in name.lower()
    ]
    hint = (
        f"rename {close[0]}() to {'potential' if 'pot' in close[0].lower() else 'reward'}"
        if close
        else "define one of them, or both"
    )
    return _refuse(
        "missing-entry-point",
        functions[close[0]].lineno if close else None,
        "the program defines neither reward(prev, action, curr, memory) nor potential(state)",
        hint,
    )


def _functions(tree: ast.Module) -> dict[str, Function]:
    """Functions at module level by name, `name = lambda ...` among them."""
    found: dict[str, Function] = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Lambda)
            and isinstance(node.targets[0], ast.Name)
        ):
            found[node.targets[0].id] = node.value
    return found


def _parse(text: str) -> ast.Module | Verdict:
    try:
        return ast.parse(text.removeprefix("\ufeff"))
    except SyntaxError as error:
        return _refuse(
            "syntax",
            error.lineno,
            f"{error.msg}: {(error.text or '').strip()[:120]}",
            "answer with one complete Python file",
        )
    except (ValueError, RecursionError, MemoryError) as error:
        return _refuse(
            "syntax", None, f"not parseable: {error}", "answer with one complete Python file"
        )


def _refuse(kind: str, line: int | None, message: str, hint: str = "") -> Verdict:
    """Identifiers and source lines of the program stand in the message: printable, and of bearable
    length.
    """
    said = "".join(c if c.isprintable() else "?" for c in message)
    return Verdict(
        kind=kind,
        stage="critic",
        line=line,
        message=said if len(said) <= 300 else said[:300] + "...",
        hint=hint[:300],
    )


def _signature(name: str, function: Function) -> list[Verdict]:
    given, count = function.args, SIGNATURES[name]
    required = len(given.posonlyargs) + len(given.args) - len(given.defaults)
    most = len(given.posonlyargs) + len(given.args)
    if (required <= count <= most or given.vararg) and not [
        k for k, d in zip(given.kwonlyargs, given.kw_defaults, strict=True) if d is None
    ]:
        return []
    return [
        _refuse(
            "signature",
            function.lineno,
            f"{name}() takes {most} arguments; we call {ENTRIES[name]}",
            f"def {ENTRIES[name]}:",
        )
    ]


def _fields(function: Function, layout: Layout, places: tuple[int, ...]) -> list[Verdict]:
    names = [a.arg for a in [*function.args.posonlyargs, *function.args.args]]
    states = {names[p] for p in places if p < len(names)}
    found = []
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in states
            and node.attr not in layout.names
        ):
            found.append(
                _refuse(
                    "unknown-field",
                    node.lineno,
                    f"there is no field {node.attr!r}",
                    f"the fields are {', '.join(layout.names)}",
                )
            )
    return found


def _statement(node: ast.AST) -> list[Verdict]:
    line = getattr(node, "lineno", None)
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        modules = (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or "."]
        )
        wrong = [m for m in modules if m not in MODULES]
        if isinstance(node, ast.ImportFrom) and node.module == "numpy":
            wrong += [f"numpy.{a.name}" for a in node.names if a.name in BANNED_NUMPY]
        if wrong:
            return [
                _refuse(
                    "import",
                    line,
                    f"import of {', '.join(wrong)}",
                    "`import numpy as np` (and math) is all there is",
                )
            ]
    elif (
        isinstance(node, ast.While)
        and isinstance(node.test, ast.Constant)
        and node.test.value
        and not any(isinstance(n, (ast.Break, ast.Return, ast.Raise)) for n in ast.walk(node))
    ):
        return [
            _refuse(
                "endless-loop",
                line,
                "a loop without an end",
                "whole-array numpy needs no loop here",
            )
        ]
    elif (name := _named(node)) and not set(name) <= PLAIN | GREEK:
        return [
            _refuse(
                "homoglyph",
                line,
                f"the name {name!a} is not written in ASCII letters",
                "plain letters in names: others may look alike and be different",
            )
        ]
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in BANNED_CALLS
    ):
        return [
            _refuse(
                "forbidden-call",
                line,
                f"{node.func.id}() has no place in a reward program",
                "compute with numpy and return named terms",
            )
        ]
    elif isinstance(node, ast.Attribute):
        if node.attr.startswith("__") and node.attr.endswith("__") and node.attr not in HARMLESS:
            return [
                _refuse(
                    "forbidden-name",
                    line,
                    f"{node.attr} has no place in a reward program",
                    "plain functions of named fields",
                )
            ]
        if (
            isinstance(node.value, ast.Name)
            and node.value.id in ("np", "numpy")
            and node.attr in BANNED_NUMPY
        ):
            why = (
                "a reward is the same for the same transition"
                if node.attr == "random"
                else "no files and no internals"
            )
            return [
                _refuse(
                    "forbidden-name",
                    line,
                    f"np.{node.attr}: {why}",
                    "compute from the arguments alone",
                )
            ]
    elif isinstance(node, ast.Global):
        return [
            _refuse(
                "global-state",
                line,
                "state outside of `memory` is not reset between episodes",
                "declare it in MEMORY",
            )
        ]
    elif isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.Yield, ast.YieldFrom)):
        return [
            _refuse(
                "forbidden-name",
                line,
                "a reward program is plain functions",
                "def reward(prev, action, curr, memory): return {...}",
            )
        ]
    return []


def _named(node: ast.AST) -> str:
    """The name that a node uses or gives, "" where it has none."""
    for attribute in ("id", "arg", "attr", "name", "asname"):
        name = getattr(node, attribute, None)
        if isinstance(name, str):
            return name
    return ""


def _characters(text: str) -> list[Verdict]:
    """What a reader does not see: bidirectional and control characters, another encoding than the
    one that is read.
    """
    found = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        hidden = sorted(
            {
                f"U+{ord(c):04X}"
                for c in line
                if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
                and c not in "\t\f"
            }
        )
        if hidden:
            found.append(
                _refuse(
                    "hidden-text",
                    number,
                    f"characters that a reader does not see: {', '.join(hidden[:5])}",
                    "plain text only",
                )
            )
        cookie = COOKIE.match(line) if number <= 2 else None
        if cookie and cookie[1].lower().replace("_", "-") not in (
            "utf-8",
            "utf8",
            "ascii",
            "us-ascii",
        ):
            found.append(
                _refuse(
                    "encoding",
                    number,
                    f"the file claims to be written in {cookie[1]}",
                    "UTF-8, and no such line",
                )
            )
    return found


def _shared(tree: ast.Module) -> set[str]:
    """Names at module level: constants, tables, functions.

    A function may read them and must not change them.
    """
    names = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    for node in tree.body:
        for target in (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        ):
            names |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
    return names


def _mutations(name: str, function: Function, shared: set[str]) -> list[Verdict]:
    """State that outlives an episode: a change of a module's table, of a function's attribute, of
    a default argument.
    """
    arguments = [*function.args.posonlyargs, *function.args.args]
    lasting = {
        a.arg
        for a, d in zip(reversed(arguments), reversed(function.args.defaults), strict=False)
        if isinstance(d, (ast.List, ast.Dict, ast.Set, ast.Call))
    }
    own = {n.arg for n in ast.walk(function) if isinstance(n, ast.arg)} | {
        n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    outer = (shared - own) | lasting
    found = []
    for node in ast.walk(function):
        changed: ast.expr | None = None
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in MUTATORS
        ):
            changed = node.func.value
        elif isinstance(node, (ast.Subscript, ast.Attribute)) and isinstance(
            node.ctx, (ast.Store, ast.Del)
        ):
            changed = node.value
        while isinstance(changed, (ast.Subscript, ast.Attribute)):
            changed = changed.value
        if isinstance(changed, ast.Name) and changed.id in outer:
            found.append(
                _refuse(
                    "global-state",
                    getattr(node, "lineno", None),
                    f"{name}() changes {changed.id!r}, which outlives the episode",
                    "declare it in MEMORY, and assign memory[name]",
                )
            )
    return found


def quiet(text: str) -> str:
    """The program as a model reads it that must judge it: no comments, no docstrings, strings of
    more than a name cut, every line in its place.

    Comments and strings may carry words aimed at a reader ('score this 10/10'); what counts is what
    the code does.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("\f", " ")
    lines = text.split("\n")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text
    said = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Expr)
        and (
            isinstance(n.value, ast.JoinedStr)
            or (isinstance(n.value, ast.Constant) and isinstance(n.value.value, (str, bytes)))
        )
    ]
    spans = [
        ((n.lineno, n.col_offset), (n.end_lineno or n.lineno, n.end_col_offset or 0)) for n in said
    ]
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return ast.unparse(tree)
    for token in reversed(tokens):
        name = tokenize.tok_name[token.type]
        if name == "COMMENT":
            _cut(lines, token, "")
        elif name == "STRING" and (
            _long(token.string)
            or any(low <= _byte_column(lines, token.start) < high for low, high in spans)
        ):
            _cut(lines, token, '""')
        elif name == "FSTRING_MIDDLE" and _long(token.string):
            # Python 3.12 on
            _cut(lines, token, "")
    return "\n".join(line.rstrip() for line in lines)


def _long(string: str) -> bool:
    """Whether a string literal is more than a name."""
    return len(string) > LONGEST_STRING or len(string.split()) > MOST_WORDS


def _byte_column(lines: list[str], place: tuple[int, int]) -> tuple[int, int]:
    """`ast` counts columns in bytes, `tokenize` in characters."""
    row, column = place
    return row, len(lines[row - 1][:column].encode())


def _cut(lines: list[str], token: tokenize.TokenInfo, instead: str) -> None:
    (row, start), (last, end) = token.start, token.end
    rest = lines[last - 1][end:]
    lines[row - 1] = lines[row - 1][:start] + instead + (rest if last == row else "")
    for k in range(row, last):
        lines[k] = rest if k == last - 1 else ""
