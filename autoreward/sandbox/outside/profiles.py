"""Sandbox profiles: `sandboxes/NAME.toml`, in ./sandboxes before the shipped ones."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autoreward.errors import REFUSED, UserError
from autoreward.resources import shipped


class Profile(BaseModel):
    """How a reward worker is confined: memory in MB of address space, times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    description: str = ""
    backend: Literal["kernel", "bwrap", "limits"] = "kernel"
    memory_mb: int = Field(2048, ge=256)
    call_cpu_seconds: float = Field(1.0, gt=0)
    wall_seconds: float = Field(10.0, gt=0)


def listing() -> dict[str, Path]:
    """Return name -> file; a profile in ./sandboxes hides a shipped one of the same name."""
    found: dict[str, Path] = {}
    for folder in (Path.cwd() / "sandboxes", shipped("sandboxes")):
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def find_profile(name: str) -> Profile:
    """Return the profile of that name. Raises UserError if it is unknown, or its file is wrong."""
    path = listing().get(name)
    if path is None:
        raise UserError(
            f"unknown sandbox profile {name!r}",
            f"choose one of {', '.join(sorted(listing()))}: autoreward sandboxes list",
        )
    try:
        profile = Profile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: {str(error).splitlines()[0]}", "fix the profile", REFUSED
        ) from None
    if profile.backend == "limits" and name != "unsafe":
        raise UserError(
            f'{path}: backend = "limits" provides no isolation; only the profile named "unsafe" may'
            " use it",
            'use backend = "kernel", or --unsafe-no-sandbox, which is recorded in the run',
            REFUSED,
        )
    return profile
