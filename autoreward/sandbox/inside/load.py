"""The only place where a generated program is executed, in a process that holds nothing else."""

from __future__ import annotations

import sys
import traceback
import unicodedata  # noqa: F401  names in other letters are normalized with it, and a jailed process loads nothing
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from autoreward.sandbox.wire import ENTRIES, LARGEST
from autoreward.state import Array, Layout, State

FILE = "program.py"
# kinds of numpy types that are real numbers or flags
NUMBERS = "biuf"


class Refusal(Exception):
    """What is wrong with the program: a class, a line of it where there is one, and what to do."""

    def __init__(self, kind: str, message: str, line: int | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.line, self.hint = kind, message, line, hint

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "message": self.message[:2000],
            "line": self.line if isinstance(self.line, int) else None,
            "hint": self.hint[:500],
        }


def blamed(error: BaseException) -> int | None:
    """The last line of the program in the error's traceback."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == FILE]
    return lines[-1] if lines else None


def described(error: BaseException) -> str:
    """`Type: message`.

    The error may be the program's own class, whose `__str__` fails or never ends.
    """
    name = type.__getattribute__(type(error), "__name__")
    try:
        return f"{name}: {error}"
    except BaseException:
        return str(name)


def refused(what: str, error: BaseException, kind: str = "exception", hint: str = "") -> Refusal:
    """The refusal for an error that came out of the program's code."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, MemoryError):
        return Refusal(
            "memory",
            f"{what} needs more memory than a program may have",
            blamed(error),
            "use arrays of n rows",
        )
    if not hint and isinstance(error, (OSError, NotImplementedError)):
        hint = "a program has no files, network, processes or randomness: compute from its arguments alone"
    return Refusal(
        kind,
        f"{what}: {described(error)}",
        blamed(error),
        hint or "fields are (n,) or (n, k) arrays, one row per environment; mend that line",
    )


