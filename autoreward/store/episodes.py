"""Recorded episodes as arrays of named fields: npz on disk, no pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoreward.errors import REFUSED, UserError
from autoreward.state import Array, Layout, State
from autoreward.store.files import read_arrays, write_arrays


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
        """Write one npz file, whole or not at all."""
        shapes = [",".join(map(str, s)) for s in self.layout.shapes]
        arrays = {
            "names": np.array(self.layout.names),
            "shapes": np.array(shapes),
            "lengths": np.array([e.length for e in self.episodes], np.int64),
            "fields": np.concatenate([e.fields for e in self.episodes])
            if self.episodes
            else np.zeros((0, self.layout.width)),
            "actions": np.concatenate([e.actions for e in self.episodes])
            if self.episodes
            else np.zeros(0),
            "endings": np.array(
                [[e.terminated, e.truncated, e.success] for e in self.episodes], bool
            ).reshape(-1, 3),
        }
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> Trajectories:
        """UserError where the file is missing or is not what `save` writes."""
        try:
            data = read_arrays(path)
            shapes = tuple(tuple(int(n) for n in str(s).split(",") if n) for s in data["shapes"])
            layout = Layout(tuple(str(n) for n in data["names"]), shapes)
            episodes, at = [], 0
            for k, length in enumerate(data["lengths"]):
                fields, actions = (
                    data["fields"][at + k : at + k + length + 1],
                    data["actions"][at : at + length],
                )
                episodes.append(
                    Episode(fields, actions, *(bool(flag) for flag in data["endings"][k]))
                )
                at += int(length)
            if (
                data["fields"].shape != (at + len(episodes), layout.width)
                or not np.isfinite(data["fields"]).all()
            ):
                raise ValueError("fields of another shape, or not finite")
        except FileNotFoundError:
            raise UserError(
                f"no recorded episodes at {path}", "autoreward resume makes them"
            ) from None
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(
                f"{path} is no file of recorded episodes: {error}",
                "move it away, then: autoreward resume",
                REFUSED,
            ) from None
        return cls(layout, tuple(episodes))
