"""What an environment's docstring says, in gymnasium's manner: sections, `| Num | Observation |
Min | Max |` tables, `- 0: push left` lists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

ROW = re.compile(r"^\s*\|(.+)\|\s*$")
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
BULLET = re.compile(r"^\s*[-*]\s*`?(\d+)`?\s*[:=]\s*(.+)$", re.M)


@dataclass(frozen=True)
class Row:
    """One line of a table. `low`, `high` None where it gives no number."""

    meaning: str
    low: float | None = None
    high: float | None = None
    unit: str = ""
    name: str = ""


@dataclass(frozen=True)
class Table:
    """Rows by number; `key` is the Dict key that the text before the table names last."""

    kind: str
    rows: dict[int, Row] = field(default_factory=dict)
    key: str = ""


def tables(doc: str) -> list[Table]:
    """All tables whose rows are numbered and whose second or third column is an observation or an
    action.
    """
    found, lines, k = list[Table](), doc.splitlines(), 0
    while k < len(lines):
        if not ROW.match(lines[k]):
            k += 1
            continue
        block = []
        start = k
        while k < len(lines) and (match := ROW.match(lines[k])):
            block.append([_clean(c) for c in match[1].split("|")])
            k += 1
        header = [c.lower() for c in block[0]]
        kind = (
            "observation"
            if any(c.startswith("observation") for c in header)
            else "action"
            if any(c.startswith("action") for c in header)
            else ""
        )
        if not kind or not header or header[0] not in ("num", "index", "#", "id", "no."):
            continue
        rows = {}
        for cells in block[1:]:
            if len(cells) == len(header) and cells[0].isdigit():
                rows[int(cells[0])] = _row(dict(zip(header, cells, strict=True)), kind)
        if rows:
            found.append(Table(kind, rows, _key_before(lines[:start])))
    return found


def _row(cells: dict[str, str], kind: str) -> Row:
    def cell(*words: str) -> str:
        return next(
            (v for k, v in cells.items() if any(w in k for w in words) and v not in ("", "-")), ""
        )

    unit = cell("unit")
    unit = m[1] if (m := re.search(r"\(([^()]*)\)\s*$", unit)) else unit
    unit = "-" if unit.lower() in ("unitless", "none") else unit
    meaning = next((v for k, v in cells.items() if k.startswith(kind)), "")
    return Row(meaning, _number(cell("min")), _number(cell("max")), unit, cell("name"))


def _number(text: str) -> float | None:
    if "inf" in text.lower() or "\u221e" in text:
        return None
    match = NUMBER.search(text.replace("\u2212", "-"))
    return float(match[0]) if match and not re.search(r"pi|π|\*", text) else None


def _clean(cell: str) -> str:
    cell = re.sub(r"</?\w+>", "_", cell) if "<sub>" in cell else re.sub(r"</?\w+>", "", cell)
    return re.sub(r"\s+", " ", cell.replace("`", "").replace("**", "").replace("$", "")).strip(" _")


def _key_before(lines: list[str]) -> str:
    """The last `key` in backticks at the head of a bullet before a table."""
    for line in reversed(lines[-40:]):
        if match := re.match(r"^\s*[*-]\s+`(\w+)`", line):
            return match[1]
        if ROW.match(line) or line.lstrip().startswith("#"):
            return ""
    return ""


def observation_rows(doc: str, key: str, width: int) -> dict[int, Row]:
    """The rows that belong to a leaf of `width` columns at `key`; empty where no table fits it."""
    fitting = [
        t for t in tables(doc) if t.kind == "observation" and set(t.rows) == set(range(width))
    ]
    named = [t for t in fitting if t.key == key.rpartition(".")[2]] if key else fitting
    return named[0].rows if named else {}


def action_words(doc: str, size: int) -> dict[int, str]:
    """What each value or component of the action means, where a table or a list of the action's
    section says so for all of them.
    """
    for table in tables(doc):
        if table.kind == "action" and set(table.rows) == set(range(size)):
            return {k: row.meaning for k, row in table.rows.items()}
    text = section(doc, "action")
    listed = {int(n): _clean(words).rstrip(".,;") for n, words in BULLET.findall(text)}
    return listed if set(listed) == set(range(size)) else {}


def section(doc: str, word: str) -> str:
    """The text under the first heading that holds the word, up to the next heading."""
    found: list[str] | None = None
    for line in doc.splitlines():
        if re.match(r"^\s*#{1,4}\s", line):
            if found is not None:
                break
            found = [] if word in line.lower() else None
        elif found is not None:
            found.append(line)
    return "\n".join(found or []).strip()


def prose(doc: str, most: int = 1200) -> str:
    """What the environment is, in words: its section "Description", else what stands before the
    first heading.
    """
    text = section(doc, "description") or re.split(r"^\s*#", doc, maxsplit=1, flags=re.M)[0]
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    # gymnasium's docstrings hold links as HTML
    text = re.sub(r"\[?</?[a-z][^<>]*>\]?", "", text)
    kept: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        if any(ROW.match(line) for line in paragraph.splitlines()):
            continue
        words = " ".join(paragraph.replace("`", "").replace("**", "").split())
        if words and sum(map(len, kept)) + len(words) <= most:
            kept.append(words)
        elif words:
            break
    return " ".join(kept)
