"""The task with numpy only: its fields, success, the end of an episode, and the reward of a step.

This is the one place where a field is read, where success is decided, and where the episode limit
and an episodic return apply. Training (`trainer/environment.py`), hindsight, `Candidate.wrap`,
`Study.evaluate` and exported files all use it. `results/export.py` copies this module, `source.py`
and `state.py` into the files it writes, so it imports numpy and those two only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from autoreward.state import Array, Layout, State, holds
from autoreward.tasks.source import FieldSource, parse_source

# What a program answers for n transitions: terms (n, k), potentials before and after (n, p), and
# the names of all k + p columns.
StepAnswer = tuple[Array, Array, Array, tuple[str, ...]]
# (observation, flat observation, info, first) -> the field's values; `first`: after a reset
ReadField = Callable[[Any, Array, dict[str, Any], bool], Any]


class FieldError(ValueError):
    """A field's source and what the environment returned do not fit; the message names the field."""


@dataclass(frozen=True)
class SuccessRule:
    """What counts as success: conditions on fields, a key of `info`, or a trusted predicate.

    Exactly one of `when`, `info` and `predicate` is given. `when` holds (field, op, value, other,
    at) tuples for `state.holds`, all of which must be true. `latches`: once reached, success counts
    for the episode; otherwise it must hold at the episode's end.
    """

    when: tuple[tuple[str, str, float | None, str | None, tuple[float, ...] | None], ...] = ()
    info: str | None = None
    predicate: str | None = None
    ends_episode: bool = True
    latches: bool = True


@dataclass(frozen=True)
class Task:
    """What a task card says about fields, success, the episode and the reward, as plain data.

    `fields` holds (name, source, shape), with sources as in task cards. `functions` holds the
    card's trusted Python by name: for fields `state.NAME` (called with the environment) and for
    the success predicate (called with a State).
    """

    fields: tuple[tuple[str, str, tuple[int, ...]], ...]
    # names of the fields that programs see
    offered: tuple[str, ...]
    # shape of one action, as programs get it
    row: tuple[int, ...]
    # True if actions are integers
    integer: bool
    # the episode is truncated after this many steps
    limit: int
    # the learner's discount factor
    gamma: float
    # True if the task reward is the environment's own, not 1 at the first success
    own_reward: bool = False
    # True if the environment's reward is withheld, and its sum given on the last step
    episodic_return: bool = False
    success: SuccessRule | None = None
    # of terms and shaped potentials by name; 1 if not given
    weights: dict[str, float] = field(default_factory=dict)
    task_weight: float = 1.0
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)

    @cached_property
    def layout(self) -> Layout:
        """All fields, in card order."""
        names = tuple(name for name, _, _ in self.fields)
        shapes = tuple(shape for _, _, shape in self.fields)
        return Layout(names, shapes)

    @cached_property
    def offered_layout(self) -> Layout:
        """The fields that programs see."""
        shapes = {name: shape for name, _, shape in self.fields}
        return Layout(self.offered, tuple(shapes[name] for name in self.offered))

    @cached_property
    def picked(self) -> Array:
        """The columns of the offered fields among all fields."""
        parts = [np.arange(*self.layout.slices[name][:2]) for name in self.offered]
        return np.concatenate(parts) if parts else np.zeros(0, int)

    @cached_property
    def needed_functions(self) -> tuple[str, ...]:
        """Names of the trusted functions that fields and success call."""
        sources = [parse_source(source) for _, source, _ in self.fields]
        names = [source.name for source in sources if source.origin == "state"]
        if self.success and self.success.predicate:
            names.append(self.success.predicate)
        return tuple(dict.fromkeys(names))

    def succeeds(self, fields: Array) -> Array:
        """Evaluate success on n states (n, D): (n,) of bool.

        Raises ValueError if success is a key of `info`, which states do not hold.
        """
        success = self.success
        state = State(fields, self.layout)
        if success is None:
            return np.zeros(len(fields), bool)
        if success.predicate:
            return np.asarray(self.functions[success.predicate](state), bool)
        if not success.when:
            raise ValueError(f"success is info[{success.info!r}], which states do not hold")
        result = np.ones(len(fields), bool)
        for condition in success.when:
            result &= holds(state, *condition)
        return result


