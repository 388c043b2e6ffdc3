"""The linter: what is plainly wrong with the text of a reward program.

It exists for good error messages: the wall is the sandbox that the reward worker runs in. The
text is parsed with `ast` and never executed. The classes of findings are listed in
docs/verdicts.md.
"""

from __future__ import annotations

import ast
import difflib
import re
import string
import unicodedata
from collections.abc import Iterator

from autoreward.rewards.program import (
    BYTE_ORDER_MARK,
    MAX_CHARACTERS,
    Function,
    functions,
    parse,
)
from autoreward.sandbox.wire import ENTRIES
from autoreward.state import Layout
from autoreward.store.records import Verdict

MAX_FINDINGS = 20
MAX_MESSAGE = 300
WHOLE_FILE = "reply with one complete Python file"
ARGUMENT_COUNTS = {name: form.count(",") + 1 for name, form in ENTRIES.items()}

# Prompts offer numpy and math. The other modules only compute, and are loaded in the sandbox.
ALLOWED_MODULES = {
    "__future__",
    "abc",
    "collections",
    "collections.abc",
    "dataclasses",
    "enum",
    "functools",
    "itertools",
    "math",
    "numbers",
    "numpy",
    "numpy.fft",
    "numpy.linalg",
    "numpy.ma",
    "numpy.polynomial",
    "numpy.typing",
    "operator",
    "typing",
}
ALLOWED_DUNDERS = {"__init__", "__name__", "__doc__"}
BANNED_CALLS = {
    "__import__",
    "breakpoint",
    "compile",
    "delattr",
    "eval",
    "exec",
    "exit",
    "globals",
    "hash",
    "id",
    "input",
    "open",
    "print",
    "quit",
    "setattr",
    "vars",
}
BANNED_NUMPY = {
    "ctypeslib",
    "datetime64",
    "f2py",
    "fromfile",
    "genfromtxt",
    "lib",
    "load",
    "loadtxt",
    "memmap",
    "random",
    "save",
    "savetxt",
    "savez",
    "savez_compressed",
    "testing",
}
MUTATING_METHODS = {
    "add",
    "append",
    "appendleft",
    "clear",
    "discard",
    "extend",
    "fill",
    "insert",
    "pop",
    "popitem",
    "remove",
    "reverse",
    "setdefault",
    "sort",
    "update",
}

# Names may use ASCII, with the dots of modules and the star of imports, and the Greek letters of
# formulas that do not look like Latin ones.
ASCII_NAME = set(string.ascii_letters + string.digits + "_.*")
GREEK = set("αβγδεζηθλμξπστφχψωΓΔΘΛΞΠΣΦΨΩ")
ENCODING_LINE = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
UTF_8 = ("utf-8", "utf8", "ascii", "us-ascii")
CHANGING = (ast.Store, ast.Del)
HIDDEN_CATEGORIES = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")


def lint(text: str, layout: Layout, entry: str = "reward") -> list[Verdict]:
    """Return the findings in the order of lines; a program with one that rejects is rejected.

    `layout` holds the fields that the program may read, `entry` is the function that it must define
    (a key of wire.ENTRIES; for "reward", `potential` will do as well).
    """
    if len(text) > MAX_CHARACTERS:
        message = f"the program has {len(text)} characters; at most {MAX_CHARACTERS} are allowed"
        return [_reject("too-long", None, message, "a reward program is about a page long")]
    found = [*_characters(text.removeprefix(BYTE_ORDER_MARK))]
    try:
        tree = parse(text)
    except SyntaxError as error:
        source = (error.text or "").strip()[:120]
        found.append(_reject("syntax", error.lineno, f"{error.msg}: {source}", WHOLE_FILE))
        return found
    except (ValueError, RecursionError, MemoryError) as error:
        found.append(_reject("syntax", None, f"cannot be parsed: {error}", WHOLE_FILE))
        return found
    found += _entry_points(tree, layout, entry)
    for node in ast.walk(tree):
        found += _node(node)
    module_names = _module_names(tree)
    for name, function in functions(tree).items():
        found += _lasting_state(name, function, module_names)
    return sorted(found, key=lambda v: v.line or 0)[:MAX_FINDINGS]


def _reject(kind: str, line: int | None, message: str, hint: str = "") -> Verdict:
    """Make a verdict that rejects the program.

    The message can quote names and source lines of the program, so it is made printable and cut.
    """
    printable = "".join(c if c.isprintable() else "?" for c in message)
    if len(printable) > MAX_MESSAGE:
        printable = printable[:MAX_MESSAGE] + "..."
    return Verdict(kind=kind, stage="critic", line=line, message=printable, hint=hint[:MAX_MESSAGE])