class LoadedProgram:
    """A loaded program and its per-episode memory, one row per environment.

    Raises Refusal, and nothing else.
    """

    def __init__(self, text: str, layout: Layout, entry: str = "reward") -> None:
        self.layout, self.entry = layout, entry
        # dataclasses look their module up by name
        module = sys.modules["program"] = ModuleType("program")
        namespace: dict[str, Any] = module.__dict__
        namespace["__file__"] = FILE
        try:
            code = compile(text.removeprefix("\ufeff"), FILE, "exec")
        except SyntaxError as error:
            raise Refusal(
                "syntax", str(error.msg), error.lineno, "answer with one complete Python file"
            ) from None
        except BaseException as error:
            raise Refusal(
                "syntax", f"not parseable: {error}", hint="answer with one complete Python file"
            ) from None
        try:
            exec(code, namespace)
            self.initial = self._initial(namespace.get("MEMORY", {}))
            self.sparse = self._sparse(namespace.get("SPARSE", ()))
        except BaseException as error:
            raise refused(
                "loading the program",
                error,
                "load",
                "only `import numpy as np`; nothing may run at import but definitions",
            ) from None
        self.answers = self._entry(namespace, entry)
        self.potential = self._entry(namespace, "potential") if entry == "reward" else None
        if self.answers is None and entry != "reward":
            raise Refusal(
                "missing-entry-point",
                f"the program does not define {ENTRIES[entry]}",
                hint=f"def {ENTRIES[entry]}:",
            )
        if self.answers is None and self.potential is None:
            raise Refusal(
                "missing-entry-point",
                "the program defines neither reward(prev, action, curr, memory) nor potential(state)",
                hint="define one of them, or both",
            )
        self.memory: dict[str, Array] = {}
        self.rows = 0
        self.terms: list[str] | None = None
        self.potentials: list[str] | None = None
        self.broadcast: set[str] = set()

    @staticmethod
    def _entry(namespace: dict[str, Any], name: str) -> Callable[..., Any] | None:
        entry = namespace.get(name)
        if entry is not None and not callable(entry):
            raise Refusal("missing-entry-point", f"{name} is no function", hint=f"def {name}(...):")
        return entry

    @staticmethod
    def _sparse(given: Any) -> list[str]:
        names = (
            [given]
            if isinstance(given, str)
            else list(given)
            if isinstance(given, (tuple, list, set, frozenset))
            else [None]
        )
        if not all(isinstance(s, str) for s in names):
            raise Refusal("load", "SPARSE must be a tuple of term names", hint='SPARSE = ("name",)')
        return [str.__str__(s) for s in names]

    @staticmethod
    def _initial(memory: Any) -> dict[str, Array]:
        if not isinstance(memory, dict):
            raise Refusal(
                "memory-form",
                f"MEMORY is {type(memory).__name__}, not a dict of name -> value at the start of an episode",
            )
        initial = {}
        for name, value in dict.items(memory):
            if not isinstance(name, str):
                raise Refusal(
                    "memory-form", f"MEMORY has a name that is {type(name).__name__}, not a string"
                )
            array = _numbers(value)
            if array is None:
                hint = (
                    "np.nan stands for 'not yet': test it with np.isnan"
                    if value is None
                    else 'MEMORY = {"name": 0.0}'
                )
                raise Refusal(
                    "memory-form",
                    f"MEMORY[{name[:80]!r}] is no number, flag or array of numbers",
                    hint=hint,
                )
            initial[str.__str__(name)] = array if array.dtype == bool else array.astype(np.float64)
        return initial

    def step(
        self, prev: Array, action: Array, curr: Array, first: Array
    ) -> tuple[Array, Array, Array]:
        """Terms (n, k), potentials before and after (n, p), for one step of n rows.

        The arrays given are the program's to spoil.
        """
        n = len(curr)
        if n != self.rows:
            self.rows, first = n, np.ones(n, bool)
            self.memory = {
                k: np.broadcast_to(v, (n, *v.shape)).copy() for k, v in self.initial.items()
            }
        elif first.any():
            self._reset(first)
        terms: dict[str, Array] = {}
        if self.answers is not None:
            states = State(prev.copy(), self.layout), State(curr.copy(), self.layout)
            terms = self._call(
                self.entry, self.answers, n, states[0], action.copy(), states[1], self.memory
            )
            self._memory_kept(n)
        before: dict[str, Array] = {}
        after: dict[str, Array] = {}
        if self.potential is not None:
            before = self._call("potential", self.potential, n, State(prev, self.layout))
            after = self._call("potential", self.potential, n, State(curr, self.layout))
        if self.terms is None or self.potentials is None:
            twice = sorted(set(terms) & set(before))
            if not terms and not before:
                raise Refusal(
                    "return-form",
                    "the program returns no term at all",
                    hint='return {"name": array of shape (n,)}',
                )
            if twice:
                raise Refusal(
                    "name-twice",
                    f"{', '.join(twice)} is a term of reward() and a potential, too",
                    hint="give each its own name",
                )
            self.terms, self.potentials = list(terms), list(before)
        if terms.keys() != set(self.terms):
            raise Refusal(
                "names-changed",
                f"the terms were {self.terms}, now they are {list(terms)}",
                hint="return the same names at every call",
            )
        if before.keys() != set(self.potentials) or after.keys() != set(self.potentials):
            raise Refusal(
                "names-changed",
                f"the potentials were {self.potentials}, now they are {list(after)}",
                hint="return the same names at every call",
            )
        return (
            _stack(terms, self.terms, n),
            _stack(before, self.potentials, n),
            _stack(after, self.potentials, n),
        )

    def _reset(self, first: Array) -> None:
        for name, value in self.initial.items():
            array = np.array(self.memory[name])
            array[first] = value
            self.memory[name] = array

    def _memory_kept(self, n: int) -> None:
        """What the program left in memory, as plain arrays of the declared shape: flags stay
        flags, everything else is float64.
        """
        for name, value in self.initial.items():
            array = _numbers(self.memory.get(name))
            if array is not None and array.shape == () and value.shape == ():
                array = np.full(n, array)
            if array is None or array.shape != (n, *value.shape):
                shape = (
                    "no array of numbers" if array is None else f"an array of shape {array.shape}"
                )
                raise Refusal(
                    "memory-form",
                    f"memory[{name!r}] became {shape}; it must stay {(n, *value.shape)}",
                    hint="one row per environment",
                )
            self.memory[name] = array if array.dtype == value.dtype else array.astype(np.float64)
        for name in dict.keys(self.memory):
            if name not in self.initial:
                shown = name[:80] if isinstance(name, str) else type(name).__name__
                raise Refusal(
                    "memory-form",
                    f"memory[{shown!r}] is not declared in MEMORY",
                    hint=f'MEMORY = {{"{shown}": 0.0}}',
                )

    def _call(
        self, what: str, function: Callable[..., Any], n: int, *arguments: Any
    ) -> dict[str, Array]:
        try:
            with np.errstate(all="ignore"):
                result = function(*arguments)
            if not isinstance(result, dict):
                raise Refusal(
                    "return-form",
                    f"{what}() returned {type(result).__name__}, not a dict of named arrays",
                )
            found = {}
            for given, value in dict.items(result):
                name = self._name(what, given)
                found[name] = self._values(what, name, value, n)
            return found
        except BaseException as error:
            raise refused(f"{what}()", error) from None

    @staticmethod
    def _name(what: str, name: Any) -> str:
        plain = str.__str__(name) if isinstance(name, str) else ""
        if not 0 < len(plain) <= 64 or not plain.isprintable():
            shown = repr(plain[:80]) if plain else f"of type {type(name).__name__}, or empty"
            raise Refusal(
                "return-form",
                f"{what}(): a name is {shown}; it must be a printable string of at most 64 characters",
                hint="plain names in words, the same at every call",
            )
        return plain

    def _values(self, what: str, name: str, value: Any, n: int) -> Array:
        array = _numbers(value)
        if array is None:
            raise Refusal(
                "return-form",
                f"{what}(): {name!r} is {_kind(value)}, no array of real numbers",
                hint="one float per row",
            )
        array = array.astype(np.float64, copy=False)
        if array.shape == ():
            self.broadcast.add(name)
            array = np.full(n, float(array))
        if array.shape != (n,):
            raise Refusal(
                "shape",
                f"{what}(): {name!r} has shape {array.shape}, not ({n},)",
                hint="one number per row; sum or index the other axes away",
            )
        bad = ~(np.abs(array) <= LARGEST)
        if bad.any():
            hint = (
                "at the first step of an episode memory holds its initial values: take the starting point from prev"
                if self.initial
                else "guard divisions, logarithms and roots"
            )
            raise Refusal(
                "not-finite",
                f"{what}(): {name!r} is not finite, or above {LARGEST:g}, in {int(bad.sum())} of {n} rows (first value {array[bad][0]})",
                hint=hint,
            )
        return array


def _numbers(value: Any) -> Array | None:
    """A plain array of real numbers or flags; None where it is anything else (text, complex,
    dates, None, masked rows).
    """
    if type(value) is np.ndarray and value.dtype.kind in NUMBERS:
        return value
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
                return None
            array: Array = np.array(value, subok=False)
            if array.dtype == object and not any(
                v is None or isinstance(v, (str, bytes)) for v in array.ravel().tolist()
            ):
                array = array.astype(np.float64)
            return array if array.dtype.kind in NUMBERS else None
    except MemoryError:
        raise
    except Exception:
        return None


def _kind(value: Any) -> str:
    """What a value is, in words that do not ask it."""
    dtype = value.dtype if type(value) is np.ndarray else None
    return (
        f"an array of {dtype}"
        if dtype is not None
        else "masked in some rows"
        if isinstance(value, np.ma.MaskedArray)
        else type(value).__name__
    )


def _stack(columns: dict[str, Array], names: list[str], n: int) -> Array:
    return np.stack([columns[k] for k in names], 1) if names else np.zeros((n, 0))
