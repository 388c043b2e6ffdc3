"""Recorded episodes as arrays of named fields: npz on disk, no pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoreward.errors import REFUSED, UserError
from autoreward.state import Array, Layout, State
from autoreward.store.io import read_arrays, write_arrays


def columns(source: Layout, wanted: Layout) -> Array:
    """Indices of the columns of `wanted`'s fields in arrays laid out by `source`."""
    picked = [np.arange(*source.slices[name][:2]) for name in wanted.names]
    return np.concatenate(picked) if picked else np.zeros(0, int)


@dataclass(frozen=True)
class Episode:
    """T steps: fields (T + 1, D) at every state, actions (T, ...), how it ended."""

    fields: Array
    actions: Array
    terminated: bool
    truncated: bool
    success: bool

    @property
    def length(self) -> int:
        return len(self.actions)


@dataclass(frozen=True)
class Trajectories:
    """Episodes over one layout (all fields of a card)."""

    layout: Layout
    episodes: tuple[Episode, ...]

    def states(self, episode: int) -> State:
        """The T + 1 states of one episode, by name."""
        return State(self.episodes[episode].fields, self.layout)

    def save(self, path: Path) -> None:
        """Write one npz file, completely or not at all."""
        fields = np.zeros((0, self.layout.width))
        actions = np.zeros(0)
        if self.episodes:
            fields = np.concatenate([e.fields for e in self.episodes])
            actions = np.concatenate([e.actions for e in self.episodes])
        endings = [[e.terminated, e.truncated, e.success] for e in self.episodes]
        shapes = [",".join(map(str, shape)) for shape in self.layout.shapes]
        arrays = {
            "names": np.array(self.layout.names),
            "shapes": np.array(shapes),
            "lengths": np.array([e.length for e in self.episodes], np.int64),
            "fields": fields,
            "actions": actions,
            "endings": np.array(endings, bool).reshape(-1, 3),
        }
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> Trajectories:
        """Read what `save` writes.

        Raises UserError if the file is missing or damaged.
        """
        try:
            return cls._from_arrays(read_arrays(path))
        except FileNotFoundError:
            raise UserError(
                f"no recorded episodes at {path}", "autoreward resume records them"
            ) from None
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(
                f"{path} cannot be read as recorded episodes: {error}",
                "move it away, then: autoreward resume",
                REFUSED,
            ) from None

    @classmethod
    def _from_arrays(cls, data: dict[str, Any]) -> Trajectories:
        shapes = tuple(tuple(int(n) for n in str(s).split(",") if n) for s in data["shapes"])
        layout = Layout(tuple(str(name) for name in data["names"]), shapes)
        episodes = []
        start = 0
        for k, length in enumerate(data["lengths"]):
            # Each of the k episodes before has one state more than actions.
            states = data["fields"][start + k : start + k + length + 1]
            actions = data["actions"][start : start + length]
            terminated, truncated, success = (bool(flag) for flag in data["endings"][k])
            episodes.append(Episode(states, actions, terminated, truncated, success))
            start += int(length)

        fields = data["fields"]
        if fields.shape != (start + len(episodes), layout.width):
            raise ValueError("fields of another shape")
        if not np.isfinite(fields).all():
            raise ValueError("fields that are not finite")
        return cls(layout, tuple(episodes))
