"""From a survey's columns to named fields of a card.

Names come from Dict keys, from the documentation's tables, and from MuJoCo. What remains is called
`x0`, `x1`, ...
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from autoreward.drafting.columns import (
    can_be_source,
    groups,
    is_flag,
    range_of,
    same_for_other_axes,
    short,
    source,
)
from autoreward.drafting.drafted import (
    DraftedField,
    Namer,
    identifier,
)
from autoreward.drafting.tables import Row, observation_rows
from autoreward.drafting.vectors import (
    MAX_FIELDS,
    merge_neighbours,
)
from autoreward.store.survey import (
    Column,
    InfoKey,
    Leaf,
    Match,
    Survey,
)

# columns of a Dict's key that stay one field if nothing names them
MAX_WHOLE_KEY = 8
MAX_WORDS_IN_KEY = 8
# keys of info about the reward or the outcome, not the state
NOT_STATE = re.compile(
    r"reward|cost|penalt|prob|^action|return|success|solved|elapsed",
    re.I,
)


def fields_of(survey: Survey) -> list[DraftedField]:
    """All fields, under different names."""
    kept = [leaf for leaf in survey.leaves if leaf.kind]
    found: list[DraftedField] = []
    first_column = 0
    for leaf in kept:
        drafter = _LeafDrafter(
            leaf,
            first_column,
            survey.doc,
            only_leaf=len(kept) == 1,
        )
        found += drafter.fields()
        first_column += len(leaf.columns)
    if len(found) > MAX_FIELDS:
        found = merge_neighbours(found)
    found += info_fields(survey.info)
    return _with_different_names(found)


def _with_different_names(
    fields: list[DraftedField],
) -> list[DraftedField]:
    """Number names that occur again: `speed`, `speed_2`."""
    used: set[str] = set()
    out = []
    for field in fields:
        name = field.name
        n = 2
        while name in used:
            name = f"{field.name}_{n}"
            n += 1
        used.add(name)
        out.append(replace(field, name=name))
    return out


class _LeafDrafter:
    """Drafts the fields of one leaf."""

    def __init__(
        self,
        leaf: Leaf,
        first_column: int,
        doc: str,
        only_leaf: bool,
    ) -> None:
        self.leaf = leaf
        self.first_column = first_column
        self.only_leaf = only_leaf
        self.key = leaf.path.replace(".", "_")
        self.width = len(leaf.columns)
        self.name = "state"
        if self.key:
            words = f"part {self.key}" if self.key.isdigit() else self.key
            self.name = identifier(words, MAX_WORDS_IN_KEY)
        self.rows: dict[int, Row] = {}
        if self.key or only_leaf:
            self.rows = observation_rows(doc, leaf.path, self.width)
        self.matched = any(column.match for column in leaf.columns)

    def fields(self) -> list[DraftedField]:
        """The leaf as one field, or a field for each group of its columns."""
        if not can_be_source(self.leaf):
            return []
        if self.leaf.kind in (
            "discrete",
            "multidiscrete",
            "multibinary",
        ):
            return [self._whole_numbers()]
        if len(self.leaf.shape) > 1 and not self.matched:
            return [self._table()]
        if self.key and self._stays_whole():
            return [self._whole_key()]
        prefix = ""
        if self.key and not self.only_leaf and self.leaf.path != "observation":
            prefix = f"{self.name}_"
        spans = groups(self.leaf.columns, self.rows)
        return [self._group(low, end, prefix) for low, end in spans]

    # -- the whole leaf as one field ---------------------------------------------------------------

    def _whole_numbers(self) -> DraftedField:
        words = {
            "discrete": "a whole number",
            "multidiscrete": "whole numbers",
            "multibinary": "flags",
        }[self.leaf.kind or "discrete"]
        space = self.leaf.space
        if len(space) >= 60:
            space = f"{self.leaf.kind} of shape {list(self.leaf.shape)}"
        return self._field(
            self.name,
            0,
            self.width,
            "flag" if self.leaf.kind == "multibinary" else "code",
            f"{words}, {space}",
            "key" if self.key else "space",
        )

    def _table(self) -> DraftedField:
        size = " x ".join(map(str, self.leaf.shape))
        return self._field(
            self.name if self.key else "table",
            0,
            self.width,
            "-",
            f"unnamed: the {self.leaf.path or 'observation'}, a table of {size}",
            "key" if self.key else "nobody",
        )

    def _stays_whole(self) -> bool:
        """Whether a key is one field: a goal, or a few columns without descriptions."""
        if self.leaf.path in ("achieved_goal", "desired_goal"):
            return True
        described = bool(self.rows) and self.width > 3
        return self.width <= MAX_WHOLE_KEY and not described

    def _whole_key(self) -> DraftedField:
        return self._field(
            self.name,
            0,
            self.width,
            self._unit_of_key(),
            self._meaning_of_key() or f"the observation's {self.leaf.path}",
            "key",
        )

    def _unit_of_key(self) -> str:
        for row in self.rows.values():
            if row.unit:
                return row.unit
        for column in self.leaf.columns:
            if column.match:
                return column.match.unit
        return "-"

    def _meaning_of_key(self) -> str:
        if self.rows and self.width > 1:
            others = len(same_for_other_axes(self.rows, 0))
            if others == self.width - 1:
                return for_all(
                    self.rows[0].meaning,
                    list("xyz"[: self.width]),
                )
        meanings = []
        for k, column in enumerate(self.leaf.columns):
            meaning = _meaning(self.rows.get(k), column)
            if meaning and meaning not in meanings:
                meanings.append(meaning)
        return "; ".join(meanings)

    # -- a group of columns ------------------------------------------------------------------------

    def _group(self, low: int, end: int, prefix: str) -> DraftedField:
        match = self.leaf.columns[low].match
        row = self.rows.get(low)
        if match:
            return self._from_simulator(low, end, prefix, settle(match, row), row)
        if row and row.meaning:
            return self._from_documentation(low, end, prefix, row)
        return self._unnamed(low, end, prefix)

    def _from_simulator(
        self,
        low: int,
        end: int,
        prefix: str,
        match: Match,
        row: Row | None,
    ) -> DraftedField:
        columns = self.leaf.columns[low:end]
        indices = [column.match.index for column in columns if column.match]
        meaning = for_all(match.words, indices)
        if row and row.meaning:
            documented = row.meaning
            others = len(same_for_other_axes(self.rows, low))
            if end > low + 1 and others >= end - low - 1:
                documented = for_all(row.meaning, list("xyz"))
            meaning = f"{documented}: {meaning}"
        unit = match.unit
        if unit == "-" and row:
            unit = row.unit or "-"
        field = self._field(
            prefix + match.name,
            low,
            end,
            unit,
            meaning,
            "simulator",
        )
        return replace(
            field,
            ambiguous=match.words if match.also else "",
            quantity=match.quantity,
        )

    def _from_documentation(self, low: int, end: int, prefix: str, row: Row) -> DraftedField:
        unit = row.unit or "-"
        if end == low + 1:
            name = prefix + identifier(row.meaning)
            return self._field(
                name,
                low,
                end,
                unit,
                row.meaning,
                "documentation",
                row,
            )
        # the field holds all axes, so its name leaves out the x of the first row
        without_x = re.sub(
            r"(?<![\w])x[- ]?(?=\b|coordinate|axis)",
            "",
            row.meaning,
        )
        meaning = for_all(row.meaning, list("xyz"[: end - low]))
        name = prefix + identifier(without_x)
        return self._field(name, low, end, unit, meaning, "documentation")

    def _unnamed(self, low: int, end: int, prefix: str) -> DraftedField:
        """What is known of columns that nothing names: their place, relations and effects."""
        if end == low + 1:
            name = f"x{low}"
            place = f"column {low}"
        else:
            name = f"x{low}_to_{end - 1}"
            place = f"columns {low} to {end - 1}"
        if self.leaf.path:
            place += f" of {self.leaf.path}"
        columns = self.leaf.columns[low:end]
        first = columns[0]
        facts = [first.relation] if first.relation else []
        if all(column.constant for column in columns):
            facts.append("never changed")
        elif first.actions:
            word = "part" if len(first.actions) == 1 else "parts"
            parts = ", ".join(map(str, first.actions[:6]))
            facts.append(f"moved by the action's {word} {parts}")
        meaning = "; ".join([f"unnamed: {place}", *facts])
        return self._field(prefix + name, low, end, "-", meaning, "nobody")

    def _field(
        self,
        name: str,
        low: int,
        end: int,
        unit: str,
        meaning: str,
        named_by: Namer,
        row: Row | None = None,
    ) -> DraftedField:
        """A field of the columns low .. end-1; `row` gives its documented range."""
        columns = self.leaf.columns[low:end]
        if unit == "-" and is_flag(columns):
            unit = "flag"
        ambiguous = ""
        for column in columns:
            # what the documentation says in place of the alternatives is not ambiguous
            if column.match and column.match.also and column.match.words in meaning:
                ambiguous = column.match.words
                break
        first = self.first_column
        return DraftedField(
            name,
            source(self.leaf, low, end),
            self._shape(low, end),
            unit,
            range_of(columns, row),
            meaning,
            named_by,
            tuple(range(first + low, first + end)),
            ambiguous=ambiguous,
        )

    def _shape(self, low: int, end: int) -> tuple[int, ...]:
        whole = low == 0 and end == self.width
        if not whole:
            return () if end == low + 1 else (end - low,)
        if self.leaf.shape == (1,):
            return ()
        return tuple(self.leaf.shape)


def _meaning(row: Row | None, column: Column) -> str:
    """What the documentation says of a column, and what the simulator says."""
    documented = row.meaning if row else ""
    matched = column.match.words if column.match else ""
    return ": ".join(part for part in (documented, matched) if part)


def settle(match: Match, row: Row | None) -> Match:
    """Of equally good explanations, the one whose object the documentation's row names."""
    if row is None or not row.name or row.name in match.of:
        return match
    for of, name in zip(match.also, match.also_named, strict=False):
        if re.search(rf"\b{re.escape(row.name)}\b", of):
            return match.model_copy(
                update={
                    "of": of,
                    "name": name,
                    "also": (),
                    "also_named": (),
                },
            )
    return match


