"""`simulated/p=0.9`: no model, but the card's own trusted predicates with a given share of wrong
answers. It judges transitions, and nothing else.

For testing how a method bears a model's mistakes. A mistake is fixed by (seed, caption, name):
asked again, it is made again, as a model's are; so it does not average out over a training.
`simulated/p=0.9,seed=1` makes others at the same rate.
"""

from __future__ import annotations

import hashlib
import json

from autoreward.errors import ModelFailed, UserError
from autoreward.models import Reply, Request

SCALE = 2**64


class Simulated:
    """Answers the annotator's questions, in the form a model would, from the truth that comes
    beside them.
    """

    language = True
    simulated = True

    def __init__(self, name: str) -> None:
        self.name = name
        given = dict(
            part.partition("=")[::2] for part in name.removeprefix("simulated/").split(",")
        )
        try:
            self.p, self.seed = float(given.pop("p")), int(given.pop("seed", "0"))
            if given or not 0 <= self.p <= 1:
                raise ValueError
        except (KeyError, ValueError):
            raise UserError(
                f"no judge {name!r}",
                "simulated/p=0.9, or simulated/p=0.9,seed=1: p is the share of right answers, from 0 to 1",
            ) from None

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        return 0.0

    def tokens(self, text: str) -> int:
        return 0

    def judged(self, caption: str, name: str, truth: bool) -> bool:
        """The truth, or its opposite for a share 1 - p of all pairs."""
        drawn = int.from_bytes(
            hashlib.sha256(json.dumps([self.seed, caption, name]).encode()).digest()[:8], "big"
        )
        return truth if drawn < self.p * SCALE else not truth

    def ask(self, request: Request) -> Reply:
        if request.agent != "annotator":
            raise UserError(
                f"{self.name} judges transitions, and is no {request.agent}",
                "name who designs, as --model offline/search",
            )
        names, captions, truths = (
            request.material.get(k, ()) for k in ("labels", "captions", "truth")
        )
        if not truths or any(t is None for t in truths):
            raise ModelFailed(
                f"{self.name}: no trusted predicate came with the captions",
                "it needs subgoals that the card tells by conditions: hints: subgoals",
            )
        said = {
            str(k): [n for n, t in zip(names, truth, strict=True) if self.judged(caption, n, t)]
            for k, (caption, truth) in enumerate(zip(captions, truths, strict=True), 1)
        }
        return Reply(
            json.dumps(said),
            self.name,
            note=f"simulated: trusted predicates with a share {1 - self.p:g} of wrong answers; no model was asked",
        )
