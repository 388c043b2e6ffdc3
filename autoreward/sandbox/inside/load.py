"""The only place where autoreward executes a generated program: a process that holds nothing else.

An exported file runs its program in its user's process (tasks/runtime.py), and says so.

Whatever is wrong with the program becomes a Refusal, which is sent back as a verdict.
"""

from __future__ import annotations

import sys
import traceback

# Python normalizes names in other alphabets with it, and a confined process cannot load modules.
import unicodedata  # noqa: F401
import warnings
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any

import numpy as np

from autoreward.sandbox.wire import ENTRIES, LARGEST
from autoreward.state import Array, Layout, State

FILE = "program.py"
# kinds of numpy types that are real numbers or flags
NUMBERS = "biuf"
MAX_NAME_LENGTH = 64
# characters of a name that a message shows
SHOWN_LENGTH = 80
ONLY_NUMPY = "use only `import numpy as np`; only definitions may run at import"
COMPLETE_FILE = "answer with one complete Python file"
SAME_NAMES = "return the same names at every call"


class Refusal(Exception):
    """What is wrong with the program: its kind, the line if it is known, and what to do."""

    def __init__(self, kind: str, message: str, line: int | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.line = line
        self.hint = hint

    def to_json(self) -> dict[str, Any]:
        """Return the content of a REFUSED frame."""
        return {
            "kind": self.kind,
            "message": self.message[:2000],
            "line": self.line if isinstance(self.line, int) else None,
            "hint": self.hint[:500],
        }


def blamed(error: BaseException) -> int | None:
    """Return the last line of the program in the error's traceback, None if there is none."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == FILE]
    return lines[-1] if lines else None


def described(error: BaseException) -> str:
    """Return `Type: message`.

    The error may be of the program's own class, whose `__str__` fails or never ends.
    """
    name = type.__getattribute__(type(error), "__name__")
    try:
        return f"{name}: {error}"
    except BaseException:
        return str(name)


def refused(what: str, error: BaseException, kind: str = "exception", hint: str = "") -> Refusal:
    """Return the refusal for an error that the program's code has raised."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, MemoryError):
        return Refusal(
            "memory",
            f"{what} needs more memory than a program may use",
            blamed(error),
            "use arrays of n rows",
        )
    if not hint and isinstance(error, (OSError, NotImplementedError)):
        hint = (
            "files, network, processes and randomness are blocked: compute from the arguments only"
        )
    default = "fields are (n,) or (n, k) arrays, one row per environment; fix that line"
    return Refusal(kind, f"{what}: {described(error)}", blamed(error), hint or default)


class LoadedProgram:
    """A loaded program and its per-episode memory, one row per environment.

    Raises Refusal, and nothing else.
    """

    def __init__(self, text: str, layout: Layout, entry: str = "reward") -> None:
        self.layout = layout
        self.entry = entry
        # dataclasses look up their module by name
        module = sys.modules["program"] = ModuleType("program")
        namespace: dict[str, Any] = module.__dict__
        namespace["__file__"] = FILE
        code = _compiled(text)
        try:
            exec(code, namespace)
            self.initial = self._initial(namespace.get("MEMORY", {}))
            self.sparse = self._sparse(namespace.get("SPARSE", ()))
        except BaseException as error:
            raise refused("loading the program", error, "load", ONLY_NUMPY) from None
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
                f"the program defines neither {ENTRIES['reward']} nor {ENTRIES['potential']}",
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
            raise Refusal(
                "missing-entry-point", f"{name} is not a function", hint=f"def {name}(...):"
            )
        return entry

    @staticmethod
    def _sparse(given: Any) -> list[str]:
        names: list[Any] = [None]
        if isinstance(given, str):
            names = [given]
        elif isinstance(given, (tuple, list, set, frozenset)):
            names = list(given)
        if not all(isinstance(name, str) for name in names):
            raise Refusal("load", "SPARSE must be a tuple of term names", hint='SPARSE = ("name",)')
        # a subclass of str could answer differently later
        return [str.__str__(name) for name in names]

    @staticmethod
    def _initial(memory: Any) -> dict[str, Array]:
        if not isinstance(memory, dict):
            raise Refusal(
                "memory-form",
                f"MEMORY is {type(memory).__name__}, not a dict of name -> value at the start of an"
                " episode",
            )
        initial = {}
        for name, value in dict.items(memory):
            if not isinstance(name, str):
                raise Refusal(
                    "memory-form", f"MEMORY has a key of type {type(name).__name__}, not a string"
                )
            array = _numbers(value)
            if array is None:
                hint = 'MEMORY = {"name": 0.0}'
                if value is None:
                    hint = "use np.nan for 'not yet', and test for it with np.isnan"
                raise Refusal(
                    "memory-form",
                    f"MEMORY[{name[:SHOWN_LENGTH]!r}] is not a number, flag or array of numbers",
                    hint=hint,
                )
            initial[str.__str__(name)] = array if array.dtype == bool else array.astype(np.float64)
        return initial

    def step(
        self, prev: Array, action: Array, curr: Array, first: Array
    ) -> tuple[Array, Array, Array]:
        """Return terms (n, k) and potentials before and after (n, p) of one step of n rows.

        The program may overwrite the arrays it is given.
        """
        n = len(curr)
        if n != self.rows:
            self._start_rows(n)
        elif first.any():
            self._reset(first)
        terms: dict[str, Array] = {}
        if self.answers is not None:
            before_step = State(prev.copy(), self.layout)
            after_step = State(curr.copy(), self.layout)
            terms = self._call(
                self.entry, self.answers, n, before_step, action.copy(), after_step, self.memory
            )
            self._check_memory(n)
        before: dict[str, Array] = {}
        after: dict[str, Array] = {}
        if self.potential is not None:
            before = self._call("potential", self.potential, n, State(prev, self.layout))
            after = self._call("potential", self.potential, n, State(curr, self.layout))
        if self.terms is None or self.potentials is None:
            _check_first_names(list(terms), list(before))
            self.terms = list(terms)
            self.potentials = list(before)
        if terms.keys() != set(self.terms):
            message = f"the terms were {self.terms}, now they are {list(terms)}"
            raise Refusal("names-changed", message, hint=SAME_NAMES)
        if before.keys() != set(self.potentials) or after.keys() != set(self.potentials):
            message = f"the potentials were {self.potentials}, now they are {list(after)}"
            raise Refusal("names-changed", message, hint=SAME_NAMES)
        return (
            _stack(terms, self.terms, n),
            _stack(before, self.potentials, n),
            _stack(after, self.potentials, n),
        )

    def _start_rows(self, n: int) -> None:
        """Give n rows their initial memory: the batch has another size than the last one."""
        self.rows = n
        self.memory = {}
        for name, value in self.initial.items():
            self.memory[name] = np.broadcast_to(value, (n, *value.shape)).copy()

    def _reset(self, first: Array) -> None:
        for name, value in self.initial.items():
            array = np.array(self.memory[name])
            array[first] = value
            self.memory[name] = array

    def _check_memory(self, n: int) -> None:
        """Take what the program left in memory as plain arrays of the declared shape: flags stay
        flags, everything else becomes float64.
        """
        for name, value in self.initial.items():
            array = _numbers(self.memory.get(name))
            if array is not None and array.shape == () and value.shape == ():
                array = np.full(n, array)
            if array is None or array.shape != (n, *value.shape):
                became = "something other than an array of numbers"
                if array is not None:
                    became = f"an array of shape {array.shape}"
                raise Refusal(
                    "memory-form",
                    f"memory[{name!r}] became {became}; its shape must stay {(n, *value.shape)}",
                    hint="keep one row per environment",
                )
            self.memory[name] = array if array.dtype == value.dtype else array.astype(np.float64)
        for name in dict.keys(self.memory):
            if name not in self.initial:
                shown = name[:SHOWN_LENGTH] if isinstance(name, str) else type(name).__name__
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
        if not 0 < len(plain) <= MAX_NAME_LENGTH or not plain.isprintable():
            shown = f"of type {type(name).__name__}, or empty"
            if plain:
                shown = repr(plain[:SHOWN_LENGTH])
            raise Refusal(
                "return-form",
                f"{what}(): a name is {shown}; it must be a printable string of at most"
                f" {MAX_NAME_LENGTH} characters",
                hint="use plain names, the same at every call",
            )
        return plain

    def _values(self, what: str, name: str, value: Any, n: int) -> Array:
        array = _numbers(value)
        if array is None:
            raise Refusal(
                "return-form",
                f"{what}(): {name!r} is {_kind(value)}, not an array of real numbers",
                hint="return one float per row",
            )
        array = array.astype(np.float64, copy=False)
        if array.shape == ():
            self.broadcast.add(name)
            array = np.full(n, float(array))
        if array.shape != (n,):
            raise Refusal(
                "shape",
                f"{what}(): {name!r} has shape {array.shape}, not ({n},)",
                hint="return one number per row; sum or index the other axes",
            )
        bad = ~(np.abs(array) <= LARGEST)
        if bad.any():
            hint = "guard divisions, logarithms and roots"
            if self.initial:
                hint = (
                    "at the first step of an episode memory holds its initial values: take the"
                    " starting point from prev"
                )
            raise Refusal(
                "not-finite",
                f"{what}(): {name!r} is not finite, or above {LARGEST:g}, in {int(bad.sum())} of"
                f" {n} rows (first value {array[bad][0]})",
                hint=hint,
            )
        return array


def _numbers(value: Any) -> Array | None:
    """Return a plain array of real numbers or flags; None for anything else (text, complex
    numbers, dates, None, masked rows).
    """
    if type(value) is np.ndarray and value.dtype.kind in NUMBERS:
        return value
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
                return None
            array: Array = np.array(value, subok=False)
            if array.dtype == object and not _holds_text_or_none(array):
                array = array.astype(np.float64)
            return array if array.dtype.kind in NUMBERS else None
    except MemoryError:
        raise
    except Exception:
        return None


def _holds_text_or_none(array: Array) -> bool:
    return any(value is None or isinstance(value, (str, bytes)) for value in array.ravel().tolist())


def _kind(value: Any) -> str:
    """Describe a value without calling any of its own methods."""
    if type(value) is np.ndarray:
        return f"an array of {value.dtype}"
    if isinstance(value, np.ma.MaskedArray):
        return "masked in some rows"
    return type(value).__name__


def _compiled(text: str) -> CodeType:
    try:
        return compile(text.removeprefix("\ufeff"), FILE, "exec")
    except SyntaxError as error:
        raise Refusal("syntax", str(error.msg), error.lineno, COMPLETE_FILE) from None
    except BaseException as error:
        raise Refusal("syntax", f"cannot be parsed: {error}", hint=COMPLETE_FILE) from None


def _check_first_names(terms: list[str], potentials: list[str]) -> None:
    """Raise Refusal unless there is a name at all, and none is both a term and a potential."""
    if not terms and not potentials:
        raise Refusal(
            "return-form",
            "the program returns no terms",
            hint='return {"name": array of shape (n,)}',
        )
    twice = sorted(set(terms) & set(potentials))
    if twice:
        raise Refusal(
            "name-twice",
            f"{', '.join(twice)} is both a term of reward() and a potential",
            hint="give each its own name",
        )


def _stack(columns: dict[str, Array], names: list[str], n: int) -> Array:
    return np.stack([columns[k] for k in names], 1) if names else np.zeros((n, 0))
