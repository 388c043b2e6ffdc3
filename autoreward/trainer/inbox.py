"""What the orchestrator sends a trainer: lines on standard input, kept until the training asks for
them. Its end ends this process.
"""

from __future__ import annotations

import os
import signal
from queue import SimpleQueue

from autoreward.annotation.labels import MAX_LINE_BYTES


class Inbox:
    """Whole lines, in order; one that is longer than a line may be is dropped."""

    def __init__(self) -> None:
        self.lines: SimpleQueue[bytes] = SimpleQueue()
        self._rest, self._dropping = b"", False

    def feed(self, data: bytes) -> None:
        """Bytes as they were read, from one thread."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not self._dropping and line:
                self.lines.put(line)
            self._dropping = False
        if len(rest) > MAX_LINE_BYTES:
            rest, self._dropping = b"", True
        self._rest = rest


INBOX = Inbox()


def watch() -> None:
    """Read standard input to its end, then kill this process: whoever started it is gone."""
    while data := os.read(0, 65536):
        INBOX.feed(data)
    os.kill(os.getpid(), signal.SIGKILL)
