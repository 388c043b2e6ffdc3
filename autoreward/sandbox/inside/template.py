"""A process with numpy loaded that forks one worker for each program, so that workers start fast.

It holds no program itself, and no secrets that a fork could inherit.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
from collections.abc import Callable

import numpy as np

from autoreward.sandbox.inside.confine import warm

STATUS = struct.Struct("<ii")
PR_SET_PDEATHSIG = 1


def serve(work: Callable[[], None]) -> None:
    """Serve requests on descriptor 3 until the other side closes: `F` and two descriptors fork a
    worker that runs `work`, `W` and a pid wait for one.
    """
    ours = socket.socket(fileno=3)
    die_with_parent()
    warm()
    while True:
        data, descriptors, _, _ = socket.recv_fds(ours, 1 + STATUS.size, 2)
        if not data:
            os._exit(0)
        if data[:1] == b"F" and len(descriptors) == 2:
            pid = os.fork()
            if pid == 0:
                _become(work, *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            ours.sendall(STATUS.pack(pid, 0))
        elif data[:1] == b"W":
            pid, _ = STATUS.unpack(data[1:])
            try:
                _, status = os.waitpid(pid, 0)
                ours.sendall(STATUS.pack(pid, os.waitstatus_to_exitcode(status)))
            except ChildProcessError:
                ours.sendall(STATUS.pack(pid, -signal.SIGKILL))


def _become(work: Callable[[], None], down: int, up: int) -> None:
    """Run in the child: take its own session and descriptors, make its memory differ from every
    other fork's, then work.
    """
    code = 0
    try:
        os.setsid()
        die_with_parent()
        os.dup2(down, 3, False)
        os.dup2(up, 4, False)
        os.closerange(5, 4096)
        chance = np.random.default_rng(int.from_bytes(os.urandom(8), "little"))
        # A fork inherits numpy's global generator and its addresses. If two forks agreed on either,
        # a program that is not pure would look pure to check.
        np.random.seed(int(chance.integers(2**32)))
        sizes = chance.integers(16, 4096, int(chance.integers(1, 200)))
        padding = [bytes(int(size)) for size in sizes]
        work()
        del padding
    except (EOFError, BrokenPipeError):
        # the other side closed
        pass
    except BaseException:
        code = 1
    finally:
        os._exit(code)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, if the system can (Linux)."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except AttributeError:
        return
