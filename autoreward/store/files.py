"""Files of a run, written whole and read warily: a run may come from a stranger, so nothing is
executed, no link followed, nothing huge.

Records are JSON (pydantic), arrays are npz without pickle, weights safetensors (policy.py).
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from autoreward.errors import REFUSED, UserError

R = TypeVar("R", bound=BaseModel)
# bytes of one record, program or log
MOST_TEXT = 64 << 20
# bytes of one file of arrays or weights, and of what it unpacks to
MOST_ARRAYS = 1 << 30


def write(path: Path, content: str | bytes | BaseModel) -> None:
    """Write a file whole or not at all: a temporary file beside it, flushed to disk, then renamed."""
    if isinstance(content, BaseModel):
        content = content.model_dump_json(indent=1, exclude_defaults=False) + "\n"
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write an npz file without pickle, whole or not at all."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write(path, buffer.getvalue())


def plain(path: Path, most: int = MOST_TEXT) -> bytes:
    """The bytes of a plain file.

    FileNotFoundError; UserError for links, devices, pipes, and files above `most`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}"
            + (" (it is a link)" if path.is_symlink() else ""),
            "put a plain file there",
            REFUSED,
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > most:
            raise UserError(
                f"{path} is {'no plain file' if not stat.S_ISREG(found.st_mode) else f'larger than {most >> 20} MiB'}",
                "move it away",
                REFUSED,
            )
        return file.read(most)


def text(path: Path) -> str:
    """A plain UTF-8 file, every line ending as it stands; empty where there is no file."""
    try:
        return plain(path).decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}", "move it away", REFUSED) from None


def read(path: Path, record: type[R]) -> R | None:
    """The record in that file, None where there is no file.

    UserError where it is not what it should be.
    """
    try:
        return record.model_validate_json(plain(path))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"{path} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            f"move it away, then: autoreward resume {path.parent}",
            REFUSED,
        ) from None


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of an npz file, no pickle.

    FileNotFoundError; UserError where it is none, or unpacks to more than a file may.
    """
    import numpy as np

    data = plain(path, MOST_ARRAYS)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            size = sum(item.file_size for item in packed.infolist())
        if size > MOST_ARRAYS:
            raise ValueError(f"it unpacks to {size >> 20} MiB")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (
        zipfile.BadZipFile,
        ValueError,
        OSError,
        EOFError,
        KeyError,
        NotImplementedError,
    ) as error:
        raise UserError(
            f"{path} is no file of arrays: {error}",
            "move it away, then: autoreward resume",
            REFUSED,
        ) from None
