"""From a card to a stable-baselines3 agent: what it sees, and its weights.

Weights are safetensors; no pickle is written or read.
"""

from __future__ import annotations

import importlib
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from safetensors import SafetensorError
from safetensors.numpy import load as unpack
from safetensors.numpy import save_file
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from autoreward.errors import MISSING, REFUSED, UserError
from autoreward.state import Array, State
from autoreward.store.files import MAX_ARRAY_BYTES, read_bytes_safely
from autoreward.tasks.card import ROLLOUTS, TaskCard
from autoreward.tasks.find import LocatedCard
from autoreward.trainer.environment import CardProblem, function

# Where a card names no hyperparameters: measured on the shipped cards, see envs/README.md. Others:
# stable-baselines3's own defaults.
DEFAULTS: dict[str, dict[str, Any]] = {
    "PPO": {
        "n_steps": 128,
        "batch_size": 512,
        "n_epochs": 5,
        "learning_rate": 1e-3,
        "ent_coef": 0.01,
    }
}
BUILT_IN = ("PPO", "A2C", "SAC", "TD3", "DQN")
# hidden units in a layer from which on a GPU pays
BIG_NET = 512


class Seen:
    """What the policy sees of vectors `[fields | observation]` (n, D + P), before any
    normalization: (n, `size`).
    """

    def __init__(self, card: LocatedCard, code: ModuleType | None, width: int) -> None:
        self.layout, self.kind = card.card.layout, card.card.policy.input
        self.features = (
            None
            if self.kind in ("observation", "fields")
            else function(card, code, "policy.input", self.kind)
        )
        self.columns = np.concatenate(
            [np.arange(*self.layout.slices[f.name][:2]) for f in card.card.fields if f.policy]
            or [np.zeros(0, int)]
        )
        try:
            self.size = self(np.zeros((2, width))).shape[1]
        except (ValueError, IndexError, AttributeError, TypeError) as error:
            raise CardProblem(
                f"policy.input: {self.kind}(state) fails on a state of zeros: {error}"
            ) from error

    def __call__(self, vectors: Array) -> Array:
        if self.kind == "observation":
            return vectors[:, self.layout.width :]
        if self.kind == "fields":
            return vectors[:, self.columns]
        assert self.features is not None
        return np.asarray(
            self.features(State(vectors[:, : self.layout.width], self.layout)), np.float64
        )


class PolicyView(VecEnvWrapper):
    """What the policy sees: vectors `[fields | observation]` to its input, normalized where the
    card says so. Outside of the reward wrapper.
    """

    def __init__(
        self, venv: VecEnv, card: LocatedCard, code: ModuleType | None, training: bool
    ) -> None:
        self.card, self.training = card.card, training
        self.view = Seen(card, code, (venv.observation_space.shape or (0,))[0])
        super().__init__(
            venv, observation_space=spaces.Box(-np.inf, np.inf, (self.view.size,), np.float32)
        )
        self.rms = RunningMeanStd(shape=(self.view.size,))

    def _normalized(self, x: Array) -> Array:
        if self.card.policy.normalize:
            x = np.clip((x - self.rms.mean) / np.sqrt(self.rms.var + 1e-8), -10, 10)
        return x.astype(np.float32)

    def _go(self, vectors: Array) -> Array:
        x = self.view(vectors)
        if self.card.policy.normalize and self.training:
            self.rms.update(x)
        return self._normalized(x)

    def seen(self, vectors: Array) -> Array:
        """(n, size) float32: what the policy sees of vectors, normalized as it is now."""
        return self._normalized(self.view(vectors))

    def reset(self) -> Array:
        return self._go(np.asarray(self.venv.reset()))

    def step_wait(self) -> Any:
        vectors, rewards, dones, infos = self.venv.step_wait()
        for i in np.flatnonzero(dones):
            last = np.asarray(infos[i]["terminal_observation"], np.float64)[None]
            infos[i]["terminal_observation"] = self.seen(last)[0]
        return self._go(np.asarray(vectors)), rewards, dones, infos


def algorithm(name: str) -> type[BaseAlgorithm]:
    """stable-baselines3's or sb3-contrib's algorithm of that name."""
    import stable_baselines3

    if name in BUILT_IN:
        return getattr(stable_baselines3, name)
    try:
        contrib = importlib.import_module("sb3_contrib")
    except ImportError:
        raise UserError(
            f"training.algorithm: {name!r} is not one of {', '.join(BUILT_IN)}; others need sb3-contrib",
            "pip install 'autoreward-rl[contrib]'",
            MISSING,
        ) from None
    found = getattr(contrib, name, None)
    if not (isinstance(found, type) and issubclass(found, BaseAlgorithm)):
        raise CardProblem(
            f"training.algorithm: neither stable-baselines3 nor sb3-contrib has {name!r}"
        )
    return found


