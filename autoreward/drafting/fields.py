"""From a survey's columns to named fields: by Dict key, by the documentation's table, by what
MuJoCo calls them; what is left is `x0`, `x1`, ...
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from autoreward.drafting.tables import Row, observation_rows
from autoreward.store.survey import Column, InfoKey, Leaf, Match, Survey

# columns of a Dict's key that stay one field where nothing names them
WHOLE = 8
# neighbours with equal finite bounds that are one field: a lidar's rays, a grid's cells
RUN = 8
# above this, neighbours of one quantity become one field
MOST_FIELDS = 60
LITTLE = {
    "the",
    "a",
    "an",
    "of",
    "in",
    "at",
    "and",
    "for",
    "to",
    "on",
    "is",
    "s",
    "its",
    "value",
    "equals",
    "with",
    "respect",
}


@dataclass(frozen=True)
class Drafted:
    """One field of the card; `by` says where its name comes from; `columns` are its columns,
    counted over all leaves that are kept.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    unit: str
    range: str
    meaning: str
    by: str
    columns: tuple[int, ...] = ()
    policy: bool = True
    ambiguous: str = ""
    quantity: str = ""
    first_name: str = ""


def fields_of(survey: Survey) -> list[Drafted]:
    """All fields, with names that differ."""
    found: list[Drafted] = []
    at = 0
    kept = [leaf for leaf in survey.leaves if leaf.kind]
    for leaf in kept:
        found += _of_leaf(leaf, at, survey.doc, alone=len(kept) == 1)
        at += len(leaf.columns)
    if len(found) > MOST_FIELDS:
        found = _merged(found)
    observed = set[str]()
    out = []
    for field in [*found, *_of_info(survey.info)]:
        name, n = field.name, 2
        while name in observed:
            name, n = f"{field.name}_{n}", n + 1
        observed.add(name)
        out.append(replace(field, name=name))
    return out


def identifier(text: str, most: int = 5) -> str:
    """A Python name from words: `Cart Position` -> cart_position, `Cosine of theta1` ->
    cosine_theta1.
    """
    text = re.sub(
        r"\([^()]*\)",
        lambda m: m[0] if re.search(r"(cos|sin|tan)$", text[: m.start()].strip().lower()) else " ",
        text,
    )
    words = [w.lower() for w in re.findall(r"[A-Za-z0-9]+", text)]
    kept = [w for w in words if w not in LITTLE] or words or ["x"]
    name = "_".join(kept[:most])
    name = f"n_{name}" if name[0].isdigit() else name
    return f"{name}_" if keyword.iskeyword(name) else name


def _source(leaf: Leaf, low: int, end: int) -> str:
    """Where the columns low .. end-1 of a leaf come from, in a card's words."""
    whole = low == 0 and end == len(leaf.columns)
    span = f"{low}:{end}" if end > low + 1 else f"{low}"
    if not leaf.path:
        return (
            span
            if leaf.kind == "box" and leaf.start is not None
            else "obs"
            if whole
            else f"obs[{span}]"
        )
    if re.fullmatch(r"[\w.\-]+", leaf.path):
        return f"obs.{leaf.path}" if whole else f"obs.{leaf.path}[{span}]"
    return (
        f"{(leaf.start or 0) + low}:{(leaf.start or 0) + end}"
        if end > low + 1
        else f"{(leaf.start or 0) + low}"
    )


