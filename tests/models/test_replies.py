import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from autoreward.models.replies import UnreadableReply, program_of, record_of
from autoreward.rewards.linter import lint
from autoreward.rewards.program import facts
from autoreward.tasks.find import find

RECORDED = sorted((Path(__file__).parents[1] / "recorded").glob("*.reply.txt"))
PROGRAM = (
    "import numpy as np\n\n\ndef reward(prev, action, curr, memory):\n    return {'a': prev.x}\n"
)
OTHER = PROGRAM.replace("prev.x", "curr.x")


def fenced(code: str, language: str = "python") -> str:
    return f"```{language}\n{code}```"


@pytest.mark.parametrize("path", RECORDED, ids=lambda p: p.stem)
def test_recorded_replies_hold_a_program_that_passes_the_linter(path):
    program, explanation = program_of(path.read_text())
    card = find(re.sub(r"^(bare|full)_", "", path.name.split(".")[0])).card
    assert [v for v in lint(program, card.reward_layout) if v.severity == "refuse"] == []
    assert "```" not in explanation


def test_there_are_sixteen_of_them():
    assert len(RECORDED) == 16


@pytest.mark.parametrize(
    "reply",
    [
        fenced(PROGRAM),
        f"Here you are.\n\n{fenced(PROGRAM)}\n\nGood luck!",
        fenced(PROGRAM, ""),
        fenced(PROGRAM, "py"),
        fenced(PROGRAM).replace("```", "~~~"),
        f"<think>maybe {fenced(OTHER)}</think>\n{fenced(PROGRAM)}",
        f"{fenced('pip install numpy', 'bash')}\n{fenced(PROGRAM)}\n{fenced('result: 3', 'text')}",
        PROGRAM,
        f"{fenced(PROGRAM)}\nand once more the same\n{fenced(PROGRAM)}",
        f"A first try:\n{fenced(OTHER)}\nThis is the final program:\n{fenced(PROGRAM)}",
        f"The complete program:\n{fenced(PROGRAM)}\nDo not write it like this:\n{fenced(OTHER)}",
        "\n".join("  " + line for line in fenced(PROGRAM).splitlines()),
        fenced(PROGRAM).removesuffix("```"),
    ],
)
def test_the_program_is_found(reply):
    assert program_of(reply)[0].strip() == PROGRAM.strip()


@pytest.mark.parametrize(
    ("reply", "finish", "kind"),
    [
        ("", "stop", "empty-reply"),
        ("   \n", "stop", "empty-reply"),
        ("I cannot help with that.", "stop", "no-program"),
        (fenced("print(1)\n"), "stop", "no-program"),
        ("```python\nimport numpy as np\n\ndef rewa", "length", "cut-off"),
        ("Let me think about", "length", "cut-off"),
        (f"One:\n{fenced(PROGRAM)}\nTwo:\n{fenced(OTHER)}", "stop", "several-programs"),
        ("<think>" + fenced(PROGRAM), "length", "empty-reply"),
    ],
)
def test_what_is_not_there_is_said(reply, finish, kind):
    with pytest.raises(UnreadableReply) as caught:
        program_of(reply, finish)
    assert caught.value.kind == kind and caught.value.message


def test_a_program_with_a_syntax_error_goes_to_the_linter():
    program, _ = program_of(fenced(PROGRAM.replace("return", "retrun")))
    assert "retrun" in program and not facts(program).entry_points


class Verdict(BaseModel):
    ok: bool


@pytest.mark.parametrize(
    "text",
    [
        '{"ok": true}',
        'Sure:\n```json\n{"ok": true}\n```',
        'First {not json} then {"ok": true} done',
        '{"other": 1} {"ok": true}',
    ],
)
def test_records_are_found_in_prose(text):
    assert record_of(text, Verdict).ok


@pytest.mark.parametrize("text", ["", "no json", '{"ok": "perhaps"}', "{" * 3000, '{"ok": tr'])
def test_records_that_are_not_there(text):
    with pytest.raises(UnreadableReply):
        record_of(text, Verdict)