def for_all(words: str, indices: Sequence[str]) -> str:
    """Words about the first of several columns, changed to be about all of them.

    `x position of body hand` -> `(x, y, z) position of body hand`.
    """
    if len(indices) < 2 or not indices[0]:
        return words
    listed = ", ".join(indices)
    if len(indices) > 10:
        listed = f"{indices[0]}, {indices[1]}, ..."
    return re.sub(
        rf"\b{re.escape(indices[0])}\b(?!\))",
        f"({listed})",
        words,
    )


def info_fields(keys: Sequence[InfoKey]) -> list[DraftedField]:
    """Fields for the numbers of `info` that describe the state and that the policy does not see.

    They must be present at every reset and step, vary, and not repeat the observation.
    """
    return [_info_field(key) for key in keys if _describes_state(key)]


def _describes_state(key: InfoKey) -> bool:
    if not key.always or key.kind not in (
        "flag",
        "number",
        "array",
    ):
        return False
    if key.same_as or key.low == key.high or key.flips:
        return False
    return bool(re.fullmatch(r"[\w\-]+", key.name)) and not NOT_STATE.search(key.name)


def _info_field(key: InfoKey) -> DraftedField:
    flag = key.kind == "flag"
    return DraftedField(
        identifier(key.name, MAX_WORDS_IN_KEY),
        f"info.{key.name}",
        () if key.size == 1 else (key.size,),
        "flag" if flag else "-",
        "0 or 1" if flag else f"about {short(key.low)} .. {short(key.high)}",
        f"info[{key.name!r}], which the policy does not see",
        "info",
        policy=False,
    )
