"""The package's lines: width, density, length of functions and files; one name per class."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "autoreward").rglob("*.py"))
MAX_COLUMNS = 100
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 120
MAX_NODES_PER_CODE_LINE = 8.5


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def docstring_lines(tree: ast.AST) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        first = node.body[0] if node.body else None
        constant = first.value if isinstance(first, ast.Expr) else None
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
            lines |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_is_easy_on_the_eye(path):
    tree = parsed(path)
    rows = path.read_text(encoding="utf-8").splitlines()
    assert ast.get_docstring(tree), "a module begins with what it is for"
    assert len(rows) <= MAX_FILE_LINES
    assert [n for n, row in enumerate(rows, 1) if len(row) > MAX_COLUMNS] == []
    conditionals = [node for node in ast.walk(tree) if isinstance(node, ast.IfExp)]
    nested = [
        node.lineno
        for node in conditionals
        if any(isinstance(inner, ast.IfExp) and inner is not node for inner in ast.walk(node))
    ]
    assert nested == [], "a conditional expression inside another one has to be read twice"
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    lengths = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, functions)
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}


def test_the_package_is_not_dense():
    """AST nodes per line of code, docstrings, comments and blank lines left out."""
    nodes = code = 0
    for path in MODULES:
        tree = parsed(path)
        skipped = docstring_lines(tree)
        for number, row in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code += bool(row.strip()) and not row.strip().startswith("#") and number not in skipped
        nodes += sum(getattr(node, "lineno", 0) not in skipped for node in ast.walk(tree))
    assert nodes / code <= MAX_NODES_PER_CODE_LINE


def test_no_public_class_name_is_defined_twice():
    places: dict[str, set[str]] = defaultdict(set)
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_the_top_of_the_package_is_its_index():
    """At most 13 folders and 7 files."""
    entries = [p for p in (ROOT / "autoreward").iterdir() if p.name not in ("__pycache__", "_data")]
    assert sum(p.is_dir() for p in entries) <= 13
    assert sum(p.is_file() for p in entries) <= 7
