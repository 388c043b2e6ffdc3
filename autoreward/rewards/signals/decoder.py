"""Return decomposition: a network learns what a step is worth from the returns of whole episodes,
so that decoded rewards sum up to them.

RD regresses the mean of all steps' rewards on R / T; RRD the mean of K steps drawn without
replacement (Ren et al. 2022, arXiv 2111.13485); the unbiased RRD takes off the variance that
drawing adds. LaRe (arXiv 2412.11120) does it over factors that a language model wrote; over raw
fields it is RD and RRD themselves. Only sums are known, so rewards that differ in ways that no
return shows are all right to it.

Not as in the released code: episodes of at most K steps are taken whole, with no correction (there
K > T, drawn with replacement, and the correction has the wrong sign); inputs are standardized by
the first episodes' statistics, which then stay; returns by a running deviation.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as unpack
from safetensors.numpy import save as pack
from torch import Tensor, nn

from autoreward.errors import MISSING, REFUSED, UserError
from autoreward.rewards.signals.episodes import CAPACITY, Episodes
from autoreward.state import Array
from autoreward.store.files import MAX_ARRAY_BYTES, read_bytes_safely, write

Loss = Literal["rd", "rrd", "rrd-unbiased"]
LOSSES: tuple[str, ...] = get_args(Loss)
# K: steps of an episode that one RRD sample looks at
DRAWN = 64
# finished episodes before anything is fitted
LEAST = 8
# a deviation below which an input is constant
CONSTANT = 1e-8
# standardized inputs are cut here
FAR = 10.0
# of slopes above 1, for off-policy learners
PENALTY = 10.0


def mean_error(
    rewards: Tensor, mask: Tensor, target: Tensor, correction: Tensor | None = None
) -> Tensor:
    """(mean over the E episodes of) (mean of an episode's drawn rewards - R / T)^2 - correction *
    s^2 / K.

    rewards (E, L), mask (E, L): 1 where a step was drawn; target (E,): R / T. `correction` (E,):
    None for RD and RRD; for the unbiased loss 1 - K / T where K of T steps were drawn without
    replacement (0 where all were), 1 where they were drawn with it. s^2 has K - 1.
    """
    count = mask.sum(1)
    mean = (rewards * mask).sum(1) / count
    error = (mean - target) ** 2
    if correction is not None:
        spread = (((rewards - mean[:, None]) * mask) ** 2).sum(1) / (count - 1).clamp(min=1)
        error = error - correction * spread / count
    return error.mean()


def slope_penalty(network: Any, stored: Tensor, fresh: Tensor, along: Tensor) -> Tensor:
    """mean(max(0, |grad f(x)| - 1)^2) at x = stored + along * (fresh - stored), all (B, m), along
    (B, 1); one-sided: flat is free.

    Lipschitzness Is All You Need (Blonde, Strasser, Kalousis 2020, arXiv 2006.16785).
    """
    x = (stored + along * (fresh - stored)).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
    return (slope.norm(dim=-1) - 1).clamp(min=0).square().mean()


class Decoder:
    """f(z) in units of the task's return.

    Everything random comes from a generator of its own: same seed and episodes, same numbers.

    `hidden` () is a linear decoder. `batch`: steps a gradient step looks at, about. `penalty`:
    weight of `slope_penalty`, 0 for none. Until LEAST episodes have ended it knows nothing, and
    every step is worth 0.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        loss: Loss = "rrd-unbiased",
        *,
        seed: int = 0,
        hidden: tuple[int, ...] = (256, 256),
        rate: float = 3e-4,
        drawn: int = DRAWN,
        batch: int = 256,
        penalty: float = 0.0,
        capacity: int = CAPACITY,
    ) -> None:
        if loss not in LOSSES:
            raise ValueError(f"loss is {loss!r}; it must be one of {', '.join(LOSSES)}")
        self.names, self.loss, self.hidden, self.drawn, self.batch, self.penalty = (
            tuple(names),
            loss,
            tuple(hidden),
            drawn,
            batch,
            penalty,
        )
        self.episodes = Episodes(len(names), capacity)
        self.generator = torch.Generator().manual_seed(seed)
        self.network = self._network(seed)
        self.adam = torch.optim.Adam(self.network.parameters(), rate)
        self.center, self.scale = np.zeros(len(names)), np.ones(len(names))
        self.frozen, self.unit, self.fitted, self.last_loss = False, 1.0, 0, float("nan")

    def _network(self, seed: int) -> nn.Sequential:
        # the agent's own draws stay what they are
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sizes = (len(self.names), *self.hidden)
            layers: list[nn.Module] = []
            for a, b in pairwise(sizes):
                layers += [nn.Linear(a, b), nn.ReLU()]
            last = nn.Linear(sizes[-1], 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        return nn.Sequential(*layers, last)

    # -- what it is fitted on ----------------------------------------------------------------------

    def add(self, z: Array, task_return: float) -> None:
        """One finished episode, ended or truncated: z (T, m), and the return that was observed."""
        self.episodes.add(z, task_return)

    def freeze(self, z: Array) -> None:
        """Take the inputs' mean and deviation from z (N, m), for good.

        A constant column is 0 to the network, as long as it is constant.
        """
        deviation = z.std(0)
        self.center = z.mean(0)
        self.scale = np.where(
            deviation > CONSTANT * np.maximum(1.0, np.abs(self.center)), deviation, 1.0
        )
        self.frozen = True

    def _inputs(self, z: Array) -> Tensor:
        return torch.from_numpy(
            np.clip((z - self.center) / self.scale, -FAR, FAR).astype(np.float32)
        )

    def _measure(self) -> None:
        """The unit that returns are told to the network in: std(R) / sqrt(mean T), a step's
        deviation were steps independent.
        """
        known = self.episodes
        spread = max(known.std, 0.01 * abs(known.mean)) or 1.0
        unit = spread / np.sqrt(max(1.0, known.mean_length))
        if self.fitted:
            # what was learned stays, in the new unit
            with torch.no_grad():
                for part in self.network[-1].parameters():
                    part.mul_(self.unit / unit)
        self.unit = float(unit)

    @property
    def ready(self) -> bool:
        """Whether enough episodes have ended."""
        return len(self.episodes) >= LEAST

    # -- fitting -----------------------------------------------------------------------------------

    def fit(self, steps: int) -> float | None:
        """That many gradient steps; their mean loss, None where too few episodes have ended."""
        if not self.ready:
            return None
        if not self.frozen:
            self.freeze(self.episodes.rows(self.episodes.latest(self.episodes.steps)))
        self._measure()
        losses = [self._step() for _ in range(steps)]
        self.fitted += steps
        self.last_loss = float(np.mean(losses)) if losses else self.last_loss
        return self.last_loss

    def _step(self) -> float:
        places, mask, target, correction = self._sample()
        inputs = self._inputs(self.episodes.rows(places))
        rewards = self.network(inputs.reshape(-1, inputs.shape[-1])).reshape(mask.shape)
        error = mean_error(
            rewards, mask, target, correction if self.loss == "rrd-unbiased" else None
        )
        total = error
        if self.penalty:
            stored = inputs[mask > 0]
            newest = self.episodes.latest(self.batch)
            fresh = self._inputs(
                self.episodes.rows(newest[self._integers(len(newest), len(stored))])
            )
            total = total + self.penalty * slope_penalty(
                self.network, stored, fresh, torch.rand((len(stored), 1), generator=self.generator)
            )
        self.adam.zero_grad(set_to_none=True)
        total.backward()
        self.adam.step()
        return float(error.detach())

    def _integers(self, high: int, count: int) -> Array:
        return torch.randint(high, (count,), generator=self.generator).numpy()

    def _sample(self) -> tuple[Array, Tensor, Tensor, Tensor]:
        """Places (E, L), mask (E, L), R / T in units of the network (E,), 1 - K / T (E,) of
        episodes drawn evenly, with replacement.
        """
        starts, lengths, returns = self.episodes.columns()
        whole = self.loss == "rd"
        count = max(1, int(self.batch // (self.episodes.mean_length if whole else self.drawn)))
        chosen = self._integers(len(starts), count)
        starts, lengths, returns = starts[chosen], lengths[chosen], returns[chosen]
        longest = int(lengths.max())
        if whole or longest <= self.drawn:
            steps, drawn = np.broadcast_to(np.arange(longest), (count, longest)), lengths
        else:
            # the smallest of evenly drawn keys are K steps without replacement; steps past an
            # episode's end come last
            keys = torch.rand((count, longest), generator=self.generator).numpy()
            keys[np.arange(longest) >= lengths[:, None]] = 2.0
            steps, drawn = (
                np.argsort(keys, 1, kind="stable")[:, : self.drawn],
                np.minimum(lengths, self.drawn),
            )
        inside = np.arange(steps.shape[1]) < drawn[:, None]
        places = starts[:, None] + np.where(inside, steps, 0)
        mask, target, correction = (
            torch.from_numpy(a.astype(np.float32))
            for a in (inside, returns / lengths / self.unit, 1.0 - drawn / lengths)
        )
        return places, mask, target, correction

    # -- what it says ------------------------------------------------------------------------------

    def reward(self, z: Array) -> Array:
        """z (n, m) to (n,) float64, in the task's own unit: over an episode they sum up to about
        its return. 0 before the first fit.
        """
        if not self.fitted:
            return np.zeros(len(z))
        with torch.no_grad():
            return self.network(self._inputs(z))[:, 0].numpy().astype(np.float64) * self.unit

    def attributions(self, steps: int = 4096) -> dict[str, float]:
        """Factor -> its share: mean |df/dz| times the deviation of z, over the newest stored
        steps; shares add up to 1 (0 before the first fit).
        """
        if not (self.fitted and self.episodes.steps):
            return dict.fromkeys(self.names, 0.0)
        x = self._inputs(self.episodes.rows(self.episodes.latest(steps))).requires_grad_(True)
        (slope,) = torch.autograd.grad(self.network(x).sum(), x)
        sizes = (slope.abs().mean(0) * x.detach().std(0, unbiased=False)).double().numpy()
        return dict(zip(self.names, (sizes / (sizes.sum() or 1.0)).tolist(), strict=True))

    # -- on disk -----------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Weights, the inputs' statistics and the unit as safetensors, whole or not at all; not
        the episodes, and not the optimizer.
        """
        tensors = {
            f"network.{k}": v.detach().numpy().copy() for k, v in self.network.state_dict().items()
        }
        tensors |= {"center": self.center, "scale": self.scale, "unit": np.array([self.unit])}
        known = {
            "names": self.names,
            "loss": self.loss,
            "hidden": self.hidden,
            "frozen": self.frozen,
            "fitted": self.fitted,
        }
        write(
            path,
            pack(
                {k: np.ascontiguousarray(v) for k, v in tensors.items()},
                {"decoder": json.dumps(known)},
            ),
        )

    @classmethod
    def load(cls, path: Path) -> Decoder:
        """A decoder that says what the saved one said.

        UserError where the file is none, or does not hold together.
        """
        try:
            data = read_bytes_safely(path, MAX_ARRAY_BYTES)
            tensors = unpack(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            known = json.loads(header["__metadata__"]["decoder"])
            names, hidden, loss = (
                tuple(map(str, known["names"])),
                tuple(int(h) for h in known["hidden"]),
                str(known["loss"]),
            )
            if loss not in LOSSES or len(hidden) > 8 or not all(0 < h <= 4096 for h in hidden):
                raise ValueError("an unknown loss, or layers of another size")
            made = cls(names, loss, hidden=hidden, capacity=1)  # type: ignore[arg-type]
            made.frozen, made.fitted = bool(known["frozen"]), int(known["fitted"])
        except FileNotFoundError:
            raise UserError(
                f"no decoder at {path}", "autoreward resume trains again", MISSING
            ) from None
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} is no decoder: {error}", "move it away, then: autoreward resume", REFUSED
            ) from None
        shapes = {f"network.{k}": tuple(v.shape) for k, v in made.network.state_dict().items()} | {
            "center": (len(names),),
            "scale": (len(names),),
            "unit": (1,),
        }
        wrong = [
            k
            for k in {*shapes, *tensors}
            if k not in shapes
            or k not in tensors
            or tensors[k].shape != shapes[k]
            or not np.isfinite(tensors[k]).all()
        ]
        if wrong:
            raise UserError(
                f"{path} does not fit its own header: {', '.join(sorted(wrong)[:3])}",
                "move it away, then: autoreward resume",
                REFUSED,
            )
        made.network.load_state_dict(
            {
                k.removeprefix("network."): torch.as_tensor(v)
                for k, v in tensors.items()
                if k.startswith("network.")
            },
            strict=True,
        )
        made.center, made.scale, made.unit = (
            tensors["center"],
            tensors["scale"],
            float(tensors["unit"][0]),
        )
        return made
