"""Where the shipped folders are, in a checkout, an editable install and a wheel alike; and the version."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Literal

DISTRIBUTION = "autoreward-rl"

try:
    VERSION = version(DISTRIBUTION)
except PackageNotFoundError:  # run from a bare checkout
    VERSION = "0.0.0+checkout"


def shipped(kind: Literal["prompts", "envs", "sandboxes", "runs"]) -> Path:
    """The shipped folder of that kind: read it, never write there."""
    package = Path(str(files("autoreward")))
    installed = package / "_data" / kind
    return installed if installed.is_dir() else package.parent / kind
