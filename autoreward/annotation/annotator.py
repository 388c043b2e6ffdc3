"""The orchestrator's side of the annotator channel: captions of all trainers, each asked once and
for good, in batches, within the limits.

A label is kept in `RUN/labels/MODEL-DIGEST.jsonl` (so that a carried run is whole) and in the same
file of a folder that runs share; the digest is that of the prompt without its captions, so a
changed template, task or subgoal asks anew. A batch that comes back as nonsense is asked once more
with the error; then its captions stay unanswered. Where a limit is reached or the model fails,
nothing more is asked. Trainings go on without what is missing: it is counted in annotation.json,
with the reason, and told. The engine's thread never waits for a model.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import RootModel

from autoreward.annotation.labels import Annotation, CaptionRequest, Label, LabelFile
from autoreward.errors import USAGE, UserError
from autoreward.models import Message, Request
from autoreward.models import Reply as ModelReply
from autoreward.models.asking import ask_until_read
from autoreward.models.caller import Caller
from autoreward.models.replies import UnreadableReply, record_of
from autoreward.models.templates import Prompts
from autoreward.models.variables import AnnotatorContext, variables_for
from autoreward.store.files import read, write

# captions in one prompt
BATCH = 50
# prompts under way at a time
WORKERS = 4
# characters of a reply that are read
MOST_REPLY = 1 << 20
COUNTS = ("captions", "kept", "answered", "unanswered", "calls", "unreadable")
# seconds for calls under way, once nobody waits for them any more
LONGEST_WAIT = 60.0
Reply = Callable[[Mapping[int, Label]], None]


class Said(RootModel[dict[str, list[str]]]):
    """What a model answers: for a caption's number the names that hold."""


class CallLimitReached(UserError):
    """The annotator has made as many calls as it may, below the run's own limits."""