# -- characters ------------------------------------------------------------------------------------


def _characters(text: str) -> Iterator[Verdict]:
    """Find what a reader does not see: control characters and a declared encoding."""
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        hidden = {c for c in line if unicodedata.category(c) in HIDDEN_CATEGORIES}
        codes = sorted(f"U+{ord(c):04X}" for c in hidden - {"\t", "\f"})
        if codes:
            message = f"the line has invisible characters: {', '.join(codes[:5])}"
            yield _reject("hidden-text", number, message, "use plain text only")
        # Python reads the declaration in the first two lines only
        declared = ENCODING_LINE.match(line) if number <= 2 else None
        if declared and declared[1].lower().replace("_", "-") not in UTF_8:
            message = f"the file declares the encoding {declared[1]}"
            yield _reject("encoding", number, message, "use UTF-8 and remove this line")


# -- entry points ----------------------------------------------------------------------------------


def _entry_points(tree: ast.Module, layout: Layout, entry: str) -> Iterator[Verdict]:
    """Check that an entry point exists, its arguments, and the fields that it reads."""
    defined = functions(tree)
    wanted = (entry, "potential") if entry == "reward" else (entry,)
    if not set(wanted) & defined.keys():
        yield _missing_reward(defined) if entry == "reward" else _missing_entry(defined, entry)
    for name in wanted:
        if name not in defined:
            continue
        yield from _signature(name, defined[name])
        states = (0,) if name == "potential" else (0, 2)
        yield from _fields(defined[name], layout, states)


def _missing_reward(defined: dict[str, Function]) -> Verdict:
    """Report that neither `reward` nor `potential` is defined, and which function may be meant."""
    message = "the program defines neither reward(prev, action, curr, memory) nor potential(state)"
    for name, function in defined.items():
        close = difflib.get_close_matches(name, ("reward", "potential"), 1, 0.75)
        if close or "reward" in name.lower() or "potential" in name.lower():
            meant = "potential" if "pot" in name.lower() else "reward"
            return _reject(
                "missing-entry-point", function.lineno, message, f"rename {name}() to {meant}"
            )
    return _reject("missing-entry-point", None, message, "define one of them, or both")


def _missing_entry(defined: dict[str, Function], entry: str) -> Verdict:
    """Report that the entry point is missing, and which function may be meant."""
    message = f"the program does not define {ENTRIES[entry]}"
    for name, function in defined.items():
        if name in ENTRIES or difflib.get_close_matches(name, [entry], 1, 0.7):
            hint = f"rename {name}() to {entry}, if that is what it computes"
            return _reject("missing-entry-point", function.lineno, message, hint)
    return _reject("missing-entry-point", None, message, f"def {ENTRIES[entry]}:")


def _signature(name: str, function: Function) -> Iterator[Verdict]:
    """Check that the function can be called with the arguments that the worker passes."""
    arguments = function.args
    allowed = len(arguments.posonlyargs) + len(arguments.args)
    required = allowed - len(arguments.defaults)
    passed = ARGUMENT_COUNTS[name]
    fits = required <= passed <= allowed or arguments.vararg
    if fits and None not in arguments.kw_defaults:
        return
    yield _reject(
        "signature",
        function.lineno,
        f"{name}() takes {allowed} arguments, but it is called as {ENTRIES[name]}",
        f"def {ENTRIES[name]}:",
    )


def _fields(function: Function, layout: Layout, states: tuple[int, ...]) -> Iterator[Verdict]:
    """Check the fields read from the arguments at the positions `states`."""
    arguments = [a.arg for a in [*function.args.posonlyargs, *function.args.args]]
    names = {arguments[k] for k in states if k < len(arguments)}
    for node in ast.walk(function):
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        if node.value.id in names and node.attr not in layout.names:
            yield _reject(
                "unknown-field",
                node.lineno,
                f"unknown field {node.attr!r}",
                f"the fields are {', '.join(layout.names)}",
            )


# -- single nodes ----------------------------------------------------------------------------------


def _node(node: ast.AST) -> list[Verdict]:
    """Return the first finding about one node of the syntax tree, if any."""
    for check in (_import, _loop, _name, _call, _attribute, _statement):
        finding = check(node)
        if finding:
            return [finding]
    return []


def _import(node: ast.AST) -> Verdict | None:
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        modules = [node.module or "."]
    else:
        return None
    wrong = [name for name in modules if name not in ALLOWED_MODULES]
    if isinstance(node, ast.ImportFrom) and node.module == "numpy":
        wrong += [f"numpy.{alias.name}" for alias in node.names if alias.name in BANNED_NUMPY]
    if not wrong:
        return None
    hint = "only numpy (`import numpy as np`) and math are available"
    return _reject("import", node.lineno, f"cannot import {', '.join(wrong)}", hint)


