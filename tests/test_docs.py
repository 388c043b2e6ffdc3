"""What the pages say is run: Python blocks of a page one after another, shell blocks as lines; in
a folder that has the example.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    "my_reward.py": "def reward(obs, action, next_obs):\n    return 0.05 * (next_obs[0] - obs[0])\n"
}


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S)


@pytest.fixture(autouse=True)
def _here(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOREWARD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("AUTOREWARD_MODEL", raising=False)
    shutil.copytree(ROOT / "runs" / "example", "runs/example")
    for name, content in FILES.items():
        Path(name).write_text(content)


@pytest.mark.long
def test_the_python_page_runs(capsys):
    found = blocks("python.md", "python")
    assert len(found) >= 4
    known: dict = {}
    for block in found:
        exec(compile(block, "docs/python.md", "exec"), known)
    assert (
        Path("corridor_reward.py").is_file()
        and "defines neither reward" in capsys.readouterr().out
        and known["info"]["success"] in (True, False)
    )


@pytest.mark.parametrize(
    "page", ["export.md", "metric.md", pytest.param("own-reward.md", marks=pytest.mark.long)]
)
def test_the_shell_lines_of_a_page_run(page):
    if page == "export.md":
        pytest.importorskip("onnx", reason="pip install 'autoreward-rl[onnx]'")
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]
    assert lines
    for line in lines:
        words = line.split()
        assert words[0] == "autoreward"
        said = subprocess.run(
            [sys.executable, "-m", "autoreward", *words[1:]],
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert said.returncode == 0, f"{line}\n{said.stderr[-2000:]}"
