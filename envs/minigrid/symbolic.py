"""MiniGrid tasks with compact symbolic observations: about seven times faster than the image, and easier to reward.

Each observation is the card's fields in order; the last four, for the policy alone, say which neighbouring cells can be entered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from minigrid.core.constants import DIR_TO_VEC
from minigrid.envs import DoorKeyEnv, KeyCorridorEnv, MultiRoomEnv

DIRECTIONS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])


class Symbolic(gym.Env):
    """Base: `find` looks up the objects after a reset, `rest` gives the fields after position and direction."""

    width: int
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    render_mode = "rgb_array"

    def __init__(self, grid: Any) -> None:
        self.inner = grid
        grid.gen_obs = lambda: None  # the image costs most of a step, and nobody looks at it
        grid.max_steps = 10**9  # the card's limit counts
        self.observation_space = spaces.Box(-np.inf, np.inf, (3 + self.width + 4,), np.float64)
        self.action_space = spaces.Discrete(7)

    find: Callable[[], None]
    rest: Callable[[], list[float]]

    def cells(self, kind: str) -> list[tuple[Any, tuple[int, int]]]:
        grid = self.inner.grid
        return [(o, (i % grid.width, i // grid.width)) for i, o in enumerate(grid.grid) if o is not None and o.type == kind]

    def place(self, thing: Any) -> Any:
        return self.inner.agent_pos if self.inner.carrying is thing else thing.cur_pos

    def _walkable(self) -> list[float]:
        x, y = self.inner.agent_pos
        out = []
        for turn in range(4):
            dx, dy = DIR_TO_VEC[(self.inner.agent_dir + turn) % 4]
            u, v = int(x + dx), int(y + dy)
            inside = 0 <= u < self.inner.width and 0 <= v < self.inner.height
            cell = self.inner.grid.get(u, v) if inside else None
            out.append(float(inside and (cell is None or cell.can_overlap())))
        return out

    def _observation(self) -> np.ndarray:
        return np.array([*self.inner.agent_pos, self.inner.agent_dir, *self.rest(), *self._walkable()], np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.inner.reset(seed=seed)
        self.find()
        return self._observation(), {}

    def render(self) -> np.ndarray:
        return self.inner.get_frame(highlight=False, tile_size=24)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        _, reward, terminated, _, _ = self.inner.step(int(action))
        return self._observation(), float(reward > 0), bool(terminated), False, {}


class DoorKey(Symbolic):
    width = 9

    def find(self) -> None:
        ((self.door, self.door_pos),) = self.cells("door")
        ((self.key, at),) = self.cells("key")
        ((_, self.goal_pos),) = self.cells("goal")
        self.key.cur_pos = at

    def rest(self) -> list[float]:
        return [*self.place(self.key), self.inner.carrying is self.key, *self.door_pos, self.door.is_open, self.door.is_locked, *self.goal_pos]


class KeyCorridor(Symbolic):
    SLOTS = ((2, 1), (2, 3), (2, 5), (4, 1), (4, 3), (4, 5), (1, 2), (1, 4), (5, 2), (5, 4))
    width = 20

    def find(self) -> None:
        ((self.key, key_at),) = self.cells("key")
        ((self.ball, ball_at),) = self.cells("ball")
        self.key.cur_pos, self.ball.cur_pos = key_at, ball_at
        ((self.door, self.door_pos),) = [d for d in self.cells("door") if d[0].is_locked]
        self.slots = [self.inner.grid.get(*p) for p in self.SLOTS]

    def rest(self) -> list[float]:
        states = [0 if d is None or d.type != "door" else 3 if d.is_locked else 2 if d.is_open else 1 for d in self.slots]
        carrying = self.inner.carrying
        return [*self.place(self.key), carrying is self.key, *self.door_pos, self.door.is_open, self.door.is_locked, *self.place(self.ball), carrying is self.ball, *states]


class MultiRoom(Symbolic):
    def __init__(self, grid: Any, rooms: int) -> None:
        self.width = 1 + 3 * (rooms - 1) + 2
        super().__init__(grid)

    def find(self) -> None:
        self.door_pos = [tuple(r.entryDoorPos) for r in self.inner.rooms[1:]]
        self.doors = [self.inner.grid.get(*p) for p in self.door_pos]
        ((_, self.goal_pos),) = self.cells("goal")
        self.room = 0

    def rest(self) -> list[float]:
        x, y = self.inner.agent_pos
        if (x, y) not in self.door_pos:  # a doorway keeps the room the agent came from
            for i, room in enumerate(self.inner.rooms):
                if room.top[0] < x < room.top[0] + room.size[0] - 1 and room.top[1] < y < room.top[1] + room.size[1] - 1:
                    self.room = i
        return [self.room, *[c for p in self.door_pos for c in p], *[d.is_open for d in self.doors], *self.goal_pos]


def door_key(size: int) -> Symbolic:
    return DoorKey(DoorKeyEnv(size=size))


def key_corridor() -> Symbolic:
    return KeyCorridor(KeyCorridorEnv(num_rows=3, room_size=3))


def multi_room(rooms: int, size: int) -> Symbolic:
    return MultiRoom(MultiRoomEnv(minNumRooms=rooms, maxNumRooms=rooms, maxRoomSize=size), rooms)


# What the policy sees: positions relative to the agent and its heading. Fixed for a task, the same for every reward.


def _features(state: Any, points: tuple[str, ...], flags: tuple[str, ...], scale: float, codes: tuple[tuple[str, int], ...] = ()) -> np.ndarray:
    heading = DIRECTIONS[state.agent_dir.astype(int)]
    right = np.stack([-heading[:, 1], heading[:, 0]], -1)
    parts = [state.agent_pos / scale, np.eye(4)[state.agent_dir.astype(int)], state.walkable]
    for name in points:
        places = getattr(state, name)
        places = places[:, None] if places.ndim == 2 else places
        for k in range(places.shape[1]):
            way = places[:, k] - state.agent_pos
            seen = np.stack([(way * heading).sum(-1), (way * right).sum(-1)], -1)
            parts += [seen / scale, np.clip(seen, -1, 1), (np.abs(seen).sum(-1, keepdims=True) <= 1).astype(np.float64)]
    parts += [getattr(state, name).reshape(len(state), -1) for name in flags]
    parts += [np.eye(n)[getattr(state, name).astype(int)].reshape(len(state), -1) for name, n in codes]
    return np.concatenate(parts, -1)


def door_key_features(state: Any) -> np.ndarray:
    return _features(state, ("key_pos", "door_pos", "goal_pos"), ("has_key", "door_open", "door_locked"), 16.0)


def key_corridor_features(state: Any) -> np.ndarray:
    flags = ("has_key", "has_target", "locked_door_open", "locked_door_is_locked")
    return _features(state, ("key_pos", "locked_door_pos", "target_pos"), flags, 7.0, (("door_state", 4),))


def multi_room_features(state: Any) -> np.ndarray:
    return _features(state, ("door_pos", "goal_pos"), ("door_open",), 10.0, (("room_index", 4),))


# What a model that judges transitions is told: no coordinates, which would make nearly every transition a caption of its own.

ACTIONS = ("turn left", "turn right", "move forward", "pick up", "drop", "toggle the door in front", "do nothing")


def door_key_caption(prev: Any, action: np.ndarray, curr: Any) -> list[str]:
    def told(state: Any) -> np.ndarray:
        at_goal = (state.agent_pos == state.goal_pos).all(-1)
        return np.stack([state.has_key > 0, state.door_locked > 0, state.door_open > 0, at_goal], -1)

    names = ("carries the key", "the door is locked", "the door is open", "stands on the goal square")
    words = ("no", "yes")
    return [
        f"{ACTIONS[int(a)]}; " + "; ".join(f"{name}: {words[x]}" + (f", before: {words[y]}" if x != y else "") for name, x, y in zip(names, now.astype(int), before.astype(int), strict=True))
        for a, before, now in zip(action, told(prev), told(curr), strict=True)
    ]
