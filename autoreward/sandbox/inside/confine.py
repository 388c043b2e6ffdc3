"""The sandbox itself: limits, no capabilities, Landlock with nothing allowed, a seccomp allow-list,
and a canary that tries to escape.

Plain ctypes, for x86-64 and aarch64. After `confine` the process can compute, read its one pipe,
write to its other one, and exit; SECURITY.md lists the system calls that are left. Whatever numpy
and Python import late is imported before.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import socket
import struct
import sys
from functools import cache
from typing import Any

# Imported here because a confined process cannot open files: numpy and the traceback machinery load
# these on first use.
import linecache  # noqa: F401  isort: skip
import math  # noqa: F401  isort: skip
import tokenize  # noqa: F401  isort: skip
import traceback

import numpy as np
import numpy.char
import numpy.fft
import numpy.linalg
import numpy.ma
import numpy.polynomial
import numpy.random
import numpy.rec

from autoreward.sandbox.inside.load import Refusal

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
SECCOMP_SET_MODE_FILTER, SECCOMP_TSYNC = 1, 1
LANDLOCK_CREATE, LANDLOCK_RESTRICT = 444, 446
CAPABILITIES_V3 = 0x20080522
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, JEQ, JSET, JGE, RET = 0x20, 0x15, 0x45, 0x35, 0x06

# The architecture's token, then the numbers of the calls that arithmetic over two pipes needs.
ARCHITECTURES: dict[str, dict[str, int]] = {
    "x86_64": {
        "arch": 0xC000003E,
        "seccomp": 317,
        "capset": 126,
        "read": 0,
        "readv": 19,
        "write": 1,
        "mmap": 9,
        "mprotect": 10,
        "munmap": 11,
        "brk": 12,
        "rt_sigprocmask": 14,
        "rt_sigreturn": 15,
        "sched_yield": 24,
        "mremap": 25,
        "madvise": 28,
        "exit": 60,
        "exit_group": 231,
        "futex": 202,
        "clock_gettime": 228,
        "restart_syscall": 219,
    },
    "aarch64": {
        "arch": 0xC00000B7,
        "seccomp": 277,
        "capset": 91,
        "read": 63,
        "readv": 65,
        "write": 64,
        "mmap": 222,
        "mprotect": 226,
        "munmap": 215,
        "brk": 214,
        "rt_sigprocmask": 135,
        "rt_sigreturn": 139,
        "sched_yield": 124,
        "mremap": 216,
        "madvise": 233,
        "exit": 93,
        "exit_group": 94,
        "futex": 98,
        "clock_gettime": 113,
        "restart_syscall": 128,
    },
}
# calls that are allowed with any arguments
FREE_CALLS = (
    "munmap",
    "brk",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_yield",
    "mremap",
    "exit",
    "exit_group",
    "futex",
    "clock_gettime",
    "restart_syscall",
)
PROT_EXEC, MAP_ANONYMOUS = 4, 0x20
# DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE: what allocators ask for. Other advice can poison pages of
# the machine.
ADVICE = (4, 8, 14, 15)
# macOS: open descriptors keep working, nothing new is allowed
SEATBELT = b"(version 1)(deny default)"
TRUSTED_ONLY = "use --unsafe-no-sandbox only if you trust the programs"


def confine(profile: dict[str, Any], read: int, write: int) -> tuple[str, int]:
    """Confine this process for good; it may still read descriptor `read` and write `write`.

    Returns the level reached and the number of escapes that were tried and blocked. Raises Refusal
    (kind `sandbox`) if the machine cannot do what the profile asks for, or an escape succeeds.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    linux = sys.platform == "linux"
    if linux:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        memory = int(profile["memory_mb"]) << 20
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    warm()
    if profile["backend"] == "limits":
        return "limits", 0
    if not linux:
        _seatbelt(libc)
        return "seatbelt", _canary()
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _unavailable("no_new_privs")
    landlock = _landlock(libc)
    _seccomp(libc, read, write)
    return "landlock+seccomp" if landlock else "seccomp", _canary()


@cache
def warm() -> None:
    """Run what imports or allocates on first use; a template does this before it forks."""
    np.unique(np.array([2.0, 1.0]))
    np.linalg.norm(np.ones((2, 2)) @ np.ones((2, 2)), axis=-1)
    np.einsum("ij,ij->i", np.ones((2, 2)), np.ones((2, 2)))
    repr(np.ones(2))
    numpy.fft.fft(np.ones(4))
    numpy.ma.array([1.0])
    numpy.polynomial.Polynomial([1.0])
    numpy.random.default_rng(0)
    try:
        raise ValueError("warm")
    except ValueError as error:
        traceback.extract_tb(error.__traceback__)


def _unavailable(what: str) -> Refusal:
    return Refusal(
        "sandbox",
        f"this machine does not allow {what}: {os.strerror(ctypes.get_errno())}",
        hint=f"check with: autoreward doctor; {TRUSTED_ONLY}",
    )


