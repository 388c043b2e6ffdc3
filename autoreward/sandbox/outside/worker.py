"""The outside of the jail: start a reward worker, send it arrays, judge what comes back.

Promise: nothing of a program is executed on this side, and what a worker sends is copied, then
checked (lengths, finiteness, names) before anybody uses it. Whatever goes wrong is the candidate's
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

# wall time for Python and numpy to load and the jail to close: the machine's
START_SECONDS = 30.0
# a program's definitions may take as long as this many calls
LOAD_CALLS = 2
EXTRA_CPU_PER_STEP = 0.05
# seconds of waiting after which processor time and deadline are looked at
LOOK = 0.25
MOST_TERMS = 64
# inputs of a decoder: nobody reads them one by one, and their names still fit into a frame of JSON
MOST_FACTORS = 256
# characters of a program; the linter is stricter
LONGEST = 1 << 20


__all__ = ["KINDS", "Answer", "MachineFault", "ProgramRejected", "Template", "Worker", "clean"]


class ProgramRejected(Exception):
    """The program is to blame; `verdict` says why."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


class Answer(NamedTuple):
    """terms (T, n, k); potentials before and after the step, (T, n, p).

    float64, finite, our own copies.
    """

    terms: Array
    before: Array
    after: Array


def clean(text: str, cap: int = 500) -> str:
    """Text from a worker made fit for logs, screens and models: printable, no bidirectional marks,
    capped.
    """
    shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in text[:cap])
    return shown + ("..." if len(text) > cap else "")


def _current_cpu() -> int:
    return int(_libc().sched_getcpu())


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


