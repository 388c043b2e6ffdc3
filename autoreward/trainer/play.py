"""Play whole episodes of a trained agent on the true task, and draw them if the environment can."""

from __future__ import annotations

import ctypes.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv

from autoreward.errors import MISSING, UserError
from autoreward.seeds import AGENT_PLACE, stream_seed
from autoreward.state import Array
from autoreward.store.io import write
from autoreward.store.jobs import Played, PlayedEpisode, PlayJob
from autoreward.tasks.card import TaskCard
from autoreward.tasks.find import LocatedCard, load
from autoreward.trainer import policy
from autoreward.trainer.environment import CardEnvironment, CardProblem, trusted_code
from autoreward.trainer.pictures import Film

# states of an episode that are reported
SHOWN_STATES = 10


def play(job: PlayJob) -> None:
    """Write a `Played` to `job.out`, and the picture if one is asked for.

    Raises UserError if Pillow or an OpenGL library is needed and missing.
    """
    if job.picture:
        _choose_opengl()
    card = load(Path(job.card))
    code = trusted_code(card)
    env = _drawable(card, code) if job.picture else CardEnvironment(card, code)
    film = Film(Path(job.picture)) if job.picture and env.render_mode == "rgb_array" else None
    shown = _Shown(env, film)
    view = policy.PolicyView(DummyVecEnv([lambda: shown]), card, code, training=False)
    agent = policy.build(card.card, view, 0, job.device, for_evaluation=True)
    policy.load(agent, view, Path(job.policy))
    agent.policy.set_training_mode(False)
    set_random_seed(stream_seed("evaluation", job.seed, AGENT_PLACE))
    view.seed(stream_seed("evaluation", job.seed))
    seen: Any = view.reset()
    while len(shown.episodes) < job.episodes:
        actions, _ = agent.policy.predict(
            seen, deterministic=card.card.evaluation.mode == "deterministic"
        )
        seen = view.step(actions)[0]
    if film:
        film.save()
    why = ""
    if job.picture and not film:
        why = f"the environment of {card.card.name} cannot be drawn (it has no rgb_array rendering)"
    write(
        Path(job.out),
        Played(episodes=tuple(shown.episodes), picture=job.picture if film else None, why=why),
    )
    view.close()


def _drawable(card: LocatedCard, code: ModuleType | None) -> CardEnvironment:
    """Return the environment, drawing if its maker takes a render_mode."""
    try:
        return CardEnvironment(card, code, "rgb_array")
    except CardProblem:
        return CardEnvironment(card, code)


def _choose_opengl() -> None:
    """Let MuJoCo draw in memory if there is no screen and the user has not chosen how.

    EGL with a GPU, OSMesa otherwise, if they are installed.
    """
    has_screen = sys.platform != "linux" or bool(os.environ.get("DISPLAY"))
    if has_screen or os.environ.get("MUJOCO_GL"):
        return
    has_gpu = any(Path("/dev/dri").glob("render*")) or Path("/dev/nvidia0").exists()
    if has_gpu and ctypes.util.find_library("EGL"):
        os.environ["MUJOCO_GL"] = "egl"
    elif ctypes.util.find_library("OSMesa"):
        os.environ["MUJOCO_GL"] = "osmesa"
    else:
        os.environ.pop("MUJOCO_GL", None)


class _Shown(gym.Wrapper[Any, Any, Any, Any]):
    """Draws every state before the vector of environments resets, and keeps the episodes."""

    def __init__(self, env: CardEnvironment, film: Film | None) -> None:
        super().__init__(env)
        self.card = env.card
        self.film = film
        self.episodes: list[PlayedEpisode] = []

    def _draw(self, words: str) -> None:
        if self.film:
            self.film.add(_frame(self.env, self.card), f"episode {len(self.episodes) + 1}, {words}")

    def reset(self, **options: Any) -> Any:
        vector, info = self.env.reset(**options)
        self.vectors = [vector]
        self.rewards = 0.0
        self.actions: list[Array] = []
        self._draw("step 0")
        return vector, info

    def step(self, action: Any) -> Any:
        vector, reward, terminated, truncated, info = self.env.step(action)
        self.vectors.append(vector)
        self.actions.append(np.array(action))
        self.rewards += float(reward)
        if terminated or truncated:
            ending = _ending(bool(info["success"]), truncated)
            self._draw(f"step {len(self.actions)}: {ending}")
            if self.film:
                self.film.cut()
            rows = _rows(self.card, self.vectors, self.actions)
            self.episodes.append(
                PlayedEpisode(
                    ending=ending,
                    length=len(self.actions),
                    task_return=self.rewards,
                    metrics=info["metrics"],
                    rows=rows,
                )
            )
        else:
            self._draw(f"step {len(self.actions)}")
        return vector, reward, terminated, truncated, info


def _ending(success: bool, truncated: bool) -> Literal["success", "limit", "failure"]:
    """Return how an episode ended."""
    if success:
        return "success"
    return "limit" if truncated else "failure"


def _frame(env: gym.Env[Any, Any], card: TaskCard) -> Array:
    """Return one frame (height, width, 3); UserError if the environment fails to draw."""
    try:
        frame = np.asarray(env.render())
    except Exception as error:
        # MuJoCo and pygame raise many kinds of errors
        raise UserError(
            f"the environment of {card.name} fails to render: {type(error).__name__}: "
            f"{str(error)[:200]}",
            "without a screen: apt-get install libosmesa6, or with a GPU libegl1; set "
            "MUJOCO_GL=osmesa or egl (docs/export.md)",
            MISSING,
        ) from None
    if frame.ndim != 3 or frame.shape[-1] != 3:
        raise UserError(
            f"the environment of {card.name} draws an array of shape {frame.shape}, not (height, "
            "width, 3)",
            "fix its render()",
            MISSING,
        )
    return frame


def _rows(card: TaskCard, vectors: list[Array], actions: list[Array]) -> tuple[dict[str, str], ...]:
    """Return some states from first to last, by the card's fields of up to three numbers."""
    found = []
    for step in sorted({int(k) for k in np.linspace(0, len(actions), SHOWN_STATES)}):
        row = {"step": str(step)}
        for field in card.fields:
            low, high, _ = card.layout.slices[field.name]
            if high - low <= 3:
                row[field.name] = " ".join(f"{v:.3g}" for v in vectors[step][low:high])
        row["action"] = "-"
        if step < len(actions):
            row["action"] = " ".join(f"{v:.3g}" for v in np.ravel(actions[step]))
        found.append(row)
    return tuple(found)
