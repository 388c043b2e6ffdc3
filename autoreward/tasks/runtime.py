"""Runs a task's rules: reads fields, decides success, ends episodes and pays the task reward.

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

Info = dict[str, Any]
Shape = tuple[int, ...]
# (name, source, shape)
FieldEntry = tuple[str, str, Shape]
# (field, op, value, other, at), the arguments of `state.holds`
ConditionEntry = tuple[str, str, float | None, str | None, tuple[float, ...] | None]
# a function of the card's code
TrustedFunction = Callable[..., Any]
# What a program answers for n transitions: terms (n, k), potentials before and after (n, p), and
# the names of all k + p columns.
StepAnswer = tuple[Array, Array, Array, tuple[str, ...]]


class FieldError(ValueError):
    """What the environment returned does not fit a field's source; the message names the field."""


@dataclass(frozen=True)
class SuccessRule:
    """What counts as success: conditions on fields, a key of `info`, or a trusted predicate.

    Exactly one of `when`, `info` and `predicate` is given. `when` holds (field, op, value, other,
    at) tuples for `state.holds`, all of which must be true. `latches`: once reached, success counts
    for the episode; otherwise it must hold at the episode's end.
    """

    when: tuple[ConditionEntry, ...] = ()
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

    fields: tuple[FieldEntry, ...]
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
    functions: dict[str, TrustedFunction] = field(default_factory=dict)

    @cached_property
    def layout(self) -> Layout:
        """All fields, in card order."""
        names = []
        shapes = []
        for name, _, shape in self.fields:
            names.append(name)
            shapes.append(shape)
        return Layout(tuple(names), tuple(shapes))

    @cached_property
    def offered_layout(self) -> Layout:
        """The fields that programs see."""
        shapes = []
        for name in self.offered:
            _, _, shape = self.layout.slices[name]
            shapes.append(shape)
        return Layout(self.offered, tuple(shapes))

    @cached_property
    def picked(self) -> Array:
        """The columns of the offered fields among all fields."""
        columns: list[int] = []
        for name in self.offered:
            start, end, _ = self.layout.slices[name]
            columns.extend(range(start, end))
        return np.array(columns, int)

    @cached_property
    def needed_functions(self) -> tuple[str, ...]:
        """Names of the trusted functions that fields and success call."""
        names = []
        for _, text, _ in self.fields:
            source = parse_source(text)
            if source.origin == "state":
                names.append(source.name)
        if self.success and self.success.predicate:
            names.append(self.success.predicate)
        without_repeats = dict.fromkeys(names)
        return tuple(without_repeats)

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
            raise ValueError(f"success is info[{success.info!r}], which is not part of a state")
        result = np.ones(len(fields), bool)
        for condition in success.when:
            result &= holds(state, *condition)
        return result


# not frozen: one is made per step, and a frozen dataclass takes three times as long to make
@dataclass(slots=True)
class EnvironmentState:
    """What an environment returned for one state.

    `flat` is the flattened observation, which may be empty if no field reads columns of it.
    `is_initial` is true after a reset.
    """

    observation: Any
    flat: Array
    info: Info
    is_initial: bool


ReadField = Callable[[EnvironmentState], Any]


class FieldReader:
    """Reads a task's fields from what its environment returns.

    `unwrapped` returns the environment that functions of `state.NAME` are called with.
    """

    def __init__(self, task: Task, unwrapped: Callable[[], Any]) -> None:
        self.width = task.layout.width
        self.readers: list[tuple[ReadField, int, int]] = []
        self.labels: list[str] = []
        # text and images need no flat vector if no field reads columns of it
        self.reads_columns = False
        for name, text, shape in task.fields:
            source = parse_source(text)
            if source.origin == "columns":
                self.reads_columns = True
            start, end, _ = task.layout.slices[name]
            read = _reader(source, shape, task.functions, unwrapped)
            self.readers.append((read, start, end))
            self.labels.append(f"fields.{name}: source {text!r}")

    def read_into(self, out: Array, state: EnvironmentState) -> None:
        """Write all fields of one state into the first D numbers of `out`.

        Raises FieldError if a source cannot be read, or gives another number of values than the
        field's shape.
        """
        for k, (read, start, end) in enumerate(self.readers):
            try:
                value = np.asarray(read(state), np.float64).ravel()
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                raise FieldError(f"{self.labels[k]}: {reason}") from error
            size = end - start
            if value.size != size:
                raise FieldError(
                    f"{self.labels[k]} gives {value.size} numbers, but the field's shape needs "
                    f"{size}"
                )
            out[start:end] = value


def _reader(
    source: FieldSource,
    shape: Shape,
    functions: dict[str, TrustedFunction],
    unwrapped: Callable[[], Any],
) -> ReadField:
    """Return the function that reads one source."""
    if source.origin == "obs":
        return _observation_reader(source)
    if source.origin == "info":
        return _info_reader(source, shape)
    if source.origin == "state":
        function = functions[source.name]
        return lambda state: function(unwrapped())
    columns = source.columns
    return lambda state: state.flat[columns]


