"""The import contracts hold for every module, listed or not: a planted import is reported."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "autoreward").rglob("*.py")
)
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
PROVIDERS = "Only models talks to a provider"
ROOT_PACKAGE = "Importing autoreward imports nothing heavy"
SIMULATORS = "Outside the trainer nothing needs torch or a simulator"


def sections(report: str) -> dict[str, set[tuple[str, str]]]:
    """The broken contracts by name, with the direct imports (importer, imported) they report."""
    found: dict[str, set[tuple[str, str]]] = {}
    current = ""
    for line in report.splitlines():
        if line in {contract["name"] for contract in CONTRACTS}:
            current = line
        for edge in re.findall(r"(autoreward[\w.]*) -> (\w+) \(", line):
            found.setdefault(current, set()).add(edge)
    return found


@pytest.fixture(scope="module")
def reported(tmp_path_factory) -> dict[str, set[tuple[str, str]]]:
    """What the contracts report on a copy in which every module imports litellm and torch."""
    copy = tmp_path_factory.mktemp("planted")
    shutil.copy(ROOT / "pyproject.toml", copy)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "autoreward", copy / "autoreward", ignore=ignored)
    for path in (copy / "autoreward").rglob("*.py"):
        path.write_text(path.read_text() + "\n\nimport litellm\nimport torch\n")
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(copy)!r}); {code}",
            "--no-cache",
        ],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return sections(done.stdout)


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith("autoreward.models")])
def test_a_provider_imported_outside_of_models_is_reported(reported, module):
    contract = ROOT_PACKAGE if module == "autoreward" else PROVIDERS
    assert (module, "litellm") in reported[contract]


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith("autoreward.trainer")])
def test_torch_imported_outside_of_the_trainer_is_reported(reported, module):
    if module == "autoreward.rewards.signals.decoder":
        pytest.skip("a learned signal, which only the trainer builds")
    contract = ROOT_PACKAGE if module == "autoreward" else SIMULATORS
    if module.startswith("autoreward.sandbox.inside"):
        contract = "Inside the sandbox: the wire, named fields, numpy and the program"
    assert (module, "torch") in reported[contract]


def test_every_wing_is_named_by_the_contracts_that_list_wings():
    """A new wing has to be added to them; a new module inside of a wing has not."""
    wings = {".".join(module.split(".")[:2]) for module in MODULES} - {"autoreward"}
    by_name = {contract["name"]: contract for contract in CONTRACTS}
    assert set(by_name[PROVIDERS]["source_modules"]) == wings - {"autoreward.models"}
    assert set(by_name[SIMULATORS]["source_modules"]) == wings - {"autoreward.trainer"}
    layered = {
        f"autoreward.{name.strip(' ()')}"
        for layer in by_name["One direction"]["layers"]
        for name in layer.split("|")
    }
    assert layered == wings


def test_inside_the_sandbox_only_numpy_and_the_standard_library_are_imported():
    allowed = set(sys.stdlib_module_names) | {"numpy"}
    ours = {"autoreward.sandbox", "autoreward.sandbox.wire", "autoreward.state"}
    for module in MODULES:
        inside = module.startswith("autoreward.sandbox.inside")
        if not inside and module not in ("autoreward.sandbox.wire", "autoreward.state"):
            continue
        path = ROOT / Path(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                known = name in ours or name.startswith("autoreward.sandbox.inside")
                assert known or name.split(".")[0] in allowed, f"{module} imports {name}"