def choose_device(card: TaskCard, wanted: str) -> str:
    """`auto`: a GPU where there is one and the network is big enough for it to pay, else the
    processor.
    """
    if wanted == "auto":
        return (
            "cuda"
            if torch.cuda.is_available() and max(card.training.net, default=0) >= BIG_NET
            else "cpu"
        )
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "--device cuda: torch sees no GPU here", "autoreward doctor, or --device cpu", MISSING
        )
    return wanted


def build(
    card: TaskCard,
    env: VecEnv,
    seed: int,
    device: str,
    for_evaluation: bool = False,
    rollout: type | None = None,
    replay: tuple[type, dict[str, Any]] | None = None,
) -> BaseAlgorithm:
    """A fresh agent; `rollout`: the buffer of algorithms in ROLLOUTS, `replay`: that of the
    others, with its arguments. CardProblem where the algorithm refuses a hyperparameter or a
    space.
    """
    kind = algorithm(card.training.algorithm)
    given = {**DEFAULTS.get(card.training.algorithm, {}), **card.training.hyperparameters}
    policy = {"net_arch": list(card.training.net), **given.pop("policy_kwargs", {})}
    if for_evaluation and "buffer_size" in signature(kind).parameters:
        given["buffer_size"] = env.num_envs
    if rollout is not None and card.training.algorithm in ROLLOUTS:
        given = {"rollout_buffer_class": rollout, **given}
    if replay is not None:
        given |= {"replay_buffer_class": replay[0], "replay_buffer_kwargs": replay[1]}
    try:
        return kind(
            "MlpPolicy",
            env,
            gamma=card.training.gamma,
            policy_kwargs=policy,
            seed=seed,
            device=device,
            verbose=0,
            **given,
        )  # type: ignore[call-arg]
    except (TypeError, ValueError, AssertionError) as error:
        raise CardProblem(f"training: {card.training.algorithm} refuses: {error}") from error


def save(agent: BaseAlgorithm, view: PolicyView, path: Path) -> None:
    """Weights and normalization, whole or not at all."""
    tensors = {
        f"policy.{k}": v.detach().cpu().contiguous().numpy()
        for k, v in agent.policy.state_dict().items()
    }
    tensors |= {
        "normalization.mean": np.asarray(view.rms.mean),
        "normalization.var": np.asarray(view.rms.var),
        "normalization.count": np.asarray([view.rms.count]),
    }
    temporary = path.with_name(f".{path.name}.tmp")
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, str(temporary))
    temporary.replace(path)


def load(agent: BaseAlgorithm, view: PolicyView, path: Path) -> None:
    """Put saved weights into a fresh agent, after checking names, shapes and finiteness.

    UserError where they do not fit.
    """
    try:
        tensors = unpack(read_bytes_safely(path, MAX_ARRAY_BYTES))
    except FileNotFoundError:
        raise UserError(
            f"no weights at {path}", "autoreward resume trains again", MISSING
        ) from None
    except SafetensorError as error:
        raise UserError(
            f"{path} is no safetensors file: {error}",
            "move it away, then: autoreward resume",
            REFUSED,
        ) from None
    expected = agent.policy.state_dict()
    given = {k.removeprefix("policy."): v for k, v in tensors.items() if k.startswith("policy.")}
    wrong = [
        k
        for k in {*expected, *given}
        if k not in expected
        or k not in given
        or tuple(expected[k].shape) != given[k].shape
        or not np.isfinite(given[k]).all()
    ]
    size = view.observation_space.shape
    if wrong or any(
        tensors.get(f"normalization.{k}", np.zeros(())).shape != size for k in ("mean", "var")
    ):
        raise UserError(
            f"{path} does not fit the card's network: {', '.join(sorted(wrong)[:3]) or 'normalization'}",
            "was the card or the network changed?",
            REFUSED,
        )
    agent.policy.load_state_dict({k: torch.as_tensor(v) for k, v in given.items()}, strict=True)
    view.rms.mean, view.rms.var = tensors["normalization.mean"], tensors["normalization.var"]
    view.rms.count = float(tensors["normalization.count"][0])