class Annotator:
    """One question, asked about any number of captions of any number of trainings.

    `annotators={label: annotator}` gives it to the engine.

    `template`: of prompts/, with `variables` and the captions; `labels`: the names a label has, in
    order. `folder`: where labels are kept, in the run; `shared`: between runs (not for a simulated
    judge, whose answers depend on which transition came first). `record`: annotation.json.
    `most_calls`: of this annotator alone, below the run's limits. Leave it (`with`) when the
    trainings are done.
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
        batch: int = BATCH,
        workers: int = WORKERS,
        most_calls: int | None = None,
    ) -> None:
        self.caller, self.prompts, self.template, self.variables = (
            caller,
            prompts,
            template,
            dict(variables),
        )
        self.labels, self.record, self.iteration, self.candidate = (
            tuple(labels),
            record,
            iteration,
            candidate,
        )
        self.say, self.batch, self.most_workers, self.most_calls = say, batch, workers, most_calls
        model, simulated = caller.model.name, bool(getattr(caller.model, "simulated", False))
        self.max_tokens, self.temperature = (
            _number(caller.settings, "max_tokens", 8192),
            _number(caller.settings, "temperature", None),
        )
        bare = self._prompt((), "")
        self.digest = hashlib.sha256(f"{bare}\n{list(self.labels)}".encode()).hexdigest()[:12]
        name = f"{re.sub(r'[^A-Za-z0-9.=,_-]+', '-', model)[:60]}-{hashlib.sha256(model.encode()).hexdigest()[:6]}-{self.digest}.jsonl"
        head = {
            "model": model,
            "template": template,
            "digest": self.digest,
            "labels": list(self.labels),
        }
        self._file = LabelFile(folder / name, head)
        self._shared = LabelFile(shared / name, head) if shared and not simulated else None
        self._known = {
            text: label
            for file in (self._shared, self._file)
            if file
            for _, text, label in file.rows
            if label is not None
        }
        self._own = {text for _, text, _ in self._file.rows}
        self.before = _earlier(record, model, template, self.labels, simulated)
        self.counts = {k: getattr(self.before, k) for k in COUNTS}
        self.stopped = ""
        self._lock = threading.Condition()
        self._seen: set[str] = set()
        self._unanswered: set[str] = set()
        self._waiters: dict[str, list[tuple[str, int, Reply]]] = {}
        self._truth: dict[str, tuple[bool, ...] | None] = {}
        self._queue: deque[str] = deque()
        self._flying, self._closed = 0, False
        self._threads: list[threading.Thread] = []

    # -- the engine's side -------------------------------------------------------------------------

    def ask(self, owner: str, captions: Sequence[CaptionRequest], reply: Reply) -> None:
        """Answer what is known at once, and queue the rest; `reply` is called as answers come."""
        now: dict[int, Label] = {}
        with self._lock:
            carried: list[tuple[int, str, Label]] = []
            for caption in captions:
                text = caption.text
                new = text not in self._seen
                self._seen.add(text)
                self._count(captions=int(new))
                if text in self._known:
                    now[caption.number] = self._known[text]
                    self._count(kept=int(new))
                    if text not in self._own:
                        carried.append((0, text, self._known[text]))
                        self._own.add(text)
                elif text in self._unanswered or self._closed or self.stopped:
                    now[caption.number] = None
                    self._give_up([text])
                elif text in self._waiters:
                    self._waiters[text].append((owner, caption.number, reply))
                else:
                    self._waiters[text] = [(owner, caption.number, reply)]
                    self._truth[text] = caption.truth
                    self._queue.append(text)
            self._file.append(carried)
            self._employ()
            self._lock.notify_all()
        if now:
            reply(now)

    def leave(self, owner: str) -> None:
        """Drop what that trainer alone waits for, unless it is being asked already."""
        with self._lock:
            for waiting in self._waiters.values():
                waiting[:] = [w for w in waiting if w[0] != owner]
            left = [text for text in self._queue if not self._waiters[text]]
            for text in left:
                del self._waiters[text], self._truth[text]
            self._queue = deque(text for text in self._queue if text in self._waiters)
            self._seen.difference_update(left)
            self._count(captions=-len(left))

    def __enter__(self) -> Annotator:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(wait=kind is None)

    def close(self, wait: bool = True) -> None:
        """No more questions.

        Calls under way are paid for, so with `wait` their answers are still kept. Writes
        annotation.json.
        """
        with self._lock:
            self._closed = True
            left = self._give_up(list(self._queue))
            self._queue.clear()
            self._lock.notify_all()
        _deliver(left)
        end = time.monotonic() + (LONGEST_WAIT if wait else 0.2)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._lock:
            found = self._found()
            if found.captions or found.stopped:
                write(self.record, found)
        if self.say and self._seen:
            numbers = {
                k: getattr(found, k)
                for k in ("captions", "kept", "answered", "unanswered", "calls")
            }
            self.say(
                "training",
                "annotated",
                self.iteration,
                self.candidate,
                model=found.model,
                **numbers,
                **({"stopped": found.stopped} if found.stopped else {}),
            )

    # -- asking the model --------------------------------------------------------------------------

    def _employ(self) -> None:
        """As many threads as there are whole batches, and one for what is less."""
        wanted = min(self.most_workers, self._flying + -(-len(self._queue) // self.batch))
        while len(self._threads) < wanted:
            self._threads.append(
                threading.Thread(
                    target=self._work, daemon=True, name=f"annotator-{len(self._threads)}"
                )
            )
            self._threads[-1].start()

    def _work(self) -> None:
        while True:
            with self._lock:
                # Less than a batch waits for those under way, so that a trickle of captions is no
                # trickle of calls.
                while not (
                    self._closed
                    or len(self._queue) >= self.batch
                    or (self._queue and not self._flying)
                ):
                    self._lock.wait()
                if self._closed:
                    return
                texts = [self._queue.popleft() for _ in range(min(self.batch, len(self._queue)))]
                self._flying += 1
            labels: dict[str, Label] = {}
            why = ""
            try:
                labels = self._judge(texts)
            except UserError as error:
                why = error.message
            except Exception as error:
                # a fault of ours, or of a model's client: no reason to lose the training
                why = f"{type(error).__name__}: {error}"
            finally:
                self._done(texts, labels, why)

    def _done(self, texts: list[str], labels: dict[str, Label], why: str) -> None:
        with self._lock:
            self._flying -= 1
            for text in texts:
                self._truth.pop(text, None)
            answered = [(0, text, label) for text, label in labels.items() if label is not None]
            try:
                self._file.append(answered)
                if self._shared:
                    self._shared.append(answered)
            except OSError as error:
                why = why or f"labels cannot be kept: {error.strerror}"
            self._known.update((text, label) for _, text, label in answered)
            self._own.update(text for _, text, _ in answered)
            self._count(answered=len(answered))
            told: list[tuple[Reply, int, Label]] = [
                (reply, number, label)
                for _, text, label in answered
                for _, number, reply in self._waiters.pop(text, ())
            ]
            told += self._give_up([text for text in texts if labels.get(text) is None])
            new = bool(why) and not self.stopped
            if why:
                self.stopped = self.stopped or why
                told += self._give_up(list(self._queue))
                self._queue.clear()
            write(self.record, self._found())
            self._lock.notify_all()
        _deliver(told)
        if new and self.say:
            self.say(
                "training",
                "annotator stopped, training goes on without it",
                self.iteration,
                self.candidate,
                why=why,
            )

    def _judge(self, texts: list[str]) -> dict[str, Label]:
        """The labels of a batch; what could not be read twice is missing.

        UserError where nothing more can be asked.
        """
        key = hashlib.sha256("\n".join([self.digest, *texts]).encode()).hexdigest()[:12]
        material = {
            "labels": self.labels,
            "captions": texts,
            "truth": [self._truth.get(text) for text in texts],
        }
        request = Request(
            "annotator",
            self.iteration,
            self.candidate,
            0,
            (),
            material=material,
            max_tokens=int(self.max_tokens or 8192),
            temperature=self.temperature,
            key=key,
        )
        found: dict[int, Label] = {}
        problem = ""

        def messages(problem: str) -> tuple[Message, ...]:
            return (Message("user", self._prompt(tuple(texts), problem)),)

        def read(text: str) -> None:
            # A reply that is wrong in part still answers for the rest.
            nonlocal problem
            labels, problem = self._read(text[:MOST_REPLY], len(texts))
            found.update(labels)
            if problem:
                raise UnreadableReply("no-record", problem)

        try:
            ask_until_read(self._ask_within_limit, request, messages, read)
        except UnreadableReply:
            with self._lock:
                self._count(unreadable=1)
        except CallLimitReached:
            if not problem:
                raise
            with self._lock:
                self._count(unreadable=1)
        return {texts[number - 1]: label for number, label in found.items()}

    def _ask_within_limit(self, request: Request) -> ModelReply:
        with self._lock:
            if self.most_calls is not None and self.counts["calls"] >= self.most_calls:
                raise CallLimitReached(
                    f"the annotator's own limit of {self.most_calls} calls is reached"
                )
            self._count(calls=1)
        return self.caller.ask(request)

    def _read(self, text: str, n: int) -> tuple[dict[int, Label], str]:
        """(what can be used of a reply, by number; what is wrong with the rest)."""
        try:
            said = record_of(text, Said).root
        except UnreadableReply as error:
            return {}, error.message
        found: dict[int, Label] = {}
        problem = ""
        for key, names in said.items():
            unknown = [name for name in names if name not in self.labels]
            if not (key.isascii() and key.isdecimal() and len(key) < 9 and 1 <= int(key) <= n):
                problem = problem or f"there is no transition {key[:20]!r}; they are 1 to {n}"
            elif unknown:
                problem = (
                    problem
                    or f"transition {key}: there is no subgoal {unknown[0][:40]!r}; there are {', '.join(self.labels)}"
                )
            else:
                found[int(key)] = tuple(name in names for name in self.labels)
        missing = [k for k in range(1, n + 1) if str(k) not in said]
        return found, problem or (
            f"transition {missing[0]} is missing"
            + (f", and {len(missing) - 1} more" if len(missing) > 1 else "")
            if missing
            else ""
        )

    def _prompt(self, captions: tuple[str, ...], problem: str) -> str:
        context = AnnotatorContext(self.variables, captions, problem)
        return self.prompts.render(self.template, variables_for("annotator", context))

    # -- under the lock ----------------------------------------------------------------------------

    def _give_up(self, texts: list[str]) -> list[tuple[Reply, int, Label]]:
        """These stay without a label; whom to tell."""
        new = [text for text in dict.fromkeys(texts) if text not in self._unanswered]
        self._unanswered.update(new)
        self._count(unanswered=len(new))
        return [
            (reply, number, None)
            for text in texts
            for _, number, reply in self._waiters.pop(text, ())
        ]

    def _count(self, **more: int) -> None:
        for name, n in more.items():
            self.counts[name] += n

    def _found(self) -> Annotation:
        return self.before.model_copy(update={**self.counts, "stopped": self.stopped})


def _deliver(told: list[tuple[Reply, int, Label]]) -> None:
    """One call for each trainer."""
    by: dict[int, tuple[Reply, dict[int, Label]]] = {}
    for reply, number, label in told:
        by.setdefault(id(reply), (reply, {}))[1][number] = label
    for reply, labels in by.values():
        reply(labels)


def _earlier(
    record: Path, model: str, template: str, labels: tuple[str, ...], simulated: bool
) -> Annotation:
    """The counts so far: of this annotator before the run was stopped, else none."""
    fresh = Annotation(model=model, template=template, labels=labels, simulated=simulated)
    found = read(record, Annotation)
    return (
        found
        if found and (found.model, found.template, found.labels) == (model, template, labels)
        else fresh
    )


def _number(settings: Mapping[str, str], name: str, default: float | None) -> float | None:
    try:
        return float(settings[name]) if name in settings else default
    except ValueError:
        raise UserError(
            f"--set {name}={settings[name]}: not a number", f"--set {name}={default or 0.7}", USAGE
        ) from None
