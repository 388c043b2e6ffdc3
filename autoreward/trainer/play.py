"""A trained agent, shown: whole episodes on the true task, drawn by the environment where it can,
and told in numbers everywhere.
"""

from __future__ import annotations

import ctypes.util
import os
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv

from autoreward.errors import MISSING, UserError
from autoreward.seeds import AGENT_PLACE, stream_seed
from autoreward.state import Array
from autoreward.store.files import write
from autoreward.store.jobs import Played, PlayedEpisode, PlayJob
from autoreward.tasks.card import TaskCard
from autoreward.tasks.find import load
from autoreward.trainer import policy
from autoreward.trainer.environment import CardEnvironment, CardProblem, trusted_code
from autoreward.trainer.pictures import Film

# states of an episode that are told
ROWS = 10


def play(job: PlayJob) -> None:
    """A `Played` at `job.out`, and the picture.

    UserError where one is asked for and Pillow or an OpenGL library is missing.
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
    while len(shown.told) < job.episodes:
        actions, _ = agent.policy.predict(
            seen, deterministic=card.card.evaluation.mode == "deterministic"
        )
        seen = view.step(actions)[0]
    if film:
        film.save()
    why = (
        ""
        if film or not job.picture
        else f"the environment of {card.card.name} does not draw itself (it has no rgb_array rendering)"
    )
    write(
        Path(job.out),
        Played(episodes=tuple(shown.told), picture=job.picture if film else None, why=why),
    )
    view.close()


def _drawable(card: Any, code: Any) -> CardEnvironment:
    try:
        return CardEnvironment(card, code, "rgb_array")
    except CardProblem:
        # its maker takes no render_mode
        return CardEnvironment(card, code)


def _choose_opengl() -> None:
    """Where there is no screen and nobody chose, MuJoCo draws in memory with what is installed:
    EGL with a GPU, else OSMesa.
    """
    if (
        sys.platform == "linux"
        and not os.environ.get("MUJOCO_GL")
        and not os.environ.get("DISPLAY")
    ):
        gpu = any(Path("/dev/dri").glob("render*")) or Path("/dev/nvidia0").exists()
        os.environ["MUJOCO_GL"] = (
            "egl"
            if gpu and ctypes.util.find_library("EGL")
            else "osmesa"
            if ctypes.util.find_library("OSMesa")
            else ""
        )
        if not os.environ["MUJOCO_GL"]:
            del os.environ["MUJOCO_GL"]


class _Shown(gym.Wrapper[Any, Any, Any, Any]):
    """Draws every state before the vector of environments resets, and keeps what is told."""

    def __init__(self, env: CardEnvironment, film: Film | None) -> None:
        super().__init__(env)
        self.card, self.film = env.card, film
        self.told: list[PlayedEpisode] = []

    def _draw(self, words: str) -> None:
        if self.film:
            self.film.add(_frame(self.env, self.card), f"episode {len(self.told) + 1}, {words}")

    def reset(self, **options: Any) -> Any:
        vector, info = self.env.reset(**options)
        self.vectors, self.rewards = [vector], 0.0
        self.actions: list[Array] = []
        self._draw("step 0")
        return vector, info

    def step(self, action: Any) -> Any:
        vector, reward, terminated, truncated, info = self.env.step(action)
        self.vectors.append(vector)
        self.actions.append(np.array(action))
        self.rewards += float(reward)
        if terminated or truncated:
            ending = "success" if info["success"] else "limit" if truncated else "failure"
            self._draw(f"step {len(self.actions)}: {ending}")
            if self.film:
                self.film.cut()
            rows = _rows(self.card, self.vectors, self.actions)
            self.told.append(
                PlayedEpisode(
                    ending=ending,  # type: ignore[arg-type]
                    length=len(self.actions),
                    task_return=self.rewards,
                    metrics=info["metrics"],
                    rows=rows,
                )
            )
        else:
            self._draw(f"step {len(self.actions)}")
        return vector, reward, terminated, truncated, info


def _frame(env: gym.Env[Any, Any], card: TaskCard) -> Array:
    try:
        frame = np.asarray(env.render())
    except Exception as error:
        # MuJoCo and pygame raise all kinds
        hint = "without a screen: apt-get install libosmesa6, or with a GPU libegl1; MUJOCO_GL=osmesa or egl chooses (docs/export.md)"
        raise UserError(
            f"the environment of {card.name} fails to draw: {type(error).__name__}: {str(error)[:200]}",
            hint,
            MISSING,
        ) from None
    if frame.ndim != 3 or frame.shape[-1] != 3:
        raise UserError(
            f"the environment of {card.name} draws an array of shape {frame.shape}, not (height, width, 3)",
            "mend its render()",
            MISSING,
        )
    return frame


def _rows(card: TaskCard, vectors: list[Array], actions: list[Array]) -> tuple[dict[str, str], ...]:
    """Some states, from the first to the last, in the card's fields of up to three numbers."""
    out = []
    for step in sorted({int(k) for k in np.linspace(0, len(actions), ROWS)}):
        row = {"step": str(step)}
        for field in card.fields:
            low, high, _ = card.layout.slices[field.name]
            if high - low <= 3:
                row[field.name] = " ".join(f"{v:.3g}" for v in vectors[step][low:high])
        row["action"] = (
            " ".join(f"{v:.3g}" for v in np.ravel(actions[step])) if step < len(actions) else "-"
        )
        out.append(row)
    return tuple(out)
