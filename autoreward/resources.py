"""What this installation and machine offer: shipped folders, the cache, cores, the version.

The folders are found alike in a checkout, an editable install and a wheel.
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

DISTRIBUTION = "autoreward-rl"

try:
    VERSION = version(DISTRIBUTION)
except PackageNotFoundError:
    # run from a bare checkout
    VERSION = "0.0.0+checkout"


def shipped(kind: Literal["prompts", "envs", "sandboxes", "runs"]) -> Path:
    """The shipped folder of that kind: read it, never write there."""
    package = Path(str(files("autoreward")))
    installed = package / "_data" / kind
    return installed if installed.is_dir() else package.parent / kind


def installed(group: str, folder: str) -> list[Path]:
    """That folder in every installed package that has an entry point of the group, in order of
    their names; no package is imported.
    """
    found = []
    for point in sorted(entry_points(group=group), key=lambda p: p.name):
        spec = find_spec(point.value.partition(":")[0].partition(".")[0])
        found += [
            Path(place) / folder
            for place in (spec.submodule_search_locations if spec else None) or ()
        ]
    return [place for place in dict.fromkeys(found) if place.is_dir()]


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cache_folder() -> Path:
    """Where baselines, probes and trust marks are kept between runs.

    The environment variable AUTOREWARD_CACHE moves it.
    """
    from platformdirs import user_cache_dir

    return Path(os.environ.get("AUTOREWARD_CACHE") or user_cache_dir("autoreward"))
