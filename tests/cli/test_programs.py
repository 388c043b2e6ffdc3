"""`autoreward merge` writes a program and its composition, which check and train accept."""

import pytest

PROGRAM = """import numpy as np


def reward(prev, action, curr, memory):
    return {'progress': SCALE * (curr.cell - prev.cell)}
"""


def written(tmp_path, *scales: float) -> list[str]:
    for k, scale in enumerate(scales):
        (tmp_path / f"{'abc'[k]}.py").write_text(PROGRAM.replace("SCALE", str(scale)))
    return [f"{'abc'[k]}.py" for k in range(len(scales))]


def test_a_merged_program_passes_the_check_and_trains(command, tmp_path):
    done = command("merge", *written(tmp_path, 0.01, 0.02), "--how", "worst")
    assert (
        done.returncode == 0
        and "next: autoreward train ensemble.py --task TASK --compose ensemble.yaml" in done.stdout
    ), done.stderr
    checked = command("check", "ensemble.py", "--task", "corridor", "--compose", "ensemble.yaml")
    assert checked.returncode == 0 and "accepted" in checked.stdout, checked.stdout + checked.stderr
    trained = command(
        "train",
        "ensemble.py",
        "--task",
        "corridor",
        "--compose",
        "ensemble.yaml",
        "--seeds",
        "1",
        "--steps",
        "4096",
        "--out",
        "t",
    )
    assert trained.returncode == 0, trained.stderr
    again = command("merge", "a.py", "b.py")
    assert again.returncode == 2 and "ensemble.py already exists" in again.stderr


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("a.py",), 2, "an ensemble of one program"),
        (("a.py", "none.py"), 2, "none.py: file not found"),
        (("a.py", "b.py", "--out", "x.txt"), 2, "must end in .py"),
        (("a.py", "b.py", "--how", "best"), 2, "'best' is not one of"),
    ],
)
def test_wrong_arguments_are_reported(command, tmp_path, words, code, expected):
    written(tmp_path, 1.0, 2.0)
    done = command("merge", *words)
    assert done.returncode == code and expected in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ensemble.py").exists()
