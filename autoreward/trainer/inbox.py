"""Lines that the orchestrator sends a trainer on standard input, kept until training reads them.

When standard input ends, this process ends.
"""

from __future__ import annotations

import os
import signal
from queue import SimpleQueue

from autoreward.annotation.labels import MAX_LINE_BYTES


class Inbox:
    """A queue of whole lines, in order; a line longer than MAX_LINE_BYTES is dropped."""

    def __init__(self) -> None:
        self.lines: SimpleQueue[bytes] = SimpleQueue()
        self._rest = b""
        self._dropping = False

    def feed(self, data: bytes) -> None:
        """Take bytes as they were read; call it from one thread only."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not self._dropping and line:
                self.lines.put(line)
            self._dropping = False
        if len(rest) > MAX_LINE_BYTES:
            rest = b""
            self._dropping = True
        self._rest = rest


INBOX = Inbox()


def watch() -> None:
    """Read standard input to its end, then kill this process: its parent is gone."""
    while data := os.read(0, 65536):
        INBOX.feed(data)
    os.kill(os.getpid(), signal.SIGKILL)
