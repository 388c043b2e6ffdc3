"""The engine: starts trainers, several side by side, and relays what they report.

A trainer is a process of trusted code: a job file goes in, files come out. It starts without the
orchestrator's keys in its environment, dies with this process, and writes only below its `out`. If
it is killed by something else (out of memory, an administrator), the job runs once more from step
0. Captions that it asks about go to an annotator (annotation/labels.py), and the labels come back
on its standard input; neither side waits for the other.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from autoreward.annotation.labels import (
    MAX_LINE_BYTES,
    AnnotatorService,
    Label,
    decode_captions,
    encode_labels,
)
from autoreward.errors import MISSING, UserError
from autoreward.store.io import write
from autoreward.store.jobs import CaptionJob, EvaluateJob, NetworkJob, PlayJob, ProbeJob, TrainJob
from autoreward.store.survey import SurveyJob
from autoreward.store.training import TrainingFolder, errors_beside, job_beside

Job = TrainJob | EvaluateJob | ProbeJob | PlayJob | NetworkJob | SurveyJob | CaptionJob
# Labels in one line to a trainer.
LABELS_PER_LINE = 256
Progress = Callable[[str, dict[str, float | None]], None]

# What a trainer may need from our environment. Everything else, keys above all, stays behind.
KEEP = {
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "TZ",
    "USER",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "DISPLAY",
    "MUJOCO_GL",
    "PYOPENGL_PLATFORM",
    "XDG_CACHE_HOME",
    "PYTHONDONTWRITEBYTECODE",
}
KEEP_PREFIXES = ("LC_", "CUDA_VISIBLE", "NVIDIA_VISIBLE", "SDL_")


def gpus() -> list[str]:
    """Names of the NVIDIA GPUs that trainers may use, as for CUDA_VISIBLE_DEVICES."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in chosen.split(",") if name.strip() and name.strip() != "-1"]
    there = Path("/proc/driver/nvidia/gpus")
    return [str(k) for k, _ in enumerate(there.iterdir())] if there.is_dir() else []