def _landlock(libc: ctypes.CDLL) -> bool:
    """Deny every file, TCP port and signal target that this kernel's Landlock covers.

    Returns False if it has none.
    """
    abi = libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    if abi < 1:
        return False
    # Each version adds a right over files (refer, truncate, ioctl), then TCP ports, then signals
    # and abstract sockets. A kernel rejects attributes that it does not know.
    files = (1 << 13) - 1
    for version, right in ((2, 13), (3, 14), (5, 15)):
        if abi >= version:
            files |= 1 << right
    attributes = struct.pack("<Q", files)
    if abi >= 4:
        attributes += struct.pack("<Q", 3)
    if abi >= 6:
        attributes += struct.pack("<Q", 3)
    ruleset = libc.syscall(LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    restricted = libc.syscall(LANDLOCK_RESTRICT, ruleset, 0) == 0
    os.close(ruleset)
    return restricted


def _seccomp(libc: ctypes.CDLL, read: int, write: int) -> None:
    """Drop all capabilities and allow only the system calls in SECURITY.md, for every thread."""
    machine = platform.machine()
    calls = ARCHITECTURES.get(machine)
    if calls is None:
        raise Refusal(
            "sandbox",
            f"no system-call filter is available for {machine}",
            hint=TRUSTED_ONLY,
        )
    # a root user's worker has no capabilities either
    libc.syscall(calls["capset"], struct.pack("<Ii", CAPABILITIES_V3, 0), bytes(24))
    code = _filter(calls, read, write)
    instructions = b"".join(struct.pack("<HBBI", *instruction) for instruction in code)
    buffer = ctypes.create_string_buffer(instructions)
    program = struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(buffer))
    if libc.syscall(calls["seccomp"], SECCOMP_SET_MODE_FILTER, SECCOMP_TSYNC, program) != 0:
        raise _unavailable("a seccomp filter")


def _filter(calls: dict[str, int], read: int, write: int) -> list[tuple[int, int, int, int]]:
    """The filter's instructions: (code, jump if true, jump if false, operand).

    Another architecture's calls, and x32 calls on x86-64, kill the process; every other call that
    is not allowed fails with EPERM.
    """
    deny = ERRNO | errno.EPERM
    code: list[tuple[int, int, int, int]] = [
        (LOAD, 0, 0, 4),
        (JEQ, 1, 0, calls["arch"]),
        (RET, 0, 0, KILL),
        (LOAD, 0, 0, 0),
        (JGE, 0, 1, 0x40000000),
        (RET, 0, 0, KILL),
    ]
    for name in FREE_CALLS:
        code += [(JEQ, 0, 1, calls[name]), (RET, 0, 0, ALLOW)]
    for name, descriptor in (("read", read), ("readv", read), ("write", write)):
        code += [
            (JEQ, 0, 4, calls[name]),
            (LOAD, 0, 0, 16),
            (JEQ, 0, 1, descriptor),
            (RET, 0, 0, ALLOW),
            (RET, 0, 0, deny),
        ]
    executable = [(LOAD, 0, 0, 32), (JSET, 0, 1, PROT_EXEC), (RET, 0, 0, deny)]
    code += [(JEQ, 0, 4, calls["mprotect"]), *executable, (RET, 0, 0, ALLOW)]
    code += [
        (JEQ, 0, 7, calls["mmap"]),
        *executable,
        (LOAD, 0, 0, 40),
        (JSET, 0, 1, MAP_ANONYMOUS),
        (RET, 0, 0, ALLOW),
        (RET, 0, 0, deny),
    ]
    code += [(JEQ, 0, 2 + 2 * len(ADVICE), calls["madvise"]), (LOAD, 0, 0, 32)]
    for advice in ADVICE:
        code += [(JEQ, 0, 1, advice), (RET, 0, 0, ALLOW)]
    code += [(RET, 0, 0, deny), (RET, 0, 0, deny)]
    return code


def _seatbelt(libc: ctypes.CDLL) -> None:
    """Enter macOS's own sandbox, which browsers use; it is deprecated, and still there.

    We have never run this: it was written without such a machine.
    """
    error = ctypes.c_char_p()
    try:
        failed = libc.sandbox_init(SEATBELT, ctypes.c_uint64(0), ctypes.byref(error)) != 0
    except AttributeError:
        raise Refusal(
            "sandbox",
            f"no sandbox is available on {sys.platform}",
            hint=TRUSTED_ONLY,
        ) from None
    if failed:
        why = (error.value or b"no reason given").decode(errors="replace")
        raise Refusal(
            "sandbox",
            f"this machine's sandbox cannot be entered: {why}",
            hint=TRUSTED_ONLY,
        )


def _canary() -> int:
    """Try to escape; return how many ways were tried. Raises Refusal if one of them works."""

    def fork() -> None:
        if os.fork() == 0:
            os._exit(0)

    def open_through_c() -> None:
        if ctypes.CDLL(None, use_errno=True).open(b"/dev/null", 0) < 0:
            raise OSError(ctypes.get_errno(), "open")

    attempts = {
        "open a file": lambda: open("/proc/self/status").close(),  # noqa: PTH123
        "open a file through C": open_through_c,
        "stat a file": lambda: os.stat("/"),  # noqa: PTH116
        "list a folder": lambda: os.listdir("/"),  # noqa: PTH208
        "change a file's mode": lambda: os.chmod("/dev/null", 0o666),  # noqa: PTH101
        "read its parent's environment": lambda: open(  # noqa: PTH123
            f"/proc/{os.getppid()}/environ", "rb"
        ).close(),
        "make a TCP socket": lambda: socket.socket().close(),
        "make a UDP socket": lambda: socket.socket(type=socket.SOCK_DGRAM).close(),
        "make a local socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "fork": fork,
        "execute": lambda: os.execv("/bin/true", ["true"]),
        "signal its parent": lambda: os.kill(os.getppid(), 0),
        "make a pipe": os.pipe,
    }
    for what, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            continue
        raise Refusal(
            "sandbox",
            f"the sandbox has a hole: a process in it could {what}",
            hint="check with: autoreward doctor",
        )
    return len(attempts)
