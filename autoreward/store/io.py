"""Atomic writes and safe reads. Where files are is in run.py, candidate.py and training.py.

They are written complete or not at all, and read with care: a run may come from a stranger, so
nothing is executed, no link is followed, and nothing huge is loaded. Records are JSON (pydantic),
arrays are npz without pickle, weights are safetensors (trainer/policy.py).
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
# Of one record, program or log.
MAX_TEXT_BYTES = 64 << 20
# Of one file of arrays or weights, and of what it unpacks to.
MAX_ARRAY_BYTES = 1 << 30


def write(path: Path, content: str | bytes | BaseModel) -> None:
    """Write a file completely or not at all.

    The content goes to a temporary file beside it, which is flushed to disk and then renamed.
    """
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
    """Write an npz file without pickle, completely or not at all."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write(path, buffer.getvalue())


def read_bytes_safely(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Read a regular file.

    Raises FileNotFoundError, and UserError for links, devices, pipes and files above `max_bytes`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        link = " (it is a link)" if path.is_symlink() else ""
        raise UserError(
            f"{path} cannot be read: {error.strerror}{link}",
            "replace it with a regular file",
            REFUSED,
        ) from None

    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f"{path} is not a regular file", "move it away", REFUSED)
        if found.st_size > max_bytes:
            raise UserError(f"{path} is larger than {max_bytes >> 20} MiB", "move it away", REFUSED)
        return file.read(max_bytes)


def text(path: Path) -> str:
    """Read a UTF-8 file with its line endings unchanged; empty if there is no file.

    Raises UserError as `read_bytes_safely` does, and if the file is not UTF-8.
    """
    try:
        return read_bytes_safely(path).decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}", "move it away", REFUSED) from None


def read(path: Path, record: type[R]) -> R | None:
    """Read a record; None if there is no file.

    Raises UserError if the file is damaged, and names the field.
    """
    try:
        return record.model_validate_json(read_bytes_safely(path))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path} is damaged: {place}: {first['msg']}",
            f"move it away, then: autoreward resume {path.parent}",
            REFUSED,
        ) from None


def read_arrays(path: Path) -> dict[str, Any]:
    """Read the arrays of an npz file, without pickle.

    Raises FileNotFoundError, and UserError if the file holds no arrays or unpacks to more than
    MAX_ARRAY_BYTES.
    """
    import numpy as np

    data = read_bytes_safely(path, MAX_ARRAY_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            size = sum(item.file_size for item in packed.infolist())
        if size > MAX_ARRAY_BYTES:
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
            f"{path} cannot be read as npz arrays: {error}",
            "move it away, then: autoreward resume",
            REFUSED,
        ) from None
