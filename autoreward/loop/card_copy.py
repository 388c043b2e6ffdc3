"""The run's own copy of its task card, with the card's Python file and human program.

Trainers read the card and run its code at every training, so a run would change if the user edited
them while it goes on. A run therefore keeps what it was created with in RUN/task/, and every job
names that copy. The digest in run.yaml covers card and code together.

Runs of earlier versions have no copy; they use the user's card.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from autoreward.errors import REFUSED, UserError
from autoreward.store.io import read_bytes_safely
from autoreward.store.records import RunHeader
from autoreward.store.run import Run, RunFolder
from autoreward.tasks.find import LocatedCard, code_origin_path, load


def card_files(card: LocatedCard) -> tuple[PurePosixPath, dict[PurePosixPath, bytes]]:
    """What a new run keeps of a card: where the copy of the card is, and all files by path.

    Paths are relative to the run's task folder. The files keep their places relative to one another
    (a card may name `../shared.py`); files that the card names by absolute paths are not copied.
    """
    sources = [card.path]
    for path, name in ((card.code, card.card.code), (card.human, card.card.human)):
        if path and name and path.is_file() and not Path(name).is_absolute():
            sources.append(path)

    places = [Path(os.path.normpath(path)) for path in sources]
    root = Path(os.path.commonpath([place.parent for place in places]))
    files = {}
    for source, place in zip(sources, places, strict=True):
        # The user's own files may be links.
        files[PurePosixPath(place.relative_to(root))] = read_bytes_safely(source.resolve())

    code = PurePosixPath(os.path.normpath(card.code)) if card.code else None
    if code and card.code in sources and _asks_for_its_place(files[code.relative_to(root)]):
        # The code looks for files beside itself, so it must know where it was.
        origin = code_origin_path(Path(code.relative_to(root)))
        files[PurePosixPath(origin)] = str(code).encode()
    return PurePosixPath(places[0].relative_to(root)), files


def card_copy_path(run: RunFolder, header: RunHeader) -> Path | None:
    """The run's copy of its card, None if it has none.

    Raises UserError if run.yaml names a file outside of the run's task folder.
    """
    if header.card_copy is None:
        return None
    relative = PurePosixPath(header.card_copy)
    if relative.is_absolute() or ".." in relative.parts:
        raise UserError(
            f"{run.header_path} is damaged: card_copy: "
            f"{header.card_copy} is not in the run's folder",
            "restore it from a copy",
            REFUSED,
        )
    path = run.task_path / relative
    return path if path.is_file() else None


def same_card(one: LocatedCard, other: LocatedCard) -> bool:
    """True if two cards have the same content and run the same code.

    Code that looks for files beside itself is the same only at the same place. This compares
    everything, not digests: it decides whether code from elsewhere may run.
    """
    code = _code(one)
    if one.card != other.card or code != _code(other):
        return False
    if one.code_origin is None and not _asks_for_its_place(code or b""):
        return True
    return _place_of_code(one) == _place_of_code(other)


def _asks_for_its_place(code: bytes) -> bool:
    """True if the code may look for files beside itself."""
    return b"__file__" in code


def _place_of_code(card: LocatedCard) -> Path | None:
    """Where the card's code looks for files beside itself."""
    if card.code_origin or card.code is None:
        return card.code_origin
    return Path(os.path.normpath(card.code))


def _code(card: LocatedCard) -> bytes | None:
    """The text of the card's code; None without it. A link is followed, as the import does."""
    if card.code is None or not card.code.exists():
        return None
    return read_bytes_safely(card.code.resolve())


def changed_card(run: Run) -> Path | None:
    """The user's card if it is no longer the one that the run was created with."""
    header = run.header
    path = Path(header.card_path)
    if card_copy_path(run, header) is None or not path.is_file():
        return None
    try:
        card = load(path)
        card = card.with_episodic_return() if header.episodic_return else card
        unchanged = card.digest() == header.card_digest
    except UserError:
        unchanged = False
    return None if unchanged else path
