"""How a worker process comes to be: cold, in bubblewrap's namespaces, or forked from a template
that has numpy loaded.

All three end in the same place, `sandbox.inside.__main__` on descriptors 3 and 4, which confines
itself before it loads a program. A template costs one cold start and makes the others 20 times
quicker; use one where many programs are tried (`Template`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from autoreward.errors import MISSING, UserError
from autoreward.sandbox.outside.profiles import Profile

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "0",
}
BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from runpy import run_module; run_module('autoreward.sandbox.inside', run_name='__main__', alter_sys=True)"
# pid and exit status, from a template
STATUS = struct.Struct("<ii")


class MachineFault(UserError):
    """The machine is to blame: no sandbox here, or a kill that was not ours."""

    def __init__(self, message: str, hint: str = "autoreward doctor") -> None:
        super().__init__(message, hint, MISSING)


class Child(Protocol):
    """A worker process; `pid` is the one whose processor time and memory count."""

    pid: int

    def kill(self) -> None:
        """End it and everything in its session; never fails."""
        ...

    def wait(self) -> int:
        """Exit code, or minus the signal that ended it."""
        ...


class _Popen:
    """A child of ours.

    In bubblewrap the worker is a grandchild, and its end is told as 128 + signal.
    """

    def __init__(self, process: subprocess.Popen[bytes], pid: int | None = None) -> None:
        self.process, self.pid = process, pid or process.pid

    def kill(self) -> None:
        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self.process.kill()

    def wait(self) -> int:
        code = self.process.wait()
        return code if code <= 128 else 128 - code


class _Forked:
    """A child of the template: a zombie until it is asked for, so that its number cannot come to
    mean another process.
    """

    def __init__(self, template: Template, pid: int) -> None:
        self.template, self.pid = template, pid
        self.code: int | None = None

    def kill(self) -> None:
        if self.code is None:
            # its session is its own only once it has begun to run
            for end in (os.killpg, os.kill):
                try:
                    end(self.pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue

    def wait(self) -> int:
        if self.code is None:
            self.code = self.template.wait(self.pid)
        return self.code


class Template:
    """A process with numpy loaded and no program, which forks one worker a program.

    A context manager; for the main thread.

    The kernel boundary is set up anew in every fork, before its program is loaded.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def fork(self, down: int, up: int) -> Child:
        """A worker on these descriptors. OSError where the template is gone, twice."""
        for last in (False, True):
            try:
                ours = self._socket or self._start()
                socket.send_fds(ours, [b"F"], [down, up])
                return _Forked(self, self._answer(ours)[0])
            except (OSError, EOFError):
                self.close()
                if last:
                    raise
        raise AssertionError("unreachable")

    def wait(self, pid: int) -> int:
        try:
            assert self._socket is not None
            self._socket.sendall(b"W" + STATUS.pack(pid, 0))
            return self._answer(self._socket)[1]
        except (OSError, EOFError, AssertionError):
            # the template died, and its workers with it
            return -signal.SIGKILL

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [
                sys.executable,
                "-I",
                "-B",
                "-c",
                f"import os; os.dup2({theirs.fileno()}, 3, False); os.closerange(4, 4096); " + BOOT,
                str(ROOT),
                "template",
            ]
            self._process = _apart(command, theirs.fileno())
        self._socket = ours
        return ours

    @staticmethod
    def _answer(ours: socket.socket) -> tuple[int, int]:
        data = b""
        while len(data) < STATUS.size:
            more = ours.recv(STATUS.size - len(data))
            if not more:
                raise EOFError
            data += more
        pid, status = STATUS.unpack(data)
        return pid, status

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Template:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start(profile: Profile, down: int, up: int, template: Template | None = None) -> Child:
    """A worker that reads `down` and writes `up`; both stay the caller's to close.

    MachineFault where it cannot be started.
    """
    if sys.platform == "win32":
        raise MachineFault(
            "reward programs cannot be jailed on native Windows", "use WSL2: docs/cli.md, 'Windows'"
        )
    if template is not None and profile.backend != "bwrap":
        try:
            return template.fork(down, up)
        except (OSError, EOFError):
            # a cold start says what is wrong
            pass
    # The shell's `3<&..` done by hand: the worker's two descriptors become 3 and 4, everything else
    # is closed.
    place = f"import os; os.dup2({down}, 3000, False); os.dup2({up}, 4, False); os.dup2(3000, 3, False); os.closerange(5, 4096); "
    command = [sys.executable, "-I", "-B", "-c", place + BOOT, str(ROOT)]
    if profile.backend == "bwrap":
        return _in_bubblewrap(command, down, up)
    return _Popen(_apart(command, down, up))


def _apart(command: list[str], *descriptors: int) -> subprocess.Popen[bytes]:
    """What every start has in common: nothing of our environment, no terminal, a session of its
    own.
    """
    null = subprocess.DEVNULL
    return subprocess.Popen(
        command,
        pass_fds=descriptors,
        stdin=null,
        stdout=null,
        stderr=null,
        env=ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )


def _in_bubblewrap(command: list[str], down: int, up: int) -> Child:
    """Namespaces of its own for users, processes, network and the rest, a read-only file system;
    the usual filters come inside.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise MachineFault(
            "the sandbox profile asks for bubblewrap, which is not installed",
            "apt-get install bubblewrap, or --sandbox default",
        )
    told, info = os.pipe()
    apart = [
        "--unshare-all",
        "--die-with-parent",
        "--as-pid-1",
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--tmpfs",
        "/tmp",
        "--cap-drop",
        "ALL",
        "--info-fd",
        str(info),
    ]
    # what the worker is made of may itself lie below /tmp
    for place in {str(ROOT), sys.prefix, sys.base_prefix}:
        apart += ["--ro-bind", place, place]
    try:
        process = _apart([bwrap, *apart, "--", *command], down, up, info)
    finally:
        os.close(info)
    with os.fdopen(told, "rb") as reader:
        try:
            pid = int(json.loads(reader.read(65536))["child-pid"])
        except (ValueError, KeyError, TypeError):
            process.kill()
            process.wait()
            raise MachineFault(
                "bubblewrap cannot make its namespaces here",
                "--sandbox default does without; autoreward doctor",
            ) from None
    return _Popen(process, pid)