def _of_leaf(leaf: Leaf, at: int, doc: str, alone: bool) -> list[Drafted]:
    key = leaf.path.replace(".", "_")
    name = identifier(f"part {key}" if key.isdigit() else key, 8) if key else "state"
    width = len(leaf.columns)
    if not re.fullmatch(r"[\w.\-]*", leaf.path) and (
        leaf.start is None or leaf.kind in ("discrete", "multidiscrete")
    ):
        return []
    if leaf.kind in ("discrete", "multidiscrete", "multibinary"):
        said = {
            "discrete": "a whole number",
            "multidiscrete": "whole numbers",
            "multibinary": "flags",
        }[leaf.kind]
        return [
            _field(
                name,
                leaf,
                0,
                width,
                at,
                "code" if leaf.kind != "multibinary" else "flag",
                f"{said}, {_space(leaf)}",
                "key" if key else "space",
            )
        ]
    rows = observation_rows(doc, leaf.path, width) if key or alone else {}
    matched = any(c.match for c in leaf.columns)
    if len(leaf.shape) > 1 and not matched:
        return [
            _field(
                name if key else "table",
                leaf,
                0,
                width,
                at,
                "-",
                f"unnamed: the {leaf.path or 'observation'}, a table of {' x '.join(map(str, leaf.shape))}",
                "key" if key else "nobody",
            )
        ]
    if key and (
        leaf.path in ("achieved_goal", "desired_goal")
        or (width <= WHOLE and not (rows and width > 3))
    ):
        words = (
            "; ".join(
                dict.fromkeys(
                    m for k, c in enumerate(leaf.columns) if (m := _told(rows.get(k), c, k))
                )
            )
            if rows or matched
            else ""
        )
        if rows and len(list(_axes(rows, 0))) == width - 1 and width > 1:
            words = several(rows[0].meaning, list("xyz"[:width]))
        unit = next(
            (r.unit for r in rows.values() if r.unit),
            next((c.match.unit for c in leaf.columns if c.match), "-"),
        )
        return [
            _field(name, leaf, 0, width, at, unit, words or f"the observation's {leaf.path}", "key")
        ]
    prefix = f"{name}_" if key and not alone and leaf.path != "observation" else ""
    out = []
    for low, end in _groups(leaf.columns, rows):
        out.append(_group(leaf, low, end, at, rows, prefix))
    return out


def _groups(columns: Sequence[Column], rows: dict[int, Row]) -> Iterable[tuple[int, int]]:
    """Runs of columns that are one thing: parts of one vector of the simulator, or unnamed
    neighbours with equal finite bounds; else one each.
    """
    k = 0
    while k < len(columns):
        end = k + 1
        match = columns[k].match
        if match:
            while (
                end < len(columns)
                and (m := columns[end].match)
                and m.name == match.name
                and m.index
                and match.index
            ):
                end += 1
        elif k in rows:
            end += sum(1 for _ in _axes(rows, k))
        else:
            same = end
            while (
                same < len(columns)
                and not columns[same].match
                and same not in rows
                and _alike(columns[k], columns[same])
            ):
                same += 1
            end = (
                same
                if same - k >= RUN and columns[k].low is not None and columns[k].high is not None
                else end
            )
        yield k, end
        k = end


def _axes(rows: dict[int, Row], k: int) -> Iterable[int]:
    """The rows after k that say the same of the axes y and z as row k says of x."""
    for n, axis in enumerate("yz", 1):
        other = rows.get(k + n)
        if (
            other is None
            or not re.search(r"\bx\b", rows[k].meaning, re.I)
            or _axis(other.meaning, axis) != _axis(rows[k].meaning, "x")
        ):
            return
        yield k + n


def _axis(meaning: str, axis: str) -> str:
    """A row's meaning with its axis blotted out: `x`, `x-axis`, `dx`; a symbol with an index,
    `x_block`, too.
    """
    return re.sub(rf"\b(d?){axis}(?=\b|_)", "?", meaning, flags=re.I)


def _alike(a: Column, b: Column) -> bool:
    return (
        (a.low, a.high, a.integer) == (b.low, b.high, b.integer)
        and not a.relation
        and not b.relation
    )


