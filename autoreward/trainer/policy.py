"""From a card to a stable-baselines3 agent: what it sees, its algorithm, and its weights.

Weights are safetensors files; no pickle is written or read.
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
from autoreward.store.io import MAX_ARRAY_BYTES, read_bytes_safely
from autoreward.tasks.card import ROLLOUTS, TaskCard
from autoreward.tasks.find import LocatedCard
from autoreward.trainer.environment import CardProblem, function

# Used for hyperparameters that a card does not give. They were measured on the shipped cards
# (envs/README.md); other algorithms have stable-baselines3's own defaults.
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
# a GPU is faster from this many hidden units in a layer on
BIG_NET = 512


class PolicyInput:
    """What the policy sees of vectors `[fields | observation]`, before normalization.

    Called with (n, D + P), it returns (n, `size`). Raises CardProblem if the card's features
    function fails.
    """

    def __init__(self, card: LocatedCard, code: ModuleType | None, width: int) -> None:
        self.layout = card.card.layout
        self.input = card.card.policy.input
        self.features = None
        if self.input not in ("observation", "fields"):
            self.features = function(card, code, "policy.input", self.input)
        columns: list[int] = []
        for field in card.card.fields:
            if field.policy:
                start, end, _ = self.layout.slices[field.name]
                columns.extend(range(start, end))
        self.columns = np.array(columns, int)
        try:
            self.size = self(np.zeros((2, width))).shape[1]
        except (ValueError, IndexError, AttributeError, TypeError) as error:
            raise CardProblem(
                f"policy.input: {self.input}(state) fails on a state of zeros: {error}"
            ) from error

    def __call__(self, vectors: Array) -> Array:
        if self.input == "observation":
            return vectors[:, self.layout.width :]
        if self.input == "fields":
            return vectors[:, self.columns]
        assert self.features is not None
        state = State(vectors[:, : self.layout.width], self.layout)
        return np.asarray(self.features(state), np.float64)


class PolicyView(VecEnvWrapper):
    """The policy's view of a vector of environments, normalized if the card says so.

    It wraps the reward wrapper. Running mean and variance are updated only while `training`.
    """

    def __init__(
        self, venv: VecEnv, card: LocatedCard, code: ModuleType | None, training: bool
    ) -> None:
        self.card = card.card
        self.training = training
        (width,) = venv.observation_space.shape or (0,)
        self.view = PolicyInput(card, code, width)
        super().__init__(
            venv, observation_space=spaces.Box(-np.inf, np.inf, (self.view.size,), np.float32)
        )
        self.rms = RunningMeanStd(shape=(self.view.size,))

    def _normalized(self, x: Array) -> Array:
        if self.card.policy.normalize:
            scale = np.sqrt(self.rms.var + 1e-8)
            x = np.clip((x - self.rms.mean) / scale, -10, 10)
        return x.astype(np.float32)

    def _view(self, vectors: Array) -> Array:
        x = self.view(vectors)
        if self.card.policy.normalize and self.training:
            self.rms.update(x)
        return self._normalized(x)

    def seen(self, vectors: Array) -> Array:
        """Return what the policy sees of vectors, normalized as it is now: (n, size) float32."""
        return self._normalized(self.view(vectors))

    def reset(self) -> Array:
        return self._view(np.asarray(self.venv.reset()))

    def step_wait(self) -> Any:
        vectors, rewards, dones, infos = self.venv.step_wait()
        for i in np.flatnonzero(dones):
            last = np.asarray(infos[i]["terminal_observation"], np.float64)[None]
            infos[i]["terminal_observation"] = self.seen(last)[0]
        return self._view(np.asarray(vectors)), rewards, dones, infos


def algorithm(name: str) -> type[BaseAlgorithm]:
    """Return stable-baselines3's or sb3-contrib's algorithm of that name.

    Raises UserError if sb3-contrib is needed but not installed, CardProblem if the name is unknown.
    """
    import stable_baselines3

    if name in BUILT_IN:
        return getattr(stable_baselines3, name)
    try:
        contrib = importlib.import_module("sb3_contrib")
    except ImportError:
        raise UserError(
            f"training.algorithm: {name!r} is not one of {', '.join(BUILT_IN)}; others need "
            "sb3-contrib",
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
    """Return the torch device; `auto` is a GPU if there is one and the network is large enough.

    Raises UserError if a GPU is asked for and torch finds none.
    """
    if wanted == "auto":
        is_big = max(card.training.net, default=0) >= BIG_NET
        return "cuda" if is_big and torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "--device cuda: torch finds no GPU", "autoreward doctor, or --device cpu", MISSING
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
    """Return a fresh agent.

    `rollout` is the buffer class of algorithms in ROLLOUTS; `replay` that of the others, with its
    arguments. `for_evaluation` keeps the replay buffer small. Raises CardProblem if the algorithm
    rejects a hyperparameter or a space.
    """
    algorithm_class = algorithm(card.training.algorithm)
    given = {**DEFAULTS.get(card.training.algorithm, {}), **card.training.hyperparameters}
    policy = {"net_arch": list(card.training.net), **given.pop("policy_kwargs", {})}
    if for_evaluation and "buffer_size" in signature(algorithm_class).parameters:
        given["buffer_size"] = env.num_envs
    if rollout is not None and card.training.algorithm in ROLLOUTS:
        given = {"rollout_buffer_class": rollout, **given}
    if replay is not None:
        given |= {"replay_buffer_class": replay[0], "replay_buffer_kwargs": replay[1]}
    try:
        return algorithm_class(
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
        raise CardProblem(f"training: {card.training.algorithm} rejects: {error}") from error


def save(agent: BaseAlgorithm, view: PolicyView, path: Path) -> None:
    """Write weights and normalization, whole or not at all."""
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

    Raises UserError if the file is missing or damaged, or does not fit the card's network.
    """
    tensors = _read_tensors(path)
    given: dict[str, Array] = {}
    for key, value in tensors.items():
        if key.startswith("policy."):
            given[key.removeprefix("policy.")] = value
    expected = agent.policy.state_dict()
    wrong: list[str] = []
    for key in sorted({*expected, *given}):
        if key not in expected or key not in given or not _fits(given[key], expected[key]):
            wrong.append(key)
    for key in ("mean", "var"):
        tensor = tensors.get(f"normalization.{key}", np.zeros(()))
        if tensor.shape != view.observation_space.shape:
            wrong.append("normalization")
    if wrong:
        raise UserError(
            f"{path} does not fit the card's network: {', '.join(wrong[:3])}",
            "has the card or the network changed?",
            REFUSED,
        )
    weights = {key: torch.as_tensor(value) for key, value in given.items()}
    agent.policy.load_state_dict(weights, strict=True)
    view.rms.mean = tensors["normalization.mean"]
    view.rms.var = tensors["normalization.var"]
    view.rms.count = float(tensors["normalization.count"][0])


def _read_tensors(path: Path) -> dict[str, Array]:
    """Read a safetensors file; UserError if it is missing or damaged."""
    try:
        return unpack(read_bytes_safely(path, MAX_ARRAY_BYTES))
    except FileNotFoundError:
        raise UserError(
            f"no weights at {path}", "autoreward resume trains again", MISSING
        ) from None
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a safetensors file: {error}",
            "move it away, then: autoreward resume",
            REFUSED,
        ) from None


def _fits(tensor: Array, expected: torch.Tensor) -> bool:
    """True if a saved tensor has the expected shape, and only finite numbers."""
    return tuple(expected.shape) == tensor.shape and bool(np.isfinite(tensor).all())
