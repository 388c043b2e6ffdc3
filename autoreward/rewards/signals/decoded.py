"""One dense term, `decoded`, learned from the returns of whole episodes over the factors that a
program gives (LaRe, arXiv 2412.11120).

The agent never sees the return itself: its reward is the decoded one, in place of the task reward,
and over an episode the decoded rewards sum up to about the return. A task reward left beside it
would pay every return twice.

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
from autoreward.rewards.signals.factors import check_factors
from autoreward.rewards.signals.signal import Signal, SignalContext, StepBatch
from autoreward.state import Array
from autoreward.store.records import Verdict
from autoreward.store.training import TrainingFolder
from autoreward.tasks.card import ROLLOUTS

if TYPE_CHECKING:
    from autoreward.rewards.signals.decoder import Decoder
    from autoreward.tasks.card import TaskCard

TERM = "decoded"
# the last one learns nothing
LOSSES = ("rrd-unbiased", "rrd", "rd", "ircr")
# decoder_steps: gradient steps of the decoder between two rollouts
DEFAULTS = {"loss": "rrd-unbiased", "decoder_steps": "100"}
# the first fit takes this many times as many steps
FIRST_FIT_FACTOR = 10
# weight of the slope penalty (B9) for an off-policy learner
OFF_POLICY_PENALTY = 10.0
# steps over which decoded and hidden dense reward are compared
COMPARED_STEPS = 20_000
# share of attributions below which a factor counts as unused
UNUSED_SHARE = 0.001
# factors named in the notes
MAX_NAMED_FACTORS = 8


class Decoded(Signal):
    """`factors(prev, action, curr, memory)` -> named numbers, from which a decoder learns what each
    step is worth.
    """

    entry = "factors"
    replaces_task = True
    replayable = False
    learned = True

    def __init__(self, context: SignalContext) -> None:
        super().__init__(context)
        if not context.terms:
            raise UnsuitableComposition(
                "the program gives no factors", "return at least one named array", "return-form"
            )
        settings = {**DEFAULTS, **context.settings}
        self.loss = settings["loss"]
        self.steps = int(settings["decoder_steps"])
        self.on_policy = context.card.training.algorithm in ROLLOUTS
        self.decoder = self._decoder()
        count = len(context.terms)
        self.episodes = self.decoder.episodes if self.decoder else Episodes(count)
        # each row's running episode: its factors so far, its length and its return
        n = context.rows
        self.z = np.zeros((context.card.environment.limit, n, count))
        self.length = np.zeros(n, int)
        self.returns = np.zeros(n)
        self.stored_inputs = np.zeros((n, count))
        self.compared: list[tuple[Array, Array]] = []

    def _decoder(self) -> Decoder | None:
        """The decoder; None for `ircr`, which learns nothing."""
        # imports torch, which only trainers have loaded
        from autoreward.rewards.signals.decoder import Decoder

        if self.loss == "ircr":
            return None
        return Decoder(
            self.context.terms,
            self.loss,  # type: ignore[arg-type]
            seed=self.context.seed,
            penalty=0.0 if self.on_policy else OFF_POLICY_PENALTY,
        )

    @classmethod
    def columns(
        cls, terms: tuple[str, ...], potentials: tuple[str, ...], sparse: frozenset[str]
    ) -> Columns:
        """Return the one term `decoded`."""
        return Columns((TERM,))

    @classmethod
    def require(cls, card: TaskCard, settings: Mapping[str, str]) -> None:
        """Raise UserError for an unknown loss, or a learner that the loss cannot serve."""
        loss = settings.get("loss", DEFAULTS["loss"])
        algorithm = card.training.algorithm
        if loss not in LOSSES:
            raise UserError(
                f"--set loss={loss}: it must be one of {', '.join(LOSSES)}",
                f"--set loss={DEFAULTS['loss']}",
                USAGE,
            )
        if loss == "ircr" and algorithm in ROLLOUTS:
            raise UserError(
                "--set loss=ircr: an episode's return is known only once it is over, and"
                f" {algorithm} has learned from its steps by then",
                "use a card that trains with SAC, TD3 or DQN, or another loss",
                REFUSED,
            )
        if algorithm not in ROLLOUTS and card.training.hyperparameters.get("n_steps", 1) != 1:
            raise UserError(
                "training.hyperparameters.n_steps: rewards are recomputed for single steps when"
                " they are sampled",
                "leave n_steps out of the card",
                REFUSED,
            )

    @classmethod
    def check_answers(
        cls, card: TaskCard, names: tuple[str, ...], values: Array, first: Array
    ) -> list[Verdict]:
        """Return what is wrong with the factors (rewards/signals/factors.py)."""
        return check_factors(names, values, first)

    def step(
        self, terms: Array, before: Array, after: Array, batch: StepBatch
    ) -> tuple[Array, Array, Array]:
        """Return the decoded reward of the factors, as of now; there are no potentials."""
        n = len(terms)
        # an episode that a reset cut short is never stored
        self.length[batch.first] = 0
        self.returns[batch.first] = 0.0
        self.z[self.length, np.arange(n)] = terms
        self.length += 1
        self.returns += batch.task

        decoded = self.decoder.reward(terms) if self.decoder else np.zeros(n)
        self.stored_inputs = terms
        self.finished_episodes = {}
        for i in np.flatnonzero(batch.done):
            self._finish_episode(int(i))
        if batch.dense is not None:
            self.compared.append((decoded, batch.dense.copy()))
            del self.compared[: max(0, len(self.compared) - COMPARED_STEPS // n)]
        return decoded[:, None], np.zeros((n, 0)), np.zeros((n, 0))

    def _finish_episode(self, row: int) -> None:
        """Store the row's episode, its factors and its return, for the decoder to fit."""
        length = int(self.length[row])
        episode_return = float(self.returns[row])
        self.episodes.add(self.z[:length, row], episode_return)
        self.finished_episodes[row] = length, episode_return

    @property
    def ready(self) -> bool:
        """Whether the decoder has been fitted, or will be before the first batch is sampled."""
        if self.decoder is None:
            return self.episodes.ended > 0
        return self.decoder.fitted > 0 or (self.decoder.ready and not self.on_policy)

    def update(self) -> None:
        """Fit the decoder, for an on-policy learner."""
        if self.on_policy and self.decoder:
            self.decoder.fit(self.steps if self.decoder.fitted else self.steps * FIRST_FIT_FACTOR)

    # -- for a learner that keeps transitions and recomputes their rewards -------------------------

    @property
    def needs_returns(self) -> bool:
        """True for `ircr`, which spreads the return itself."""
        return self.decoder is None

    def recompute(self, inputs: Array, returns: Array) -> Array:
        """Return the decoded rewards (B, 1) of stored factors (B, m), as of now."""
        if self.decoder:
            return self.decoder.reward(inputs)[:, None]
        return np.nan_to_num(ircr(returns, *self.episodes.extremes))[:, None]

    def before_sampling(self) -> None:
        """Take one gradient step of the decoder; before the first batch, as many as on-policy."""
        if self.decoder:
            self.decoder.fit(1 if self.decoder.fitted else self.steps * FIRST_FIT_FACTOR)

    # -- at the end of a training ------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Save the decoder as signal.safetensors."""
        if self.decoder:
            self.decoder.save(TrainingFolder(folder).signal_weights_path)

    def correlation(self) -> float | None:
        """Correlate decoded and hidden dense reward over the last COMPARED_STEPS steps.

        None if the dense reward is not known, or one of the two is constant.
        """
        if not self.compared:
            return None
        decoded = np.concatenate([of_step for of_step, _ in self.compared])
        dense = np.concatenate([of_step for _, of_step in self.compared])
        if decoded.std() == 0 or dense.std() == 0:
            return None
        return float(np.corrcoef(decoded, dense)[0, 1])

    def notes(self) -> list[str]:
        """Report which factors the decoder uses, and how well it fits the hidden reward."""
        ended = self.episodes.ended
        if not self.decoder:
            return [f"ircr: nothing is learned; returns of {ended} episodes"]
        if not self.decoder.fitted:
            return [
                f"{TERM}: too few episodes ended ({ended}), so nothing was decoded and the agent"
                " got no reward at all"
            ]
        shares = sorted(self.decoder.attributions().items(), key=lambda item: -item[1])
        named = ", ".join(f"{name} {share:.0%}" for name, share in shares[:MAX_NAMED_FACTORS])
        notes = [f"{TERM} depends on {named} ({self.loss}, {ended} episodes)"]
        correlation = self.correlation()
        if correlation is not None:
            notes.append(
                f"{TERM} and the hidden dense reward: correlation {correlation:.2f} over the last"
                f" {COMPARED_STEPS} steps"
            )
        return notes

    def evidence(self) -> dict[str, Any]:
        """Return loss, episodes, correlation and, once fitted, each factor's share."""
        found: dict[str, Any] = {
            "loss": self.loss,
            "episodes": self.episodes.ended,
            "correlation": self.correlation(),
        }
        if self.decoder and self.decoder.fitted:
            shares = self.decoder.attributions()
            found["error"] = self.decoder.last_loss
            found["decoder_steps"] = self.decoder.fitted
            found["attributions"] = shares
            found["unused"] = [name for name, share in shares.items() if share < UNUSED_SHARE]
            found["attributed"] = (
                "mean |d decoded / d factor| times the factor's deviation over the newest stored"
                " steps, as shares"
            )
        return found
