"""Odd replies by kind, each with its right reading: the final program, or the reason it is unsure.

What must never happen is a draft that is taken for the program without anybody noticing.
"""

import json

import pytest
from pydantic import BaseModel

from autoreward.models.replies import UnreadableReply, program_of, record_of

FINAL = '''"""Toward the exit."""

import numpy as np

MEMORY = {"best": np.nan}


def reward(prev, action, curr, memory):
    before = np.where(np.isnan(memory["best"]), prev.cell, memory["best"])
    memory["best"] = np.maximum(before, curr.cell)
    return {"progress": 0.2 * (memory["best"] - before)}
'''
DRAFT = """import numpy as np


def reward(prev, action, curr, memory):
    return {"distance": 0.2 * np.abs(curr.cell - prev.cell)}
"""
REVISED = FINAL.replace("0.2", "0.5")
QUOTING = FINAL.replace(
    '"""Toward the exit."""', '"""Not </think>, [/THINK] or <|end|>: toward the exit."""'
)
FENCED_DOC = FINAL.replace(
    '"""Toward the exit."""',
    '"""Toward the exit.\n\n```\nreward(prev, action, curr, memory)\n```\n"""',
)


def fence(code: str, language: str = "python") -> str:
    return f"```{language}\n{code.strip()}\n```"


def indented(text: str, by: str = "   ") -> str:
    return "\n".join(by + line for line in text.splitlines())


F, D, R = fence(FINAL), fence(DRAFT), fence(REVISED)

