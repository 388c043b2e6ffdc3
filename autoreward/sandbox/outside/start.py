"""Start a worker process: cold, in bubblewrap's namespaces, or forked from a template that has
numpy loaded.

All three end in the same place, `sandbox.inside.__main__` on descriptors 3 and 4, which confines
itself before it loads a program. A template costs one cold start and makes the others 20 times
faster; use one where many programs are tried (`Template`).
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
# what `python -c` runs, with our package's folder as its argument
BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from runpy import run_module; "
    "run_module('autoreward.sandbox.inside', run_name='__main__', alter_sys=True)"
)
# pid and exit status, from a template
STATUS = struct.Struct("<ii")
# bytes of bubblewrap's report that are read
MAX_REPORT = 65536


class MachineFault(UserError):
    """The machine is at fault: it has no sandbox, or something else killed the worker."""

    def __init__(self, message: str, hint: str = "autoreward doctor") -> None:
        super().__init__(message, hint, MISSING)


class Child(Protocol):
    """A worker process; `pid` is the one whose processor time and memory count."""

    pid: int

    def kill(self) -> None:
        """End the worker and everything in its session; never fails."""
        ...

    def wait(self) -> int:
        """Return the exit code, or minus the signal that ended the worker."""
        ...


class _Popen:
    """A child process.

    In bubblewrap the worker is a grandchild, and its end is reported as 128 + signal.
    """

    def __init__(self, process: subprocess.Popen[bytes], pid: int | None = None) -> None:
        self.process = process
        self.pid = pid or process.pid

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
    """A child of the template: a zombie until it is waited for, so that its pid cannot be reused
    for another process.
    """

    def __init__(self, template: Template, pid: int) -> None:
        self.template = template
        self.pid = pid
        self.code: int | None = None

    def kill(self) -> None:
        if self.code is None:
            # it has its own session only once it runs, so kill the process as well
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
    """A process with numpy loaded and no program, which forks one worker for each program.

    A context manager, for the main thread. Every fork sets up the kernel boundary for itself,
    before its program is loaded.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def fork(self, down: int, up: int) -> Child:
        """Fork a worker on these descriptors; a template that has died is started once more.

        Raises OSError or EOFError if that does not help.
        """
        try:
            return self._fork(down, up)
        except (OSError, EOFError):
            self.close()
        try:
            return self._fork(down, up)
        except (OSError, EOFError):
            self.close()
            raise

    def _fork(self, down: int, up: int) -> Child:
        ours = self._socket or self._start()
        socket.send_fds(ours, [b"F"], [down, up])
        pid, _ = self._answer(ours)
        return _Forked(self, pid)

    def wait(self, pid: int) -> int:
        """Return how a worker ended: by SIGKILL if the template died, which takes it along."""
        if self._socket is None:
            return -signal.SIGKILL
        try:
            self._socket.sendall(b"W" + STATUS.pack(pid, 0))
            _, status = self._answer(self._socket)
        except (OSError, EOFError):
            return -signal.SIGKILL
        return status

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = (
                f"import os; os.dup2({theirs.fileno()}, 3, False); os.closerange(4, 4096); "
            )
            command = [
                sys.executable,
                "-I",
                "-B",
                "-c",
                descriptors + BOOT,
                str(ROOT),
                "template",
            ]
            self._process = _spawn(command, theirs.fileno())
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
        """End the template, and with it every worker it has forked."""
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
    """Start a worker that reads `down` and writes `up`; the caller closes both.

    Raises MachineFault if it cannot be started.
    """
    if sys.platform == "win32":
        raise MachineFault(
            "reward programs cannot be sandboxed on native Windows",
            "use WSL2: docs/cli.md, 'Windows'",
        )
    if template is not None and profile.backend != "bwrap":
        try:
            return template.fork(down, up)
        except (OSError, EOFError):
            # a cold start reports what is wrong
            pass
    # Like the shell's `3<&..`: the worker's two descriptors become 3 and 4, everything else is
    # closed. 3000 keeps `down` while `up` takes its place, should `down` be 4.
    descriptors = (
        f"import os; os.dup2({down}, 3000, False); os.dup2({up}, 4, False); "
        "os.dup2(3000, 3, False); os.closerange(5, 4096); "
    )
    command = [sys.executable, "-I", "-B", "-c", descriptors + BOOT, str(ROOT)]
    if profile.backend == "bwrap":
        return _in_bubblewrap(command, down, up)
    return _Popen(_spawn(command, down, up))


def _spawn(command: list[str], *descriptors: int) -> subprocess.Popen[bytes]:
    """Start a process with nothing of our environment, no terminal, and its own session."""
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
    """Start the worker in its own namespaces (users, processes, network and the rest) and a
    read-only file system. It sets up the usual filters inside.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise MachineFault(
            "the sandbox profile asks for bubblewrap, which is not installed",
            "apt-get install bubblewrap, or --sandbox default",
        )
    report, info = os.pipe()
    options = [
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
    # Python and our package may themselves lie below /tmp
    for place in {str(ROOT), sys.prefix, sys.base_prefix}:
        options += ["--ro-bind", place, place]
    try:
        process = _spawn([bwrap, *options, "--", *command], down, up, info)
    finally:
        os.close(info)
    with os.fdopen(report, "rb") as reader:
        try:
            pid = int(json.loads(reader.read(MAX_REPORT))["child-pid"])
        except (ValueError, KeyError, TypeError):
            process.kill()
            process.wait()
            raise MachineFault(
                "bubblewrap cannot create its namespaces here",
                "use --sandbox default, which needs none; check with: autoreward doctor",
            ) from None
    return _Popen(process, pid)
