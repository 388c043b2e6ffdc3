import pytest

from autoreward.program import facts, lint
from autoreward.state import Layout

LAYOUT = Layout(("x", "goal"), ((), ()))
GOOD = '"""Progress."""\nimport numpy as np\n\nMEMORY = {"best": np.inf}\n\n\ndef reward(prev, action, curr, memory):\n    return {"gain": prev.x - curr.x}\n'


def kinds(text: str) -> list[str]:
    return [v.kind for v in lint(text, LAYOUT) if v.severity == "refuse"]


def test_a_good_program_has_no_findings():
    assert lint(GOOD, LAYOUT) == []
    found = facts(GOOD)
    assert found.entry_points == ("reward",) and found.memory == ("best",) and found.doc == "Progress."


@pytest.mark.parametrize(
    ("change", "kind", "line"),
    [
        (("import numpy as np", "import os"), "import", 2),
        (("import numpy as np", "import numpy as np; from torch import nn"), "import", 2),
        (("prev.x", "prev.y"), "unknown-field", 8),
        (("(prev, action, curr, memory)", "(prev, curr)"), "signature", 7),
        (("prev.x - curr.x", "np.random.rand(3)"), "forbidden-name", 8),
        (("prev.x - curr.x", "open('/etc/passwd')"), "forbidden-call", 8),
        (("prev.x - curr.x", "prev.__class__"), "forbidden-name", 8),
        (("prev.x - curr.x", "prev.x -"), "syntax", 8),
        (("def reward", "def rewards"), "missing-entry-point", None),
    ],
)
def test_what_is_wrong_is_named_with_its_line(change, kind, line):
    found = [v for v in lint(GOOD.replace(*change), LAYOUT) if v.kind == kind]
    assert found and found[0].line == line and found[0].message


def test_nothing_is_executed(tmp_path):
    flag = tmp_path / "flag"
    lint(f"import pathlib\npathlib.Path({str(flag)!r}).touch()\n" + GOOD, LAYOUT)
    assert not flag.exists()


def test_absurd_texts_are_refused_and_not_crashed_on():
    assert kinds("x" * 50_000) == ["too-long"]
    assert kinds("(" * 5000) == ["syntax"]
    assert kinds("\0") == ["syntax"]
    assert kinds("") == ["missing-entry-point"]


def test_a_helper_may_name_its_parameter_as_it_likes():
    assert kinds(GOOD + "\n\ndef helper(prev):\n    return prev.anything\n") == []
