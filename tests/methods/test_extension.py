"""The package of docs/methods.md: a method that pip installs, listed, shown and run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from autoreward.store.run import Run

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests" / "extension"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> str:
    """PYTHONPATH with the package installed there."""
    target = tmp_path_factory.mktemp("installed")
    words = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(target),
        str(PACKAGE),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH", "")]))


def test_the_page_shows_the_package_and_it_is_small():
    page = (ROOT / "docs" / "methods.md").read_text()
    files = [p for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(p.read_text().count("\n") for p in files) < 60 and len(files) == 7
    shown = re.findall(r"^`([\w./]+)`\n(`{3,})\w+\n(.*?)^\2$", page, re.M | re.S)
    assert len(shown) == 3 and all((PACKAGE / name).read_text() == text for name, _, text in shown)


def test_it_is_listed_with_its_templates(place, command):
    env = {"PYTHONPATH": place}
    listed = {
        m["name"]: m for m in json.loads(command("methods", "list", "--json", env=env).stdout)
    }
    assert (
        listed["contrast"]["origin"] == "autoreward_contrast:METHOD"
        and "contrast" not in command("methods", "list").stdout
    )
    shown = command("methods", "show", "contrast", env=env).stdout
    assert (
        "after CARD" in shown
        and "needs `success`" in shown
        and "3 to 9 per iteration of 3" in shown
    )
    checked = command("prompts", "check", env=env)
    assert checked.returncode == 0, checked.stdout
    assert "contrast/designer/revise" in command("prompts", "list", env=env).stdout
    assert (
        "A corridor"
        in command("prompts", "render", "contrast/designer", "--task", "corridor", env=env).stdout
    )
    refused = command("design", "pendulum", "--method", "contrast", "--model", "manual", env=env)
    assert (
        refused.returncode == 1
        and "method contrast needs `success` in the card 'pendulum'" in refused.stderr
        and "success: {when: [...]}" in refused.stderr
    )


@pytest.mark.long
def test_it_designs(place, command, tmp_path):
    words = [
        "--iterations",
        "1",
        "--candidates",
        "1",
        "--final-seeds",
        "1",
        "--steps",
        "1024",
        "--name",
        "own",
        "--jobs",
        "2",
    ]
    done = command("design", "corridor", "--method", "contrast", *words, env={"PYTHONPATH": place})
    assert done.returncode == 0, done.stderr[-3000:]
    run = Run(tmp_path / "runs" / "own")
    assert run.header.method == "contrast" and run.final and run.final.winner
    following = command(
        "prompts",
        "render",
        "designer",
        "--task",
        "corridor",
        "--run",
        "runs/own",
        env={"PYTHONPATH": place},
    ).stdout
    assert (
        "What does the better one pay for" in following
        and run.candidates()[0].program.strip() in following
    )
    # finished, but its method is not here
    gone = command("resume", "runs/own")
    assert (
        gone.returncode == 2
        and "unknown method 'contrast'" in gone.stderr
        and "contrast" in command("runs", "show", "runs/own").stdout
    )