# (name, reply, the program that is meant, or the class of the refusal)
PROGRAMS = [
    # -- draft and final ---------------------------------------------------------------------------
    ("final in so many words", f"First:\n{D}\nThe final program:\n{F}", FINAL),
    ("instead of that", f"{D}\nThat is farmed. Instead of that I pay bests; the final program:\n{F}", FINAL),
    ("never paid", f"One could write:\n{D}\nThe complete program (standing still is never paid):\n{F}", FINAL),
    ("to avoid that", f"A distance:\n{D}\nIt can be farmed, so to avoid that, my answer:\n{F}", FINAL),
    ("bad scale, corrected", f"Version 1:\n{D}\nVersion 1 has a bad scale. Corrected version:\n{F}", FINAL),
    ("a heading", f"## Draft\n\n{D}\n\n## Final version\n\n{F}", FINAL),
    ("bold", f"**Draft**\n\n{D}\n\n**Final answer:**\n\n{F}", FINAL),
    ("three versions", f"One:\n{D}\nBetter:\n{R}\nThe final version:\n{F}", FINAL),
    ("corrected after review", f"{R}\n\nWait, the scale is off. The corrected program:\n\n{F}", FINAL),
    ("a revision of most lines", f"{R}\n\nHmm, 0.5 is too much; I change the weight:\n\n{F}", FINAL),
    ("chinese", f"草稿：\n{D}\n最终程序：\n{F}", FINAL),
    ("the same twice", f"{F}\n\nOnce more, the complete program:\n\n{F}", FINAL),
    ("final, then the draft again", f"The final program:\n{F}\nFor comparison, the first idea:\n{D}", FINAL),
    ("final, then a warning", f"The complete program:\n{F}\nDo not write it like this:\n{D}", FINAL),
    ("final, then the old one", f"My answer:\n{F}\n\nThe previous version, which paid twice:\n{D}", FINAL),
    ("a bad example first", f"A bad example, which can be farmed:\n{D}\nInstead:\n{F}", "several-programs"),
    ("two options", f"Option A:\n{F}\nOption B (simpler):\n{D}", "several-programs"),
    ("two options, alike", f"Option A:\n{R}\nOption B:\n{F}", "several-programs"),
    ("alternatives called final", f"Alternative 1, final:\n{F}\nAlternative 2, final version:\n{R}", "several-programs"),
    ("no words at all", f"{D}\n\n{F}", "several-programs"),
    ("one, two", f"One:\n{D}\nTwo:\n{F}", "several-programs"),
    ("let me try, so", f"Let me try:\n{D}\nSo:\n{F}", "several-programs"),
    ("sends back to the first", f"{F}\nNow a sparser one:\n{R}\nI would use the first.", "several-programs"),
    ("final, then better", f"The final program:\n{F}\n\nNow with another scale:\n\n{R}", "several-programs"),
    # -- blocks that are no program ----------------------------------------------------------------
    ("usage after it", f"{F}\n\nExample of use:\n\n{fence('print(reward(s, 0, s, {}))')}", FINAL),
    ("shell before it", f"{fence('pip install numpy', 'bash')}\n\n{F}", FINAL),
    ("output after it", f"{F}\n\n{fence('progress 0.2', 'text')}", FINAL),
    ("a diff", fence("--- a.py\n+++ b.py\n@@ -1 +1 @@\n-x = 1\n+x = 2", "diff"), "no-program"),
    ("search and replace", f"{fence('<<<<<<< SEARCH' + chr(10) + DRAFT + '=======' + chr(10) + FINAL + '>>>>>>> REPLACE', '')}", "no-program"),
    ("the program, then a diff", f"{F}\n\nThe change:\n\n{fence('--- a' + chr(10) + '+++ b', 'diff')}", FINAL),
    ("a heredoc", fence(f"cat > reward.py <<'EOF'\n{FINAL}EOF", "bash"), FINAL),
    ("a heredoc and a command", fence(f"cat <<EOF > r.py\n{FINAL}EOF\npython r.py", "sh"), FINAL),
    ("imports apart from the function", f"{fence('import numpy as np')}\n\nThen:\n\n{F}", FINAL),
    ("a stub of the contract", f"{fence('def reward(prev, action, curr, memory): ...', 'text')}\n\nThe final program:\n{F}", FINAL),
    # -- fences ------------------------------------------------------------------------------------
    ("no fence", FINAL, FINAL),
    ("tildes", F.replace("```", "~~~"), FINAL),
    ("four backticks", F.replace("```", "````"), FINAL),
    ("indented", f"1. Program:\n\n{indented(F)}", FINAL),
    ("in a list, deep", f"- a\n  - b\n\n{indented(F, '      ')}", FINAL),
    ("quoted", "\n".join("> " + line for line in F.splitlines()), FINAL),
    ("a fence in its docstring", fence(FENCED_DOC), FENCED_DOC),
    ("CRLF", F.replace("\n", "\r\n"), FINAL),
    ("a byte order mark", "\ufeff" + F, FINAL),
    ("py3 and attributes", F.replace("```python", "```{.python .numberLines}"), FINAL),
    ("closed at the end of a line", F.replace("\n```", "```"), FINAL),
    ("not closed", F.removesuffix("```"), FINAL),
    # -- reasoning ---------------------------------------------------------------------------------
    ("think", f"<think>\n{D}\n</think>\n{F}", FINAL),
    ("think, closing mark alone", f"Let me try.\n{D}\nno.\n</think>\n{F}", FINAL),
    ("thought", f"<thought>\n{D}\n</thought>\n{F}", FINAL),
    ("seed:think", f"<seed:think>{D}</seed:think>\n{F}", FINAL),
    ("a tag with attributes", f'<reasoning effort="high">\n{D}\n</reasoning>\n{F}', FINAL),
    ("scratchpad", f"<scratchpad>\n{D}\n</scratchpad>\n{F}", FINAL),
    ("[THINK]", f"[THINK]draft:\n{D}\n[/THINK]\n{F}", FINAL),
    ("[/THINK] alone", f"draft:\n{D}\n[/THINK]{F}", FINAL),
    ("begin_of_thought", f"<|begin_of_thought|>{D}<|end_of_thought|>\n{F}", FINAL),
    ("kimi", f"◁think▷{D}◁/think▷{F}", FINAL),
    ("channels", f"<|channel|>analysis<|message|>Draft:\n{D}<|end|><|start|>assistant<|channel|>final<|message|>{F}", FINAL),
    ("channels, an end glued on", f"<|channel|>final<|message|>{F}<|return|>", FINAL),
    ("channels, analysis alone", f"<|channel|>analysis<|message|>Draft:\n{D}", "empty-reply"),
    ("channels without their marks", f"analysisLet me see.\n{D}\nNo.assistantfinal{F}", FINAL),
    ("two rounds of reasoning", f"<think>{D}</think>\nhm\n<think>{R}</think>\n{F}", FINAL),
    ("a fence that reasoning left open", f"<think>\n```python\nimport torch\nno.\n</think>\n{F}", FINAL),
    ("reasoning alone", f"<think>\n{F}", "empty-reply"),
    ("a client's words around it", f"Thinking...\nmaybe\n{D}\nno.\n...done thinking.\n\n{F}", FINAL),
    ("terminal codes", f"\x1b[?25l\x1b[?2026h⠙ \x1b[K\x1b[?25h{F}\x1b[?25h", FINAL),
    ("terminal colours in the code", F.replace("import", "\x1b[1mimport\x1b[0m"), FINAL),
    ("marks in a program's string", fence(QUOTING), QUOTING),
    ("marks in a comment", fence("# see </think>\n" + FINAL), "# see </think>\n" + FINAL),
    # -- nothing there -----------------------------------------------------------------------------
    ("empty", "", "empty-reply"),
    ("prose", "I cannot help with that.", "no-program"),
    ("a usage example alone", fence("print(reward(s, 0, s, {}))"), "no-program"),
]  # fmt: skip


