"""Labels of transitions: what crosses a trainer's pipe, and the files that keep what was said
about a caption.

A label is one truth value per name (of a subgoal, say), or None: asked, and not answered. Files are
JSON lines that are only ever appended to: a head, then a line a caption. A torn or damaged line is
skipped, and what it said is asked again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from autoreward.errors import REFUSED, UserError
from autoreward.store.files import plain
from autoreward.store.records import Record

Label = tuple[bool, ...] | None
# characters of a caption
LONGEST = 2000
MOST_NAMES = 256
# bytes of one line on a pipe
MOST_LINE = 4 << 20
MOST_FILE = 512 << 20


class Asked(NamedTuple):
    """A caption on its way out: the number that the trainer knows it by.

    `truth`: what trusted predicates say, for simulated judges alone.
    """

    number: int
    text: str
    truth: tuple[bool, ...] | None = None


class Annotates(Protocol):
    """Who answers trainers.

    Neither call waits for a model; `reply` may be called from any thread, and again as answers
    come.
    """

    def ask(
        self, owner: str, captions: Sequence[Asked], reply: Callable[[Mapping[int, Label]], None]
    ) -> None: ...

    def leave(self, owner: str) -> None:
        """That trainer has ended: what it alone waits for need not be asked any more."""
        ...


class Annotation(Record):
    """annotation.json: what became of the captions of one annotator, over all its trainings;
    `without` says why there is no signal from some.

    `captions` = `kept` (known from disk) + `answered` + `unanswered`; a resumed run adds to them,
    and asks again what was unanswered. `calls`: of the model, `unreadable` batches among them.
    `stopped`: why no more was asked.
    """

    model: str
    template: str
    labels: tuple[str, ...]
    simulated: bool = False
    captions: int = 0
    kept: int = 0
    answered: int = 0
    unanswered: int = 0
    calls: int = 0
    unreadable: int = 0
    stopped: str = ""


def sent(captions: Sequence[Asked]) -> str:
    """One line for standard output of a trainer."""
    told = [
        {
            "id": c.number,
            "text": c.text,
            **({"truth": list(c.truth)} if c.truth is not None else {}),
        }
        for c in captions
    ]
    return json.dumps({"captions": told}, ensure_ascii=False)


def received(data: Any) -> list[Asked]:
    """The captions in such a line, read as JSON; what is none is left out."""
    found = []
    for item in data if isinstance(data, list) else []:
        if (
            isinstance(item, dict)
            and type(item.get("id")) is int
            and isinstance(item.get("text"), str)
        ):
            truth = item.get("truth")
            # half a surrogate pair can be told in JSON, and not be written
            text = item["text"][:LONGEST].encode("utf-8", "replace").decode()
            found.append(
                Asked(
                    item["id"],
                    text,
                    tuple(map(bool, truth[:MOST_NAMES])) if isinstance(truth, list) else None,
                )
            )
    return found


def answered(labels: Mapping[int, Label]) -> str:
    """One line for standard input of a trainer."""
    return json.dumps(
        {"labels": {str(k): None if v is None else [int(x) for x in v] for k, v in labels.items()}}
    )


def label_of(value: Any, names: int) -> Label:
    """A label as it was written. ValueError where it is none of that many names."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != names or not all(x in (0, 1) for x in value):
        raise ValueError(f"no label of {names} names: {str(value)[:80]}")
    return tuple(bool(x) for x in value)


class LabelFile:
    """One such file. `rows` is what it held when it was opened: (rollout or 0, caption, label)."""

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        """`head` must hold `labels`, the names.

        UserError where the file was begun for another head, is a link, or is huge.
        """
        self.path, self.head, self.names = path, head, len(head["labels"])
        self.rows: list[tuple[int, str, Label]] = []
        try:
            data = plain(path, MOST_FILE)
        except FileNotFoundError:
            data = b""
        lines = data.split(b"\n")
        first = _object(lines[0])
        self.empty, self.torn = (
            first is None and not any(_object(line) for line in lines),
            bool(lines[-1]),
        )
        if not self.empty and first != json.loads(json.dumps(head)):
            raise UserError(
                f"{path} holds labels of something else",
                f"move it away: mv {path} {path}.old",
                REFUSED,
            )
        self.rows = list(self._read(lines[1:]))

    def _read(self, lines: list[bytes]) -> Iterator[tuple[int, str, Label]]:
        for line in lines:
            data = _object(line)
            try:
                if (
                    data is not None
                    and isinstance(data["caption"], str)
                    and type(data.get("rollout", 0)) is int
                ):
                    yield (
                        data.get("rollout", 0),
                        data["caption"][:LONGEST],
                        label_of(data["label"], self.names),
                    )
            except (KeyError, ValueError):
                continue

    def append(self, rows: Sequence[tuple[int, str, Label]]) -> None:
        """Add rows at the end, in one write; a torn line before them is closed."""
        if not rows:
            return
        told = [
            {
                **({"rollout": rollout} if rollout else {}),
                "caption": caption,
                "label": None if label is None else [int(x) for x in label],
            }
            for rollout, caption, label in rows
        ]
        lines = [
            json.dumps(line, ensure_ascii=False)
            for line in ([self.head] if self.empty else []) + told
        ]
        text = ("\n" if self.torn and not self.empty else "") + "\n".join(lines) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = (
            os.O_WRONLY
            | os.O_CREAT
            | os.O_APPEND
            | os.O_NOFOLLOW
            | os.O_CLOEXEC
            | (os.O_TRUNC if self.empty else 0)
        )
        descriptor = os.open(self.path, flags, 0o644)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                file.write(text.encode("utf-8", "replace"))
        finally:
            self.empty = self.torn = False


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
