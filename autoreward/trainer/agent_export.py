"""A run's trained agent outside the run: a stable-baselines3 model, its environment, and ONNX.

The model's own network contains the normalization, so `model.predict(observation)` takes what
`SeenEnvironment` returns.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv

from autoreward.errors import MISSING, REFUSED, UserError
from autoreward.state import Array
from autoreward.store.io import write
from autoreward.store.jobs import NetworkJob
from autoreward.tasks.find import LocatedCard, load
from autoreward.tasks.plain_task import plain_task
from autoreward.tasks.runtime import Task
from autoreward.trainer import policy
from autoreward.trainer.environment import (
    CardEnvironment,
    bare_environment,
    trusted_code,
    trusted_task,
)


class SeenEnvironment(gym.Wrapper[Any, Any, Any, Any]):
    """One environment of a card as the policy sees it: float32 vectors before normalization.

    The reward is the task reward.
    """

    def __init__(
        self, card: LocatedCard, code: ModuleType | None, render_mode: str | None = None
    ) -> None:
        env = CardEnvironment(card, code, render_mode)
        super().__init__(env)
        self.seen = policy.PolicyInput(card, code, env.width)
        self.observation_space = spaces.Box(-np.inf, np.inf, (self.seen.size,), np.float32)

    def _view(self, vector: Array) -> Array:
        return self.seen(vector[None])[0].astype(np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        vector, info = self.env.reset(seed=seed, options=options)
        return self._view(vector), info

    def step(self, action: Any) -> tuple[Array, Any, bool, bool, dict[str, Any]]:
        vector, reward, terminated, truncated, info = self.env.step(action)
        return self._view(vector), reward, terminated, truncated, info


def environment(card: LocatedCard, render_mode: str | None = None) -> SeenEnvironment:
    """Return a fresh environment of the card; this imports its Python."""
    return SeenEnvironment(card, trusted_code(card), render_mode)


def bare(card: LocatedCard) -> gym.Env[Any, Any]:
    """Return a fresh environment without wrappers; this imports the card's Python."""
    return bare_environment(card, trusted_code(card))


def task(card: LocatedCard) -> Task:
    """Return the card's task with all fields; this imports its Python if they need it."""
    needed = plain_task(card.card, all_fields=True).needed_functions
    return trusted_task(card, trusted_code(card) if needed else None)


class Normalized(FlattenExtractor):
    """The first layer of an exported network: normalization as in `policy.PolicyView`, frozen."""

    def __init__(self, space: gym.Space[Any], rms: RunningMeanStd) -> None:
        super().__init__(space)
        self.mean: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("mean", torch.as_tensor(np.asarray(rms.mean, np.float64)))
        self.register_buffer(
            "scale", torch.as_tensor(np.sqrt(np.asarray(rms.var, np.float64) + 1e-8))
        )

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = torch.flatten(observations, 1).double()
        return torch.clamp((x - self.mean) / self.scale, -10, 10).float()


def model(card: LocatedCard, weights: Path, device: str = "cpu") -> BaseAlgorithm:
    """Return the trained agent, ready to predict and to go on learning in a `SeenEnvironment`.

    Raises UserError if the weights do not fit the card.
    """
    code = trusted_code(card)
    venv = DummyVecEnv([lambda: CardEnvironment(card, code)])
    view = policy.PolicyView(venv, card, code, training=False)
    with warnings.catch_warnings():
        # the batch size was chosen for more than one environment
        warnings.simplefilter("ignore")
        agent = policy.build(card.card, view, 0, device)
    policy.load(agent, view, weights)
    if card.card.policy.normalize:
        layer = Normalized(view.observation_space, view.rms).to(agent.device)
        for module in list(agent.policy.modules()):
            # named_children() gives a shared layer under only one of its names
            for name, child in list(module._modules.items()):
                if isinstance(child, FlattenExtractor):
                    setattr(module, name, layer)
    agent.policy.set_training_mode(False)
    agent.set_env(DummyVecEnv([lambda: SeenEnvironment(card, code)]))
    view.close()
    return agent


class _Network(torch.nn.Module):
    def __init__(self, agent: BaseAlgorithm) -> None:
        super().__init__()
        self.policy: Any = agent.policy
        space = agent.action_space
        self.box = (
            (torch.as_tensor(space.low), torch.as_tensor(space.high))
            if isinstance(space, spaces.Box)
            else None
        )

    def forward(self, observation: torch.Tensor) -> Any:
        action = self.policy._predict(observation, deterministic=True)
        if self.box is not None:
            low, high = self.box
            if getattr(self.policy, "squash_output", False):
                action = low + 0.5 * (action + 1.0) * (high - low)
            else:
                action = torch.maximum(torch.minimum(action, high), low)
        if not hasattr(self.policy, "get_distribution"):
            return action
        distribution = self.policy.get_distribution(observation).distribution
        parts = distribution if isinstance(distribution, list) else [distribution]
        parameters = []
        for part in parts:
            is_normal = hasattr(part, "loc")
            parameters.append(torch.cat([part.mean, part.stddev], -1) if is_normal else part.logits)
        return action, torch.cat(parameters, -1)


def to_onnx(job: NetworkJob) -> None:
    """Write the job's policy as an ONNX file.

    Its input `observation` is (n, k) float32 as `SeenEnvironment` returns it; the network contains
    the normalization. Its outputs are `action`, the most likely one, and for stochastic policies
    `distribution`: logits, or means followed by standard deviations. Raises UserError if onnx is
    not installed or torch cannot export the policy.
    """
    try:
        import onnx
    except ImportError:
        raise UserError(
            "ONNX export needs the package onnx, which is not installed",
            "pip install 'autoreward-rl[onnx]'",
            MISSING,
        ) from None
    card = load(Path(job.card))
    agent = model(card, Path(job.policy), "cpu")
    network = _Network(agent).eval()
    observation = torch.zeros(1, agent.observation_space.shape[0])  # type: ignore[index]
    names = ["action", "distribution"] if isinstance(network(observation), tuple) else ["action"]
    axes = {name: {0: "n"} for name in ["observation", *names]}
    buffer = io.BytesIO()
    try:
        torch.onnx.export(
            network,
            (observation,),
            buffer,  # type: ignore[arg-type]
            input_names=["observation"],
            output_names=names,
            dynamic_axes=axes,
            dynamo=False,
        )
    except Exception as error:
        # torch's exporter raises many kinds of errors
        raise UserError(
            f"torch cannot export this {card.card.training.algorithm} policy: "
            f"{type(error).__name__}: {str(error)[:200]}",
            "load_run(...).policy() returns it as a stable-baselines3 model",
            REFUSED,
        ) from None
    onnx.checker.check_model(onnx.load_model_from_string(buffer.getvalue()))
    write(Path(job.out), buffer.getvalue())
