"""Runs the command line as a user does, in a folder and with a cache of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Controls and probes, trained once for all tests of a process."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def command(tmp_path: Path, shared_cache: Path):
    """command("design", ...) -> the finished process."""

    def run(
        *words: str, cwd: Path = tmp_path, env: dict[str, str] | None = None, timeout: float = 280
    ) -> subprocess.CompletedProcess[str]:
        surrounding = {
            **os.environ,
            "AUTOREWARD_CACHE": str(shared_cache),
            "AUTOREWARD_MODEL": "",
            **(env or {}),
        }
        return subprocess.run(
            [sys.executable, "-m", "autoreward", *words],
            cwd=cwd,
            env=surrounding,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run
