"""Instant help, one sentence and an exit code for every error, one JSON document on stdout."""

import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from autoreward.cli import VERBS
from autoreward.tasks.find import find


def autoreward(
    *words: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    surrounding = {
        **os.environ,
        "AUTOREWARD_CACHE": str(cwd / "cache"),
        "AUTOREWARD_MODEL": "",
        **(env or {}),
    }
    surrounding.pop("OPENAI_API_KEY", None)
    return subprocess.run(
        [sys.executable, "-m", "autoreward", *words],
        cwd=cwd,
        env=surrounding,
        capture_output=True,
        text=True,
        timeout=120,
    )


HEAVY = {
    "torch",
    "litellm",
    "openai",
    "stable_baselines3",
    "gymnasium",
    "numpy",
    "pydantic",
    "jinja2",
    "yaml",
}


@pytest.mark.parametrize(
    "words", [("--help",), ("design", "--help"), ("train", "--help"), ("envs", "--help")]
)
def test_help_imports_nothing_heavy(words):
    code = (
        "import sys\n"
        f"sys.argv = ['autoreward', {', '.join(map(repr, words))}]\n"
        "from autoreward.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = set(done.stderr.split())
    # typer itself reads the types of a command's options with pydantic
    heavy = HEAVY if words == ("--help",) else HEAVY - {"pydantic"}
    assert "--help" in done.stdout and not loaded & heavy


def test_no_command_shows_help(tmp_path):
    assert (
        "Commands:" in autoreward(cwd=tmp_path).stdout + autoreward("--help", cwd=tmp_path).stdout
    )
    assert autoreward("--version", cwd=tmp_path).stdout.startswith("autoreward ")


BAD = [
    (("desing", "corridor"), 2, "did you mean 'design'"),
    (("design", "corridr"), 2, "did you mean corridor"),
    (("design",), 2, "'task'"),
    (("design", "corridor", "--bogus"), 2, "--bogus"),
    (("design", "corridor", "--iterations", "0"), 2, "--iterations is 0"),
    (("design", "corridor", "--iterations", "two"), 2, "valid integer"),
    (("design", "corridor", "--seed", "-1"), 2, "--seed is -1"),
    (("design", "corridor", "--model", "openai/gpt-4o-mini"), 3, "OPENAI_API_KEY"),
    (("design", "corridor", "--model", "no-such-model"), 4, "no-such-model"),
    (("design", "corridor", "--model", "replay/nowhere"), 2, "nowhere"),
    (("design", "corridor", "--method", "magic"), 2, "unknown method 'magic'"),
    (("design", "corridor", "--sandbox", "none"), 2, "unknown sandbox profile"),
    (("design", "corridor", "--prompts", "nowhere"), 2, "folder not found"),
    (("design", "corridor", "--prompts", "crooked"), 1, "task.md.j2:1: unknown variable 'tsk'"),
    (
        (
            "design",
            "corridor",
            "--base-url",
            "http://127.0.0.1:9",
            "--model",
            "m",
            "--header",
            "no-colon",
        ),
        2,
        "no colon",
    ),
    (("design", "corridor", "--set", "colour=red"), 2, "unknown setting 'colour'"),
    (("design", "corridor", "--config", "nowhere.yaml"), 2, "nowhere.yaml"),
    (("design", "broken.yaml"), 1, "broken.yaml"),
    (("design", "nowhere.yaml"), 2, "nowhere.yaml not found"),
    (("design", "missing.yaml"), 3, "no_such_simulator"),
    (("resume", "runs/nowhere"), 2, "no run"),
    (("resume",), 2, "no runs"),
    (("runs", "show", "nowhere"), 2, "no run"),
    (("check", "nowhere.py", "--task", "corridor"), 2, "nowhere.py: file not found"),
    (("check", "bad.py", "--task", "corridor"), 1, "bad.py:4"),
    (("train", "nowhere.py", "--task", "corridor"), 2, "nowhere.py: file not found"),
    (("train", "sparse", "--task", "corridor", "--seeds", "0"), 2, "--seeds is 0"),
    (("envs", "show", "nowhere"), 2, "unknown task"),
    (("envs", "check", "crooked.yaml"), 3, "fields.cell"),
    (("prompts", "render", "designer", "--task", "nowhere"), 2, "unknown task"),
    (("prompts", "show", "nowhere"), 2, "unknown template"),
    (("prompts", "render", "analyzer", "--task", "corridor"), 2, "name a run"),
    (("prompts", "check", "--prompts", "crooked"), 1, "task.md.j2:1: unknown variable 'tsk'"),
    (("bench", "nowhere.yaml"), 2, "nowhere.yaml: suite not found"),
    (("bench", "suite.yaml"), 1, "line 3"),
    (("bench", "words.yaml"), 1, "seeds.0"),
    (("sandboxes", "show", "nowhere"), 2, "unknown sandbox profile"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    card = find("corridor")
    for source in (card.path, card.code, card.human):
        shutil.copy(source, folder)  # type: ignore[arg-type]
    text = card.path.read_text()
    (folder / "broken.yaml").write_text(text.replace("limit: 100\n", "limitt: 100\n"))
    (folder / "missing.yaml").write_text(
        text.replace("  limit: 100\n", "  limit: 100\n  needs: [no_such_simulator]\n")
    )
    (folder / "crooked.yaml").write_text(text.replace('source: "0"', 'source: "11"'))
    (folder / "crooked" / "auto-mc-reward" / "designer").mkdir(parents=True)
    (folder / "crooked" / "auto-mc-reward" / "designer" / "task.md.j2").write_text(
        "{{ tsk.title }} {{ task.title }}"
    )
    (folder / "suite.yaml").write_text("tasks: [corridor]\nseeds: [0\nmodels: x\n")
    (folder / "words.yaml").write_text("tasks: [corridor]\nseeds: [zero]\n")
    (folder / "bad.py").write_text(
        "import numpy as np\n\n\nimport os\n\n\n"
        "def reward(prev, action, curr, memory):\n    return {}\n"
    )
    return folder


@pytest.mark.parametrize(("words", "code", "expected"), BAD, ids=[" ".join(w) for w, _, _ in BAD])
def test_an_error_is_one_sentence_a_next_command_and_an_exit_code(place, words, code, expected):
    done = autoreward(*words, cwd=place)
    assert done.returncode == code, (done.returncode, done.stderr[-1500:])
    assert expected in done.stderr + done.stdout and "Traceback" not in done.stderr
    if "check" not in words[:2] or "nowhere" in words[1] or words[0] == "envs":
        assert done.stderr.startswith("error: ") or "\nerror: " in done.stderr
        assert "next:" in done.stderr
    assert not list((place / "runs").glob("*/run.yaml")), "no run is created if something is wrong"


@pytest.mark.parametrize(
    "words",
    [
        ("envs", "list"),
        ("envs", "show", "corridor"),
        ("prompts", "list"),
        ("methods", "list"),
        ("models", "list"),
        ("sandboxes", "list"),
        ("runs", "list"),
        ("doctor",),
        ("design", "corridor", "--dry-run"),
        ("prompts", "render", "designer", "--task", "corridor"),
        ("check", "corridor.human.py", "--task", "corridor"),
    ],
)
def test_json_is_one_document_on_stdout(place, words):
    done = autoreward(*words, "--json", cwd=place)
    assert done.returncode == 0, done.stderr[-1500:]
    assert json.loads(done.stdout) is not None


def test_a_second_process_on_a_run_is_rejected(tmp_path):
    from filelock import FileLock

    from autoreward.loop.header import header
    from autoreward.loop.options import DesignOptions
    from autoreward.store.run import Run

    run = Run.create(tmp_path / "runs", header(DesignOptions("corridor"), find("corridor")), "one")
    with FileLock(str(run.path / ".lock")):
        done = autoreward("resume", "runs/one", cwd=tmp_path)
    assert done.returncode == 6 and "another process" in done.stderr


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(tmp_path):
    """A quota of zero bytes for files: every write fails as on a full disk."""
    first = autoreward(
        "design",
        "corridor",
        "--iterations",
        "1",
        "--candidates",
        "1",
        "--max-calls",
        "0",
        "--name",
        "one",
        cwd=tmp_path,
    )
    assert first.returncode == 5 and "--max-calls" in first.stderr
    before = sorted(p.name for p in (tmp_path / "runs" / "one").iterdir())
    code = (
        "import errno, os, sys\n"
        "real = os.fsync\n"
        "def full(fd):\n    raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "os.fsync = full\n"
        "sys.argv = ['autoreward', 'resume', 'runs/one', '--max-calls', '9']\n"
        "from autoreward.cli import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "AUTOREWARD_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 3 and "No space left" in done.stderr and "Traceback" not in done.stderr
    )
    assert sorted(
        p.name for p in (tmp_path / "runs" / "one").iterdir() if not p.name.startswith("calls")
    ) == [n for n in before if not n.startswith("calls")]


def test_ctrl_c_stops_cleanly_and_says_how_to_continue(tmp_path):
    import signal

    process = subprocess.Popen(
        [sys.executable, "-m", "autoreward", "design", "corridor", "--name", "one"],
        cwd=tmp_path,
        env={**os.environ, "AUTOREWARD_CACHE": str(tmp_path / "cache"), "AUTOREWARD_MODEL": ""},
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs with SIGINT ignored, and children inherit that: without
        # this the test hangs when the whole suite runs in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while (
        not list(tmp_path.glob("runs/one/iteration-1/*/5-training/*/job.json"))
        and time.monotonic() < deadline
    ):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=30)
    assert (
        process.returncode == 130
        and "autoreward resume runs/one" in shown
        and "Traceback" not in shown
    )


@pytest.mark.parametrize("verb", VERBS)
def test_the_list_of_commands_is_true(verb):
    """It is written by hand, so that `autoreward --help` imports no command."""
    module, attribute, line = VERBS[verb]
    found = getattr(importlib.import_module(f"autoreward.cli.{module}"), attribute)
    if not isinstance(found, typer.Typer):
        assert inspect.getdoc(found)
        return
    named = line.partition(": ")[2].rstrip(".").split(", ")
    assert set(named) == {command.name for command in found.registered_commands}
