"""The bench that every file of the suite uses."""

import contextlib
import sys
from pathlib import Path

import pytest

from autoreward.sandbox.outside.worker import Template

sys.path.insert(0, str(Path(__file__).parent))

from harness import Bench, hasty_profiles, save
from world import Worlds, made


@pytest.fixture(scope="session")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hasty")
    hasty_profiles(folder)
    return folder


@pytest.fixture(scope="session")
def template():
    with Template() as made:
        made._start()
        yield made


@pytest.fixture(scope="session")
def brief_probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("probes") / "brief.npz", 4)


@pytest.fixture(scope="session")
def short_probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("probes") / "short.npz", 24)


@pytest.fixture(scope="session")
def long_probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("probes") / "long.npz", 125)


@pytest.fixture
def bench(
    short_probes: Path, template: Template, hasty: Path, monkeypatch: pytest.MonkeyPatch
) -> Bench:
    """Short probes and little patience, for programs that may hang."""
    monkeypatch.chdir(hasty)
    return Bench(short_probes, template)


@pytest.fixture
def brief(
    brief_probes: Path, template: Template, hasty: Path, monkeypatch: pytest.MonkeyPatch
) -> Bench:
    """A few steps only: the limit of a call grows with its steps."""
    monkeypatch.chdir(hasty)
    return Bench(brief_probes, template)


@pytest.fixture
def patient(long_probes: Path, template: Template) -> Bench:
    """The shipped profiles and as many probes as a run uses, for programs that must be accepted."""
    return Bench(long_probes, template, patient=True)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A world that nothing in a sandbox should change."""
    with made(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture
def world(tmp_path_factory, worlds):
    """A world for probes that are let loose: made anew where the last one changed it."""
    while worlds.world is None or worlds.world.changed():
        worlds.renew(tmp_path_factory.mktemp("world"))
    return worlds.world


@pytest.fixture(scope="module")
def worlds():
    with contextlib.closing(Worlds()) as worlds:
        yield worlds
