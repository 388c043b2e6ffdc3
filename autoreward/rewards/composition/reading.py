"""Read a composition from a preset's name, a YAML file, or a block of a model's reply.

Errors name the line and say what to write instead.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from autoreward.errors import REFUSED, USAGE, UserError
from autoreward.rewards.composition.sequence import KINDS, Composition
from autoreward.rewards.composition.transform import UnsuitableComposition
from autoreward.store.io import read as read_record
from autoreward.store.records import RunHeader

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("the sum of the program's terms and its shaped potentials", {}),
    "signs": (
        "only signs, as in Auto MC-Reward: 1 for events, 0.1 for everything else",
        {"transforms": [{"kind": "signs"}]},
    ),
    "potential": (
        "only the shaped potentials, terms of reward() off: the optimal policy stays the same",
        {"transforms": [{"kind": "potential"}, {"kind": "weights", "dense": 0.0, "sparse": 0.0}]},
    ),
    "gain": ("potentials pay their plain difference, gamma 1", {"transforms": [{"kind": "gain"}]}),
    "best": (
        "potentials pay only new bests of the episode",
        {"transforms": [{"kind": "best"}]},
    ),
    "normalized": (
        "every term is divided by the running deviation of its return",
        {"transforms": [{"kind": "normalize"}]},
    ),
}
# the value of RunHeader.compose that lets the designer choose for each candidate
DESIGNER = "designer"
MAX_CHARACTERS = 20_000
FORM = "transforms: a list of {kind: ..., ...}"
KIND_NAMES = [kind.model_fields["kind"].default for kind in KINDS]


class UnreadableComposition(Exception):
    """Text that is not a composition.

    `line` counts from 1 and is None if it is not known; `hint` says what to write instead.
    """

    def __init__(self, message: str, line: int | None, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.hint = hint


def parse(text: str) -> Composition:
    """Read a composition from YAML text. Raises UnreadableComposition."""
    if len(text) > MAX_CHARACTERS:
        raise UnreadableComposition(
            f"the composition has {len(text)} characters; at most {MAX_CHARACTERS} are allowed",
            None,
            "a composition is a few lines long",
        )
    data, node = _load(text)
    if isinstance(data, list):
        data, node = {"transforms": data}, _under_transforms(node)
    if not isinstance(data, dict):
        raise UnreadableComposition(
            f"a composition is a mapping with `transforms`, but this is {type(data).__name__}",
            1,
            FORM,
        )
    try:
        return Composition.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
    path, message = _path_and_message(first)
    raise UnreadableComposition(
        f"{'.'.join(path)}: {message}" if path else message, line_of(node, path), _hint(first)
    )


def _load(text: str) -> tuple[Any, Any]:
    """Return the data of a YAML text and its node, which knows the lines."""
    import yaml

    try:
        node = yaml.compose(text, yaml.SafeLoader)
        events = yaml.parse(text, yaml.SafeLoader)
        if any(isinstance(event, yaml.AliasEvent) for event in events):
            raise UnreadableComposition(
                "the text refers to itself (&, *)", None, "write it out in full"
            )
        return yaml.safe_load(text), node
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        # a mark at the end of the text is after the last line
        line = min(mark.line, text.rstrip().count("\n")) + 1 if mark else None
        raise UnreadableComposition(f"cannot be read as YAML: {problem}", line, FORM) from None


def _under_transforms(node: Any) -> Any:
    """Wrap the node of a bare list as {transforms: list}, as its data is wrapped."""
    import yaml

    if node is None:
        return None
    return yaml.MappingNode("", [(yaml.ScalarNode("", "transforms"), node)], node.start_mark)


def _path_and_message(error: ErrorDetails) -> tuple[list[str], str]:
    """Return the keys and indices that lead to an error of pydantic, and what is wrong."""
    path = [str(part) for part in error["loc"]]
    # after the index of a transform pydantic adds its kind
    if path[:1] == ["transforms"] and len(path) > 2:
        del path[2]
    if error["type"] == "union_tag_invalid":
        return path, f"unknown kind {error['ctx'].get('tag')!r}"
    message = error["msg"].removeprefix("Value error, ")
    # an error of the whole list, which begins with the place (`Composition._order`)
    if not path and message.startswith("transforms."):
        place, _, message = message.partition(": ")
        path = place.split(".")
    return path, message


def _hint(error: ErrorDetails) -> str:
    """Say what to write instead."""
    kinds = ", ".join(KIND_NAMES)
    if error["type"] == "union_tag_invalid":
        tag = str(error["ctx"].get("tag"))
        return did_you_mean(tag, KIND_NAMES) + f"kinds are {kinds}"
    if error["type"] == "union_tag_not_found":
        return f"each transform needs a kind: {kinds}"
    if error["type"] == "extra_forbidden":
        return _allowed_fields([str(part) for part in error["loc"]])
    return "see docs/composition.md"


def _allowed_fields(path: list[str]) -> str:
    """Return the fields of the kind in the path, or those of a composition."""
    for kind in KINDS:
        name = kind.model_fields["kind"].default
        if name in path:
            fields = [field for field in kind.model_fields if field != "kind"]
            return f"{name} takes {', '.join(fields)}"
    return f"a composition takes {', '.join(Composition.model_fields)}"


def did_you_mean(given: str, known: list[str]) -> str:
    """Return "did you mean NAME? " for a name that is close to a known one, else ""."""
    close = difflib.get_close_matches(given, known, 1, 0.5)
    return f"did you mean {close[0]}? " if close else ""


def line_of(node: Any, path: list[str]) -> int | None:
    """Return the line, from 1, of a path of keys and indices in a YAML node.

    If the path ends early, it is the line of the last part that exists; None if there is none.
    """
    import yaml

    line = None
    for part in path:
        if isinstance(node, yaml.MappingNode):
            entry = next((entry for entry in node.value if entry[0].value == part), None)
            if entry is None:
                break
            key, node = entry
            # a key that `_under_transforms` added has no mark
            if key.start_mark:
                line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
        else:
            break
    return line


def read(given: str) -> Composition:
    """Return the composition of a preset's name or of a file.

    Raises UserError, with FILE:LINE for a file that cannot be read.
    """
    path = Path(given)
    if given in PRESETS and not path.is_file():
        return Composition.model_validate(PRESETS[given][1])
    if not path.is_file():
        is_path = path.suffix in (".yaml", ".yml") or "/" in given
        what = "file not found:" if is_path else "not a preset or a file:"
        raise UserError(
            f"--compose: {what} {given!r}",
            did_you_mean(given, list(PRESETS))
            + f"presets are {', '.join(PRESETS)}; "
            + "a file starts with `transforms:`, see docs/composition.md",
            USAGE,
        )
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read as UTF-8 text: {error}",
            "save it as UTF-8",
            REFUSED,
        ) from None
    except UnreadableComposition as error:
        raise UserError(
            f"{path}:{error.line or 1}: {error.message}",
            error.hint,
            REFUSED,
        ) from None


def chosen(header: RunHeader, path: Path) -> Composition:
    """Return a candidate's composition.

    It is what the designer chose in the file at `path`, if the run lets it choose, else the run's.
    Raises UserError if the run's is damaged.
    """
    if header.compose == DESIGNER:
        own = read_record(path, Composition)
        if own:
            return own
    try:
        return Composition.model_validate(header.composition)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(
            f"run.yaml is damaged: composition.{field}: {first['msg']}",
            "restore it from a copy",
            REFUSED,
        ) from None


def yaml_of(composition: Composition) -> str:
    """Return the text of a file that `read` accepts."""
    import yaml

    return yaml.safe_dump(composition.data() or {"transforms": []}, sort_keys=False)


def refusal(error: UnsuitableComposition, given: str) -> UserError:
    """Turn an UnsuitableComposition into the error for whoever typed `--compose`."""
    return UserError(f"--compose {given}: {error.message}", error.hint, REFUSED)
