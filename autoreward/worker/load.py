"""The only place where a generated program is executed, in a process that holds nothing else."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from autoreward.state import Array, Layout, State

FILE = "program.py"


class Refusal(Exception):
    """What is wrong with the program: a class, a line of it where there is one, and what to do."""

    def __init__(self, kind: str, message: str, line: int | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.line, self.hint = kind, message, line, hint

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "message": self.message[:2000], "line": self.line, "hint": self.hint[:500]}


def blamed(error: BaseException) -> int | None:
    """The last line of the program in the error's traceback."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == FILE]
    if isinstance(error, SyntaxError):
        return error.lineno
    return lines[-1] if lines else None


class Program:
    """A loaded program and its per-episode memory, one row per environment. Raises Refusal, and nothing else."""

    def __init__(self, text: str, layout: Layout) -> None:
        self.layout = layout
        namespace: dict[str, Any] = {"__name__": "program", "__file__": FILE}
        try:
            exec(compile(text, FILE, "exec"), namespace)
        except SyntaxError as error:
            raise Refusal("syntax", f"{error.msg}", error.lineno, "answer with one complete Python file") from None
        except MemoryError:
            raise Refusal("memory", "loading the program needs more memory than a program may have", hint="use arrays of n rows") from None
        except BaseException as error:
            raise Refusal("load", f"{type(error).__name__}: {error}", blamed(error), "only `import numpy as np`; nothing may run at import but definitions") from None
        self.reward = self._entry(namespace, "reward")
        self.potential = self._entry(namespace, "potential")
        if self.reward is None and self.potential is None:
            raise Refusal("missing-entry-point", "the program defines neither reward(prev, action, curr, memory) nor potential(state)", hint="define one of them, or both")
        self.initial = self._initial(namespace.get("MEMORY", {}))
        sparse = namespace.get("SPARSE", ())
        if isinstance(sparse, str) or not all(isinstance(s, str) for s in sparse):
            raise Refusal("load", "SPARSE must be a tuple of term names")
        self.sparse = [str(s) for s in sparse]
        self.memory: dict[str, Array] = {}
        self.rows = 0
        self.terms: list[str] | None = None
        self.potentials: list[str] | None = None
        self.broadcast: set[str] = set()

    @staticmethod
    def _entry(namespace: dict[str, Any], name: str) -> Callable[..., Any] | None:
        entry = namespace.get(name)
        if entry is not None and not callable(entry):
            raise Refusal("missing-entry-point", f"{name} is no function", hint=f"def {name}(...)")
        return entry

    @staticmethod
    def _initial(memory: Any) -> dict[str, Array]:
        if not isinstance(memory, dict):
            raise Refusal("memory-form", f"MEMORY is {type(memory).__name__}, not a dict of name -> value at the start of an episode")
        initial = {}
        for name, value in memory.items():
            try:
                array = np.array(value)
                initial[str(name)] = array if array.dtype == bool else array.astype(np.float64)
            except (TypeError, ValueError):
                raise Refusal("memory-form", f"MEMORY[{name!r}] is no number, flag or array of numbers") from None
        return initial

    def step(self, prev: Array, action: Array, curr: Array, first: Array) -> tuple[Array, Array, Array]:
        """Terms (n, k), potentials before and after (n, p), for one step of n rows. The arrays given are the program's to spoil."""
        n = len(curr)
        if n != self.rows:
            self.rows, first = n, np.ones(n, bool)
            self.memory = {k: np.broadcast_to(v, (n, *v.shape)).copy() for k, v in self.initial.items()}
        elif first.any():
            self._reset(first)
        terms: dict[str, Array] = {}
        if self.reward is not None:
            states = State(prev.copy(), self.layout), State(curr.copy(), self.layout)
            terms = self._call("reward", self.reward, n, states[0], action.copy(), states[1], self.memory)
            self._memory_kept(n)
        before: dict[str, Array] = {}
        after: dict[str, Array] = {}
        if self.potential is not None:
            before = self._call("potential", self.potential, n, State(prev, self.layout))
            after = self._call("potential", self.potential, n, State(curr, self.layout))
        if self.terms is None or self.potentials is None:
            twice = sorted(set(terms) & set(before))
            if twice:
                raise Refusal("name-twice", f"{', '.join(twice)} is a term of reward() and a potential, too", hint="give each its own name")
            self.terms, self.potentials = list(terms), list(before)
        if terms.keys() != set(self.terms):
            raise Refusal("names-changed", f"the terms were {self.terms}, now they are {list(terms)}", hint="return the same names at every call")
        if before.keys() != set(self.potentials) or after.keys() != set(self.potentials):
            raise Refusal("names-changed", f"the potentials were {self.potentials}, now they are {list(after)}", hint="return the same names at every call")
        return _stack(terms, self.terms, n), _stack(before, self.potentials, n), _stack(after, self.potentials, n)

    def _reset(self, first: Array) -> None:
        for name, value in self.initial.items():
            array = np.array(self.memory[name])
            array[first] = value
            self.memory[name] = array

    def _memory_kept(self, n: int) -> None:
        for name, value in self.initial.items():
            array = self.memory.get(name)
            if not isinstance(array, np.ndarray) or array.shape != (n, *value.shape):
                shape = getattr(array, "shape", type(array).__name__)
                raise Refusal("memory-form", f"memory[{name!r}] became {shape}; it must stay {(n, *value.shape)}", hint="one row per environment")
        for name in set(self.memory) - set(self.initial):
            raise Refusal("memory-form", f"memory[{name!r}] is not declared in MEMORY", hint=f'MEMORY = {{"{name}": 0.0}}')

    def _call(self, what: str, function: Callable[..., Any], n: int, *arguments: Any) -> dict[str, Array]:
        try:
            with np.errstate(all="ignore"):
                result = function(*arguments)
        except MemoryError:
            raise Refusal("memory", f"{what}() needs more memory than a program may have", hint="use arrays of n rows") from None
        except BaseException as error:
            raise Refusal("exception", f"{what}(): {type(error).__name__}: {error}", blamed(error)) from None
        if not isinstance(result, dict):
            raise Refusal("return-form", f"{what}() returned {type(result).__name__}, not a dict of named arrays")
        return {self._name(what, k): self._values(what, k, v, n) for k, v in result.items()}

    @staticmethod
    def _name(what: str, name: Any) -> str:
        if not isinstance(name, str) or not 0 < len(name) <= 64 or not name.isprintable():
            raise Refusal("return-form", f"{what}(): a name is {str(name)[:80]!r}; it must be a printable string of at most 64 characters")
        return name

    def _values(self, what: str, name: str, value: Any, n: int) -> Array:
        try:
            array = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            raise Refusal("return-form", f"{what}(): {name!r} is no array of real numbers") from None
        if array.shape == ():
            self.broadcast.add(name)
            array = np.full(n, float(array))
        if array.shape != (n,):
            raise Refusal("shape", f"{what}(): {name!r} has shape {array.shape}, not ({n},)", hint="one number per row; sum or index the other axes away")
        bad = ~np.isfinite(array)
        if bad.any():
            hint = "at the first step of an episode memory holds its initial values: take the starting point from prev" if self.initial else "guard divisions, logarithms and roots"
            raise Refusal("not-finite", f"{what}(): {name!r} is not finite in {int(bad.sum())} of {n} rows (first value {array[bad][0]})", hint=hint)
        return array


def _stack(columns: dict[str, Array], names: list[str], n: int) -> Array:
    return np.stack([columns[k] for k in names], 1) if names else np.zeros((n, 0))
