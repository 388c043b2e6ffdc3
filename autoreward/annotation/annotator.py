"""The orchestrator's side of the annotator channel: asks a model about captions of trainers.

Each caption of any trainer is asked about once, in batches, within the limits. Labels are kept in
`RUN/labels/MODEL-DIGEST.jsonl` (so a copied run is complete) and in the same file of a folder that
runs share. The digest is that of the prompt without captions: a changed template, task or subgoal
is a new question. A batch whose reply cannot be read is asked once more with the error; after that,
its captions stay unanswered. Once a limit is reached or the model fails, nothing more is asked.
Trainings continue without the missing labels: these are counted in annotation.json, with the
reason, and reported. The engine's thread never waits for a model.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autoreward.annotation.labels import (
    Annotation,
    CaptionRequest,
    Label,
    LabelFile,
)
from autoreward.annotation.question import (
    CallLimitReached,
    CaptionQuestion,
)
from autoreward.errors import UserError
from autoreward.models import Reply as ModelReply
from autoreward.models import Request
from autoreward.models.caller import Caller
from autoreward.models.templates import Prompts
from autoreward.store.io import read, write
from autoreward.store.run import labels_name

# captions in one prompt
BATCH_SIZE = 50
# prompts in flight at a time
WORKERS = 4
# counts of annotation.json
COUNTS = (
    "captions",
    "kept",
    "answered",
    "unanswered",
    "calls",
    "unreadable",
)
# those that are shown when the trainings are done
SHOWN_COUNTS = (
    "captions",
    "kept",
    "answered",
    "unanswered",
    "calls",
)
# seconds to wait at the end for calls in flight: as they are paid for, and after a failure
MAX_WAIT = 60.0
MAX_WAIT_AFTER_FAILURE = 0.2
Reply = Callable[[Mapping[int, Label]], None]
Delivery = tuple[Reply, int, Label]


class Annotator:
    """Answers one question about the captions of any number of trainings.

    `annotators={label: annotator}` gives it to the engine. Use it as a context manager: leaving it
    ends the questions and writes annotation.json.
    """

    def __init__(
        self,
        caller: Caller,
        prompts: Prompts,
        template: str,
        variables: Mapping[str, Any],
        labels: Sequence[str],
        folder: Path,
        record: Path,
        *,
        shared: Path | None = None,
        iteration: int = 1,
        candidate: str = "a",
        say: Callable[..., None] | None = None,
        batch: int = BATCH_SIZE,
        workers: int = WORKERS,
        max_calls: int | None = None,
    ) -> None:
        """Read the labels that are known already.

        `template`, `variables` and `labels` (the names) make the question. `folder` keeps labels in
        the run, `shared` between runs; simulated annotators do not share, because their answers
        depend on which transition came first. `record` is the path of annotation.json. `max_calls`
        limits this annotator's calls, below the run's own limits. Raises UserError for a bad model
        setting or a foreign label file.
        """
        self.caller = caller
        self.iteration = iteration
        self.candidate = candidate
        self.say = say
        self.batch_size = batch
        self.max_workers = workers
        self.max_calls = max_calls
        self.question = CaptionQuestion(
            prompts,
            template,
            variables,
            labels,
            caller.settings,
        )
        self.record = record
        self._open_files(folder, shared)
        self.before = self._counts_before()
        self.counts = {name: getattr(self.before, name) for name in COUNTS}
        # why nothing more is asked
        self.stopped = ""
        self._lock = threading.Condition()
        self._seen: set[str] = set()
        self._unanswered: set[str] = set()
        # caption -> who waits for it: (trainer, its number there, reply)
        self._waiters: dict[str, list[tuple[str, int, Reply]]] = {}
        self._truth: dict[str, tuple[bool, ...] | None] = {}
        self._queue: deque[str] = deque()
        self._batches_in_flight = 0
        self._closed = False
        self._threads: list[threading.Thread] = []

    @property
    def digest(self) -> str:
        """What identifies the question."""
        return self.question.digest

    @property
    def _simulated(self) -> bool:
        return bool(getattr(self.caller.model, "simulated", False))

    def _open_files(self, folder: Path, shared: Path | None) -> None:
        """Open the run's label file and the shared one, and read what is known."""
        model = self.caller.model.name
        name = labels_name(model, self.digest)
        head = {
            "model": model,
            "template": self.question.template,
            "digest": self.digest,
            "labels": list(self.question.names),
        }
        self._file = LabelFile(folder / name, head)
        self._shared_file = None
        if shared and not self._simulated:
            self._shared_file = LabelFile(shared / name, head)
        self._known: dict[str, Label] = {}
        for file in (self._shared_file, self._file):
            for _, text, label in file.rows if file else ():
                if label is not None:
                    self._known[text] = label
        # captions whose label is in the run's own file
        self._in_run = {text for _, text, _ in self._file.rows}

    def _counts_before(self) -> Annotation:
        """What this annotator counted before the run was stopped; zeros if it is a new one."""
        fresh = Annotation(
            model=self.caller.model.name,
            template=self.question.template,
            labels=self.question.names,
            simulated=self._simulated,
        )
        found = read(self.record, Annotation)
        if found is None:
            return fresh
        same_model = found.model == fresh.model
        same_question = (found.template, found.labels) == (
            fresh.template,
            fresh.labels,
        )
        return found if same_model and same_question else fresh

    # -- the engine's side -------------------------------------------------------------------------

    def ask(
        self,
        owner: str,
        captions: Sequence[CaptionRequest],
        reply: Reply,
    ) -> None:
        """Answer what is known at once, and queue the rest; `reply` is called as answers arrive."""
        known_now: dict[int, Label] = {}
        with self._lock:
            copied: list[tuple[int, str, Label]] = []
            for caption in captions:
                text = caption.text
                is_new = text not in self._seen
                self._seen.add(text)
                self._count(captions=int(is_new))
                if text in self._known:
                    known_now[caption.number] = self._known[text]
                    self._count(kept=int(is_new))
                    if text not in self._in_run:
                        copied.append((0, text, self._known[text]))
                        self._in_run.add(text)
                elif text in self._unanswered or self._closed or self.stopped:
                    known_now[caption.number] = None
                    self._give_up([text])
                else:
                    self._enqueue(owner, caption, reply)
            self._file.append(copied)
            self._start_workers()
            self._lock.notify_all()
        if known_now:
            reply(known_now)

    def _enqueue(
        self,
        owner: str,
        caption: CaptionRequest,
        reply: Reply,
    ) -> None:
        waiter = (owner, caption.number, reply)
        if caption.text in self._waiters:
            self._waiters[caption.text].append(waiter)
            return
        self._waiters[caption.text] = [waiter]
        self._truth[caption.text] = caption.truth
        self._queue.append(caption.text)

    def leave(self, owner: str) -> None:
        """Drop what only that trainer waits for, unless the model is being asked about it."""
        with self._lock:
            for waiting in self._waiters.values():
                waiting[:] = [waiter for waiter in waiting if waiter[0] != owner]
            dropped = [text for text in self._queue if not self._waiters[text]]
            for text in dropped:
                del self._waiters[text]
                del self._truth[text]
            self._queue = deque(text for text in self._queue if text in self._waiters)
            self._seen.difference_update(dropped)
            self._count(captions=-len(dropped))

    def __enter__(self) -> Annotator:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(wait=kind is None)

    def close(self, wait: bool = True) -> None:
        """Ask nothing more, and write annotation.json.

        Calls in flight are paid for, so their answers are still kept if `wait` is set.
        """
        with self._lock:
            self._closed = True
            deliveries = self._give_up(list(self._queue))
            self._queue.clear()
            self._lock.notify_all()
        _deliver(deliveries)
        end = time.monotonic() + (MAX_WAIT if wait else MAX_WAIT_AFTER_FAILURE)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._lock:
            found = self._annotation()
            if found.captions or found.stopped:
                write(self.record, found)
        if self._seen:
            shown: dict[str, Any] = {name: getattr(found, name) for name in SHOWN_COUNTS}
            if found.stopped:
                shown["stopped"] = found.stopped
            self._say("annotated", model=found.model, **shown)

    def _say(self, event: str, **details: Any) -> None:
        if self.say:
            self.say(
                "training",
                event,
                self.iteration,
                self.candidate,
                **details,
            )

    # -- asking the model --------------------------------------------------------------------------

    def _start_workers(self) -> None:
        """One thread for each whole batch, and one for the rest."""
        batches = -(-len(self._queue) // self.batch_size)
        wanted = min(
            self.max_workers,
            self._batches_in_flight + batches,
        )
        while len(self._threads) < wanted:
            thread = threading.Thread(
                target=self._work,
                daemon=True,
                name=f"annotator-{len(self._threads)}",
            )
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        """A worker's loop: take a batch, ask, deliver."""
        while True:
            texts = self._next_batch()
            if texts is None:
                return
            labels: dict[str, Label] = {}
            failure = ""
            try:
                labels = self._label(texts)
            except UserError as error:
                failure = error.message
            except Exception as error:
                # A bug of ours, or of a model's client, is no reason to lose the training.
                failure = f"{type(error).__name__}: {error}"
            finally:
                self._finish(texts, labels, failure)

    def _next_batch(self) -> list[str] | None:
        """The captions to ask about next; None once the annotator is closed.

        Less than a batch waits for the batches in flight, so that a trickle of captions does not
        become a trickle of calls.
        """
        with self._lock:
            while not self._closed:
                size = len(self._queue)
                if size >= self.batch_size or (size and not self._batches_in_flight):
                    self._batches_in_flight += 1
                    size = min(size, self.batch_size)
                    return [self._queue.popleft() for _ in range(size)]
                self._lock.wait()
        return None

    def _label(self, texts: list[str]) -> dict[str, Label]:
        """The labels of a batch. Raises UserError if nothing more can be asked."""
        labels, readable = self.question.put(
            texts,
            [self._truth.get(text) for text in texts],
            self._ask_within_limit,
            self.iteration,
            self.candidate,
        )
        if not readable:
            with self._lock:
                self._count(unreadable=1)
        return labels

    def _ask_within_limit(self, request: Request) -> ModelReply:
        with self._lock:
            if self.max_calls is not None and self.counts["calls"] >= self.max_calls:
                raise CallLimitReached(
                    f"the annotator's own limit of {self.max_calls} calls is reached"
                )
            self._count(calls=1)
        return self.caller.ask(request)

    def _finish(
        self,
        texts: list[str],
        labels: dict[str, Label],
        failure: str,
    ) -> None:
        """Keep and deliver the labels of a batch; stop asking after a failure."""
        with self._lock:
            self._batches_in_flight -= 1
            for text in texts:
                self._truth.pop(text, None)
            answered = [(0, text, label) for text, label in labels.items() if label is not None]
            not_kept = self._keep(answered)
            failure = failure or not_kept
            deliveries: list[Delivery] = []
            for _, text, label in answered:
                for _, number, reply in self._waiters.pop(text, ()):
                    deliveries.append((reply, number, label))
            deliveries += self._give_up([text for text in texts if labels.get(text) is None])
            stops_now = bool(failure) and not self.stopped
            if failure:
                self.stopped = self.stopped or failure
                deliveries += self._give_up(list(self._queue))
                self._queue.clear()
            write(self.record, self._annotation())
            self._lock.notify_all()
        _deliver(deliveries)
        if stops_now:
            self._say(
                "annotator stopped, training continues without it",
                why=failure,
            )

    # -- under the lock ----------------------------------------------------------------------------

    def _keep(self, answered: Sequence[tuple[int, str, Label]]) -> str:
        """Remember labels, here and on disk. Returns why they could not be written, else ""."""
        failure = ""
        try:
            self._file.append(answered)
            if self._shared_file:
                self._shared_file.append(answered)
        except OSError as error:
            failure = f"labels cannot be written: {error.strerror}"
        for _, text, label in answered:
            self._known[text] = label
            self._in_run.add(text)
        self._count(answered=len(answered))
        return failure

    def _give_up(self, texts: list[str]) -> list[Delivery]:
        """Leave captions without a label. Returns what to deliver to those who wait for them."""
        new = [text for text in dict.fromkeys(texts) if text not in self._unanswered]
        self._unanswered.update(new)
        self._count(unanswered=len(new))
        deliveries: list[Delivery] = []
        for text in texts:
            for _, number, reply in self._waiters.pop(text, ()):
                deliveries.append((reply, number, None))
        return deliveries

    def _count(self, **more: int) -> None:
        for name, n in more.items():
            self.counts[name] += n

    def _annotation(self) -> Annotation:
        return self.before.model_copy(update={**self.counts, "stopped": self.stopped})


def _deliver(deliveries: list[Delivery]) -> None:
    """Call each trainer's `reply` once, with all its labels."""
    by_reply: dict[int, tuple[Reply, dict[int, Label]]] = {}
    for reply, number, label in deliveries:
        _, labels = by_reply.setdefault(id(reply), (reply, {}))
        labels[number] = label
    for reply, labels in by_reply.values():
        reply(labels)