class FieldReader:
    """Reads a task's fields from what its environment returns.

    `unwrapped` returns the environment that functions of `state.NAME` are called with.
    """

    def __init__(self, task: Task, unwrapped: Callable[[], Any]) -> None:
        self.width = task.layout.width
        self.readers: list[tuple[ReadField, int, int]] = []
        self.names: list[tuple[str, str]] = []
        # text and images need no flat vector if no field reads columns of it
        self.reads_columns = False
        for name, text, shape in task.fields:
            source = parse_source(text)
            start, end, _ = task.layout.slices[name]
            if source.origin == "state":
                read = _state_reader(task.functions[source.name], unwrapped)
            elif source.origin == "info":
                read = _info_reader(source, shape)
            elif source.origin == "obs":
                read = _observation_reader(source)
            else:
                read = _column_reader(source.columns)
                self.reads_columns = True
            self.readers.append((read, start, end))
            self.names.append((name, text))

    def read(
        self, observation: Any, flat: Array, info: dict[str, Any], *, first: bool, out: Array
    ) -> Array:
        """Write all fields of one state into the first D numbers of `out`, and return `out`.

        `flat` is the flattened observation, used only if `reads_columns`. `first` is true after a
        reset: a key that `info` does not have yet then reads as zeros. Raises FieldError if a
        source cannot be read, or gives another number of values than the field's shape.
        """
        for k, (read, start, end) in enumerate(self.readers):
            try:
                value = np.asarray(read(observation, flat, info, first), np.float64).ravel()
            except Exception as error:
                name, text = self.names[k]
                message = f"fields.{name}: source {text!r}: {type(error).__name__}: {error}"
                raise FieldError(message) from error
            if value.size != end - start:
                name, text = self.names[k]
                raise FieldError(
                    f"fields.{name}: source {text!r} gives {value.size} numbers, but the field's "
                    f"shape needs {end - start}"
                )
            out[start:end] = value
        return out


def _column_reader(columns: slice) -> ReadField:
    """Read columns of the flattened observation."""
    return lambda observation, flat, info, first: flat[columns]


def _state_reader(function: Callable[..., Any], unwrapped: Callable[[], Any]) -> ReadField:
    """Read what a trusted function returns for the environment."""
    return lambda observation, flat, info, first: function(unwrapped())


def _observation_reader(source: FieldSource) -> ReadField:
    """Read a key of a Dict, an index of a Tuple, a path of both, or the whole observation."""
    keys = source.name.split(".") if source.name else []
    columns = source.columns

    def read(observation: Any, flat: Array, info: dict[str, Any], first: bool) -> Any:
        for key in keys:
            if isinstance(observation, (tuple, list)) and key.isdigit():
                observation = observation[int(key)]
            else:
                observation = observation[key]
        return np.asarray(observation, np.float64).ravel()[columns]

    return read


def _info_reader(source: FieldSource, shape: tuple[int, ...]) -> ReadField:
    """Read a key of `info`; zeros of the field's shape if it is missing after a reset."""
    key, columns = source.name, source.columns

    def read(observation: Any, flat: Array, info: dict[str, Any], first: bool) -> Any:
        if key in info:
            return np.asarray(info[key], np.float64).ravel()[columns]
        if first:
            return np.zeros(shape)
        raise KeyError(f"info has no key {key!r} after a step")

    return read


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step of an episode comes to.

    `success` is the episode's success so far, as the task counts it. `dense_reward` is the task
    reward before an episodic return withholds it.
    """

    reward: float
    dense_reward: float
    terminated: bool
    truncated: bool
    success: bool


class EpisodeTracker:
    """Decides, step by step, the success, the end and the task reward of one episode."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.begin()

    def begin(self) -> None:
        """Start a new episode."""
        self.steps = 0
        self.environment_return = 0.0
        self.has_succeeded = False

    def step(
        self,
        fields: Array,
        environment_reward: float,
        terminated: bool,
        truncated: bool,
        info: dict[str, Any],
    ) -> StepResult:
        """Take one step's fields (D,) and what the environment returned."""
        task = self.task
        success = task.success
        self.steps += 1
        self.environment_return += environment_reward

        now = self._succeeds(fields, info)
        is_first_success = now and not self.has_succeeded
        self.has_succeeded = self.has_succeeded or now
        counted = self.has_succeeded if success is None or success.latches else now

        if is_first_success and success is not None and success.ends_episode:
            terminated = True
        truncated = not terminated and (truncated or self.steps >= task.limit)

        dense_reward = environment_reward if task.own_reward else float(is_first_success)
        reward = dense_reward
        if task.episodic_return:
            reward = self.environment_return if terminated or truncated else 0.0
        return StepResult(reward, dense_reward, terminated, truncated, counted)

    def _succeeds(self, fields: Array, info: dict[str, Any]) -> bool:
        """Evaluate success on one state (D,)."""
        success = self.task.success
        if success is None:
            return False
        if success.info:
            return bool(info.get(success.info, False))
        return bool(self.task.succeeds(fields[None])[0])