def _group(leaf: Leaf, low: int, end: int, at: int, rows: dict[int, Row], prefix: str) -> Drafted:
    columns = leaf.columns[low:end]
    first, row = columns[0], rows.get(low)
    match = first.match
    if match:
        match = settled(match, row)
        words = several(match.words, [c.match.index for c in columns if c.match])
        if row and row.meaning:
            words = f"{several(row.meaning, list('xyz')) if len(list(_axes(rows, low))) >= end - low - 1 > 0 else row.meaning}: {words}"
        unit = match.unit if match.unit != "-" or row is None else row.unit or "-"
        drafted = _field(prefix + match.name, leaf, low, end, at, unit, words, "simulator")
        return replace(
            drafted, ambiguous=match.words if match.also else "", quantity=match.quantity
        )
    if row and row.meaning:
        meaning = row.meaning if end == low + 1 else several(row.meaning, list("xyz"[: end - low]))
        plain = (
            row.meaning
            if end == low + 1
            else re.sub(r"(?<![\w])x[- ]?(?=\b|coordinate|axis)", "", row.meaning)
        )
        bounds = row if end == low + 1 else None
        return _field(
            prefix + identifier(plain),
            leaf,
            low,
            end,
            at,
            row.unit or "-",
            meaning,
            "documentation",
            bounds,
        )
    name = f"{prefix}x{low}" if end == low + 1 else f"{prefix}x{low}_to_{end - 1}"
    place = (
        f"column{'s' if end > low + 1 else ''} {low}"
        + (f" to {end - 1}" if end > low + 1 else "")
        + (f" of {leaf.path}" if leaf.path else "")
    )
    facts = [first.relation] if first.relation else []
    if first.constant and all(c.constant for c in columns):
        facts.append("never changed")
    elif first.actions:
        facts.append(
            f"moved by the action's {'part' if len(first.actions) == 1 else 'parts'} {', '.join(map(str, first.actions[:6]))}"
        )
    return _field(
        name,
        leaf,
        low,
        end,
        at,
        "-",
        f"unnamed: {place}" + (f"; {'; '.join(facts)}" if facts else ""),
        "nobody",
    )


def settled(match: Match, row: Row | None) -> Match:
    """Of equally good explanations the one whose object the documentation names in its line."""
    if row and row.name and row.name not in match.of:
        for of, name in zip(match.also, match.also_named, strict=False):
            if re.search(rf"\b{re.escape(row.name)}\b", of):
                return match.model_copy(
                    update={"of": of, "name": name, "also": (), "also_named": ()}
                )
    return match


def several(words: str, indices: Sequence[str]) -> str:
    """Words about the first of several columns made to be about all: `x position of body hand` ->
    `(x, y, z) position of body hand`.
    """
    if len(indices) < 2 or not indices[0]:
        return words
    listed = ", ".join(indices) if len(indices) <= 10 else f"{indices[0]}, {indices[1]}, ..."
    return re.sub(rf"\b{re.escape(indices[0])}\b(?!\))", f"({listed})", words)


def _told(row: Row | None, column: Column, k: int) -> str:
    said = row.meaning if row else ""
    match = column.match
    if not match:
        return said
    return f"{said}: {match.words}" if said else match.words


def _field(
    name: str,
    leaf: Leaf,
    low: int,
    end: int,
    at: int,
    unit: str,
    meaning: str,
    by: str,
    row: Row | None = None,
) -> Drafted:
    columns = leaf.columns[low:end]
    whole = low == 0 and end == len(leaf.columns)
    shape = (
        ()
        if end == low + 1 and (leaf.shape in ((), (1,)) or not whole)
        else leaf.shape
        if whole
        else (end - low,)
    )
    if (
        unit == "-"
        and set(_values(columns)) <= {0.0, 1.0}
        and all(c.integer for c in columns)
        and not all(c.constant for c in columns)
    ):
        unit = "flag"
    ambiguous = next((c.match.words for c in columns if c.match and c.match.also), "")
    return Drafted(
        name,
        _source(leaf, low, end),
        tuple(shape),
        unit,
        span(columns, row),
        meaning,
        by,
        tuple(range(at + low, at + end)),
        ambiguous=ambiguous,
    )


def _values(columns: Sequence[Column]) -> list[float]:
    return [v for c in columns for v in (c.seen_low, c.seen_high)]


def span(columns: Sequence[Column], row: Row | None = None) -> str:
    """A field's range in words: declared where that is finite and was kept to, else documented,
    else what was seen.
    """
    low, high = min(c.seen_low for c in columns), max(c.seen_high for c in columns)
    if all(c.integer for c in columns) and (low, high) == (0, 1):
        return "0 or 1"
    if all(
        c.low is not None and c.high is not None and _within(c.seen_low, c.seen_high, c.low, c.high)
        for c in columns
    ):
        return f"{_short(min(c.low for c in columns if c.low is not None))} .. {_short(max(c.high for c in columns if c.high is not None))}"
    if (
        row
        and row.low is not None
        and row.high is not None
        and _within(low, high, row.low, row.high)
    ):
        return f"{_short(row.low)} .. {_short(row.high)}"
    return f"always {_short(low)}" if low == high else f"about {_short(low)} .. {_short(high)}"


