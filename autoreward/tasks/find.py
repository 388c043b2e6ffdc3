"""Where task cards are: found by name or path, read, and their simulators asked for.

Cards are looked for in `./envs`, then in installed packages (entry points of the group
`autoreward.envs`, each naming a package that holds cards), then among the shipped ones; the first
name wins.
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

import yaml
from pydantic import BaseModel, ValidationError

from autoreward.errors import MISSING, REFUSED, USAGE, UserError
from autoreward.resources import shipped
from autoreward.tasks.card import TaskCard


class LocatedCard(BaseModel):
    """A card and where it was found; what jobs carry to trainers."""

    card: TaskCard
    path: Path

    @property
    def code(self) -> Path | None:
        """The trusted Python file beside the card."""
        return self.path.parent / self.card.code if self.card.code else None

    @property
    def human(self) -> Path | None:
        return self.path.parent / self.card.human if self.card.human else None

    @property
    def code_origin(self) -> Path | None:
        """The file that `code` is a copy of, if the code asks where it is (loop/card_copy.py)."""
        if self.code is None or not code_origin_path(self.code).is_file():
            return None
        return Path(code_origin_path(self.code).read_text(encoding="utf-8"))

    def at_end(self) -> LocatedCard:
        """The same task with its return held back to the end of an episode, as `episodic_return:
        true` would. UserError where there is none to hold back.
        """
        if self.card.task_reward != "environment":
            raise UserError(
                f"--episodic-return: the task reward of {self.card.name!r} is its success, which comes once as it is",
                "leave it out: it is for cards with `task_reward: environment` (envs/README.md)",
                USAGE,
            )
        return self.model_copy(
            update={"card": self.card.model_copy(update={"episodic_return": True})}
        )

    def digest(self) -> str:
        """Identity of card and trusted code together, as 12 hex digits."""
        code = self.code.read_bytes() if self.code and self.code.exists() else b""
        return hashlib.sha256(self.card.digest().encode() + code).hexdigest()[:12]


def code_origin_path(code: Path) -> Path:
    """The file beside a copy of a card's code that says where the original is."""
    return code.with_suffix(".origin")


def folders() -> list[tuple[str, Path]]:
    """Where cards are looked for, in order: (origin, folder)."""
    found = [("./envs", Path.cwd() / "envs")]
    for point in entry_points(group="autoreward.envs"):
        spec = find_spec(point.value.partition(":")[0])
        for place in (spec.submodule_search_locations or []) if spec else []:
            found.append((point.name, Path(place)))
    if shipped("envs").resolve() != found[0][1].resolve():
        found.append(("shipped", shipped("envs")))
    return [(origin, folder) for origin, folder in found if folder.is_dir()]


def listing() -> dict[str, tuple[str, Path]]:
    """name (the file's stem) -> (origin, path), the first folder wins."""
    out: dict[str, tuple[str, Path]] = {}
    for origin, folder in folders():
        for path in sorted(folder.rglob("*.yaml")):
            out.setdefault(path.stem, (origin, path))
    return out


def load(path: Path) -> LocatedCard:
    """Read one card. UserError names the field and the line's key path."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no card at {path}", "autoreward envs list") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: not readable as YAML: {str(error).splitlines()[0]}{mark(error)}",
            "mend the file, then: autoreward envs check " + str(path),
            REFUSED,
        ) from None
    if not isinstance(data, dict):
        raise UserError(
            f"{path}: a card is a mapping of keys, this is {type(data).__name__}",
            "see envs/README.md for an example",
            REFUSED,
        )
    try:
        card = TaskCard.model_validate(data)
    except ValidationError as error:
        told = [
            (".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, "))
            for e in error.errors()
        ]
        lines = [(f"{key}: {what}" if key else what) + at(path, key or what) for key, what in told]
        raise UserError(
            f"{path}: "
            + "; ".join(lines[:5])
            + (f" (and {len(lines) - 5} more)" if len(lines) > 5 else ""),
            f"mend the card, then: autoreward envs check {path}",
            REFUSED,
        ) from None
    return LocatedCard(card=card, path=path.resolve())


def at(path: Path, problem: str) -> str:
    """` (line N)` where the key that a problem begins with stands in the card:
    `fields.cell.source`, `success.when.0`; empty where it is nowhere.
    """
    key = re.match(r"[\w.\-\[\]]+", problem)
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return ""
    line = None
    words = [w for w in re.split(r"[.\[\]]+", key[0]) if w] if key else []
    for word in words:
        found = _below(node, word)
        if found is None:
            break
        line, node = found
    # a key that is not there may stand in a comment, waiting to be filled in
    if line is None and words:
        line = next(
            (
                k
                for k, row in enumerate(text.splitlines(), 1)
                if re.match(rf"#\s*{re.escape(words[0])}:", row)
            ),
            None,
        )
    return f" (line {line})" if line else ""


def _below(node: yaml.Node | None, word: str) -> tuple[int, yaml.Node] | None:
    """(line, node) of a mapping's key, a list's item by number or by its `name`; for a mapping
    also the n-th.
    """
    if isinstance(node, yaml.MappingNode):
        pairs = node.value
        chosen = next((p for p in pairs if p[0].value == word), None) or (
            pairs[int(word)] if word.isdigit() and int(word) < len(pairs) else None
        )
        return (chosen[0].start_mark.line + 1, chosen[1]) if chosen else None
    if isinstance(node, yaml.SequenceNode):
        items = node.value
        named = next(
            (
                i
                for i in items
                if isinstance(i, yaml.MappingNode)
                and any(k.value == "name" and v.value == word for k, v in i.value)
            ),
            None,
        )
        item = named or (items[int(word)] if word.isdigit() and int(word) < len(items) else None)
        return (item.start_mark.line + 1, item) if item else None
    return None


def mark(error: Exception) -> str:
    """Where in a YAML file an error is, in words; empty where that is not known."""
    mark = getattr(error, "problem_mark", None)
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""


def find(task: str) -> LocatedCard:
    """A card by name, by `family/name`, or by the path of its file.

    Says so where its Python file belongs to somebody else.
    """
    if task.endswith((".yaml", ".yml")):
        return _told(load(Path(task)))
    cards = listing()
    name = task.rsplit("/", 1)[-1]
    if name in cards:
        return _told(load(cards[name][1]))
    close = difflib.get_close_matches(name, cards, 3, 0.4)
    raise UserError(
        f"no task {task!r}",
        (f"did you mean {', '.join(close)}? " if close else "") + "autoreward envs list shows all",
    )


def _told(card: LocatedCard) -> LocatedCard:
    if (
        card.code
        and card.code.exists()
        and hasattr(os, "getuid")
        and (owner := card.code.stat().st_uid) not in (os.getuid(), 0)
    ):
        print(
            f"note: {card.code} belongs to another user ({owner}); a card's Python file runs as trusted code, outside of the jail",
            file=sys.stderr,
        )
    return card


def require_simulator(card: TaskCard) -> None:
    """UserError with the extra to install, where a module that the card needs is missing."""
    missing = [m for m in card.environment.needs if find_spec(m) is None]
    if missing:
        extra = (
            f"pip install 'autoreward-rl[{card.environment.extra}]'"
            if card.environment.extra
            else f"pip install {' '.join(missing)}"
        )
        raise UserError(
            f"the task {card.name!r} needs {', '.join(missing)}, not installed here", extra, MISSING
        )