def trainer_environment(gpu: str | None = None) -> dict[str, str]:
    """The environment variables of a trainer, stated one by one.

    No keys, one BLAS thread, one GPU if there are several, and hashing without randomness.
    """
    kept = {k: v for k, v in os.environ.items() if k in KEEP or k.startswith(KEEP_PREFIXES)}
    kept |= {"CUDA_VISIBLE_DEVICES": gpu} if gpu is not None else {}
    return {
        **kept,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONSAFEPATH": "1",
        "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    }


@dataclass
class _Started:
    label: str
    job: Job
    process: subprocess.Popen[bytes]
    errors: Path
    again: bool
    slot: int
    buffer: bytes = b""
    # What its standard input has not taken yet.
    back: bytearray = field(default_factory=bytearray)


class _Mail:
    """Lines for trainers, put there by any thread; they wake the one that waits in `select`."""

    def __init__(self) -> None:
        self.lines: SimpleQueue[tuple[_Started, bytes]] = SimpleQueue()
        self.woken, self._wake = socket.socketpair()
        for end in (self.woken, self._wake):
            end.setblocking(False)

    def put(self, to: _Started, labels: Mapping[int, Label]) -> None:
        items = list(labels.items())
        for k in range(0, len(items), LABELS_PER_LINE):
            self.lines.put(
                (to, encode_labels(dict(items[k : k + LABELS_PER_LINE])).encode() + b"\n")
            )
        # The pipe is full, so it is awake already; or nobody waits any more.
        with suppress(OSError):
            self._wake.send(b".")

    def take(self) -> list[_Started]:
        """Move the lines to the buffers of their trainers; these are returned."""
        with suppress(BlockingIOError):
            while self.woken.recv(4096):
                continue
        changed: list[_Started] = []
        while True:
            try:
                to, line = self.lines.get_nowait()
            except Empty:
                return changed
            to.back += line
            changed.append(to)

    def close(self) -> None:
        self.woken.close()
        self._wake.close()


def job_path(job: Job) -> Path:
    """Where a job is written for its trainer: beside what the trainer leaves."""
    if isinstance(job, TrainJob):
        return TrainingFolder(Path(job.out)).job_path
    out = job.outs[0] if isinstance(job, EvaluateJob) else job.out
    return job_beside(Path(out))


class Engine:
    """A local pool of `jobs` trainers.

    Use from the main thread (a trainer's parent-death signal follows the thread).
    """

    def __init__(self, jobs: int = 1, python: str | None = None) -> None:
        self.jobs, self.python, self.gpus = max(1, jobs), python or sys.executable, gpus()

    def run(
        self,
        jobs: Sequence[tuple[str, Job]],
        progress: Progress | None = None,
        annotators: Mapping[str, AnnotatorService] | None = None,
    ) -> None:
        """Run every (label, job), `self.jobs` at a time, in order.

        UserError when a trainer says what is missing or wrong.

        `annotators`: by label, who answers that trainer's captions; without one every caption stays
        unanswered.
        """
        waiting = [(label, job, False) for label, job in jobs]
        running: list[_Started] = []
        selector, mail, asked = selectors.DefaultSelector(), _Mail(), annotators or {}
        selector.register(mail.woken, selectors.EVENT_READ)
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    slot = min(set(range(self.jobs)) - {s.slot for s in running})
                    started = self._start(*waiting.pop(0), slot)
                    running.append(started)
                    assert started.process.stdout is not None
                    selector.register(started.process.stdout, selectors.EVENT_READ, started)
                for key, event in selector.select():
                    if key.data is None:
                        for started in mail.take():
                            self._send_back(selector, started, running)
                        continue
                    started = key.data
                    if event & selectors.EVENT_WRITE:
                        self._send_back(selector, started, running)
                        continue
                    data = os.read(key.fd, 65536)
                    if data:
                        self._relay(started, data, progress, asked.get(started.label), mail)
                        continue
                    selector.unregister(key.fileobj)
                    running.remove(started)
                    self._send_back(selector, started, running)
                    if started.label in asked:
                        asked[started.label].leave(started.label)
                    if self._ended_by_others(started):
                        waiting.insert(0, (started.label, started.job, True))
        finally:
            for started in running:
                self._stop(started)
                if started.label in asked:
                    asked[started.label].leave(started.label)
            selector.close()
            mail.close()

    @staticmethod
    def _send_back(
        selector: selectors.BaseSelector, started: _Started, running: list[_Started]
    ) -> None:
        """Write what the trainer's pipe takes now; the rest when it takes more.

        Nothing is left for one that has ended.
        """
        stdin = started.process.stdin
        assert stdin is not None
        try:
            if started not in running:
                started.back.clear()
            elif started.back:
                os.set_blocking(stdin.fileno(), False)
                del started.back[: os.write(stdin.fileno(), started.back[:65536])]
        except BlockingIOError:
            pass
        except OSError:
            # it has just ended
            started.back.clear()
        registered = not stdin.closed and stdin.fileno() in selector.get_map()
        if started.back and not registered:
            selector.register(stdin, selectors.EVENT_WRITE, started)
        elif registered and not started.back:
            selector.unregister(stdin)

    def _start(self, label: str, job: Job, again: bool, slot: int) -> _Started:
        place = job_path(job)
        write(place, job)
        errors = errors_beside(place)
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [self.python, "-m", "autoreward.trainer", str(place)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=trainer_environment(
                    self.gpus[slot % len(self.gpus)] if len(self.gpus) > 1 else None
                ),
                # Ctrl-C goes to this process only, which then stops its trainers.
                start_new_session=True,
            )
        return _Started(label, job, process, errors, again, slot)

    @staticmethod
    def _relay(
        started: _Started,
        data: bytes,
        progress: Progress | None,
        annotator: AnnotatorService | None,
        mail: _Mail,
    ) -> None:
        *lines, started.buffer = (started.buffer + data).split(b"\n")
        if len(started.buffer) > MAX_LINE_BYTES:
            started.buffer = b""
        for line in lines:
            if not line.startswith(b"{"):
                continue
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if "captions" in message:
                captions = decode_captions(message["captions"])
                if annotator is not None:
                    annotator.ask(started.label, captions, partial(mail.put, started))
                else:
                    mail.put(started, {c.number: None for c in captions})
            elif progress:
                progress(started.label, message)

    @staticmethod
    def _ended_by_others(started: _Started) -> bool:
        """Wait for the trainer's exit; True if the job should run again.

        Raises UserError if the trainer failed and running it again would not help.
        """
        code = started.process.wait()
        for stream in (started.process.stdin, started.process.stdout):
            if stream:
                stream.close()
        text = started.errors.read_text(errors="replace") if started.errors.exists() else ""
        if code == 0:
            started.errors.unlink(missing_ok=True)
            return False
        lines = [line for line in text.splitlines() if line.strip()]
        last = lines[-1] if lines else "(no output on stderr)"
        if code < 0 and not started.again:
            return True
        if code < 0:
            raise UserError(
                f"{started.label}: the trainer was killed twice by signal {-code} (out of memory?)",
                "fewer --jobs, then: autoreward resume",
                MISSING,
            )
        if code == MISSING:
            once = isinstance(started.job, (PlayJob, NetworkJob, CaptionJob))
            again = "run the same command again" if once else "autoreward resume"
            raise UserError(f"{started.label}: {last}", f"fix this, then: {again}", MISSING)
        raise UserError(
            f"{started.label}: the trainer failed (exit code {code}): {last}",
            f"full traceback: {started.errors}",
            MISSING,
        )

    @staticmethod
    def _stop(started: _Started) -> None:
        try:
            os.killpg(started.process.pid, signal.SIGTERM)
            started.process.wait(timeout=3)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            started.process.kill()
            started.process.wait()
