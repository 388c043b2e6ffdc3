"""A run keeps its card and the card's code: editing them while it goes on changes nothing."""

import importlib.util
import os
import py_compile
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from autoreward.errors import UserError
from autoreward.loop import setup
from autoreward.loop.agents import candidate_agent, train_agents
from autoreward.loop.card_copy import card_files
from autoreward.loop.options import DesignOptions
from autoreward.loop.trust import card_of, outside_access, require_trusted
from autoreward.store.records import Check, Review
from autoreward.store.run import Run
from autoreward.tasks.find import find, load
from autoreward.trainer.environment import trusted_code

PROGRAM = """import numpy as np


def reward(prev, action, curr, memory):
    return {"forward": curr.cell[:, 0] - prev.cell[:, 0]}
"""


@pytest.fixture
def envs(tmp_path, monkeypatch) -> Path:
    """The corridor's card, code and human program as a user's own, in ./envs."""
    monkeypatch.setenv("AUTOREWARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    card = find("corridor")
    folder = tmp_path / "envs"
    folder.mkdir()
    for source in (card.path, card.code, card.human):
        shutil.copy(source, folder)
    return folder


def start(name: str) -> Run:
    options = DesignOptions("corridor", steps=256, jobs=1, folder=Path("runs"), name=name)
    return setup.start(options, setup.model_options({}))


def open_context(run: Run, events: list[tuple]):
    def say(*what, **data):
        events.append((*what, data))

    return setup.run_context(
        Run(run.path), setup.model_options({}), say, lambda label, numbers: None
    )


def edit(envs: Path) -> None:
    """Change the card, and make its code fail if anything runs it."""
    card = envs / "corridor.yaml"
    text = card.read_text()
    assert "limit: 100" in text
    card.write_text(text.replace("limit: 100", "limit: 7"))
    (envs / "corridor.py").write_text("raise SystemExit('the edited code ran')\n")


def trained(context, seed: int) -> dict[str, np.ndarray]:
    """The curve of a training of candidate 1a."""
    candidate = context.run.candidate(1, "a")
    candidate.accept_draft(PROGRAM, None, Review(ok=True), Check(ok=True))
    agent = candidate_agent(context, candidate, seed)
    train_agents(context.engine, context.run.header, [agent], None)
    with np.load(agent.folder.curve_path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_a_card_edited_between_two_trainings_changes_nothing(envs):
    unedited = trained(open_context(start("unedited"), []), seed=1)
    run = start("edited")
    trained(open_context(run, []), seed=0)
    edit(envs)
    events: list[tuple] = []
    edited = trained(open_context(run, events), seed=1)
    assert edited.keys() == unedited.keys()
    assert all(edited[name].tobytes() == unedited[name].tobytes() for name in unedited)
    assert [event[:2] for event in events] == [("run", "keeps its own card")]
    assert str(envs / "corridor.yaml") in events[0][-1]["why"]


def test_an_unedited_card_is_not_reported(envs):
    events: list[tuple] = []
    context = open_context(start("one"), events)
    assert events == []
    assert context.card.path.is_relative_to(context.run.task_path.resolve())
    assert context.card.human.is_relative_to(context.run.task_path.resolve())


def test_a_copy_that_was_changed_is_an_error(envs):
    run = start("one")
    (run.task_path / "corridor.py").write_text("X = 1\n")
    with pytest.raises(UserError, match="has changed since this run was created"):
        card_of(run)


def test_a_strangers_copy_is_code_that_needs_trust(envs, tmp_path):
    """The mark of trust is for run.yaml on this machine, so a new cache stands for a new user."""
    run = start("one")
    assert outside_access(run) == []
    shutil.rmtree(tmp_path / "cache")
    assert outside_access(run) == []
    edit(envs)
    with pytest.raises(UserError, match=r"runs/one/task/corridor\.yaml and its Python file"):
        require_trusted(run, False)
    require_trusted(run, True)


def test_compiled_code_in_a_run_is_never_loaded(envs, tmp_path):
    """Python loads such a file without comparing it with the source beside it."""
    run = start("one")
    code = card_of(run).code
    evil = tmp_path / "evil.py"
    evil.write_text("COMPILED = True\n")
    cached = importlib.util.cache_from_source(str(code))
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(evil), cached, invalidation_mode=mode)
    module = trusted_code(card_of(run))
    assert not hasattr(module, "COMPILED")
    assert hasattr(module, "Corridor")


def use_file_beside(envs: Path) -> None:
    """Let the card's code import a file beside itself."""
    (envs / "beside.py").write_text("WHOSE = 'mine'\n")
    code = envs / "corridor.py"
    lines = ["import os", "import sys", "sys.path.insert(0, os.path.dirname(__file__))"]
    code.write_text(code.read_text() + "\n".join(["", *lines, "import beside", ""]))


def test_a_strangers_file_beside_known_code_needs_trust(envs, tmp_path):
    use_file_beside(envs)
    run = start("one")
    shutil.rmtree(tmp_path / "cache")
    assert outside_access(run) == []
    (run.task_path / "corridor.origin").unlink()
    (run.task_path / "beside.py").write_text("WHOSE = 'theirs'\n")
    assert outside_access(run) == [
        f"the card {run.task_path.resolve()}/corridor.yaml and its Python file"
    ]


def test_trust_ends_when_the_copy_changes(envs):
    """The digest in run.yaml does not cover where the code looks for other files."""
    use_file_beside(envs)
    run = start("one")
    require_trusted(run, False)
    other = envs / "other" / "corridor.py"
    other.parent.mkdir()
    other.write_text("")
    (run.task_path / "corridor.origin").write_text(str(other))
    with pytest.raises(UserError, match="created elsewhere"):
        require_trusted(run, False)


def test_code_that_is_a_link_is_copied(envs, tmp_path):
    code = envs / "corridor.py"
    code.rename(tmp_path / "shared.py")
    code.symlink_to(tmp_path / "shared.py")
    run = start("one")
    copy = run.task_path / "corridor.py"
    assert not copy.is_symlink()
    assert copy.read_bytes() == (tmp_path / "shared.py").read_bytes()
    shutil.rmtree(tmp_path / "cache")
    require_trusted(run, False)
    assert card_of(run).path.is_relative_to(run.task_path.resolve())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_code_that_is_no_file_is_not_read(envs):
    """A stranger's card may name a pipe or a device, and export would wait for it forever."""
    run = start("one")
    code = run.task_path / "corridor.py"
    code.unlink()
    os.mkfifo(code)
    # An end for writing, so that a reader is not stuck in open().
    descriptor = os.open(code, os.O_RDWR | os.O_NONBLOCK)
    finished = threading.Thread(target=lambda: find_error(run), daemon=True)
    finished.start()
    finished.join(5)
    waits = finished.is_alive()
    os.close(descriptor)
    assert not waits


def find_error(run: Run) -> None:
    with pytest.raises(UserError, match="has changed since this run was created"):
        card_of(run)


def test_a_copy_outside_of_the_run_is_refused(envs):
    run = start("one")
    text = run.header_path.read_text()
    run.header_path.write_text(text.replace("card_copy: ", "card_copy: ../../envs/"))
    with pytest.raises(UserError, match="not in the run's folder"):
        card_of(Run(run.path))


def test_files_keep_their_places_and_code_knows_where_it_was(envs):
    shared = envs / "shared.py"
    shared.write_text((envs / "corridor.py").read_text() + "\nHERE = __file__\n")
    (envs / "own").mkdir()
    card = envs / "own" / "corridor.yaml"
    text = (envs / "corridor.yaml").read_text()
    card.write_text(text.replace("code: corridor.py", "code: ../shared.py"))
    copy, files = card_files(load(card))
    assert str(copy) == "own/corridor.yaml"
    folder = envs / "copy"
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    located = load(folder / copy)
    assert located.digest() == load(card).digest()
    assert Path(located.code).resolve() == folder / "shared.py"
    assert str(shared) == trusted_code(located).HERE
