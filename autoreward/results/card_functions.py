"""The trusted functions of a card's Python file, as source text for an exported file.

The text is parsed, never run.
"""

from __future__ import annotations

import ast
import builtins
import sys

# what an exported file may import
AVAILABLE_MODULES = {*sys.stdlib_module_names, "numpy", "gymnasium"}


def self_contained_functions(code: str, wanted: tuple[str, ...]) -> str | None:
    """Return the lines of the wanted functions and of everything they use.

    None if a function is missing, or if they use more than numpy, gymnasium and the standard
    library.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    statements = {name: node for node in tree.body for name in _bound_names(node)}
    if "*" in statements or any(name not in statements for name in wanted):
        return None

    kept: set[ast.stmt] = set()
    to_visit = list(wanted)
    while to_visit:
        node = statements.get(to_visit.pop())
        if node is None or node in kept:
            continue
        if not _imports_only_available(node):
            return None
        kept.add(node)
        for part in ast.walk(node):
            if not isinstance(part, ast.Name):
                continue
            # a name of neither the file nor Python itself is left for the user to notice
            if part.id in statements or not hasattr(builtins, part.id):
                to_visit.append(part.id)

    lines = code.splitlines()
    texts = [_text(node, lines) for node in tree.body if node in kept]
    return "\n\n".join(texts)


def _imports_only_available(statement: ast.stmt) -> bool:
    """True if every import in the statement is absolute and of an available module."""
    for node in ast.walk(statement):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level or not node.module:
                return False
            modules = [node.module]
        if any(module.split(".")[0] not in AVAILABLE_MODULES for module in modules):
            return False
    return True


def _text(node: ast.stmt, lines: list[str]) -> str:
    """Return the lines of a statement, decorators included."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    return "\n".join(lines[first - 1 : node.end_lineno])


def _bound_names(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a module binds."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return []
    names: list[str] = []
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            names.append(part.id)
        if isinstance(part, (ast.Import, ast.ImportFrom)):
            names += [(alias.asname or alias.name).split(".")[0] for alias in part.names]
    return names
