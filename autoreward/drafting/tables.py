"""What an environment's docstring says, if it is written as gymnasium's are.

Sections under headings, tables with the columns `| Num | Observation | Min | Max |`, and lists such
as `- 0: push left`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

ROW = re.compile(r"^\s*\|(.+)\|\s*$")
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
BULLET = re.compile(r"^\s*[-*]\s*`?(\d+)`?\s*[:=]\s*(.+)$", re.M)
KEY_BULLET = re.compile(r"^\s*[*-]\s+`(\w+)`")
HEADING = re.compile(r"^\s*#{1,4}\s")
# headers of a column that numbers the rows
NUMBERING = ("num", "index", "#", "id", "no.")
# lines before a table in which a Dict key may be named
MAX_LINES_BEFORE = 40


@dataclass(frozen=True)
class Row:
    """One line of a table. `low` and `high` are None if the table gives no number."""

    meaning: str
    low: float | None = None
    high: float | None = None
    unit: str = ""
    name: str = ""

    @property
    def range(self) -> tuple[float, float] | None:
        """Both bounds; None if one is missing."""
        if self.low is None or self.high is None:
            return None
        return self.low, self.high


@dataclass(frozen=True)
class Table:
    """Rows by number. `kind` is `observation` or `action`; `key` is the Dict key it belongs to."""

    kind: str
    rows: dict[int, Row] = field(default_factory=dict)
    key: str = ""


def tables(doc: str) -> list[Table]:
    """All tables of observations or actions whose rows are numbered."""
    found: list[Table] = []
    lines = doc.splitlines()
    k = 0
    while k < len(lines):
        start = k
        block = []
        while k < len(lines):
            match = ROW.match(lines[k])
            if not match:
                break
            block.append([_clean(cell) for cell in match[1].split("|")])
            k += 1
        if not block:
            k += 1
            continue
        table = _table(block, lines[:start])
        if table:
            found.append(table)
    return found


def _table(block: list[list[str]], lines_before: list[str]) -> Table | None:
    """A table from its cells, the header first; None if it is of another form."""
    header = [cell.lower() for cell in block[0]]
    kind = ""
    for word in ("action", "observation"):
        if any(cell.startswith(word) for cell in header):
            kind = word
    if not kind or header[0] not in NUMBERING:
        return None
    rows = {}
    for cells in block[1:]:
        if len(cells) == len(header) and cells[0].isdigit():
            named = dict(zip(header, cells, strict=True))
            rows[int(cells[0])] = _row(named, kind)
    return Table(kind, rows, _key_before(lines_before)) if rows else None


def _row(cells: dict[str, str], kind: str) -> Row:
    meaning = ""
    for header, text in cells.items():
        if header.startswith(kind):
            meaning = text
            break
    return Row(
        meaning,
        _number(_cell(cells, "min")),
        _number(_cell(cells, "max")),
        _unit(_cell(cells, "unit")),
        _cell(cells, "name"),
    )


def _cell(cells: dict[str, str], word: str) -> str:
    """The first filled cell under a header with that word."""
    for header, text in cells.items():
        if word in header and text not in ("", "-"):
            return text
    return ""


def _unit(text: str) -> str:
    """`position (m)` -> `m`, `unitless` -> `-`."""
    in_brackets = re.search(r"\(([^()]*)\)\s*$", text)
    unit = in_brackets[1] if in_brackets else text
    return "-" if unit.lower() in ("unitless", "none") else unit


def _number(text: str) -> float | None:
    """A finite number in a cell; None if there is none, or a formula."""
    if "inf" in text.lower() or "\u221e" in text:
        return None
    if re.search(r"pi|π|\*", text):
        return None
    # documentation writes the minus sign as U+2212
    match = NUMBER.search(text.replace("\u2212", "-"))
    return float(match[0]) if match else None


def _clean(cell: str) -> str:
    """A cell's text without markup; indices (`<sub>`) are set off with underscores."""
    tag = "_" if "<sub>" in cell else ""
    text = re.sub(r"</?\w+>", tag, cell)
    for mark in ("`", "**", "$"):
        text = text.replace(mark, "")
    return re.sub(r"\s+", " ", text).strip(" _")


def _key_before(lines: list[str]) -> str:
    """The last `key` in backticks at the start of a bullet before a table."""
    for line in reversed(lines[-MAX_LINES_BEFORE:]):
        match = KEY_BULLET.match(line)
        if match:
            return match[1]
        if ROW.match(line) or line.lstrip().startswith("#"):
            return ""
    return ""


def observation_rows(doc: str, key: str, width: int) -> dict[int, Row]:
    """The rows that describe a leaf of `width` columns at `key`; empty if no table fits it."""
    numbers = set(range(width))
    for table in tables(doc):
        fits = table.kind == "observation" and set(table.rows) == numbers
        if fits and (not key or table.key == key.rpartition(".")[2]):
            return table.rows
    return {}


def action_meanings(doc: str, size: int) -> dict[int, str]:
    """What each value or component of the action means.

    Empty unless a table, or a list in the action's section, has all of them.
    """
    numbers = set(range(size))
    for table in tables(doc):
        if table.kind == "action" and set(table.rows) == numbers:
            return {k: row.meaning for k, row in table.rows.items()}
    listed = {}
    for number, words in BULLET.findall(section(doc, "action")):
        listed[int(number)] = _clean(words).rstrip(".,;")
    return listed if set(listed) == numbers else {}


def section(doc: str, word: str) -> str:
    """The text under the first heading that has the word, up to the next heading."""
    found: list[str] | None = None
    for line in doc.splitlines():
        if HEADING.match(line):
            if found is not None:
                break
            found = [] if word in line.lower() else None
        elif found is not None:
            found.append(line)
    return "\n".join(found or []).strip()


def prose(doc: str, max_chars: int = 1200) -> str:
    """What the environment is, in words.

    Taken from the section "Description", else from the text before the first heading.
    """
    text = section(doc, "description")
    if not text:
        text = re.split(r"^\s*#", doc, maxsplit=1, flags=re.M)[0]
    # code blocks
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    # links, as Markdown and as HTML
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\[?</?[a-z][^<>]*>\]?", "", text)
    kept: list[str] = []
    length = 0
    for paragraph in re.split(r"\n\s*\n", text):
        if any(ROW.match(line) for line in paragraph.splitlines()):
            continue
        words = " ".join(paragraph.replace("`", "").replace("**", "").split())
        if not words:
            continue
        length += len(words)
        if length > max_chars:
            break
        kept.append(words)
    return " ".join(kept)
