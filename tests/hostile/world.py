"""What a program might reach for: canary files, a listening server, a process with a secret.

Evidence is taken from outside of the worker.

A probe is the inside of a try block that sets `got`: to the secret number where it reads, to 1
where it does something. With the sandbox off it must succeed (else it proves nothing); in a sandbox `got`
must stay 0, or the program be refused, and the world be as it was.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from harness import Bench, children, must_be_accepted, reward

from autoreward.sandbox.outside.start import ROOT

SECRET = 73519
# processes of any world
DECOYS: set[int] = set()
# what a probe sets `got` to where this machine itself has no such thing
UNAVAILABLE = -1.0
# A process that holds the secret in its environment and in memory, and says where.
DECOY = "import ctypes, sys, time; b = ctypes.create_string_buffer(b'73519'); print(ctypes.addressof(b), flush=True); time.sleep(600)"


@dataclass(frozen=True)
class Probe:
    name: str
    lines: str
    twin: str = "got = 1.0"
    lint: str = "import"

    def __str__(self) -> str:
        return self.name


@dataclass
class World:
    folder: Path
    decoy: subprocess.Popen[str]
    address: int
    listener: socket.socket
    datagrams: socket.socket
    local: socket.socket
    abstract: socket.socket
    inherited: int
    before: set[int] = field(default_factory=children)

    @property
    def names(self) -> dict[str, str]:
        return {
            "@CANARY@": str(self.folder / "canary"),
            "@ARRAY@": str(self.folder / "canary.npy"),
            "@DIR@": str(self.folder),
            "@OUT@": str(self.folder / "out"),
            "@PID@": str(self.decoy.pid),
            "@ADDRESS@": str(self.address),
            "@PORT@": str(self.listener.getsockname()[1]),
            "@UDP@": str(self.datagrams.getsockname()[1]),
            "@LOCAL@": str(self.folder / "socket"),
            "@ABSTRACT@": self.abstract.getsockname()[1:].decode(),
            "@FD@": str(self.inherited),
        }

    def program(self, lines: str) -> str:
        for name, value in self.names.items():
            lines = lines.replace(name, value)
        inside = "\n".join("    " + line for line in lines.splitlines())
        return reward(
            f"got = 0.0\ntry:\n{inside}\nexcept BaseException:\n    pass\nreturn {{'a': 0 * curr.has_key + got}}",
            "import ctypes, os, socket, struct, sys\n\nlibc = ctypes.CDLL(None, use_errno=True)\n",
        )

    def changed(self) -> list[str]:
        """Everything that is not as it was made."""
        found = []
        canary = self.folder / "canary"
        if (
            not canary.is_file()
            or canary.read_text() != str(SECRET)
            or canary.stat().st_mode & 0o777 != 0o600
            or canary.stat().st_nlink != 1
            or canary.stat().st_mtime_ns != 10**18
        ):
            found.append("the canary file")
        found += [
            p.name
            for p in self.folder.iterdir()
            if p.name not in ("canary", "canary.npy", "socket", "sub")
        ]
        if self.decoy.poll() is not None:
            found.append("the decoy process ended")
        elif (
            psutil.Process(self.decoy.pid).status() == psutil.STATUS_STOPPED
            or psutil.Process(self.decoy.pid).nice() != 0
        ):
            found.append("the decoy process was touched")
        for name, sock in (
            ("listener", self.listener),
            ("local", self.local),
            ("abstract", self.abstract),
        ):
            with contextlib.suppress(BlockingIOError):
                sock.accept()[0].close()
                found.append(f"a connection to {name}")
        with contextlib.suppress(BlockingIOError):
            self.datagrams.recv(100)
            found.append("a datagram")
        return found

    def left(self) -> set[int]:
        """Processes that were not there before, after a grace of a second."""
        deadline = time.monotonic() + 1
        while (more := self._new()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return more

    def _new(self) -> set[int]:
        orphans = {
            p.pid
            for p in psutil.process_iter(["cmdline", "ppid", "status"])
            if p.info["ppid"] == 1
            and str(ROOT) in (p.info["cmdline"] or ())
            and p.info["status"] != psutil.STATUS_ZOMBIE
        }
        return (children() | orphans) - self.before - DECOYS


@contextlib.contextmanager
def made(folder: Path):
    """A world, and its end."""
    (folder / "sub").mkdir()
    (folder / "canary").write_text(str(SECRET))
    (folder / "canary").chmod(0o600)
    os.utime(folder / "canary", ns=(10**18, 10**18))
    import numpy as np

    np.save(folder / "canary.npy", np.array([float(SECRET)]))
    decoy = subprocess.Popen(
        [sys.executable, "-S", "-c", DECOY],
        stdout=subprocess.PIPE,
        text=True,
        env={"CANARY_KEY": str(SECRET)},
        start_new_session=True,
    )
    assert decoy.stdout is not None
    DECOYS.add(decoy.pid)
    address = int(decoy.stdout.readline())
    listener, datagrams = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    local, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    inherited = os.open(folder / "canary", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        listener.bind(("127.0.0.1", 0))
        datagrams.bind(("127.0.0.1", 0))
        with contextlib.chdir(folder):
            local.bind("socket")
        abstract.bind(f"\0autoreward-test-{os.getpid()}-{folder.name}")
        for sock in (listener, local, abstract):
            sock.listen()
        for sock in (listener, datagrams, local, abstract):
            sock.setblocking(False)
        yield World(folder, decoy, address, listener, datagrams, local, abstract, inherited)
    finally:
        os.close(inherited)
        for sock in (listener, datagrams, local, abstract):
            sock.close()
        decoy.kill()
        decoy.wait()


class Worlds:
    """One world at a time."""

    def __init__(self) -> None:
        self.world: World | None = None
        self._stack = contextlib.ExitStack()

    def renew(self, folder: Path) -> None:
        self._stack.close()
        self.world = self._stack.enter_context(made(folder))

    def close(self) -> None:
        self._stack.close()


def must_fire(bench: Bench, world: World, probe: Probe) -> None:
    """With the sandbox off: the probe gets what it is after.

    What it did to the world is undone with it.
    """
    kind, terms = bench.run(world.program(probe.lines), "unsafe")
    seen = world.changed()
    for pid in world._new() - {bench.template._process.pid}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
    if terms.size and terms.flat[0] == UNAVAILABLE:
        pytest.skip("this machine itself has no such thing, so nothing is shown here")
    assert seen or kind == "crash" or (terms.size and terms.flat[0] != 0), (
        f"with the sandbox off it did nothing: {kind}, {terms}"
    )


def must_be_stopped(bench: Bench, world: World, probe: Probe, sandbox: str) -> None:
    """In a sandbox: nothing read, nothing done, nothing left; told by the program and by the world."""
    world.before |= {bench.template._process.pid}
    _, terms = bench.run(world.program(probe.lines), sandbox)
    assert not terms.size or (terms <= 0).all(), f"it got {terms.flat[0]}"
    assert world.changed() == []
    assert world.left() == set()


def twin_is_accepted(bench: Bench, probe: Probe) -> None:
    must_be_accepted(bench, reward(f"{probe.twin}\nreturn {{'a': 0 * curr.has_key + got}}"))


def in_sandboxes(probes: list[Probe]) -> list[tuple[Probe, str]]:
    """Every probe in a forked worker, every sixth in each of the other sandboxes: they set up the same
    filter, more slowly.
    """
    return [(p, "template") for p in probes] + [
        (p, sandbox) for sandbox in ("cold", "bwrap") for p in probes[::6]
    ]
