"""A plain reward function as a reward program, mechanically.

The function takes an observation, an action and the next observation, and gives one number for each
transition. The program calls it row by row, with observations put together from the card's fields.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from autoreward.rewards.program import facts
from autoreward.tasks.card import Field, TaskCard

# What the parameters of reward functions are called.
OBSERVATION_NAMES = {
    "obs",
    "observation",
    "state",
    "s",
    "ob",
    "prev_obs",
    "prev_state",
    "old_obs",
    "last_obs",
    "o",
    "x",
}
ACTION_NAMES = {"action", "act", "a", "u", "actions"}
NEXT_OBSERVATION_NAMES = {
    "next_obs",
    "next_observation",
    "next_state",
    "obs_next",
    "new_obs",
    "next_s",
    "s2",
    "s_next",
    "obs2",
    "next_o",
    "o2",
    "new_state",
    "observation_next",
    "x_next",
}
# What reward functions are called, the most likely name first.
FUNCTION_NAMES = (
    "reward",
    "compute_reward",
    "reward_function",
    "reward_fn",
    "get_reward",
    "calculate_reward",
    "calc_reward",
    "_reward",
    "_get_reward",
)
PROGRAM = """import numpy as np

{code}


def _observations(state, n):
    return {assembly}


def reward(prev, action, curr, memory):
    n = len(curr)
    before, after = _observations(prev, n), _observations(curr, n)
    values = [{function}({arguments}) for k in range(n)]
    return {{"{term}": np.array([float(v[0]) if isinstance(v, tuple) else float(v) \
for v in values], float)}}
"""


class NotConvertible(Exception):
    """Why a function cannot be converted mechanically, in words."""


@dataclass(frozen=True)
class WrappedFunction:
    """A program's text, and the name of the function that it calls."""

    text: str
    function: str


def follows_contract(code: str) -> bool:
    """True if it defines reward(prev, action, curr, memory), or potential(state)."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return False

    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    if "reward" not in functions:
        return "potential" in facts(code).entry_points
    parameters = _positional(functions["reward"])
    return len(parameters) == 4 and parameters[2] not in NEXT_OBSERVATION_NAMES


def wrap(code: str, card: TaskCard, width: int | None) -> WrappedFunction:
    """Make a program that calls the code's reward function for every row.

    `width` is the number of columns of the environment's observation, None if it is not one vector.
    Raises NotConvertible, with the reason, if that cannot mean the same.
    """
    tree = ast.parse(code)
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    name = _reward_function(list(functions))
    arguments = ", ".join(_argument(kind) for kind in _parameter_kinds(functions[name]))
    called = name
    if name in ("reward", "potential"):
        # These names are the program's own entry points.
        called = f"given_{name}"
        code = _renamed(code, tree, name, called)
    program = PROGRAM.format(
        code=code.strip(),
        assembly=_observations(card, width),
        function=called,
        arguments=arguments,
        term=name.strip("_"),
    )
    return WrappedFunction(program, name)


def _reward_function(functions: list[str]) -> str:
    """The name of the function that is the reward."""
    for name in FUNCTION_NAMES:
        if name in functions:
            return name
    if len(functions) == 1:
        return functions[0]
    if functions:
        raise NotConvertible(f"none of its functions is named {' or '.join(FUNCTION_NAMES[:3])}")
    raise NotConvertible("it has no function at its top level (a method needs its object)")


def _positional(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in [*function.args.posonlyargs, *function.args.args]]


def _parameter_kinds(function: ast.FunctionDef) -> list[str]:
    """`before`, `action` and `after`, in the order in which the function takes them."""
    given = _positional(function)
    needed = given[: len(given) - len(function.args.defaults)]
    kinds = [_kind(function.name, parameter) for parameter in needed]
    needs_keyword = any(default is None for default in function.args.kw_defaults)
    if needs_keyword or not kinds or len(set(kinds)) < len(kinds):
        raise NotConvertible(
            f"{function.name}({', '.join(given)}) is not a function of observation, action and "
            "next observation"
        )
    if "before" in kinds and "after" not in kinds:
        # With a single observation, it is the one that the action led to.
        kinds = ["after" if kind == "before" else kind for kind in kinds]
    return kinds


def _kind(function: str, parameter: str) -> str:
    if parameter in OBSERVATION_NAMES:
        return "before"
    if parameter in ACTION_NAMES:
        return "action"
    if parameter in NEXT_OBSERVATION_NAMES:
        return "after"
    raise NotConvertible(
        f"{function}() takes {parameter!r}, and only an observation, an action and the next "
        "observation can be given"
    )


def _argument(kind: str) -> str:
    return "action[k]" if kind == "action" else f"{kind}[k]"


def _observations(card: TaskCard, width: int | None) -> str:
    """An expression for the observations of n rows of `state`: rows of a vector, or dicts.

    Raises NotConvertible if the fields leave something out.
    """
    fields = [f for f in card.fields if f.reward]
    if all(f.source.startswith("obs.") and f.source.count(".") == 1 for f in fields):
        items = ", ".join(f'"{f.source[4:]}": state.{f.name}[k]' for f in fields)
        return f"[{{{items}}} for k in range(n)]"

    covered, names = _columns_in_a_row(fields)
    if width is None:
        missing = "the observation is not a plain vector"
    elif covered != width:
        missing = f"the card's fields cover only the first {covered} of its {width} columns"
    else:
        parts = ", ".join(f"state.{name}.reshape(n, -1)" for name in names)
        return f"np.concatenate([{parts}], 1)"
    raise NotConvertible(f"the observation cannot be rebuilt from the card's fields: {missing}")


def _columns_in_a_row(fields: list[Field]) -> tuple[int, list[str]]:
    """How many columns from the first are covered without a gap, and by which fields in order."""
    spans: list[tuple[int, int, str]] = []
    for field in fields:
        first, colon, last = field.source.partition(":")
        if first.isdigit():
            end = int(last) if colon else int(first) + 1
            spans.append((int(first), end, field.name))

    covered = 0
    names = []
    for start, end, name in sorted(spans):
        if start == covered:
            names.append(name)
            covered = end
    return covered, names


def _renamed(code: str, tree: ast.Module, name: str, new: str) -> str:
    """The code with the function renamed, in its definition and wherever it is called."""
    places = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            places.append((node.lineno, node.col_offset + len("def ")))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for function in calls:
        if isinstance(function, ast.Name) and function.id == name:
            places.append((function.lineno, function.col_offset))

    # Columns of the syntax tree count bytes. From the end, so that earlier places stay valid.
    lines = [line.encode() for line in code.split("\n")]
    old = name.encode()
    for row, column in sorted(places, reverse=True):
        line = lines[row - 1]
        start = line.index(old, column)
        lines[row - 1] = line[:start] + new.encode() + line[start + len(old) :]
    return "\n".join(line.decode() for line in lines)
