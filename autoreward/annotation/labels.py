"""Labels of transitions: the messages on a trainer's pipe, and the files that keep the answers.

A label holds one truth value per name (of a subgoal, for example). It is None if the caption was
asked about and not answered. Label files are JSON lines and append-only: a head, then one line per
caption. A torn or damaged line is skipped, and its caption is asked about again.
"""

from __future__ import annotations

import json
import os
from collections.abc import (
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from autoreward.errors import REFUSED, UserError
from autoreward.store.io import read_bytes_safely
from autoreward.store.records import Record

Label = tuple[bool, ...] | None
MAX_CAPTION_CHARS = 2000
MAX_LABEL_NAMES = 256
# of one line on a pipe
MAX_LINE_BYTES = 4 << 20
MAX_FILE_BYTES = 512 << 20


class CaptionRequest(NamedTuple):
    """A caption that a trainer asks about.

    `number` identifies the caption in that trainer. `truth` is what the card's trusted predicates
    say; it is set for simulated annotators only.
    """

    number: int
    text: str
    truth: tuple[bool, ...] | None = None


class AnnotatorService(Protocol):
    """What the engine needs to answer the captions of trainers.

    Neither method waits for a model. `reply` may be called from any thread, and several times, as
    answers arrive.
    """

    def ask(
        self,
        owner: str,
        captions: Sequence[CaptionRequest],
        reply: Callable[[Mapping[int, Label]], None],
    ) -> None:
        """Request labels for the captions of one trainer."""
        ...

    def leave(self, owner: str) -> None:
        """Drop the requests of a trainer that has ended, unless another trainer shares them."""
        ...


class Annotation(Record):
    """annotation.json: what became of the captions of one annotator, over all its trainings.

    `captions` = `kept` (read from disk) + `answered` + `unanswered`. A resumed run adds to these
    counts, and asks again about captions that were not answered. `calls` counts calls of the model,
    `unreadable` the batches whose reply could not be parsed. `stopped` says why the annotator
    stopped asking; it is empty if it did not.
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


# -- messages on a trainer's pipe ------------------------------------------------------------------


def encode_captions(
    captions: Sequence[CaptionRequest],
) -> str:
    """One line of a trainer's standard output."""
    items = []
    for caption in captions:
        item: dict[str, Any] = {
            "id": caption.number,
            "text": caption.text,
        }
        if caption.truth is not None:
            item["truth"] = list(caption.truth)
        items.append(item)
    return json.dumps({"captions": items}, ensure_ascii=False)


def decode_captions(data: Any) -> list[CaptionRequest]:
    """The captions in the JSON value of such a line. Malformed items are dropped."""
    items = data if isinstance(data, list) else []
    requests = []
    for item in items:
        if not isinstance(item, dict):
            continue
        number = item.get("id")
        text = item.get("text")
        truth = item.get("truth")
        if type(number) is not int or not isinstance(text, str):
            continue
        # JSON can carry half a surrogate pair, which cannot be written to a file.
        text = text[:MAX_CAPTION_CHARS].encode("utf-8", "replace").decode()
        values = None
        if isinstance(truth, list):
            values = tuple(map(bool, truth[:MAX_LABEL_NAMES]))
        requests.append(CaptionRequest(number, text, values))
    return requests


def encode_labels(labels: Mapping[int, Label]) -> str:
    """One line of a trainer's standard input."""
    values = {str(number): _as_json(label) for number, label in labels.items()}
    return json.dumps({"labels": values})


def parse_label(value: Any, names: int) -> Label:
    """A label from its JSON value. Raises ValueError unless it has `names` values of 0 or 1."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != names or not all(x in (0, 1) for x in value):
        raise ValueError(f"not a label of {names} names: {str(value)[:80]}")
    return tuple(bool(x) for x in value)


def _as_json(label: Label) -> list[int] | None:
    return None if label is None else [int(x) for x in label]


# -- files -----------------------------------------------------------------------------------------


class LabelFile:
    """An append-only file of labels.

    `rows` is what the file held when it was opened: (rollout or 0, caption, label).
    """

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        """Open the file; it need not exist. `head["labels"]` holds the names.

        Raises UserError if the file has another head, is a link, or is too large.
        """
        self.path = path
        self.head = head
        self.names = len(head["labels"])
        try:
            data = read_bytes_safely(path, MAX_FILE_BYTES)
        except FileNotFoundError:
            data = b""
        lines = data.split(b"\n")
        found_head = _parse_object(lines[0])
        self.empty = not any(_parse_object(line) is not None for line in lines)
        self.torn = bool(lines[-1])
        # through JSON, so that tuples compare equal to lists
        if not self.empty and found_head != json.loads(json.dumps(head)):
            raise UserError(
                f"{path} contains labels for a different question",
                f"move it away: mv {path} {path}.old",
                REFUSED,
            )
        self.rows = list(self._read(lines[1:]))

    def _read(self, lines: list[bytes]) -> Iterator[tuple[int, str, Label]]:
        for line in lines:
            data = _parse_object(line)
            if data is None:
                continue
            rollout = data.get("rollout", 0)
            caption = data.get("caption")
            if type(rollout) is not int or not isinstance(caption, str):
                continue
            try:
                label = parse_label(data["label"], self.names)
            except (KeyError, ValueError):
                continue
            yield rollout, caption[:MAX_CAPTION_CHARS], label

    def append(self, rows: Sequence[tuple[int, str, Label]]) -> None:
        """Add rows at the end in one write. A torn line before them is closed first."""
        if not rows:
            return
        items = [self.head] if self.empty else []
        for rollout, caption, label in rows:
            item: dict[str, Any] = {"rollout": rollout} if rollout else {}
            item["caption"] = caption
            item["label"] = _as_json(label)
            items.append(item)
        text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
        if self.torn and not self.empty:
            text = "\n" + text
        self._write(text.encode("utf-8", "replace"))

    def _write(self, data: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        if self.empty:
            flags |= os.O_TRUNC
        descriptor = os.open(self.path, flags, 0o644)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                file.write(data)
        finally:
            self.empty = False
            self.torn = False


def _parse_object(line: bytes) -> dict[str, Any] | None:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
