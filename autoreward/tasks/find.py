"""Find task cards by name or path, read them, and check that their simulators are installed.

Cards are searched for in `./envs`, then in installed packages (entry points of the group
`autoreward.envs`, each naming a package that holds cards), then among the shipped ones. The first
card of a name wins.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from autoreward.errors import MISSING, REFUSED, USAGE, UserError
from autoreward.resources import shipped
from autoreward.tasks.card import TaskCard

# problems of a card that one error lists
MAX_PROBLEMS = 5


class LocatedCard(BaseModel):
    """A card and the path of its file; jobs carry it to trainers."""

    card: TaskCard
    path: Path

    @property
    def code(self) -> Path | None:
        """The trusted Python file beside the card."""
        if self.card.code is None:
            return None
        folder = self.path.parent
        return folder / self.card.code

    @property
    def human(self) -> Path | None:
        """The human-written reward program beside the card."""
        if self.card.human is None:
            return None
        folder = self.path.parent
        return folder / self.card.human

    @property
    def code_origin(self) -> Path | None:
        """The file that `code` is a copy of, if the code asks where it is (loop/card_copy.py)."""
        if self.code is None:
            return None
        origin = code_origin_path(self.code)
        if not origin.is_file():
            return None
        text = origin.read_text(encoding="utf-8")
        return Path(text)

    def with_episodic_return(self) -> LocatedCard:
        """Return the same task with `episodic_return: true`.

        Raises UserError if its task reward is the success, which cannot be withheld.
        """
        if self.card.task_reward != "environment":
            raise UserError(
                f"--episodic-return: the task reward of {self.card.name!r} is its success, which "
                "is given only once anyway",
                "remove it: it is for cards with `task_reward: environment` (envs/README.md)",
                USAGE,
            )
        card = self.card.model_copy(update={"episodic_return": True})
        return self.model_copy(update={"card": card})

    def digest(self) -> str:
        """Return the identity of card and trusted code together as 12 hex digits."""
        content = self.card.digest().encode()
        code = self.code
        if code and code.is_file():
            content += code.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        return digest[:12]


def code_origin_path(code: Path) -> Path:
    """Return the file beside a copy of a card's code that says where the original is."""
    return code.with_suffix(".origin")


def folders() -> list[tuple[str, Path]]:
    """Return the folders that are searched for cards, in order, as (origin, folder)."""
    here = Path.cwd() / "envs"
    shipped_cards = shipped("envs")
    found = [("./envs", here)]
    for point in entry_points(group="autoreward.envs"):
        for place in _package_folders(point.value):
            found.append((point.name, place))
    if shipped_cards.resolve() != here.resolve():
        found.append(("shipped", shipped_cards))
    return [(origin, folder) for origin, folder in found if folder.is_dir()]


def _package_folders(entry: str) -> list[Path]:
    """Return the folders of the package that an entry point names, without importing it."""
    package, _, _ = entry.partition(":")
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return []
    return [Path(place) for place in spec.submodule_search_locations]


def listing() -> dict[str, tuple[str, Path]]:
    """Return name (the file's stem) -> (origin, path); the first folder wins."""
    found: dict[str, tuple[str, Path]] = {}
    for origin, folder in folders():
        paths = sorted(folder.rglob("*.yaml"))
        for path in paths:
            found.setdefault(path.stem, (origin, path))
    return found


def load(path: Path) -> LocatedCard:
    """Read one card.

    Raises UserError that names the field and its line, if the card is malformed.
    """
    data = _read_yaml(path)
    try:
        card = TaskCard.model_validate(data)
    except ValidationError as error:
        raise UserError(
            f"{path}: {_problems(path, error)}",
            f"fix the card, then: autoreward envs check {path}",
            REFUSED,
        ) from None
    return LocatedCard(card=card, path=path.resolve())