def _loop(node: ast.AST) -> Verdict | None:
    if not isinstance(node, ast.While) or not isinstance(node.test, ast.Constant):
        return None
    leaves = any(isinstance(n, (ast.Break, ast.Return, ast.Raise)) for n in ast.walk(node))
    if not node.test.value or leaves:
        return None
    hint = "whole-array numpy needs no loop here"
    return _reject("endless-loop", node.lineno, "this loop never ends", hint)


def _name(node: ast.AST) -> Verdict | None:
    name = _identifier(node)
    if set(name) <= ASCII_NAME | GREEK:
        return None
    message = f"the name {name!a} has letters outside ASCII"
    hint = "use plain letters in names: others can look the same and differ"
    return _reject("homoglyph", getattr(node, "lineno", None), message, hint)


def _identifier(node: ast.AST) -> str:
    """Return the name that a node uses or defines, "" if it has none."""
    for attribute in ("id", "arg", "attr", "name", "asname"):
        name = getattr(node, attribute, None)
        if isinstance(name, str):
            return name
    return ""


def _call(node: ast.AST) -> Verdict | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return None
    if node.func.id not in BANNED_CALLS:
        return None
    message = f"a reward program cannot call {node.func.id}()"
    return _reject("forbidden-call", node.lineno, message, "compute with numpy, return named terms")


def _attribute(node: ast.AST) -> Verdict | None:
    if not isinstance(node, ast.Attribute):
        return None
    name = node.attr
    if name.startswith("__") and name.endswith("__") and name not in ALLOWED_DUNDERS:
        message = f"a reward program cannot use {name}"
        return _reject(
            "forbidden-name", node.lineno, message, "write plain functions of named fields"
        )
    if not isinstance(node.value, ast.Name) or node.value.id not in ("np", "numpy"):
        return None
    if name not in BANNED_NUMPY:
        return None
    if name == "random":
        why = "the same transition must give the same reward"
    else:
        why = "a reward program has no access to files and internals"
    return _reject(
        "forbidden-name", node.lineno, f"np.{name}: {why}", "compute from the arguments only"
    )


def _statement(node: ast.AST) -> Verdict | None:
    if isinstance(node, ast.Global):
        message = "state outside `memory` is not reset between episodes"
        return _reject("global-state", node.lineno, message, "declare it in MEMORY")
    if isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.Yield, ast.YieldFrom)):
        return _reject(
            "forbidden-name",
            node.lineno,
            "a reward program consists of plain functions, without async or yield",
            "def reward(prev, action, curr, memory): return {...}",
        )
    return None


# -- state that outlives an episode ----------------------------------------------------------------


def _module_names(tree: ast.Module) -> set[str]:
    """Return the names at module level, which functions may read and must not change."""
    names = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    for node in tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            names |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
    return names


def _lasting_state(name: str, function: Function, module_names: set[str]) -> Iterator[Verdict]:
    """Find changes of module tables, of functions' attributes and of default arguments."""
    lasting = (module_names - _local_names(function)) | _mutable_defaults(function)
    for node in ast.walk(function):
        changed = _changed(node)
        if isinstance(changed, ast.Name) and changed.id in lasting:
            yield _reject(
                "global-state",
                getattr(node, "lineno", None),
                f"{name}() changes {changed.id!r}, which outlives the episode",
                "declare it in MEMORY, and assign memory[name]",
            )


def _mutable_defaults(function: Function) -> set[str]:
    """Return the arguments whose default is a new object, shared by all calls."""
    arguments = [*function.args.posonlyargs, *function.args.args]
    defaults = function.args.defaults
    with_default = arguments[len(arguments) - len(defaults) :]
    return {
        argument.arg
        for argument, default in zip(with_default, defaults, strict=True)
        if isinstance(default, (ast.List, ast.Dict, ast.Set, ast.Call))
    }


def _local_names(function: Function) -> set[str]:
    names = set()
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _changed(node: ast.AST) -> ast.expr | None:
    """Return the object that a node changes: `a` for a.pop(), a[0] = 1 and a.b.c = 1."""
    changed: ast.expr | None = None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in MUTATING_METHODS:
            changed = node.func.value
    elif isinstance(node, (ast.Subscript, ast.Attribute)) and isinstance(node.ctx, CHANGING):
        changed = node.value
    while isinstance(changed, (ast.Subscript, ast.Attribute)):
        changed = changed.value
    return changed
