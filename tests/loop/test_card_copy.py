"""A run keeps its card and the card's code: editing them while it goes on changes nothing."""

import shutil
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

    return setup.tools(Run(run.path), setup.model_options({}), say, lambda label, numbers: None)


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
