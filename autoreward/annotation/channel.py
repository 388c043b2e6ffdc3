"""A training's side of the annotator channel: new captions go out, labels come back, and take
effect between two rollouts of the learner.

What came back is appended to `labels.jsonl` of the training's folder, with the number of the
rollout at whose end it took effect, and only then applied. A training that begins again (killed,
same seed) finds that file: stored labels are applied at the very rollouts where they stand, and
live ones count only after the last of them. So it is the same training, whatever the model now
says, and however fast.

A caption without a label counts as False for every name: unknown, unanswered, or one too many
(`most`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from autoreward.annotation.captions import Captions
from autoreward.annotation.labels import Asked, Label, LabelFile, label_of, sent
from autoreward.errors import REFUSED, UserError
from autoreward.state import Array, State
from autoreward.store.jobs import Annotated
from autoreward.store.records import Measure
from autoreward.tasks.criteria import Condition, all_hold

FILE = "labels.jsonl"
# new captions in one line; the rest goes out when the rollout ends
BATCH = 50


class Channel:
    """One training's captions and their labels. Used from the training's own thread.

    `send` takes a line for the orchestrator; `inbox` holds the lines that came back. Both None: a
    replay of what `folder` holds, which asks nobody.
    """

    def __init__(
        self,
        captions: Captions,
        asked: Annotated,
        folder: Path,
        send: Callable[[str], None] | None,
        inbox: SimpleQueue[bytes] | None,
    ) -> None:
        self.captions, self.asked, self.names = captions, asked, asked.labels
        self.send, self.inbox = send, inbox
        self.truth = [
            tuple(Condition.model_validate(c) for c in conditions) for conditions in asked.truth
        ]
        hidden = [
            c.field
            for conditions in self.truth
            for c in conditions
            if c.field.split("[")[0] not in captions.layout.names
        ]
        if hidden:
            raise UserError(
                f"annotator: the field {hidden[0]!r} of a trusted predicate is not offered to reward programs",
                "offer it: `reward: true` in the card",
                REFUSED,
            )
        if self.truth and len(self.truth) != len(self.names):
            raise ValueError("truth: conditions for every name, or for none")
        # the last row is what -1 finds: nothing
        self.labels = np.zeros((captions.most + 1, len(self.names)), bool)
        self.labelled = np.zeros(captions.most + 1, bool)
        # as it was where a caption was first seen
        self.true = np.zeros_like(self.labels) if self.truth else None
        self.rollout, self.beyond = 0, 0
        self.counts = {"asked": 0, "answered": 0, "unanswered": 0, "stored": 0}
        # captions that were looked at
        self._told = 0
        self._fresh: list[Asked] = []
        self._open: set[int] = set()
        self._file = LabelFile(folder / FILE, {"labels": list(self.names), "captions": captions.by})
        self._stored: dict[int, list[tuple[str, Label]]] = {}
        for rollout, text, label in self._file.rows:
            self._stored.setdefault(rollout, []).append((text, label))
        self._known = {text for _, text, label in self._file.rows if label is not None}
        # stored, in effect, and not seen yet
        self._early: dict[str, Label] = {}
        self.last = max(self._stored, default=0)

    def key(self, prev: Array, action: Array, curr: Array) -> Array:
        """The captions' numbers, (n,) int64, of one step of n rows: prev, curr (n, D) as reward
        programs get them. New ones are asked about.
        """
        ids = self.captions.keys(prev, action, curr)
        if len(self.captions.texts) > self._told:
            self._look(ids, prev, curr)
        elif self._told >= self.captions.most:
            self.beyond += int((ids < 0).sum())
        return ids

    def of(self, ids: Array) -> Array:
        """Their labels as they are in effect, (n, K) of bool."""
        return self.labels[ids]

    def update(self) -> None:
        """A rollout of the learner has ended: labels that came take effect.

        With `wait`, all that were asked for.
        """
        self.rollout += 1
        self._flush()
        if self.rollout <= self.last:
            rows = self._stored.pop(self.rollout, [])
            self.counts["stored"] += len(rows)
        else:
            rows = self._come()
            self._file.append([(self.rollout, text, label) for text, label in rows])
        for text, label in rows:
            self._apply(text, label)

    # -- out ---------------------------------------------------------------------------------------

    def _look(self, ids: Array, prev: Array, curr: Array) -> None:
        new = range(self._told, len(self.captions.texts))
        self._told = len(self.captions.texts)
        truth = self._ended(prev, curr) if self.truth else None
        for number in new:
            text = self.captions.texts[number]
            if self.true is not None and truth is not None:
                self.true[number] = truth[int(np.argmax(ids == number))]
            if text in self._early:
                self._set(number, self._early.pop(text))
            elif text not in self._known:
                self._fresh.append(
                    Asked(
                        number,
                        text,
                        tuple(self.true[number].tolist())
                        if self.true is not None and self.asked.tells
                        else None,
                    )
                )
        if len(self._fresh) >= BATCH:
            self._flush()

    def _ended(self, prev: Array, curr: Array) -> Array:
        """(n, K): the conditions of a name hold after the step and did not before."""
        before, after = State(prev, self.captions.layout), State(curr, self.captions.layout)
        return np.stack([all_hold(c, after) & ~all_hold(c, before) for c in self.truth], -1)

    def _flush(self) -> None:
        fresh, self._fresh = self._fresh, []
        if self.send is None:
            return
        for k in range(0, len(fresh), BATCH):
            part = fresh[k : k + BATCH]
            self._open.update(c.number for c in part)
            self.counts["asked"] += len(part)
            self.send(sent(part))

    # -- back --------------------------------------------------------------------------------------

    def _come(self) -> list[tuple[str, Label]]:
        """What has come, without waiting; with `wait`, until nothing is open any more."""
        rows: list[tuple[str, Label]] = []
        while self.inbox is not None:
            try:
                line = self.inbox.get(block=self.asked.wait and bool(self._open))
            except Empty:
                break
            rows += self._read(line)
        return rows

    def _read(self, line: bytes) -> list[tuple[str, Label]]:
        """The labels in a line; whatever is none, or was not asked for, is left out."""
        try:
            told = json.loads(line)["labels"].items()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return []
        rows: list[tuple[str, Label]] = []
        for key, value in told:
            try:
                number, label = int(key), label_of(value, len(self.names))
            except ValueError:
                continue
            if number in self._open:
                self._open.discard(number)
                self.counts["unanswered" if label is None else "answered"] += 1
                rows.append((self.captions.texts[number], label))
        return rows

    def _apply(self, text: str, label: Label) -> None:
        number = self.captions.number(text)
        if number is None:
            self._early[text] = label
        else:
            self._set(number, label)

    def _set(self, number: int, label: Label) -> None:
        if label is not None:
            self.labels[number], self.labelled[number] = label, True

    # -- at the end --------------------------------------------------------------------------------

    def measures(self) -> tuple[Measure, ...]:
        """Labels against the card's own predicates, over different captions, each as it was first
        seen; () where the job brought none.
        """
        if self.true is None:
            return ()
        said, true = self.labels[self.labelled], self.true[self.labelled]
        counts = [
            [int((a & b).sum()) for a, b in ((s, t), (s, ~t), (~s, t), (~s, ~t))]
            for s, t in zip(said.T, true.T, strict=True)
        ]
        return tuple(
            Measure(
                what=n,
                true_positive=c[0],
                false_positive=c[1],
                false_negative=c[2],
                true_negative=c[3],
            )
            for n, c in zip(self.names, counts, strict=True)
        )

    def evidence(self) -> dict[str, Any]:
        """Counts, for JSON.

        `late`: asked, and no answer took effect; `beyond`: steps whose caption was one too many.
        """
        return {
            "captions": len(self.captions.texts),
            "by": self.captions.by,
            **self.counts,
            "late": len(self._open) + len(self._fresh),
            "beyond": self.beyond,
            "true": {
                name: int(n) for name, n in zip(self.names, self.labels[:-1].sum(0), strict=True)
            },
            **(
                {"measures": [m.model_dump() for m in self.measures()]}
                if self.true is not None
                else {}
            ),
        }

    def notes(self) -> list[str]:
        """What a person should know: from which transitions there was no signal, and why."""
        told, found = self.evidence(), []
        if n := told["unanswered"]:
            found.append(
                f"{n} of {told['captions']} captions were not answered by the annotator: transitions that read so gave no signal"
            )
        if n := told["late"]:
            found.append(f"{n} of {told['captions']} captions had no label before training ended")
        if n := told["beyond"]:
            found.append(
                f"{n} steps read like none of the first {self.captions.most} captions, so nobody was asked about them: a coarser caption helps (autoreward envs caption)"
            )
        if measures := self.measures():
            said = "; ".join(f"{m.what} {m.f1:.2f}" for m in measures)
            found.append(
                f"the annotator against the card's own predicates, F1 over {int(self.labelled.sum())} labelled captions: {said}"
            )
        return found
