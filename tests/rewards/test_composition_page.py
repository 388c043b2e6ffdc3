"""The tables of docs/composition.md are made from the classes.

Run `python tests/rewards/test_composition_page.py` to write them again.
"""

import re
from pathlib import Path

import pytest

from autoreward.models import briefing
from autoreward.rewards.composition import KINDS, PRESETS, Columns, Composer, parse

PAGE = Path(__file__).parents[2] / "docs" / "composition.md"
HEAD = (
    "transform",
    "what it does",
    "equation",
    "keeps the optimal policy",
    "sum over an episode bounded",
    "state",
    "future",
    "buffers",
    "paper",
    "use it for",
)
YES = {True: "yes", False: "no"}


def table(head, rows) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    # a bar would end the cell
    return "\n".join(lines).replace("|x|", "abs(x)")


def transform_row(kind) -> tuple[str, ...]:
    words = kind.words()
    return (
        f"`{kind.model_fields['kind'].default}`",
        words["title"],
        words["equation"],
        YES[kind.keeps_optimal],
        kind.bounded,
        kind.state,
        YES[kind.needs_future],
        YES[kind.off_policy],
        words["paper"],
        words["use"],
    )


def tables() -> dict[str, str]:
    """Return what belongs between `<!-- NAME -->` and `<!-- end -->`."""
    presets = [(f"`{name}`", words) for name, (words, _) in PRESETS.items()]
    fields = [(f"`{t['kind']}`", f"`{t['fields']}`") for t in briefing.transforms()]
    return {
        "presets": table(("preset", "what it does"), presets),
        "transforms": table(HEAD, [transform_row(kind) for kind in KINDS]),
        "fields": table(("transform", "fields"), fields),
    }


def with_tables(text: str) -> str:
    for name, content in tables().items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda m, c=content: f"{m[1]}\n{c}\n\n{m[2]}",
            text,
            flags=re.S,
        )
    return text


def test_the_tables_are_those_of_the_classes():
    assert PAGE.read_text() == with_tables(PAGE.read_text()), (
        "run python tests/rewards/test_composition_page.py to write the tables again"
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_a_docstring_has_title_equation_paper_and_use(kind):
    words = kind.words()
    assert words.keys() == {"title", "equation", "paper", "use"}
    assert all(words.values())


def test_kinds_are_listed_in_the_order_that_a_list_must_keep():
    places = [kind.place for kind in KINDS]
    assert places == sorted(places)


def test_the_example_of_the_page_reads_and_fits_its_program():
    block = re.search(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    assert block
    Composer(parse(block[1]), Columns(("effort", "contact"), ("nearness", "has_key")), 0.99)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
