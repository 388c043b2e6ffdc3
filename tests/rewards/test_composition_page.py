"""docs/composition.md says what the classes say.

`python tests/rewards/test_composition_page.py` writes its tables anew.
"""

import re
from pathlib import Path

import pytest

from autoreward.models import variables as briefing
from autoreward.rewards.composition import KINDS, PRESETS, Columns, Composer, parse

PAGE = Path(__file__).parents[2] / "docs" / "composition.md"


def tables() -> dict[str, str]:
    """What stands between `<!-- NAME -->` and `<!-- end -->`."""

    def table(head, rows):
        lines = [
            "| " + " | ".join(head) + " |",
            "| " + " | ".join("---" for _ in head) + " |",
            *("| " + " | ".join(row) + " |" for row in rows),
        ]
        return "\n".join(lines).replace("|x|", "abs(x)")

    yes = {True: "yes", False: "no"}
    named = [(k.model_fields["kind"].default, k, k.words()) for k in KINDS]
    head = (
        "transform",
        "what it does",
        "equation",
        "keeps what is best",
        "sum over an episode bounded",
        "state",
        "future",
        "buffers",
        "paper",
        "use it for",
    )
    return {
        "presets": table(
            ("preset", "what it does"),
            [(f"`{name}`", words) for name, (words, _) in PRESETS.items()],
        ),
        "transforms": table(
            head,
            [
                (
                    f"`{name}`",
                    w["title"],
                    w["equation"],
                    yes[k.keeps_optimal],
                    k.bounded,
                    k.state,
                    yes[k.needs_future],
                    yes[k.off_policy],
                    w["paper"],
                    w["use"],
                )
                for name, k, w in named
            ],
        ),
        "fields": table(
            ("transform", "fields"),
            [(f"`{t['kind']}`", f"`{t['fields']}`") for t in briefing.transforms()],
        ),
    }


def written(text: str) -> str:
    for name, content in tables().items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda m, c=content: f"{m[1]}\n{c}\n\n{m[2]}",
            text,
            flags=re.S,
        )
    return text


def test_the_page_says_what_the_classes_say():
    assert PAGE.read_text() == written(PAGE.read_text()), (
        "python tests/rewards/test_composition_page.py writes the tables anew"
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_a_docstring_holds_equation_paper_and_use_and_the_list_is_in_its_order(kind):
    words = kind.words()
    assert words.keys() == {"title", "equation", "paper", "use"} and all(words.values())
    assert [k.place for k in KINDS] == sorted(k.place for k in KINDS)


def test_the_example_of_the_page_reads_and_fits_the_program_that_it_is_for():
    block = re.search(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    assert block
    Composer(parse(block[1]), Columns(("effort", "contact"), ("nearness", "has_key")), 0.99)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