def _within(low: float, high: float, a: float, b: float) -> bool:
    slack = 1e-4 * max(1.0, abs(a), abs(b))
    return a - slack <= low and high <= b + slack


def _short(value: float) -> str:
    text = f"{value:.3g}"
    return f"{value:.0f}" if "e+0" in text and abs(value) < 1e6 else text if float(text) else "0"


def _space(leaf: Leaf) -> str:
    return leaf.space if len(leaf.space) < 60 else f"{leaf.kind} of shape {list(leaf.shape)}"


def _merged(fields: list[Drafted]) -> list[Drafted]:
    """Neighbours of the simulator with the same unit and equal shapes become one field of shape
    (k, n), named after what they share.
    """
    out: list[Drafted] = []
    k = 0
    while k < len(fields):
        run = [fields[k]]
        while k + len(run) < len(fields) and _same_quantity(run[0], fields[k + len(run)]):
            run.append(fields[k + len(run)])
        out.append(_joined(run) if len(run) > 2 else run[0])
        out += run[1:] if len(run) == 2 else []
        k += len(run)
    return out


def _same_quantity(a: Drafted, b: Drafted) -> bool:
    return (
        a.by == b.by == "simulator"
        and (a.unit, a.shape, a.quantity) == (b.unit, b.shape, b.quantity)
        and _ending(a.name, b.name) != ""
    )


def _ending(*names: str) -> str:
    """What names end in alike, from an underscore on: `_angle`."""
    first = names[0].split("_")
    shared = [
        w
        for k, w in enumerate(first)
        if k and all(n.endswith("_" + "_".join(first[k:])) for n in names)
    ]
    return "_" + "_".join(shared) if shared else ""


def _joined(run: list[Drafted]) -> Drafted:
    base, _, columns = run[0].source.rpartition("[")
    start = re.findall(r"\d+", columns)[0]
    end = (
        re.findall(r"\d+", run[-1].source)[-1]
        if ":" in run[-1].source
        else str(int(re.findall(r"\d+", run[-1].source)[-1]) + 1)
    )
    source = f"{base}[{start}:{end}]" if base else f"{start}:{end}"
    ranges = [
        float(n) for f in run for n in re.findall(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", f.range)
    ]
    ending = _ending(*[f.name for f in run])
    names = [f.name.removesuffix(ending) for f in run]
    known = {("qpos", "_angle"): "joint_angles", ("qvel", "_velocity"): "joint_velocities"}
    return Drafted(
        known.get((run[0].quantity, ending), f"all{ending}"),
        source,
        (len(run), *run[0].shape),
        run[0].unit,
        f"about {_short(min(ranges))} .. {_short(max(ranges))}" if ranges else "",
        f"of {', '.join(names)}, in this order: {run[0].meaning}, and so on",
        "simulator",
        tuple(c for f in run for c in f.columns),
        ambiguous=next((f.ambiguous for f in run if f.ambiguous), ""),
        quantity=run[0].quantity,
    )


def _of_info(keys: Sequence[InfoKey]) -> list[Drafted]:
    """Numbers of `info` that are there at every reset and step, vary, say something new, and are
    no part of a reward or a verdict.
    """
    out = []
    for key in keys:
        told = re.search(
            r"reward|cost|penalt|prob|^action|return|success|solved|elapsed", key.name, re.I
        )
        if (
            key.always
            and key.kind in ("flag", "number", "array")
            and not told
            and not key.same_as
            and key.low != key.high
            and re.fullmatch(r"[\w\-]+", key.name)
            and not key.flips
        ):
            shape = () if key.size == 1 else (key.size,)
            unit, meaning = (
                ("flag" if key.kind == "flag" else "-"),
                f"info[{key.name!r}], which the policy does not see",
            )
            out.append(
                Drafted(
                    identifier(key.name, 8),
                    f"info.{key.name}",
                    shape,
                    unit,
                    "0 or 1"
                    if unit == "flag"
                    else f"about {_short(key.low)} .. {_short(key.high)}",
                    meaning,
                    "info",
                    policy=False,
                )
            )
    return out
