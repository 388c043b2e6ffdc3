"""The outside of the sandbox: start a reward worker, send it arrays, check what comes back.

Nothing of a program is executed on this side. What a worker sends is copied, then checked (lengths,
finiteness, names) before anything uses it. Whatever goes wrong is the program's fault
(`ProgramRejected`), unless the machine killed the worker or has no sandbox (`MachineFault`). Start
workers from the main thread: their parent-death signal follows the thread.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from autoreward.sandbox import wire
from autoreward.sandbox.outside.profiles import Profile, find_profile
from autoreward.sandbox.outside.start import MachineFault, Template, start
from autoreward.state import Array, Layout
from autoreward.store.records import Verdict
from autoreward.tasks.card import Action

# wall time for Python and numpy to load and the sandbox to close: the machine's, not the program's
START_SECONDS = 30.0
# a program's definitions may take as long as this many calls
LOAD_CALLS = 2
EXTRA_CPU_PER_STEP = 0.05
# seconds of waiting after which processor time and the deadline are checked
CHECK_SECONDS = 0.25
MAX_TERMS = 64
# A decoder's inputs: nobody reads them one by one, and their names still fit into a frame of JSON.
MAX_FACTORS = 256
# characters of a program; the linter is stricter
MAX_PROGRAM_LENGTH = 1 << 20
# characters of a term's name
MAX_NAME_LENGTH = 64


__all__ = ["KINDS", "Answer", "MachineFault", "ProgramRejected", "Template", "Worker", "clean"]


class ProgramRejected(Exception):
    """The program is at fault; `verdict` says why."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


class Answer(NamedTuple):
    """A program's answer to T steps of n rows: terms (T, n, k), and potentials before and after
    the step, (T, n, p). All float64, finite, and our own copies.
    """

    terms: Array
    before: Array
    after: Array


def clean(text: str, cap: int = 500) -> str:
    """Make text from a worker safe for logs, screens and models: printable, without bidirectional
    marks, at most `cap` characters.
    """
    shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in text[:cap])
    return shown + ("..." if len(text) > cap else "")


def _current_cpu() -> int:
    return int(_libc().sched_getcpu())


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