def _observation_reader(source: FieldSource) -> ReadField:
    """Read a key of a Dict, an index of a Tuple, a path of both, or the whole observation."""
    keys = source.name.split(".") if source.name else []
    columns = source.columns

    def read(state: EnvironmentState) -> Any:
        value = state.observation
        for key in keys:
            if key.isdigit() and isinstance(value, (tuple, list)):
                value = value[int(key)]
            else:
                value = value[key]
        numbers = np.asarray(value, np.float64)
        return numbers.ravel()[columns]

    return read


def _info_reader(source: FieldSource, shape: Shape) -> ReadField:
    """Read a key of `info`; zeros of the field's shape if a reset does not give it."""
    key = source.name
    columns = source.columns

    def read(state: EnvironmentState) -> Any:
        if key in state.info:
            value = np.asarray(state.info[key], np.float64)
            return value.ravel()[columns]
        if state.is_initial:
            return np.zeros(shape)
        raise KeyError(f"info has no key {key!r} after a step")

    return read


@dataclass(slots=True)
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
        info: Info,
    ) -> StepResult:
        """Take one step's fields (D,) and what the environment returned."""
        task = self.task
        success = task.success
        self.steps += 1
        self.environment_return += environment_reward

        now = self._succeeds(fields, info)
        is_first_success = now and not self.has_succeeded
        self.has_succeeded = self.has_succeeded or now
        counted = self.has_succeeded
        if success is not None:
            if is_first_success and success.ends_episode:
                terminated = True
            if not success.latches:
                counted = now
        if self.steps >= task.limit:
            truncated = True
        if terminated:
            truncated = False

        dense_reward = environment_reward
        if not task.own_reward:
            dense_reward = float(is_first_success)
        reward = dense_reward
        if task.episodic_return:
            is_last = terminated or truncated
            reward = self.environment_return if is_last else 0.0
        return StepResult(
            reward=reward,
            dense_reward=dense_reward,
            terminated=terminated,
            truncated=truncated,
            success=counted,
        )

    def _succeeds(self, fields: Array, info: Info) -> bool:
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

    def ask(
        self,
        prev: Array,
        action: Array,
        curr: Array,
        first: Array,
    ) -> StepAnswer:
        """Return the answers for n transitions.

        prev, curr (n, D) hold the offered fields; action (n, *row); first (n,) marks the rows
        whose memory is reset before this step.
        """
        ...


class Program:
    """The functions of a reward program, run in this process, and its memory per episode."""

    def __init__(self, defined: dict[str, Any], layout: Layout) -> None:
        self.layout = layout
        self.reward = defined.get("reward")
        self.potential = defined.get("potential")
        self.initial: dict[str, Array] = {}
        memory = defined.get("MEMORY", {})
        for name, value in memory.items():
            array = np.array(value)
            is_flag = array.dtype == bool
            self.initial[str(name)] = array if is_flag else array.astype(np.float64)
        self.rows = 0
        self.memory: dict[str, Array] = {}
        # known once the program has answered
        self.term_names: tuple[str, ...] | None = None
        self.potential_names: tuple[str, ...] = ()

    def ask(
        self,
        prev: Array,
        action: Array,
        curr: Array,
        first: Array,
    ) -> StepAnswer:
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
                # copies: what reward() writes into its arguments must not reach potential()
                terms = self.reward(
                    State(prev.copy(), self.layout),
                    action.copy(),
                    State(curr.copy(), self.layout),
                    self.memory,
                )
            if self.potential is not None:
                before = self.potential(State(prev, self.layout))
                after = self.potential(State(curr, self.layout))
        if self.term_names is None:
            self.term_names = tuple(terms)
            self.potential_names = tuple(before)
        return (
            _columns(terms, self.term_names, n),
            _columns(before, self.potential_names, n),
            _columns(after, self.potential_names, n),
            self.term_names + self.potential_names,
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


def _columns(values: dict[str, Any], names: tuple[str, ...], n: int) -> Array:
    """Stack named values as (n, k) float64.

    Raises ValueError if a value is not finite or has the wrong shape.
    """
    columns = []
    for name in names:
        value = np.asarray(values[name], np.float64)
        if value.shape not in ((), (n,)):
            raise ValueError(f"the program's {name!r} has shape {value.shape}, not ({n},)")
        if not np.isfinite(value).all():
            raise ValueError(f"the program's {name!r} is not finite")
        column = np.broadcast_to(value, (n,))
        columns.append(column)
    if not columns:
        return np.zeros((n, 0))
    return np.stack(columns, -1)


def shape_potentials(
    before: Array,
    after: Array,
    terminated: Array,
    gamma: float,
) -> Array:
    """Return the shaping reward gamma * phi(s') * (1 - terminated) - phi(s), float64.

    `before` and `after` are potentials (..., n, p) at both ends of a step; `terminated` (..., n),
    bool or 0 and 1, is true if the episode ends with the step and not by a time limit. `gamma`
    must be the learner's own.

    Source: Ng, Harada, Russell 1999, "Policy invariance under reward transformations", theorem 1;
    the potential of a terminal state counts as 0.
    """
    return gamma * after * (1.0 - terminated[..., None]) - before


def composed(
    task: Task,
    answer: StepAnswer,
    task_reward: Array,
    terminated: Array,
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
