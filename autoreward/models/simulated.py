"""`simulated/p=0.9`: the card's own predicates, with a given share of wrong answers.

It is no model: it tests how well a method copes with a model's mistakes, and can only judge
transitions. A mistake is fixed by (seed, caption, label), so that asking again gives the same
mistake, as with a real model, and mistakes do not average out over a training.
`simulated/p=0.9,seed=1` makes other mistakes at the same rate.
"""

from __future__ import annotations

import hashlib
import json

from autoreward.errors import ModelFailed, UserError
from autoreward.models.model import Reply, Request

SCALE = 2**64


class Simulated:
    """Answers an annotator's questions from the truth that comes with them.

    `p` is the share of right answers. Raises UserError if the name cannot be read.
    """

    language = True
    simulated = True

    def __init__(self, name: str) -> None:
        self.name = name
        settings = name.removeprefix("simulated/").split(",")
        given = dict(part.partition("=")[::2] for part in settings)
        try:
            self.p = float(given.pop("p"))
            self.seed = int(given.pop("seed", "0"))
            if given or not 0 <= self.p <= 1:
                raise ValueError
        except (KeyError, ValueError):
            raise UserError(
                f"unknown model {name!r}",
                "write simulated/p=0.9 or simulated/p=0.9,seed=1, where p, from 0 to 1, is the "
                "share of right answers",
            ) from None

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        return 0.0

    def tokens(self, text: str) -> int:
        return 0

    def judged(self, caption: str, name: str, truth: bool) -> bool:
        """Return the truth, or its opposite for a share 1 - p of all (caption, label) pairs."""
        identity = json.dumps([self.seed, caption, name]).encode()
        drawn = int.from_bytes(hashlib.sha256(identity).digest()[:8], "big")
        right = drawn < self.p * SCALE
        return truth if right else not truth

    def ask(self, request: Request) -> Reply:
        if request.agent != "annotator":
            raise UserError(
                f"{self.name} judges transitions and cannot be the {request.agent}",
                "name a model that writes programs, such as --model offline/search",
            )
        material = request.material
        labels = material.get("labels", ())
        captions = material.get("captions", ())
        truths = material.get("truth", ())
        if not truths or any(truth is None for truth in truths):
            raise ModelFailed(
                f"{self.name}: the captions come without trusted predicates",
                "it needs subgoals that the card defines by conditions (hints: subgoals)",
            )
        answer = {}
        for number, (caption, truth) in enumerate(zip(captions, truths, strict=True), 1):
            answer[str(number)] = [
                label
                for label, holds in zip(labels, truth, strict=True)
                if self.judged(caption, label, holds)
            ]
        wrong = 1 - self.p
        return Reply(
            json.dumps(answer),
            self.name,
            note=f"simulated: trusted predicates with a share {wrong:g} of wrong answers; no "
            "model was asked",
        )
