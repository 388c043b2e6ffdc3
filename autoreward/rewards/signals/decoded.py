"""One dense term, `decoded`, learned from the returns of whole episodes over the factors that a
program gives (LaRe, arXiv 2412.11120).

The agent never sees the return itself: its reward is the decoded one, in place of the task reward,
which the decoded rewards of an episode sum up to. A task reward left in beside it would pay every
return twice.

On-policy: the decoder is fitted between two rollouts, and the next rollout is scored with it step
by step. Off-policy: factors are stored with each transition, and its reward is computed when a
batch is sampled, after one gradient step of the decoder (trainer/recomputed.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autoreward.errors import REFUSED, USAGE, UserError
from autoreward.rewards.composition import Columns, UnsuitableComposition
from autoreward.rewards.signals.episodes import Episodes, ircr
from autoreward.rewards.signals.signal import Signal, SignalContext, StepBatch
from autoreward.state import Array
from autoreward.store.records import Verdict
from autoreward.store.training import TrainingFolder
from autoreward.tasks.card import ROLLOUTS

if TYPE_CHECKING:
    from autoreward.tasks.card import TaskCard

TERM = "decoded"
# the last one learns nothing
LOSSES = ("rrd-unbiased", "rrd", "rd", "ircr")
# steps: of the decoder, between two rollouts
DEFAULTS = {"loss": "rrd-unbiased", "decoder_steps": "100"}
# times as many steps the first time
FIRST = 10
# weight of the slope penalty (B9) where an off-policy learner is fed
PENALTY = 10.0
# steps that decoded and hidden dense reward are compared over
RECENT = 20_000
# correlation from which two factors are one
SAME = 0.999
# correlation with the step's number from which a factor only tells the time
CLOCK = 0.95


class Decoded(Signal):
    """`factors(prev, action, curr, memory)` -> named numbers, from which a decoder learns what a
    step is worth.
    """

    entry = "factors"
    replaces_task = True
    replayable = False
    learned = True

    def __init__(self, context: SignalContext) -> None:
        from autoreward.rewards.signals.decoder import Decoder

        super().__init__(context)
        if not context.terms:
            raise UnsuitableComposition(
                "the program gives no factors", "return at least one named array", "return-form"
            )
        given = {**DEFAULTS, **context.settings}
        self.loss, self.steps = given["loss"], int(given["decoder_steps"])
        self.on_policy = context.card.training.algorithm in ROLLOUTS
        self.decoder = (
            None
            if self.loss == "ircr"
            else Decoder(
                context.terms,
                self.loss,  # type: ignore[arg-type]
                seed=context.seed,
                penalty=0.0 if self.on_policy else PENALTY,
            )
        )
        self.episodes = self.decoder.episodes if self.decoder else Episodes(len(context.terms))
        n, limit = context.rows, context.card.environment.limit
        self.z, self.length, self.returns = (
            np.zeros((limit, n, len(context.terms))),
            np.zeros(n, int),
            np.zeros(n),
        )
        self.stored_inputs = np.zeros((n, len(context.terms)))
        self.compared: list[tuple[Array, Array]] = []

    @classmethod
    def columns(
        cls, terms: tuple[str, ...], potentials: tuple[str, ...], sparse: frozenset[str]
    ) -> Columns:
        return Columns((TERM,))

    @classmethod
    def require(cls, card: TaskCard, settings: Mapping[str, str]) -> None:
        loss, algorithm = settings.get("loss", DEFAULTS["loss"]), card.training.algorithm
        if loss not in LOSSES:
            raise UserError(
                f"--set loss={loss}: it is {' or '.join(LOSSES)}",
                f"--set loss={DEFAULTS['loss']}",
                USAGE,
            )
        if loss == "ircr" and algorithm in ROLLOUTS:
            why = f"an episode's return is known only once it is over, and {algorithm} has then learned from its steps"
            raise UserError(
                f"--set loss=ircr: {why}",
                "a card that trains with SAC, TD3 or DQN, or another loss",
                REFUSED,
            )
        if algorithm not in ROLLOUTS and card.training.hyperparameters.get("n_steps", 1) != 1:
            raise UserError(
                "training.hyperparameters.n_steps: rewards are recomputed for single steps when they are sampled",
                "leave n_steps out of the card",
                REFUSED,
            )

    @classmethod
    def check_answers(
        cls, card: TaskCard, names: tuple[str, ...], values: Array, first: Array
    ) -> list[Verdict]:
        """Factors that tell nothing, twice the same, or only the time; values (T, n, k), first (T,
        n).
        """
        flat = values.reshape(-1, len(names))
        spread = flat.std(0)
        dead = [
            n
            for n, s, m in zip(names, spread, flat.mean(0), strict=True)
            if not s > 1e-8 * max(1.0, abs(m))
        ]
        hint = "it may count in play that random actions do not reach; if not, leave it out"
        if len(dead) == len(names):
            return [
                Verdict(
                    kind="constant-factor",
                    message=f"no factor changes over {len(flat)} recorded transitions: {', '.join(dead)}",
                    hint="compute from prev, action and curr",
                )
            ]
        found = [
            Verdict(
                kind="constant-factor",
                severity="warn",
                message=f"{n!r} is the same in all {len(flat)} recorded transitions",
                hint=hint,
            )
            for n in dead
        ]
        live = [k for k, n in enumerate(names) if n not in dead]
        alike = np.abs(np.corrcoef(flat[:, live], rowvar=False).reshape(len(live), len(live)))
        for i, j in zip(*np.nonzero(np.triu(alike > SAME, 1)), strict=True):
            message = f"{names[live[j]]!r} is {names[live[i]]!r} again, but for scale and offset"
            found.append(
                Verdict(
                    kind="duplicate-factor",
                    severity="warn",
                    message=message,
                    hint="leave one of them out: their shares are split by chance",
                )
            )
        time = _clock(first).ravel()
        for k in live:
            if time.std() > 0 and abs(np.corrcoef(time, flat[:, k])[0, 1]) > CLOCK:
                message = f"{names[k]!r} follows the number of the step: it explains long episodes, and no action"
                found.append(
                    Verdict(
                        kind="clock-factor",
                        severity="warn",
                        message=message,
                        hint="a factor of what the step did, not of when",
                    )
                )
        return found

    def step(
        self, terms: Array, before: Array, after: Array, batch: StepBatch
    ) -> tuple[Array, Array, Array]:
        n = len(terms)
        rows = np.arange(n)
        # an episode that a reset cut short never gets in
        self.length[batch.first] = 0
        self.returns[batch.first] = 0.0
        self.z[self.length, rows] = terms
        self.length += 1
        self.returns += batch.task
        decoded = self.decoder.reward(terms) if self.decoder else np.zeros(n)
        self.stored_inputs = terms
        self.finished_episodes = {}
        for i in np.flatnonzero(batch.done):
            self.episodes_end(int(i))
        if batch.dense is not None:
            self.compared.append((decoded, batch.dense.copy()))
            del self.compared[: max(0, len(self.compared) - RECENT // n)]
        return decoded[:, None], np.zeros((n, 0)), np.zeros((n, 0))

    def episodes_end(self, row: int) -> None:
        """The episode of that row is over: its factors and its return go to the decoder."""
        length, total = int(self.length[row]), float(self.returns[row])
        if self.decoder:
            self.decoder.add(self.z[:length, row], total)
        else:
            self.episodes.add(self.z[:length, row], total)
        self.finished_episodes[row] = length, total

    @property
    def ready(self) -> bool:
        if self.decoder is None:
            return self.episodes.ended > 0
        return self.decoder.fitted > 0 or (self.decoder.ready and not self.on_policy)

    def update(self) -> None:
        if self.on_policy and self.decoder:
            self.decoder.fit(self.steps * (1 if self.decoder.fitted else FIRST))

    # -- for a learner that keeps transitions ------------------------------------------------------

    @property
    def needs_returns(self) -> bool:
        return self.decoder is None

    def recompute(self, inputs: Array, returns: Array) -> Array:
        if self.decoder:
            return self.decoder.reward(inputs)[:, None]
        return np.nan_to_num(ircr(returns, *self.episodes.extremes))[:, None]

    def before_sampling(self) -> None:
        """One gradient step of the decoder; before the first batch as many as on-policy."""
        if self.decoder:
            self.decoder.fit(1 if self.decoder.fitted else self.steps * FIRST)

    # -- what it knows at the end ------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        if self.decoder:
            self.decoder.save(TrainingFolder(folder).signal_weights_path)

    def correlation(self) -> float | None:
        """Of decoded and hidden dense reward, over the last RECENT steps; None where the dense one
        is not known, or one of them is constant.
        """
        if not self.compared:
            return None
        decoded, dense = (np.concatenate(part) for part in zip(*self.compared, strict=True))
        return (
            float(np.corrcoef(decoded, dense)[0, 1])
            if decoded.std() > 0 and dense.std() > 0
            else None
        )

    def notes(self) -> list[str]:
        if not self.decoder:
            return [f"ircr: nothing is learned; returns of {self.episodes.ended} episodes"]
        if not self.decoder.fitted:
            return [
                f"{TERM}: too few episodes ended ({self.episodes.ended}), so nothing was decoded and the agent had no reward at all"
            ]
        shares = sorted(self.decoder.attributions().items(), key=lambda item: -item[1])
        told = [
            f"{TERM} goes by {', '.join(f'{n} {s:.0%}' for n, s in shares[:8])} ({self.loss}, {self.episodes.ended} episodes)"
        ]
        correlation = self.correlation()
        return told + (
            [
                f"{TERM} and the hidden dense reward: correlation {correlation:.2f} over the last {RECENT} steps"
            ]
            if correlation is not None
            else []
        )

    def evidence(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "loss": self.loss,
            "episodes": self.episodes.ended,
            "correlation": self.correlation(),
        }
        if self.decoder and self.decoder.fitted:
            shares = self.decoder.attributions()
            found |= {
                "error": self.decoder.last_loss,
                "decoder_steps": self.decoder.fitted,
                "attributions": shares,
                "unused": [n for n, s in shares.items() if s < 0.001],
            }
            found["attributed"] = (
                "mean |d decoded / d factor| times the factor's deviation over the newest stored steps, as shares"
            )
        return found


def _clock(first: Array) -> Array:
    """(T, n): steps since the episode began, as far as recorded."""
    time = np.zeros(first.shape)
    for t in range(1, len(first)):
        time[t] = np.where(first[t], 0, time[t - 1] + 1)
    return time
