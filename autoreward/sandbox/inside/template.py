"""A process with numpy loaded that forks a worker per program: quick starts.

It holds no program itself, and no secrets to inherit.
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
    """Answer on descriptor 3 until the other side goes away: `F` and two descriptors fork a
    worker, `W` and a pid wait for one.
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
    """The child: a session and descriptors of its own, and memory that differs from every other
    fork's.
    """
    code = 0
    try:
        os.setsid()
        die_with_parent()
        os.dup2(down, 3, False)
        os.dup2(up, 4, False)
        os.closerange(5, 4096)
        chance = np.random.default_rng(int.from_bytes(os.urandom(8), "little"))
        # a fork inherits numpy's global generator: two would agree by accident
        np.random.seed(int(chance.integers(2**32)))
        # and so would two addresses
        keep = [
            bytes(int(size)) for size in chance.integers(16, 4096, int(chance.integers(1, 200)))
        ]
        work()
        del keep
    except (EOFError, BrokenPipeError):
        # the other side went away
        pass
    except BaseException:
        code = 1
    finally:
        os._exit(code)


def die_with_parent() -> None:
    """The kernel's parent-death signal, where there is one."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except AttributeError:
        return
