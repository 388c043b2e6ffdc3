"""Return decomposition: a network learns what each step is worth from the returns of whole
episodes, so that decoded rewards sum up to them.

RD regresses the mean of all steps' rewards on R / T; RRD the mean of K steps drawn without
replacement (Ren et al. 2022, arXiv 2111.13485); the unbiased RRD subtracts the variance that
drawing adds. LaRe (arXiv 2412.11120) does it over factors that a language model wrote; over raw
fields it is RD and RRD themselves. Only sums are known, so any two rewards with the same returns
are equally good to it.

Unlike in the released code, episodes of at most K steps are taken whole, without a correction
(there K > T, drawn with replacement, and the correction has the wrong sign); inputs are
standardized by the first episodes' statistics, which then stay; returns by a running deviation.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from autoreward.rewards.signals.decoder_file import DecoderFile
from autoreward.rewards.signals.episodes import CAPACITY, Episodes
from autoreward.state import Array

Loss = Literal["rd", "rrd", "rrd-unbiased"]
LOSSES: tuple[str, ...] = get_args(Loss)
# K: steps of an episode that one RRD sample draws
DRAWN_STEPS = 64
# finished episodes before anything is fitted
MIN_EPISODES = 8
# a deviation below which an input counts as constant
CONSTANT = 1e-8
# standardized inputs are clipped here
CLIP_AT = 10.0
# a returns' deviation counts as at least this share of their mean
LEAST_SPREAD = 0.01


def mean_error(
    rewards: Tensor, mask: Tensor, target: Tensor, correction: Tensor | None = None
) -> Tensor:
    """Return the mean over E episodes of (mean of the drawn rewards - R / T)^2 - correction * s^2 /
    K.

    rewards (E, L), mask (E, L): 1 where a step was drawn; target (E,): R / T. `correction` (E,):
    None for RD and RRD; for the unbiased loss 1 - K / T where K of T steps were drawn without
    replacement (0 where all were), 1 where they were drawn with it. s^2 is the variance with K - 1
    in its denominator.
    """
    count = mask.sum(1)
    mean = (rewards * mask).sum(1) / count
    error = (mean - target) ** 2
    if correction is not None:
        squares = (((rewards - mean[:, None]) * mask) ** 2).sum(1)
        variance = squares / (count - 1).clamp(min=1)
        error = error - correction * variance / count
    return error.mean()


def slope_penalty(network: Any, stored: Tensor, fresh: Tensor, along: Tensor) -> Tensor:
    """Return mean(max(0, |grad f(x)| - 1)^2) at x = stored + along * (fresh - stored).

    stored, fresh (B, m); along (B, 1). One-sided: flat costs nothing. Lipschitzness Is All You Need
    (Blonde, Strasser, Kalousis 2020, arXiv 2006.16785).
    """
    x = (stored + along * (fresh - stored)).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
    return (slope.norm(dim=-1) - 1).clamp(min=0).square().mean()


class Decoder:
    """f(z), the reward of a step with factors z, in units of the task's return.

    Everything random comes from the decoder's own generator: same seed and episodes, same numbers.

    `hidden` () makes a linear decoder. `batch` is about how many steps a gradient step looks at.
    `penalty` is the weight of `slope_penalty`, 0 for none. Until MIN_EPISODES have ended it knows
    nothing, and every step is worth 0.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        loss: Loss = "rrd-unbiased",
        *,
        seed: int = 0,
        hidden: tuple[int, ...] = (256, 256),
        rate: float = 3e-4,
        drawn: int = DRAWN_STEPS,
        batch: int = 256,
        penalty: float = 0.0,
        capacity: int = CAPACITY,
    ) -> None:
        if loss not in LOSSES:
            raise ValueError(f"loss is {loss!r}; it must be one of {', '.join(LOSSES)}")
        self.names = tuple(names)
        self.loss = loss
        self.hidden = tuple(hidden)
        self.drawn = drawn
        self.batch = batch
        self.penalty = penalty
        self.episodes = Episodes(len(names), capacity)
        self.generator = torch.Generator().manual_seed(seed)
        self.network = self._network(seed)
        self.adam = torch.optim.Adam(self.network.parameters(), rate)
        # the inputs' mean and deviation, set once by `freeze`
        self.center = np.zeros(len(names))
        self.scale = np.ones(len(names))
        self.frozen = False
        # one unit of the network's output, in the task's return
        self.unit = 1.0
        self.fitted = 0
        self.last_loss = float("nan")

    def _network(self, seed: int) -> nn.Sequential:
        # a forked generator leaves the agent's own random draws as they are
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sizes = (len(self.names), *self.hidden)
            layers: list[nn.Module] = []
            for inputs, outputs in pairwise(sizes):
                layers += [nn.Linear(inputs, outputs), nn.ReLU()]
            last = nn.Linear(sizes[-1], 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        return nn.Sequential(*layers, last)

    # -- what it is fitted on ----------------------------------------------------------------------

    def add(self, z: Array, task_return: float) -> None:
        """Add one finished episode, ended or truncated: z (T, m), and its observed return."""
        self.episodes.add(z, task_return)

    def freeze(self, z: Array) -> None:
        """Take the inputs' mean and deviation from z (N, m), for good.

        A constant column is 0 to the network, as long as it is constant.
        """
        deviation = z.std(0)
        self.center = z.mean(0)
        least = CONSTANT * np.maximum(1.0, np.abs(self.center))
        self.scale = np.where(deviation > least, deviation, 1.0)
        self.frozen = True

    def _inputs(self, z: Array) -> Tensor:
        standardized = (z - self.center) / self.scale
        return torch.from_numpy(np.clip(standardized, -CLIP_AT, CLIP_AT).astype(np.float32))

    def _update_unit(self) -> None:
        """Set the unit of the network's output to std(R) / sqrt(mean T): the deviation of a step's
        reward, were the steps independent.
        """
        known = self.episodes
        spread = max(known.std, LEAST_SPREAD * abs(known.mean)) or 1.0
        unit = spread / np.sqrt(max(1.0, known.mean_length))
        if self.fitted:
            # keep what was learned, in the new unit
            with torch.no_grad():
                for part in self.network[-1].parameters():
                    part.mul_(self.unit / unit)
        self.unit = float(unit)

    @property
    def ready(self) -> bool:
        """Whether enough episodes have ended to fit anything."""
        return len(self.episodes) >= MIN_EPISODES

    # -- fitting -----------------------------------------------------------------------------------

    def fit(self, steps: int) -> float | None:
        """Take `steps` gradient steps; return their mean loss, None if too few episodes ended."""
        if not self.ready:
            return None
        if not self.frozen:
            self.freeze(self.episodes.rows(self.episodes.newest(self.episodes.steps)))
        self._update_unit()
        losses = [self._step() for _ in range(steps)]
        self.fitted += steps
        if losses:
            self.last_loss = float(np.mean(losses))
        return self.last_loss

    def _step(self) -> float:
        places, mask, target, correction = self._sample()
        inputs = self._inputs(self.episodes.rows(places))
        rewards = self.network(inputs.reshape(-1, inputs.shape[-1])).reshape(mask.shape)
        unbiased = self.loss == "rrd-unbiased"
        error = mean_error(rewards, mask, target, correction if unbiased else None)
        total = error
        if self.penalty:
            total = total + self.penalty * self._slope_penalty(inputs[mask > 0])
        self.adam.zero_grad(set_to_none=True)
        total.backward()
        self.adam.step()
        return float(error.detach())

    def _slope_penalty(self, stored: Tensor) -> Tensor:
        """`slope_penalty` between stored inputs (B, m) and as many of the newest ones."""
        newest = self.episodes.newest(self.batch)
        chosen = newest[self._integers(len(newest), len(stored))]
        fresh = self._inputs(self.episodes.rows(chosen))
        along = torch.rand((len(stored), 1), generator=self.generator)
        return slope_penalty(self.network, stored, fresh, along)

    def _integers(self, high: int, count: int) -> Array:
        return torch.randint(high, (count,), generator=self.generator).numpy()

    def _sample(self) -> tuple[Array, Tensor, Tensor, Tensor]:
        """Draw episodes evenly, with replacement, and steps of each.

        Returns places (E, L), mask (E, L), R / T in units of the network (E,), and 1 - K / T (E,).
        """
        starts, lengths, returns = self.episodes.columns()
        steps_each = self.episodes.mean_length if self.loss == "rd" else self.drawn
        count = max(1, int(self.batch // steps_each))
        chosen = self._integers(len(starts), count)
        starts = starts[chosen]
        lengths = lengths[chosen]
        returns = returns[chosen]
        steps, drawn = self._draw_steps(lengths)
        inside = np.arange(steps.shape[1]) < drawn[:, None]
        places = starts[:, None] + np.where(inside, steps, 0)
        mask = inside.astype(np.float32)
        target = (returns / lengths / self.unit).astype(np.float32)
        correction = (1.0 - drawn / lengths).astype(np.float32)
        return (
            places,
            torch.from_numpy(mask),
            torch.from_numpy(target),
            torch.from_numpy(correction),
        )

    def _draw_steps(self, lengths: Array) -> tuple[Array, Array]:
        """(steps (E, L), how many of them count (E,)) of episodes of these lengths (E,)."""
        count = len(lengths)
        longest = int(lengths.max())
        if self.loss == "rd" or longest <= self.drawn:
            return np.broadcast_to(np.arange(longest), (count, longest)), lengths
        # The smallest of evenly drawn keys are K steps without replacement; steps past an
        # episode's end come last.
        keys = torch.rand((count, longest), generator=self.generator).numpy()
        keys[np.arange(longest) >= lengths[:, None]] = 2.0
        order = np.argsort(keys, 1, kind="stable")
        return order[:, : self.drawn], np.minimum(lengths, self.drawn)

    # -- what it has learned -----------------------------------------------------------------------

    def reward(self, z: Array) -> Array:
        """Return the rewards (n,) float64 of z (n, m), in the task's own unit.

        Over an episode they sum up to about its return. 0 before the first fit.
        """
        if not self.fitted:
            return np.zeros(len(z))
        with torch.no_grad():
            return self.network(self._inputs(z))[:, 0].numpy().astype(np.float64) * self.unit

    def attributions(self, steps: int = 4096) -> dict[str, float]:
        """Return each factor's share: mean |df/dz| times the deviation of z, over the newest steps.

        Shares add up to 1; they are 0 before the first fit.
        """
        if not (self.fitted and self.episodes.steps):
            return dict.fromkeys(self.names, 0.0)
        newest = self.episodes.rows(self.episodes.newest(steps))
        x = self._inputs(newest).requires_grad_(True)
        (slope,) = torch.autograd.grad(self.network(x).sum(), x)
        sizes = (slope.abs().mean(0) * x.detach().std(0, unbiased=False)).double().numpy()
        shares = (sizes / (sizes.sum() or 1.0)).tolist()
        return dict(zip(self.names, shares, strict=True))

    # -- on disk -----------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write weights, the inputs' statistics and the unit as safetensors, whole or not at all.

        Episodes and the optimizer's state are not saved.
        """
        DecoderFile(
            names=self.names,
            loss=self.loss,
            hidden=self.hidden,
            frozen=self.frozen,
            fitted=self.fitted,
            network={k: v.detach().numpy().copy() for k, v in self.network.state_dict().items()},
            center=self.center,
            scale=self.scale,
            unit=self.unit,
        ).write(path)

    @classmethod
    def load(cls, path: Path) -> Decoder:
        """Return a decoder that gives the same rewards as the saved one.

        Raises UserError if the file is missing, is not a decoder, or does not fit its own header.
        """
        saved = DecoderFile.read(path, LOSSES)
        loss: Any = saved.loss
        made = cls(saved.names, loss, hidden=saved.hidden, capacity=1)
        state = made.network.state_dict()
        saved.require_shapes(path, {name: tuple(v.shape) for name, v in state.items()})
        weights = {name: torch.as_tensor(v) for name, v in saved.network.items()}
        made.network.load_state_dict(weights, strict=True)
        made.frozen = saved.frozen
        made.fitted = saved.fitted
        made.center = saved.center
        made.scale = saved.scale
        made.unit = saved.unit
        return made
