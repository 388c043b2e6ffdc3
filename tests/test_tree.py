"""The shape of the package: one word per stage everywhere, and nothing that
only one machine has.
"""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from autoreward.store.records import STAGES

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "autoreward").rglob("*.py"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_word_is_the_module_the_run_file_and_the_heading(stage):
    assert (ROOT / "autoreward" / "loop" / "stages" / f"{stage}.py").is_file()
    number = STAGES.index(stage) + 1
    assert f"{number}-{stage}" in (ROOT / "autoreward" / "store" / "candidate.py").read_text()
    assert re.search(rf"^#+ .*\b{stage}\b", (ROOT / "docs" / "runs.md").read_text(), re.M | re.I)


def test_nothing_generated_is_executed_outside_of_the_worker():
    users = [
        p.relative_to(ROOT)
        for p in MODULES
        for node in ast.walk(ast.parse(p.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("exec", "eval")
    ]
    assert users == [Path("autoreward/sandbox/inside/load.py")]


def test_no_pickle_is_written_or_read():
    words = re.compile(
        r"\bpickle\b|allow_pickle=True|torch\.(save|load)\(|\.load\(.*\.zip|joblib|cloudpickle"
    )
    found = [
        str(p)
        for p in MODULES
        for line in p.read_text().splitlines()
        if words.search(line)
        and "no pickle" not in line.lower()
        and "without pickle" not in line.lower()
    ]
    assert found == []


def test_no_machine_paths_in_tracked_files():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(
        [
            "git",
            "grep",
            "-nIE",
            r"/(root|work)/[a-z]",
            "--",
            ":!tests/test_tree.py",
            ":!tests/recorded",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""


def test_every_verdict_and_diagnostic_kind_is_documented():
    from autoreward.sandbox.outside.worker import KINDS

    verdicts, diagnostics = (
        (ROOT / "docs" / "verdicts.md").read_text(),
        (ROOT / "docs" / "diagnostics.md").read_text(),
    )
    sources = {p: p.read_text() for p in MODULES}
    kinds = set(KINDS)
    for name in (
        "rewards/linter.py",
        "loop/stages/check.py",
        "sandbox/outside/worker.py",
        "sandbox/inside/load.py",
        "models/replies.py",
    ):
        text = sources[ROOT / "autoreward" / name]
        kinds |= set(
            re.findall(
                r'(?:_reject|_refuse|warn|Refusal|UnreadableReply|_refused)\(\s*"([a-z0-9-]+)"',
                text,
            )
        ) | set(re.findall(r'kind="([a-z0-9-]+)"', text))
    kinds -= {"no-record"}
    assert len(kinds) > 20 and [k for k in sorted(kinds) if f"`{k}`" not in verdicts] == []
    found = set(
        re.findall(r'kind="([a-z-]+)"', sources[ROOT / "autoreward" / "loop" / "diagnosis.py"])
    )
    assert len(found) > 7 and [k for k in sorted(found) if f"`{k}`" not in diagnostics] == []


def test_no_two_test_files_share_a_name():
    """pytest imports them by name alone: of two, one is not run."""
    names = sorted(
        p.name for p in Path(__file__).parent.rglob("test_*.py") if "runs" not in p.parts
    )
    assert len(names) == len(set(names)), [n for n in names if names.count(n) > 1]