class Worker:
    """One program in one sandboxed process: a context manager that answers one stream of steps.

    `entry` is the function that answers (a key of wire.ENTRIES). With `same_cpu` the worker runs on
    the caller's processor, for callers that wait for every answer: waking another processor of a
    virtual machine takes longer than the question (31 against 64 us for a small program).

    Raises ProgramRejected if the program does not load, MachineFault if no worker can run here.
    """

    def __init__(
        self,
        program: str,
        layout: Layout,
        action: Action,
        *,
        entry: str = "reward",
        profile: str = "default",
        template: Template | None = None,
        same_cpu: bool = False,
    ) -> None:
        self.layout = layout
        self.action = action
        self.max_names = MAX_FACTORS if entry == "factors" else MAX_TERMS
        self._closed = False
        # once True, the program may have run, and what goes wrong is its fault
        self._confined = False
        self.profile: Profile = find_profile(profile)
        self.terms: tuple[str, ...] = ()
        self.potentials: tuple[str, ...] = ()
        self.broadcast: frozenset[str] = frozenset()
        self._named = False
        self._asked: wire.Steps | None = None
        self._answered: wire.Answers | None = None
        self._cpu_before: float | None = None
        if len(program) > MAX_PROGRAM_LENGTH:
            raise ProgramRejected(
                Verdict(
                    kind="too-long",
                    message=f"the program has {len(program)} characters",
                    hint=f"at most {MAX_PROGRAM_LENGTH} are allowed",
                )
            )
        self._start(template)
        self._cpu_of_caller = _current_cpu if same_cpu and sys.platform == "linux" else None
        self._cpu = -1
        hello = {
            "program": program,
            "entry": entry,
            "fields": layout.to_json(),
            "action": {"row": list(action.row), "integer": action.integer},
        }
        self._write(
            wire.pack_json(wire.HELLO, {**hello, "profile": self.profile.model_dump()}),
            START_SECONDS,
        )
        confined = self._json(wire.CONFINED, START_SECONDS)
        self.level = str(confined.get("level"))
        self.escapes_tried = int(confined.get("tried", 0))
        # from here on the program may have written whatever comes back
        self._confined = True
        self._cpu_before = self.spent()[0]
        ready = self._json(wire.READY, self.profile.wall_seconds)
        self.sparse = frozenset(self._names(ready.get("sparse", [])))
        self.memory = ready.get("memory") is True

    def _start(self, template: Template | None) -> None:
        down, self._out = os.pipe()
        self._in, up = os.pipe()
        try:
            self._child = start(self.profile, down, up, template)
        except BaseException:
            os.close(self._out)
            os.close(self._in)
            raise
        finally:
            os.close(down)
            os.close(up)
        os.set_blocking(self._out, False)
        self._poll_in, self._poll_out = select.poll(), select.poll()
        self._poll_in.register(self._in, select.POLLIN)
        self._poll_out.register(self._out, select.POLLOUT)

    def send(self, prev: Array, action: Array, curr: Array, first: Array) -> None:
        """Send T steps of n rows.

        prev, curr (T, n, D); action (T, n, *row); first (T, n) of bool: rows whose memory is reset
        before that step. Raises ProgramRejected if an answer came before the question.
        """
        if self._asked is None or self._asked.shape != first.shape:
            self._asked = wire.Steps(
                first.shape[0],
                first.shape[1],
                self.layout.width,
                self.action.row,
                self.action.integer,
            )
        asked = self._asked
        given = (prev.shape, curr.shape, action.shape)
        if given != (asked.prev.shape, asked.curr.shape, asked.action.shape):
            raise ValueError(
                f"arrays do not fit: prev {prev.shape}, action {action.shape}, curr {curr.shape},"
                f" first {first.shape}, {self.layout.width} columns"
            )
        if any(event & select.POLLIN for _, event in self._poll_in.poll(0)):
            raise self._refused("protocol", "an answer arrived before its question")
        asked.prev[...] = prev
        asked.curr[...] = curr
        asked.action[...] = action
        asked.first[...] = first
        self._cpu_before = None
        if self._cpu_of_caller is not None:
            self._follow(self._cpu_of_caller())
        self._write(asked.view, self.profile.wall_seconds)

    def _follow(self, cpu: int) -> None:
        """Move the worker to the caller's processor, if it is not there."""
        if cpu == self._cpu:
            return
        self._cpu = cpu
        try:
            os.sched_setaffinity(self._child.pid, {cpu})
        except OSError:
            # not allowed here, or the worker has ended: `receive` reports that
            self._cpu_of_caller = None

    def receive(self) -> Answer:
        """Return the answer to the last `send`.

        Raises ProgramRejected if the program failed on it, or sent what it must not.
        """
        assert self._asked is not None
        steps, n = self._asked.shape
        seconds = self.profile.wall_seconds + steps * EXTRA_CPU_PER_STEP
        if not self._named:
            self._receive_names(seconds)
        shape = (steps, n, len(self.terms), len(self.potentials))
        if self._answered is None or self._answered.shape != shape:
            self._answered = wire.Answers(*shape)
        answered = self._answered
        self._whole(answered.view, wire.ANSWER, seconds)
        if not (np.abs(answered.values) <= wire.LARGEST).all():
            raise self._refused(
                "not-finite",
                f"an answer holds numbers that are not finite, or above {wire.LARGEST:g}",
            )
        return Answer(answered.terms.copy(), answered.before.copy(), answered.after.copy())

    def _receive_names(self, seconds: float) -> None:
        """Take the names of terms and potentials, which come once, before the first answer."""
        names = self._json(wire.NAMES, seconds)
        self.terms = self._names(names.get("terms"))
        self.potentials = self._names(names.get("potentials"))
        self.broadcast = frozenset(self._names(names.get("broadcast")))
        if len({*self.terms, *self.potentials}) != len(self.terms) + len(self.potentials):
            raise self._refused("name-twice", "two terms came back under one name")
        self._named = True

    def spent(self) -> tuple[float, int]:
        """Return (processor seconds, resident bytes) of the process so far; zeros if the system
        does not report them.
        """
        try:
            if sys.platform != "linux":
                return self._spent_elsewhere()
            # proc(5): the fields after the command's name, which may itself hold spaces
            stat = Path(f"/proc/{self._child.pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks = int(stat[11]) + int(stat[12])
            resident = int(stat[21]) * os.sysconf("SC_PAGE_SIZE")
            return ticks / os.sysconf("SC_CLK_TCK"), resident
        except (OSError, IndexError, ValueError):
            return 0.0, 0

    def _spent_elsewhere(self) -> tuple[float, int]:
        import psutil

        try:
            process = psutil.Process(self._child.pid)
            return sum(process.cpu_times()[:2]), process.memory_info().rss
        except psutil.Error:
            return 0.0, 0

    def ask(self, prev: Array, action: Array, curr: Array, first: Array) -> Answer:
        """Send T steps of n rows and return the answer: `send`, then `receive`."""
        self.send(prev, action, curr, first)
        return self.receive()

    def close(self) -> None:
        """End the worker and everything in its session."""
        if not self._closed:
            self._closed = True
            self._child.kill()
            self._child.wait()
            os.close(self._in)
            os.close(self._out)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- frames, with deadlines --------------------------------------------------------------------

    def _write(self, data: bytes | memoryview, seconds: float) -> None:
        view, deadline = memoryview(data), time.monotonic() + seconds
        while view:
            try:
                view = view[os.write(self._out, view) :]
            except BlockingIOError:
                if not self._poll_out.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    raise self._silent(seconds) from None
            except BrokenPipeError:
                # `receive` reports why
                return

    def _names(self, given: Any) -> tuple[str, ...]:
        """Names as a worker may send them; anything else is the program's fault."""
        if not isinstance(given, list):
            raise self._refused("protocol", "the names of the terms did not come back as a list")
        if len(given) > self.max_names:
            raise self._refused(
                "too-many-terms",
                f"more than {self.max_names} names came back",
                "1 to 5 terms are enough",
            )
        for name in given:
            if not isinstance(name, str) or not name.isprintable():
                raise self._refused("protocol", "the names of the terms came back malformed")
            if not 0 < len(name) <= MAX_NAME_LENGTH:
                raise self._refused("protocol", "the names of the terms came back malformed")
        return tuple(given)

    def _json(self, kind: int, seconds: float) -> dict[str, Any]:
        data = self._frame(kind, seconds)
        try:
            return wire.parse_json(bytes(data))
        except wire.ProtocolError as error:
            what = "names" if kind == wire.NAMES else "greeting"
            raise self._refused("protocol", f"the worker's {what}: {error}") from None

    def _frame(self, expected: int, seconds: float) -> bytearray:
        """The content of the next frame, of that kind: JSON of at most 64 kB."""
        head = bytearray(wire.HEADER.size)
        self._read(memoryview(head), len(head), seconds)
        kind, size = wire.HEADER.unpack(head)
        if size > wire.JSON_CAP or kind not in (expected, wire.REFUSED):
            raise self._refused(
                "protocol",
                f"a frame of kind {kind} with {size} bytes came back instead of kind {expected}",
            )
        content = bytearray(size)
        self._read(memoryview(content), size, seconds)
        if kind == wire.REFUSED:
            raise self._verdict(content)
        return content

    def _whole(self, view: memoryview, expected: int, seconds: float) -> None:
        """Fill `view` with a frame of exactly that kind and length; one read, if it has arrived."""
        head = wire.HEADER.size
        length = len(view) - head
        got = self._read(view, head, seconds)
        kind, size = wire.HEADER.unpack_from(view)
        if kind == wire.REFUSED and size <= wire.JSON_CAP:
            content = bytearray(view[head : min(got, head + size)]).ljust(size)
            if got < head + size:
                self._read(memoryview(content)[got - head :], head + size - got, seconds)
            raise self._verdict(content)
        if (kind, size) != (expected, length):
            raise self._refused(
                "protocol",
                f"a frame of kind {kind} with {size} bytes came back instead of kind {expected}"
                f" with {length}",
            )
        if got < len(view):
            self._read(view[got:], len(view) - got, seconds)

    def _read(self, view: memoryview, least: int, seconds: float) -> int:
        """Fill `view` with at least `least` bytes, and with more if they have arrived.

        Returns how many.
        """
        got = 0
        checked = time.monotonic()
        deadline = checked + seconds
        while got < least:
            ready = self._poll_in.poll(CHECK_SECONDS * 1000)
            # an answer that trickles in is checked as silence is
            if not ready or time.monotonic() - checked > CHECK_SECONDS:
                checked = time.monotonic()
                self._check_limits(deadline, seconds)
            if not ready:
                continue
            size = os.readv(self._in, [view[got:]])
            if size == 0:
                raise self._ended()
            got += size
        return got

    def _check_limits(self, deadline: float, seconds: float) -> None:
        """Raise if the program has used up its processor time, or the deadline has passed.

        Processor time comes first, so a busy machine rejects no program.
        """
        if self._confined:
            self._check_cpu(self.spent()[0])
        if time.monotonic() > deadline:
            raise self._silent(seconds)

    def _check_cpu(self, used: float) -> None:
        if self._cpu_before is None:
            self._cpu_before = max(0.0, used - CHECK_SECONDS)
        one_call = self.profile.call_cpu_seconds
        if self._asked:
            what = "one call"
            allowed = one_call + self._asked.shape[0] * EXTRA_CPU_PER_STEP
            hint = "use whole-array numpy; no loops over rows or growing lists"
        else:
            what = "loading"
            allowed = LOAD_CALLS * one_call
            hint = "only definitions may run at import"
        if used - self._cpu_before > allowed:
            message = f"{what} used more than {allowed:.2g} s of processor time"
            raise self._refused("too-slow", message, hint)

    def _silent(self, seconds: float) -> ProgramRejected | MachineFault:
        """No answer in time: the program's fault once it may have run, the machine's before."""
        if self._confined:
            return self._refused(
                "hung", f"no answer within {seconds:g} s", "remove waits and endless loops"
            )
        self.close()
        return MachineFault(
            f"the reward worker did not start within {seconds:g} s",
            "if the machine is busy, use fewer --jobs; check it with: autoreward doctor",
        )

    def _verdict(self, data: bytearray) -> ProgramRejected | MachineFault:
        try:
            refusal = wire.parse_json(bytes(data))
        except wire.ProtocolError as error:
            return self._refused("protocol", str(error))
        message = _one_line(refusal.get("message"))
        hint = _one_line(refusal.get("hint"))
        kind = refusal.get("kind")
        line = refusal.get("line")
        self.close()
        if kind == "sandbox" and not self._confined:
            return MachineFault(message, hint or "autoreward doctor")
        return ProgramRejected(
            Verdict(
                kind=kind if isinstance(kind, str) and kind in KINDS else "exception",
                line=line if isinstance(line, int) and 0 < line < 10**6 else None,
                message=message or "the program was rejected, but no reason came back",
                hint=hint,
            )
        )

    def _refused(self, kind: str, message: str, hint: str = "") -> ProgramRejected:
        self.close()
        return ProgramRejected(Verdict(kind=kind, message=message, hint=hint))

    def _ended(self) -> ProgramRejected | MachineFault:
        code = self._child.wait()
        starting = not self._confined
        self.close()
        if code == -signal.SIGKILL:
            return MachineFault(
                "the reward worker was killed from outside (out of memory?)",
                "try again with fewer --jobs",
            )
        if starting:
            return MachineFault(
                f"the reward worker did not start (exit status {code})",
                f"check that this works: {sys.executable} -I -c 'import numpy'",
            )
        name = (signal.strsignal(-code) or f"signal {-code}") if code < 0 else f"exit code {code}"
        return ProgramRejected(
            Verdict(
                kind="crash",
                message=f"the program ended its process ({name})",
                hint="do not exit, keep arrays to n rows, and avoid endless recursion",
            )
        )


def _one_line(text: Any) -> str:
    """A worker's text on one line, cleaned; "" for anything but text."""
    return clean(" ".join(text.split())) if isinstance(text, str) else ""


# Kinds of verdict that a worker may report itself; the others are found on this side.
# docs/verdicts.md explains each.
KINDS = (
    "syntax",
    "load",
    "missing-entry-point",
    "memory-form",
    "exception",
    "return-form",
    "shape",
    "not-finite",
    "names-changed",
    "name-twice",
    "memory",
)