class RewardSource(Protocol):
    """Answers with a program's terms: the program in this process, or a reward worker.

    One stream of steps of the same n rows.
    """

    def ask(self, prev: Array, action: Array, curr: Array, first: Array) -> StepAnswer:
        """Return the answers for n transitions.

        prev, curr (n, D) hold the offered fields; action (n, *row); first (n,) marks the rows
        whose memory is reset before this step.
        """
        ...


class Program:
    """The functions of a reward program, run in this process, and its memory per episode."""

    def __init__(self, defined: dict[str, Any], layout: Layout) -> None:
        self.reward = defined.get("reward")
        self.potential = defined.get("potential")
        self.layout = layout
        self.initial: dict[str, Array] = {}
        for name, value in defined.get("MEMORY", {}).items():
            array = np.array(value)
            if array.dtype != bool:
                array = array.astype(np.float64)
            self.initial[str(name)] = array
        self.rows = 0
        self.memory: dict[str, Array] = {}
        self.names: tuple[list[str], list[str]] | None = None

    def ask(self, prev: Array, action: Array, curr: Array, first: Array) -> StepAnswer:
        """Run the program on n transitions, as `RewardSource.ask`.

        Raises ValueError if a value is not finite or has the wrong shape.
        """
        n = len(curr)
        self._prepare_memory(n, first)
        terms: dict[str, Any] = {}
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        with np.errstate(all="ignore"):
            if self.reward is not None:
                # copies: what a program writes into its arguments must not reach the potential
                previous = State(prev.copy(), self.layout)
                current = State(curr.copy(), self.layout)
                terms = self.reward(previous, action.copy(), current, self.memory)
            if self.potential is not None:
                before = self.potential(State(prev, self.layout))
                after = self.potential(State(curr, self.layout))
        if self.names is None:
            self.names = list(terms), list(before)
        term_names, potential_names = self.names
        return (
            _columns(terms, term_names, n),
            _columns(before, potential_names, n),
            _columns(after, potential_names, n),
            (*term_names, *potential_names),
        )

    def _prepare_memory(self, n: int, first: Array) -> None:
        """Give every row a memory, and reset it in rows that begin an episode."""
        if n != self.rows:
            self.rows = n
            for name, value in self.initial.items():
                self.memory[name] = np.broadcast_to(value, (n, *value.shape)).copy()
        if not first.any():
            return
        for name, value in self.initial.items():
            array = np.array(self.memory[name])
            array[first] = value
            self.memory[name] = array


def _columns(values: dict[str, Any], names: list[str], n: int) -> Array:
    """Stack named values as (n, k) float64.

    Raises ValueError if a value is not finite or has the wrong shape.
    """
    out = np.zeros((n, len(names)))
    for k, name in enumerate(names):
        value = np.asarray(values[name], np.float64)
        if value.shape not in ((), (n,)) or not np.isfinite(value).all():
            raise ValueError(
                f"the program's {name!r} is not finite, or its shape is {value.shape} instead of "
                f"({n},)"
            )
        out[:, k] = value
    return out


def shape_potentials(before: Array, after: Array, terminated: Array, gamma: float) -> Array:
    """Return the shaping reward gamma * phi(s') * (1 - terminated) - phi(s), float64.

    `before` and `after` are potentials (..., n, p) at both ends of a step; `terminated` (..., n),
    bool or 0 and 1, is true if the episode ends with the step and not by a time limit. `gamma`
    must be the learner's own.

    Source: Ng, Harada, Russell 1999, "Policy invariance under reward transformations", theorem 1;
    the potential of a terminal state counts as 0.
    """
    return gamma * after * (1.0 - terminated[..., None]) - before


def composed(
    task: Task, answer: StepAnswer, task_reward: Array, terminated: Array
) -> tuple[Array, Array]:
    """Compose the reward of n transitions: the task reward plus the weighted sum of the columns.

    The columns are the terms and the shaped potentials (`shape_potentials`). Returns the reward
    (n,) and the columns (n, k + p) before weighting.
    """
    terms, before, after, names = answer
    shaped = shape_potentials(before, after, terminated, task.gamma)
    columns = np.concatenate([terms, shaped], -1)
    weights = np.array([task.weights.get(name, 1.0) for name in names], np.float64)
    weighted = (columns * weights).sum(-1)
    return task.task_weight * task_reward + weighted, columns
