"""A composition from a preset's name, from a YAML file, or from a block of a model's reply.

Errors name the line and the way out.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autoreward.errors import REFUSED, USAGE, UserError
from autoreward.rewards.composition.sequence import KINDS, Composition
from autoreward.rewards.composition.transform import UnsuitableComposition
from autoreward.store.files import read as record
from autoreward.store.records import RunHeader

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("the sum of the program's terms and its shaped potentials", {}),
    "signs": (
        "signs alone, as in Auto MC-Reward: 1 for events, 0.1 for all else",
        {"transforms": [{"kind": "signs"}]},
    ),
    "potential": (
        "the shaped potentials alone, terms of reward() off: what is best cannot change",
        {"transforms": [{"kind": "potential"}, {"kind": "weights", "dense": 0.0, "sparse": 0.0}]},
    ),
    "gain": ("potentials pay their plain difference, gamma 1", {"transforms": [{"kind": "gain"}]}),
    "best": ("potentials pay new bests of the episode alone", {"transforms": [{"kind": "best"}]}),
    "normalized": (
        "every term divided by the running deviation of its return",
        {"transforms": [{"kind": "normalize"}]},
    ),
}
# RunHeader.compose: the designer chooses one for each candidate
DESIGNER = "designer"
# characters of a composition
LONGEST = 20_000


class UnreadableComposition(Exception):
    """No composition: `line` of the text, counted from 1, where it is known, and the way out."""

    def __init__(self, message: str, line: int | None, hint: str) -> None:
        super().__init__(message)
        self.message, self.line, self.hint = message, line, hint


def parse(text: str) -> Composition:
    """A composition from YAML text. UnreadableComposition where it is none."""
    import yaml

    if len(text) > LONGEST:
        raise UnreadableComposition(
            f"{len(text)} characters, at most {LONGEST} are taken",
            None,
            "a composition is a few lines long",
        )
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise UnreadableComposition("it refers to itself (&, *)", None, "write it out")
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        # the end of the text is no line of its own
        line = min(mark.line, text.rstrip().count("\n")) + 1 if mark else None
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UnreadableComposition(
            f"not readable as YAML: {what}", line, "transforms: a list of {kind: ..., ...}"
        ) from None
    if isinstance(data, list):
        data = {"transforms": data}
        node = (
            yaml.MappingNode("", [(yaml.ScalarNode("", "transforms"), node)], node.start_mark)
            if node
            else node
        )
    if not isinstance(data, dict):
        raise UnreadableComposition(
            f"a composition is a mapping with `transforms`, this is {type(data).__name__}",
            1,
            "transforms: a list of {kind: ..., ...}",
        )
    try:
        return Composition.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        # the third is pydantic's own tag
        words = [
            str(w)
            for place, w in enumerate(first["loc"])
            if not (place == 2 and first["loc"][0] == "transforms")
        ]
        message = (
            first["msg"].removeprefix("Value error, ")
            if first["type"] != "union_tag_invalid"
            else f"there is no kind {first['ctx'].get('tag')!r}"
        )
        # of the whole list: it says where
        if not words and message.startswith("transforms."):
            place, _, message = message.partition(": ")
            words = place.split(".")
        raise UnreadableComposition(
            f"{'.'.join(words)}: {message}" if words else message,
            line_of(node, words),
            _hint(first, data),
        ) from None


def _hint(error: Any, data: dict[str, Any]) -> str:
    kinds = [k.model_fields["kind"].default for k in KINDS]
    if error["type"] == "union_tag_invalid":
        close = difflib.get_close_matches(str(error["ctx"].get("tag")), kinds, 1, 0.5)
        return (f"did you mean {close[0]}? " if close else "") + f"kinds are {', '.join(kinds)}"
    if error["type"] == "union_tag_not_found":
        return f"each transform has a kind: {', '.join(kinds)}"
    if error["type"] == "extra_forbidden":
        kind = next((str(w) for w in error["loc"] if str(w) in kinds), None)
        fields = next(
            (list(k.model_fields) for k in KINDS if k.model_fields["kind"].default == kind),
            list(Composition.model_fields),
        )
        return f"{kind or 'a composition'} takes {', '.join(f for f in fields if f != 'kind')}"
    return "docs/composition.md has them all"


def line_of(node: Any, words: list[str]) -> int | None:
    """The line, from 1, where a path of keys and indices leads; of the nearest thing around it
    where it leads nowhere.
    """
    import yaml

    line = None
    for word in words:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == word), None)
            if found is None:
                break
            line, node = (found[0].start_mark.line + 1 if found[0].start_mark else line), found[1]
        elif isinstance(node, yaml.SequenceNode) and word.isdigit() and int(word) < len(node.value):
            node = node.value[int(word)]
            line = node.start_mark.line + 1
        else:
            break
    return line


def read(given: str) -> Composition:
    """The composition of a preset's name, or of a file.

    UserError with FILE:LINE and the way out.
    """
    if given in PRESETS and not Path(given).is_file():
        return Composition.model_validate(PRESETS[given][1])
    path = Path(given)
    if not path.is_file():
        close = difflib.get_close_matches(given, PRESETS, 1, 0.5)
        what = (
            "no file"
            if path.suffix in (".yaml", ".yml") or "/" in given
            else "no preset, and no file,"
        )
        raise UserError(
            f"--compose: {what} {given!r}",
            (f"did you mean {close[0]}? " if close else "")
            + f"presets are {', '.join(PRESETS)}; a file holds `transforms:`, see docs/composition.md",
            USAGE,
        )
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: not readable as UTF-8 text: {error}", "save it as UTF-8", REFUSED
        ) from None
    except UnreadableComposition as error:
        raise UserError(f"{path}:{error.line or 1}: {error.message}", error.hint, REFUSED) from None


def chosen(header: RunHeader, path: Path) -> Composition:
    """A candidate's composition: what its designer chose in the file at `path`, where it may
    choose; else the run's. UserError where that is damaged.
    """
    made = record(path, Composition) if header.compose == DESIGNER else None
    try:
        return made or Composition.model_validate(header.composition)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"run.yaml is damaged: composition.{'.'.join(map(str, first['loc']))}: {first['msg']}",
            "restore it from a copy",
            REFUSED,
        ) from None


def yaml_of(composition: Composition) -> str:
    """As a file that `read` takes."""
    import yaml

    return yaml.safe_dump(composition.data() or {"transforms": []}, sort_keys=False)


def refusal(error: UnsuitableComposition, given: str) -> UserError:
    """An UnsuitableComposition as it is told to whoever typed `--compose`."""
    return UserError(f"--compose {given}: {error.message}", error.hint, REFUSED)
