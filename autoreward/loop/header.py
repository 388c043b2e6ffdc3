"""From options to the header of a run, and the card and composition that it names."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from autoreward.loop.options import DesignOptions
from autoreward.methods import find_method
from autoreward.resources import cores
from autoreward.rewards.composition import (
    DESIGNER,
    Composition,
    UnsuitableComposition,
    read,
    refusal,
)
from autoreward.store.records import Limits, RunHeader
from autoreward.tasks.find import LocatedCard, find

DEFAULT_MODEL = "offline/search"
# Packages whose version can change a number.
DECIDING = (
    "autoreward-rl",
    "numpy",
    "torch",
    "stable-baselines3",
    "gymnasium",
    "sb3-contrib",
    "minigrid",
    "mujoco",
    "gymnasium-robotics",
    "metaworld",
)


def versions() -> dict[str, str]:
    """Installed versions of everything that can change a number."""
    found = {}
    for name in DECIDING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def card_for(options: DesignOptions) -> LocatedCard:
    """The task card that the options name, its reward withheld if they ask for that."""
    card = find(options.task)
    return card.with_episodic_return() if options.episodic_return else card


def composition_for(given: str, card: LocatedCard) -> Composition:
    """The composition that `--compose` names; empty if the designer chooses one.

    Raises UserError, with the place and a fix, if it does not suit the task.
    """
    if given == DESIGNER:
        return Composition()
    found = read(given)
    try:
        found.require(card.card)
    except UnsuitableComposition as error:
        raise refusal(error, given) from None
    return found


def limits_for(options: DesignOptions) -> Limits:
    """The limits of a run; the header keeps its time in seconds."""
    given = options.values_for("limits")
    if "max_time" in given:
        given["max_time"] *= 60
    return Limits(**given)


def header(options: DesignOptions, card: LocatedCard) -> RunHeader:
    """The header of a run with these options; `card` is that of `card_for`."""
    method = find_method(options.method)
    compose = options.compose or method.composition
    given = options.values_for("header")
    given |= {
        "model": options.model or os.environ.get("AUTOREWARD_MODEL") or DEFAULT_MODEL,
        "jobs": options.jobs or cores(),
        "sandbox": options.sandbox_profile,
        "prompts": str(options.prompts.resolve()) if options.prompts else None,
        "compose": Path(compose).name,
        "origin": options.origin.name if options.origin else None,
    }
    return RunHeader(
        task=card.card.name,
        card=card.card.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        card_path=str(card.path),
        card_digest=card.digest(),
        limits=limits_for(options),
        settings=method.settled(options.stored_settings),
        composition=composition_for(compose, card).data(),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        **given,
    )
