"""A training's side of the annotator channel: sends new captions out, and applies the labels.

Labels take effect only between two rollouts of the learner. They are first appended to
`labels.jsonl` in the training's folder, with the number of the rollout at whose end they take
effect. A training that starts again (same seed, after it was killed) finds that file: stored labels
are applied at the rollouts they are recorded for, and new ones count only after the last of these.
So it is the same training, whatever the model answers now, and however fast.

A caption without a label counts as False for every name: not labelled yet, not answered, or beyond
the limit on different captions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from autoreward.annotation.captions import Captions
from autoreward.annotation.labels import (
    CaptionRequest,
    Label,
    LabelFile,
    encode_captions,
    parse_label,
)
from autoreward.errors import REFUSED, UserError
from autoreward.state import Array, State
from autoreward.store.jobs import LabelRequest
from autoreward.store.records import Measure
from autoreward.store.training import TrainingFolder
from autoreward.tasks.criteria import Condition, all_hold

# new captions in one message; the rest is sent at the end of the rollout
MESSAGE_SIZE = 50


class Channel:
    """One training's captions and their labels. Used from the training's own thread.

    `send` takes a line for the orchestrator; `inbox` holds the lines that came back. If both are
    None, the channel replays what `folder` holds and asks nothing.
    """

    def __init__(
        self,
        captions: Captions,
        options: LabelRequest,
        folder: Path,
        send: Callable[[str], None] | None,
        inbox: SimpleQueue[bytes] | None,
    ) -> None:
        """Raises UserError if a trusted predicate uses a field that programs cannot see."""
        self.captions = captions
        self.options = options
        self.names = options.labels
        self.send = send
        self.inbox = inbox
        self.predicates = _predicates(captions, options)
        # by caption number; the last row is what -1 finds: nothing
        self.labels = np.zeros((captions.max_captions + 1, len(self.names)), bool)
        self.labelled = np.zeros(captions.max_captions + 1, bool)
        # what the predicates said when a caption was first seen
        self.true = np.zeros_like(self.labels) if self.predicates else None
        self.rollout = 0
        self.steps_beyond_limit = 0
        self.counts = {
            "asked": 0,
            "answered": 0,
            "unanswered": 0,
            "stored": 0,
        }
        self._captions_seen = 0
        self._unsent: list[CaptionRequest] = []
        self._awaited: set[int] = set()
        head = {
            "labels": list(self.names),
            "captions": captions.written_by,
        }
        self._file = LabelFile(TrainingFolder(folder).labels_path, head)
        self._stored: dict[int, list[tuple[str, Label]]] = {}
        for rollout, text, label in self._file.rows:
            self._stored.setdefault(rollout, []).append((text, label))
        self._answered_before = {text for _, text, label in self._file.rows if label is not None}
        # stored labels in effect whose caption has not been seen yet
        self._unclaimed: dict[str, Label] = {}
        self.last_stored_rollout = max(self._stored, default=0)

    def caption_numbers(self, prev: Array, action: Array, curr: Array) -> Array:
        """The caption numbers (n,) int64 of one step of n rows; new captions are asked about.

        prev, curr: (n, D) as reward programs get them; action: (n, ...).
        """
        numbers = self.captions.numbers_of(prev, action, curr)
        if len(self.captions.texts) > self._captions_seen:
            self._note_new(numbers, prev, curr)
        elif self._captions_seen >= self.captions.max_captions:
            self.steps_beyond_limit += int((numbers < 0).sum())
        return numbers

    def labels_of(self, numbers: Array) -> Array:
        """The labels in effect, (n, K) of bool, of captions by number."""
        return self.labels[numbers]

    def update(self) -> None:
        """A rollout of the learner has ended: apply the labels that arrived.

        With `wait`, block until every caption asked about is answered.
        """
        self.rollout += 1
        self._send_all()
        if self.rollout <= self.last_stored_rollout:
            rows = self._stored.pop(self.rollout, [])
            self.counts["stored"] += len(rows)
        else:
            rows = self._receive()
            self._file.append([(self.rollout, text, label) for text, label in rows])
        for text, label in rows:
            self._apply(text, label)

    # -- sending -----------------------------------------------------------------------------------

    def _note_new(self, numbers: Array, prev: Array, curr: Array) -> None:
        """Queue the captions that this step showed for the first time."""
        new = range(self._captions_seen, len(self.captions.texts))
        self._captions_seen = len(self.captions.texts)
        became_true = self._became_true(prev, curr) if self.predicates else None
        for number in new:
            text = self.captions.texts[number]
            truth = None
            if self.true is not None and became_true is not None:
                self.true[number] = became_true[int(np.argmax(numbers == number))]
                if self.options.tells:
                    truth = tuple(self.true[number].tolist())
            if text in self._unclaimed:
                self._set(number, self._unclaimed.pop(text))
            elif text not in self._answered_before:
                self._unsent.append(CaptionRequest(number, text, truth))
        if len(self._unsent) >= MESSAGE_SIZE:
            self._send_all()

    def _became_true(self, prev: Array, curr: Array) -> Array:
        """(n, K): a name's conditions hold after the step and did not before."""
        before = State(prev, self.captions.layout)
        after = State(curr, self.captions.layout)
        columns = [all_hold(c, after) & ~all_hold(c, before) for c in self.predicates]
        return np.stack(columns, -1)

    def _send_all(self) -> None:
        unsent = self._unsent
        self._unsent = []
        if self.send is None:
            return
        for k in range(0, len(unsent), MESSAGE_SIZE):
            part = unsent[k : k + MESSAGE_SIZE]
            self._awaited.update(request.number for request in part)
            self.counts["asked"] += len(part)
            self.send(encode_captions(part))

    # -- receiving ---------------------------------------------------------------------------------

    def _receive(self) -> list[tuple[str, Label]]:
        """What has arrived, without waiting; with `wait`, until nothing is awaited any more."""
        rows: list[tuple[str, Label]] = []
        while self.inbox is not None:
            try:
                line = self.inbox.get(block=self.options.wait and bool(self._awaited))
            except Empty:
                break
            rows += self._parse(line)
        return rows

    def _parse(self, line: bytes) -> list[tuple[str, Label]]:
        """The labels in a message. Malformed labels, and labels nobody asked for, are dropped."""
        try:
            items = json.loads(line)["labels"].items()
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
        ):
            return []
        rows: list[tuple[str, Label]] = []
        for key, value in items:
            try:
                number = int(key)
                label = parse_label(value, len(self.names))
            except ValueError:
                continue
            if number in self._awaited:
                self._awaited.discard(number)
                self.counts["unanswered" if label is None else "answered"] += 1
                rows.append((self.captions.texts[number], label))
        return rows

    def _apply(self, text: str, label: Label) -> None:
        number = self.captions.number_of(text)
        if number is None:
            self._unclaimed[text] = label
        else:
            self._set(number, label)

    def _set(self, number: int, label: Label) -> None:
        if label is not None:
            self.labels[number] = label
            self.labelled[number] = True

    # -- at the end of a training ------------------------------------------------------------------

    def measures(self) -> tuple[Measure, ...]:
        """How well labels agree with the card's own predicates, counted over different captions.

        The predicates' answer is that of a caption's first appearance. Empty if the job has none.
        """
        if self.true is None:
            return ()
        labels = self.labels[self.labelled]
        true = self.true[self.labelled]
        found = []
        for k, name in enumerate(self.names):
            said = labels[:, k]
            truth = true[:, k]
            measure = Measure(
                what=name,
                true_positive=int((said & truth).sum()),
                false_positive=int((said & ~truth).sum()),
                false_negative=int((~said & truth).sum()),
                true_negative=int((~said & ~truth).sum()),
            )
            found.append(measure)
        return tuple(found)

    def evidence(self) -> dict[str, Any]:
        """Counts, for JSON.

        `late`: captions without a label in effect at the end; `beyond`: steps whose caption was
        beyond the limit; `true`: captions labelled true, by name.
        """
        true_counts = self.labels[:-1].sum(0)
        found: dict[str, Any] = {
            "captions": len(self.captions.texts),
            "by": self.captions.written_by,
            **self.counts,
            "late": len(self._awaited) + len(self._unsent),
            "beyond": self.steps_beyond_limit,
            "true": {name: int(n) for name, n in zip(self.names, true_counts, strict=True)},
        }
        if self.true is not None:
            found["measures"] = [measure.model_dump() for measure in self.measures()]
        return found

    def notes(self) -> list[str]:
        """Sentences for the end of a training: which transitions gave no signal, and why."""
        evidence = self.evidence()
        captions = evidence["captions"]
        found = []
        if evidence["unanswered"]:
            found.append(
                f"the annotator did not answer {evidence['unanswered']} of {captions} captions: "
                "transitions with these captions gave no signal"
            )
        if evidence["late"]:
            found.append(
                f"{evidence['late']} of {captions} captions were not labelled before training ended"
            )
        if evidence["beyond"]:
            found.append(
                f"{evidence['beyond']} steps have a caption beyond the first "
                f"{self.captions.max_captions}, which the annotator was not asked about: a coarser "
                "caption helps (autoreward envs caption)"
            )
        measures = self.measures()
        if measures:
            scores = "; ".join(f"{measure.what} {measure.f1:.2f}" for measure in measures)
            found.append(
                "the annotator compared with the card's own predicates, F1 over "
                f"{int(self.labelled.sum())} labelled captions: {scores}"
            )
        return found


def _predicates(captions: Captions, options: LabelRequest) -> list[tuple[Condition, ...]]:
    """The trusted conditions of each name; empty if the job has none."""
    predicates = [
        tuple(Condition.model_validate(condition) for condition in conditions)
        for conditions in options.truth
    ]
    for conditions in predicates:
        for condition in conditions:
            if condition.field.split("[")[0] not in captions.layout.names:
                raise UserError(
                    f"annotator: a trusted predicate uses the field {condition.field!r}, which "
                    "reward programs cannot see",
                    "set `reward: true` for that field in the card",
                    REFUSED,
                )
    if predicates and len(predicates) != len(options.labels):
        raise ValueError("truth: define conditions for every name or for none")
    return predicates