def _read_yaml(path: Path) -> dict[str, Any]:
    """Read a card's YAML; UserError if it is missing, malformed or not a mapping."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"card {path} not found", "autoreward envs list") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first_line = str(error).splitlines()[0]
        raise UserError(
            f"{path}: cannot be read as YAML: {first_line}{mark(error)}",
            f"fix the file, then: autoreward envs check {path}",
            REFUSED,
        ) from None
    if not isinstance(data, dict):
        raise UserError(
            f"{path}: a card must be a mapping of keys, not {type(data).__name__}",
            "envs/README.md has an example",
            REFUSED,
        )
    return data


def _problems(path: Path, error: ValidationError) -> str:
    """Return the first problems of a card in words, each with its line."""
    errors = error.errors()
    problems = []
    for item in errors[:MAX_PROBLEMS]:
        key = ".".join(map(str, item["loc"]))
        message = item["msg"].removeprefix("Value error, ")
        line = at(path, key or message)
        prefix = f"{key}: " if key else ""
        problems.append(f"{prefix}{message}{line}")
    shown = "; ".join(problems)
    more = len(errors) - MAX_PROBLEMS
    return f"{shown} (and {more} more)" if more > 0 else shown


def at(path: Path, problem: str) -> str:
    """Return ` (line N)` of the key that a problem begins with, empty if the card lacks it.

    Keys are as in `fields.cell.source` or `success.when.0`.
    """
    key = re.match(r"[\w.\-\[\]]+", problem)
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return ""
    words = []
    if key:
        parts = re.split(r"[.\[\]]+", key[0])
        words = [word for word in parts if word]
    line = None
    for word in words:
        found = _child(node, word)
        if found is None:
            break
        line, node = found
    if line is None and words:
        line = _commented_line(text, words[0])
    return f" (line {line})" if line else ""


def _commented_line(text: str, key: str) -> int | None:
    """Return the line of a key that is commented out, waiting to be filled in."""
    pattern = re.compile(rf"#\s*{re.escape(key)}:")
    for number, row in enumerate(text.splitlines(), 1):
        if pattern.match(row):
            return number
    return None


def _child(node: yaml.Node | None, word: str) -> tuple[int, yaml.Node] | None:
    """Return (line, node) of a mapping's key, or of a list's item by its number or `name`.

    A number also selects the n-th key of a mapping.
    """
    # (the node that has the line, the node below it), by name and by position
    named: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    in_order: list[tuple[yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            named.setdefault(str(key.value), (key, value))
            in_order.append((key, value))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            named.setdefault(_name_of(item), (item, item))
            in_order.append((item, item))

    found = named.get(word)
    if found is None and word.isdigit() and int(word) < len(in_order):
        found = in_order[int(word)]
    if found is None:
        return None
    with_line, below = found
    return with_line.start_mark.line + 1, below


def _name_of(item: yaml.Node) -> str:
    """Return NAME of a mapping with `name: NAME`, else an empty string."""
    if isinstance(item, yaml.MappingNode):
        for key, value in item.value:
            if key.value == "name":
                return str(value.value)
    return ""


def mark(error: Exception) -> str:
    """Return where in a YAML file an error is, in words; empty if that is unknown."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return ""
    line = mark.line + 1
    column = mark.column + 1
    return f" (line {line}, column {column})"


def find(task: str) -> LocatedCard:
    """Return a card by name, by `family/name`, or by the path of its file.

    Prints a note if its Python file belongs to another user.
    """
    if task.endswith((".yaml", ".yml")):
        return _with_owner_note(load(Path(task)))
    cards = listing()
    name = task.rsplit("/", 1)[-1]
    if name in cards:
        _, path = cards[name]
        return _with_owner_note(load(path))
    hint = "autoreward envs list shows all"
    close = difflib.get_close_matches(name, cards, 3, 0.4)
    if close:
        hint = f"did you mean {', '.join(close)}? {hint}"
    raise UserError(f"unknown task {task!r}", hint)


def _with_owner_note(card: LocatedCard) -> LocatedCard:
    """Return the card, after a note if its code belongs to neither this user nor root."""
    code = card.code
    if code is None or not code.exists():
        return card
    if not hasattr(os, "getuid"):
        return card
    owner = code.stat().st_uid
    if owner not in (os.getuid(), 0):
        print(
            f"note: {code} belongs to another user ({owner}); a card's Python file runs as "
            "trusted code, outside the sandbox",
            file=sys.stderr,
        )
    return card


def require_simulator(card: TaskCard) -> None:
    """Raise UserError with the extra to install if a module that the card needs is missing."""
    missing = [module for module in card.environment.needs if find_spec(module) is None]
    if not missing:
        return
    install = f"pip install {' '.join(missing)}"
    if card.environment.extra:
        install = f"pip install 'autoreward-rl[{card.environment.extra}]'"
    raise UserError(
        f"the task {card.name!r} needs {', '.join(missing)}, which is not installed",
        install,
        MISSING,
    )