class Worker:
    """One program in one jailed process.

    A context manager; one stream of steps at a time. `entry`: the function that answers
    (wire.ENTRIES).

    `same_cpu`: it runs where the caller runs, for callers that wait for every answer. Waking
    another processor of a virtual machine costs more than the question (31 against 64 us for a
    small program).
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
        self.layout, self.action = layout, action
        self._closed = self._confined = False
        self.most = MOST_FACTORS if entry == "factors" else MOST_TERMS
        self.profile: Profile = find_profile(profile)
        self.terms: tuple[str, ...] = ()
        self.potentials: tuple[str, ...] = ()
        self.broadcast: frozenset[str] = frozenset()
        self._named = False
        self._asked: wire.Steps | None = None
        self._answered: wire.Answers | None = None
        self._cpu_before: float | None = None
        if len(program) > LONGEST:
            raise ProgramRejected(
                Verdict(
                    kind="too-long",
                    message=f"the program has {len(program)} characters",
                    hint=f"at most {LONGEST} are taken",
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
        # from here on the program may have had its hands on it
        confined = self._json(wire.CONFINED, START_SECONDS)
        self.level, self.escapes_tried = str(confined.get("level")), int(confined.get("tried", 0))
        self._confined, self._cpu_before = True, self.spent()[0]
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
        """Send T steps of n rows: prev, curr (T, n, D); action (T, n, *row); first (T, n), rows
        whose memory is reset before that step.
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
        if (prev.shape, curr.shape, action.shape) != (
            asked.prev.shape,
            asked.curr.shape,
            asked.action.shape,
        ):
            raise ValueError(
                f"arrays do not fit: prev {prev.shape}, action {action.shape}, curr {curr.shape}, first {first.shape}, {self.layout.width} columns"
            )
        if any(event & select.POLLIN for _, event in self._poll_in.poll(0)):
            raise self._refused("protocol", "an answer came back before the question")
        asked.prev[...], asked.curr[...], asked.action[...], asked.first[...] = (
            prev,
            curr,
            action,
            first,
        )
        self._cpu_before = None
        if self._cpu_of_caller and (cpu := self._cpu_of_caller()) != self._cpu:
            self._move(cpu)
        self._write(asked.view, self.profile.wall_seconds)

    def _move(self, cpu: int) -> None:
        self._cpu = cpu
        try:
            os.sched_setaffinity(self._child.pid, {cpu})
        except OSError:
            # not allowed here, or gone: `receive` finds out
            self._cpu_of_caller = None

    def receive(self) -> Answer:
        """The answer to the last `send`.

        ProgramRejected when the program failed on it, or answered what it must not.
        """
        assert self._asked is not None
        steps, n = self._asked.shape
        seconds = self.profile.wall_seconds + steps * EXTRA_CPU_PER_STEP
        if not self._named:
            names = self._json(wire.NAMES, seconds)
            self.terms, self.potentials = (
                self._names(names.get("terms")),
                self._names(names.get("potentials")),
            )
            self.broadcast = frozenset(self._names(names.get("broadcast")))
            if len({*self.terms, *self.potentials}) != len(self.terms) + len(self.potentials):
                raise self._refused("name-twice", "two terms came back under one name")
            self._named = True
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

    def spent(self) -> tuple[float, int]:
        """(processor seconds, resident bytes) of the process so far; zeros where the system does
        not tell.
        """
        try:
            if sys.platform != "linux":
                return self._spent_elsewhere()
            ticks = Path(f"/proc/{self._child.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK"), int(
                ticks[21]
            ) * os.sysconf("SC_PAGE_SIZE")
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
        """`send`, then `receive`."""
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
                # `receive` finds out why
                return

    def _names(self, given: Any) -> tuple[str, ...]:
        """Names as a worker may give them; anything else is the program's doing."""
        if not isinstance(given, list) or len(given) > self.most:
            raise self._refused(
                "too-many-terms" if isinstance(given, list) else "protocol",
                f"more than {self.most} names, or no list of names, came back",
                "1 to 5 terms are enough",
            )
        if not all(isinstance(s, str) and 0 < len(s) <= 64 and s.isprintable() for s in given):
            raise self._refused("protocol", "the names of the terms came back malformed")
        return tuple(given)

    def _json(self, kind: int, seconds: float) -> dict[str, Any]:
        data = self._frame(kind, seconds)
        try:
            return wire.parse_json(bytes(data))
        except wire.ProtocolError as error:
            raise self._refused(
                "protocol", f"the worker's {'names' if kind == wire.NAMES else 'greeting'}: {error}"
            ) from None

    def _frame(self, expected: int, seconds: float) -> bytearray:
        """What a frame of that kind holds: JSON of at most 64 kB."""
        head = bytearray(wire.HEADER.size)
        self._read(memoryview(head), len(head), seconds)
        kind, size = wire.HEADER.unpack(head)
        if size > wire.JSON_CAP or kind not in (expected, wire.REFUSED):
            raise self._refused(
                "protocol",
                f"a frame of kind {kind} with {size} bytes came back, expected kind {expected}",
            )
        content = bytearray(size)
        self._read(memoryview(content), size, seconds)
        if kind == wire.REFUSED:
            raise self._verdict(content)
        return content

    def _whole(self, view: memoryview, expected: int, seconds: float) -> None:
        """Fill `view` with a frame of exactly that kind and length, by one read where it is there
        at once.
        """
        length, head = len(view) - wire.HEADER.size, wire.HEADER.size
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
                f"a frame of kind {kind} with {size} bytes came back, expected kind {expected} with {length}",
            )
        if got < len(view):
            self._read(view[got:], len(view) - got, seconds)

    def _read(self, view: memoryview, least: int, seconds: float) -> int:
        """Fill `view` with at least `least` bytes, and with more where they are there at once.

        Returns how many.
        """
        got, deadline = 0, time.monotonic() + seconds
        looked = time.monotonic()
        while got < least:
            ready = self._poll_in.poll(LOOK * 1000)
            # an answer that trickles in is looked at as silence is
            if not ready or time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                self._look(deadline, seconds)
            if not ready:
                continue
            size = os.readv(self._in, [view[got:]])
            if size == 0:
                raise self._ended()
            got += size
        return got

    def _look(self, deadline: float, seconds: float) -> None:
        """Silence: has the program used up its processor time, or is it hung?

        Processor time decides, so a busy machine rejects nobody.
        """
        used = self.spent()[0]
        if self._confined:
            steps = self._asked.shape[0] if self._asked else 0
            if self._cpu_before is None:
                self._cpu_before = max(0.0, used - LOOK)
            allowed = (
                self.profile.call_cpu_seconds + steps * EXTRA_CPU_PER_STEP
                if steps
                else LOAD_CALLS * self.profile.call_cpu_seconds
            )
            if used - self._cpu_before > allowed:
                what, hint = (
                    ("one call", "whole-array numpy; no loops over rows or cells that grow")
                    if steps
                    else ("loading", "nothing may run at import but definitions")
                )
                raise self._refused(
                    "too-slow", f"{what} used more than {allowed:.2g} s of processor time", hint
                )
        if time.monotonic() > deadline:
            raise self._silent(seconds)

    def _silent(self, seconds: float) -> ProgramRejected | MachineFault:
        """Hung: the program's doing once it runs, the machine's before."""
        if self._confined:
            return self._refused(
                "hung", f"no answer within {seconds:g} s", "no waiting and no endless loops"
            )
        self.close()
        return MachineFault(
            f"the reward worker did not start within {seconds:g} s",
            "a busy machine? fewer --jobs; autoreward doctor",
        )

    def _verdict(self, data: bytearray) -> ProgramRejected | MachineFault:
        try:
            said = wire.parse_json(bytes(data))
        except wire.ProtocolError as error:
            return self._refused("protocol", str(error))
        kind, line = said.get("kind"), said.get("line")
        message, hint = (
            clean(" ".join(str(text).split())) if isinstance(text := said.get(key), str) else ""
            for key in ("message", "hint")
        )
        self.close()
        if kind == "sandbox" and not self._confined:
            return MachineFault(message, hint or "autoreward doctor")
        known = kind if isinstance(kind, str) and kind in KINDS else "exception"
        return ProgramRejected(
            Verdict(
                kind=known,
                line=line if isinstance(line, int) and 0 < line < 10**6 else None,
                message=message or "it was refused, and no reason came back",
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
                "the reward worker was killed, and not by us (out of memory?)",
                "fewer --jobs; then again",
            )
        if starting:
            return MachineFault(
                f"the reward worker does not start (exit status {code})",
                f"try: {sys.executable} -I -c 'import numpy'",
            )
        name = (signal.strsignal(-code) or f"signal {-code}") if code < 0 else f"exit code {code}"
        return ProgramRejected(
            Verdict(
                kind="crash",
                message=f"the program ended its process ({name})",
                hint="no exits; arrays of n rows; no recursion without end",
            )
        )


# Classes that a worker itself may report; the rest are found on this side. docs/verdicts.md
# explains each.
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
