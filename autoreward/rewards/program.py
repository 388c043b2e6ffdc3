"""A reward program as text: what it defines, and how it reads without its comments.

The text is parsed with `ast` and never executed. What is wrong with a program is found by
`autoreward.rewards.linter`, and by running it in the sandbox.
"""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass
from typing import Any

from autoreward.sandbox.wire import ENTRIES

MAX_CHARACTERS = 40_000
UNPARSEABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
BYTE_ORDER_MARK = "\ufeff"

# A string that is longer, or has more words, is more than a name. The critic sees it cut, because
# it may be addressed to the critic.
MAX_SHOWN_CHARACTERS = 64
MAX_SHOWN_WORDS = 3

Function = ast.FunctionDef | ast.Lambda
Place = tuple[int, int]


@dataclass(frozen=True)
class ProgramFacts:
    """What a program defines; empty except for `lines` if the text cannot be parsed."""

    entry_points: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    doc: str = ""
    lines: int = 0


def parse(text: str) -> ast.Module:
    """Parse the text of a program. A leading byte order mark is ignored, as the worker does.

    Raises one of UNPARSEABLE if it is not Python.
    """
    return ast.parse(text.removeprefix(BYTE_ORDER_MARK))


def functions(tree: ast.Module) -> dict[str, Function]:
    """Return the functions at module level by name, including `name = lambda ...`."""
    found: dict[str, Function] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Lambda):
            continue
        target = node.targets[0]
        if isinstance(target, ast.Name):
            found[target.id] = node.value
    return found


def facts(text: str) -> ProgramFacts:
    """Return the entry points, the memory names and the first line of the docstring."""
    lines = text.count("\n") + 1
    try:
        tree = parse(text)
    except UNPARSEABLE:
        return ProgramFacts(lines=lines)
    entry_points = [name for name in functions(tree) if name in ENTRIES]
    docstring = ast.get_docstring(tree) or ""
    first_line, _, _ = docstring.strip().partition("\n")
    return ProgramFacts(
        entry_points=tuple(entry_points),
        memory=_memory_names(tree),
        doc=first_line,
        lines=lines,
    )


def _memory_names(tree: ast.Module) -> tuple[str, ...]:
    """Return the constant keys of the last `MEMORY = {...}` at module level."""
    names: tuple[str, ...] = ()
    for node in tree.body:
        if isinstance(node, ast.Assign):
            target: ast.expr = node.targets[0]
        elif isinstance(node, ast.AnnAssign):
            target = node.target
        else:
            continue
        if not isinstance(target, ast.Name) or target.id != "MEMORY":
            continue
        if isinstance(node.value, ast.Dict):
            keys = [key for key in node.value.keys if isinstance(key, ast.Constant)]
            names = tuple(str(key.value) for key in keys)
    return names


def constant(text: str, name: str) -> Any:
    """Return the value of `NAME = literal` at module level; None if it is missing or no literal."""
    try:
        tree = parse(text)
    except UNPARSEABLE:
        return None
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        target = node.targets[0]
        if not isinstance(target, ast.Name) or target.id != name:
            continue
        try:
            return ast.literal_eval(node.value)
        except (*UNPARSEABLE, TypeError):
            return None
    return None


def without_comments(text: str) -> str:
    """Return the program as the model that reviews it sees it.

    Comments and docstrings are removed and longer strings are emptied; every line keeps its number.
    Comments and strings can carry words meant for a reader ("score this 10/10"), and only what the
    code does should count. Text that cannot be parsed is returned unchanged.
    """
    text = text.removeprefix(BYTE_ORDER_MARK)
    for line_end in ("\r\n", "\r"):
        text = text.replace(line_end, "\n")
    text = text.replace("\f", " ")
    try:
        tree = ast.parse(text)
    except UNPARSEABLE:
        return text
    bare_strings = _bare_strings(tree)
    source = io.StringIO(text)
    try:
        tokens = list(tokenize.generate_tokens(source.readline))
    except (tokenize.TokenError, SyntaxError):
        return ast.unparse(tree)
    lines = text.split("\n")
    # from the end, so that the places of earlier tokens stay valid
    for token in reversed(tokens):
        name = tokenize.tok_name[token.type]
        if name == "COMMENT":
            _cut(lines, token, "")
        elif name == "STRING":
            start = _byte_column(lines, token.start)
            bare = any(low <= start < high for low, high in bare_strings)
            if bare or _more_than_a_name(token.string):
                _cut(lines, token, '""')
        # Python 3.12 and later split f-strings into tokens
        elif name == "FSTRING_MIDDLE" and _more_than_a_name(token.string):
            _cut(lines, token, "")
    return "\n".join(line.rstrip() for line in lines)


def _bare_strings(tree: ast.Module) -> list[tuple[Place, Place]]:
    """Return the spans of strings that stand alone as a statement, docstrings included."""
    spans = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Expr) or not _is_string(node.value):
            continue
        start = (node.lineno, node.col_offset)
        end_line = node.end_lineno or node.lineno
        end_column = node.end_col_offset or 0
        spans.append((start, (end_line, end_column)))
    return spans


def _is_string(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (str, bytes))
    return isinstance(node, ast.JoinedStr)


def _more_than_a_name(string: str) -> bool:
    if len(string) > MAX_SHOWN_CHARACTERS:
        return True
    words = string.split()
    return len(words) > MAX_SHOWN_WORDS


def _byte_column(lines: list[str], place: Place) -> Place:
    """Convert a place from `tokenize` (columns are characters) to `ast` (columns are bytes)."""
    row, column = place
    before = lines[row - 1][:column]
    return row, len(before.encode())


def _cut(lines: list[str], token: tokenize.TokenInfo, instead: str) -> None:
    """Replace a token, which may span several lines; the number of lines stays the same."""
    first_row, start = token.start
    last_row, end = token.end
    first, last = first_row - 1, last_row - 1
    rest = lines[last][end:]
    kept = lines[first][:start]
    lines[first] = kept + instead
    for k in range(first + 1, last + 1):
        lines[k] = ""
    lines[last] += rest