def test_the_table_is_large():
    assert len(PROGRAMS) + len(VERDICTS) >= 85


@pytest.mark.parametrize(
    ("reply", "meant"), [row[1:] for row in PROGRAMS], ids=[r[0] for r in PROGRAMS]
)
def test_the_program_that_is_meant_is_taken_or_the_reply_is_refused(reply, meant):
    if meant in ("several-programs", "no-program", "empty-reply", "cut-off"):
        with pytest.raises(UnreadableReply) as caught:
            program_of(reply)
        assert caught.value.kind == meant
    else:
        program, explanation = program_of(reply)
        assert program.strip() == meant.strip()
        assert "def reward" not in explanation


class Opinion(BaseModel):
    ok: bool
    problems: list[dict] = []
    opinion: str = ""


YES = json.dumps({"ok": True, "problems": [], "opinion": "fine"})
NO = json.dumps(
    {"ok": False, "problems": [{"message": "x", "severity": "refuse"}], "opinion": "draft"}
)

# (name, reply, ok, or None where it cannot be read)
VERDICTS = [
    ("alone", YES, True),
    ("fenced", fence(YES, "json"), True),
    ("draft, then final", f"{NO}\n\nOn reflection:\n{YES}", True),
    ("final refuses", f"{YES}\n\nOn reflection:\n{NO}", False),
    ("draft in reasoning", f"<think>{NO}</think>\n{YES}", True),
    ("draft before a lone closing mark", f"Maybe {NO}? no.\n</think>\n{YES}", True),
    ("draft in brackets", f"[THINK]{NO}[/THINK]{YES}", True),
    ("channels", f"<|channel|>analysis<|message|>{NO}<|end|><|start|>assistant<|channel|>final<|message|>{YES}", True),
    ("a client's words", f"Thinking...\n{NO}\n...done thinking.\n\n{YES}", True),
    ("prose after it", f"Sure!\n{YES}\nLet me know {{if}} you need more.", True),
    ("another object after it", f'{YES}\n{{"note": "the reviewer is sure"}}', True),
    ("a problem quoted after it", f'{YES}\nFor example {{"message": "scale"}}.', True),
    ("braces in a string", json.dumps({"ok": True, "opinion": 'a {"ok": false} in a string'}), True),
    ("nested objects", json.dumps({"ok": False, "problems": [{"ok": True}]}), False),
    ("a damaged one after it", f'{YES}\nOn reflection: {{"ok": fal', None),
    ("damaged alone", '{"ok": tr', None),
    ("not a verdict", '{"verdict": "accept"}', None),
    ("perhaps", '{"ok": "perhaps"}', None),
    ("a draft, then perhaps", f'{NO}\n{{"ok": "perhaps"}}', None),
    ("reasoning alone", f"<think>{YES}", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "ok"), [row[1:] for row in VERDICTS], ids=[r[0] for r in VERDICTS]
)
def test_the_final_verdict_counts_or_none(reply, ok):
    if ok is None:
        with pytest.raises(UnreadableReply):
            record_of(reply, Opinion)
    else:
        assert record_of(reply, Opinion).ok is ok
