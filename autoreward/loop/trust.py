"""Whether a run may be continued here: what its header would execute or contact, and its card.

A run directory may come from another machine. Opening and reading it executes nothing; continuing
does, so a run that this user has not created or trusted before is checked first.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from autoreward.errors import REFUSED, UserError
from autoreward.loop.card_copy import card_copy_path, same_card
from autoreward.resources import cache_folder
from autoreward.store.io import read_bytes_safely, write
from autoreward.store.run import Run
from autoreward.tasks.find import LocatedCard, find, listing, load


def mark_trusted(run: Run) -> None:
    """Note that this user created this run.yaml and card, or read them and trusts them."""
    write(_trust_mark(run), "")


def _trust_mark(run: Run) -> Path:
    """The file whose existence says so; its name is a digest of run.yaml and the card's copy.

    The digest in run.yaml does not cover every file beside the copied code.
    """
    digest = hashlib.sha256(read_bytes_safely(run.header_path))
    for path in sorted(run.task_path.rglob("*")):
        if path.is_symlink() or path.is_file():
            place = path.relative_to(run.task_path)
            digest.update(f"\n{place}\n".encode())
            digest.update(hashlib.sha256(read_bytes_safely(path)).digest())
    return cache_folder() / "trusted" / digest.hexdigest()[:32]


def outside_access(run: Run) -> list[str]:
    """What continuing this run would execute, contact or switch off, as its header says.

    A stranger could have put any of it there.
    """
    header = run.header
    found = []
    if card := _foreign_card(run):
        found.append(f"the card {card} and its Python file")
    if header.trainer_python:
        found.append(f"the interpreter {header.trainer_python}")
    if key_command := header.settings.get("key_command"):
        found.append(f"the command {key_command}")
    for model in (header.model, header.settings.get("annotator", "")):
        if model.startswith("cmd:"):
            found.append(f"the command {model.removeprefix('cmd:')}")
    if base_url := header.settings.get("base_url"):
        found.append(f"the server {base_url}")
    if header.sandbox != "default":
        found.append(f"the sandbox profile {header.sandbox}")
    return found


def _foreign_card(run: Run) -> Path | None:
    """The card that the run would use, if it differs from the one found here by its name."""
    card = _recorded_card(run)
    if card is None:
        return None
    own = listing().get(run.header.task)
    if own is not None and same_card(card, load(own[1])):
        return None
    return card.path


def require_trusted(run: Run, given: bool, again: str = "autoreward resume RUN --trust") -> None:
    """Check that a run may be continued here.

    Raises UserError if a run created on another machine would execute or contact anything outside
    its folder and the user has not passed --trust, and if its folder contains a link (continuing
    could write through it). `given`: whether --trust was passed. `again`: the command to suggest.
    """
    if _trust_mark(run).exists():
        return
    if link := _first_link(run.path):
        raise UserError(
            f"{link} is a link, so continuing could write outside the run",
            "remove it: a run directory contains no links",
            REFUSED,
        )
    if not given and (found := outside_access(run)):
        raise UserError(
            f"{run.path} was created elsewhere, and continuing would use {'; '.join(found)}",
            f"read {run.header_path}, then: {again.replace('RUN', str(run.path))}",
            REFUSED,
        )
    mark_trusted(run)


def _first_link(root: Path) -> Path | None:
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder) / name
            if path.is_symlink():
                return path
    return None


def card_of(run: Run) -> LocatedCard:
    """The run's card: its own copy, otherwise the card at the recorded path, otherwise by name.

    Raises UserError if it is not the card that the run was created with.
    """
    header = run.header
    card = _recorded_card(run) or find(header.task)
    if header.episodic_return:
        card = card.with_episodic_return()
    if card.digest() != header.card_digest:
        raise UserError(
            f"the card {card.path} has changed since this run was created",
            f"restore it, or start a new run: autoreward design {header.task}",
            REFUSED,
        )
    return card


def _recorded_card(run: Run) -> LocatedCard | None:
    """The card that the run names; None if the run was copied here without it."""
    copy = card_copy_path(run, run.header)
    if copy is not None:
        card = load(copy)
        # The files that its code looks for may be on another machine.
        if card.code_origin is None or card.code_origin.is_file():
            return card
    recorded = Path(run.header.card_path)
    return load(recorded) if recorded.is_file() else None
