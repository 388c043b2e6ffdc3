"""The documentation is executed: a page's blocks run in order, as its reader would run them."""

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TUTORIAL_MODEL = "anthropic/claude-sonnet-4-5"
TUTORIAL_REPLIES = ROOT / "tests" / "recorded" / "tutorial_conversation.jsonl"
# Sections of the tutorial that train nothing: environment, card, prompts.
QUICK_SECTIONS = ("1", "2", "5")
# A design on a busy machine.
LINE_SECONDS = 1500
MY_REWARD = "def reward(obs, action, next_obs):\n    return 0.05 * (next_obs[0] - obs[0])\n"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "envs" / "README.md",
        ROOT / "runs" / "README.md",
    ]
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the number of the section that it stands in."""

    language: str
    text: str
    section: str

    @property
    def file(self) -> str:
        """The file that the block shows, if its first line is a comment with a file's name."""
        named = re.match(r"# (\S+\.\S+)\n", self.text)
        return named[1] if named else ""


def blocks_of(page: str) -> list[Block]:
    """Every fenced block of docs/PAGE, in order."""
    found: list[Block] = []
    section = ""
    pattern = re.compile(
        r"^## (?P<section>\d+)\.|^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S
    )
    for match in pattern.finditer((ROOT / "docs" / page).read_text()):
        if match["section"]:
            section = match["section"]
        else:
            found.append(Block(match["language"], match["text"], section))
    return found


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=LINE_SECONDS
    )


def run_line(line: str) -> str:
    """Run one line of a shell block, an `autoreward` command, and return what it prints."""
    command, *words = shlex.split(line, comments=True)
    assert command == "autoreward"
    done = run(["-m", "autoreward", *words])
    assert done.returncode == 0, f"{line}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def run_blocks(blocks: list[Block], substitutions: dict[str, str]) -> None:
    """Run blocks in order; a `text` block shows what the block before it prints."""
    printed = ""
    for block in blocks:
        if block.language == "text":
            missing = [x for x in masked(block.text) if x not in masked(printed)]
            assert missing == [], printed
        else:
            printed = run_block(block, substitutions)


def masked(text: str) -> list[str]:
    """The lines of a text without their numbers, which differ between versions of torch."""
    return [re.sub(r"[\d.]+", "#", line).rstrip() for line in text.splitlines()]


def run_block(block: Block, substitutions: dict[str, str]) -> str:
    """Write the file, apply the edit, or run the code of a block; return what it prints."""
    printed = ""
    if block.language == "diff":
        edit(Path(block.file), block.text)
    elif block.language == "python" and block.file:
        Path(block.file).write_text(block.text)
    elif block.language == "python":
        done = run(["-c", block.text])
        assert done.returncode == 0, f"{block.text}\n{done.stderr[-2000:]}"
    else:
        for line in block.text.splitlines():
            for old, new in substitutions.items():
                line = line.replace(old, new)
            printed += run_line(line)
    return printed


def edit(path: Path, diff: str) -> None:
    """Replace each group of `-` lines by the `+` lines below it; `+` lines alone are appended."""
    text = path.read_text()
    for removed, added in re.findall(r"((?:^-.*\n)*)((?:^\+.*\n)+)", diff, re.M):
        old = re.sub(r"^-", "", removed, flags=re.M).rstrip("\n")
        new = re.sub(r"^\+", "", added, flags=re.M).rstrip("\n")
        if old:
            assert text.count(old) == 1, f"{path} does not hold exactly once:\n{old}"
            text = text.replace(old, new)
        else:
            text = text.rstrip("\n") + "\n" + new + "\n"
    path.write_text(text)


@pytest.fixture(autouse=True)
def _reader(tmp_path, tmp_path_factory, monkeypatch):
    """An empty folder, a cache that the pages share, and no model that the machine provides."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOREWARD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("AUTOREWARD_MODEL", raising=False)


@pytest.fixture
def example():
    """The recorded run and a reward of the reader's own, which some pages assume."""
    shutil.copytree(ROOT / "runs" / "example", "runs/example")
    Path("my_reward.py").write_text(MY_REWARD)


def test_the_tutorial_runs_up_to_its_trainings():
    blocks = blocks_of("tutorial.md")
    chosen = [b for b in blocks if b.section in QUICK_SECTIONS]
    assert len(chosen) >= 8
    run_blocks(chosen, {})


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_tutorial_runs_from_card_to_exported_reward():
    run_blocks(blocks_of("tutorial.md"), {TUTORIAL_MODEL: f"replay/{TUTORIAL_REPLIES}"})
    assert Path("runs/offline/report.html").is_file()
    assert Path("dock_reward.py").is_file()
    replies = TUTORIAL_REPLIES.read_text().splitlines()
    assert len(list(Path("runs/model/calls").rglob("*.json"))) == len(replies) == 6


@pytest.mark.long
def test_the_python_page_runs(example, capsys):
    found = [b for b in blocks_of("python.md") if b.language == "python"]
    assert len(found) >= 4
    known: dict = {}
    for block in found:
        exec(compile(block.text, "docs/python.md", "exec"), known)
    assert Path("corridor_reward.py").is_file()
    assert "defines neither reward" in capsys.readouterr().out
    assert known["info"]["success"] in (True, False)


@pytest.mark.parametrize(
    "page", ["export.md", "metric.md", pytest.param("own-reward.md", marks=pytest.mark.long)]
)
def test_the_shell_lines_of_a_page_run(example, page):
    if page == "export.md":
        pytest.importorskip("onnx", reason="pip install 'autoreward-rl[onnx]'")
    found = [b for b in blocks_of(page) if b.language == "sh"]
    assert found
    run_blocks(found, {})


def test_the_picture_of_the_readme_is_drawn_from_a_run(example):
    done = run([str(ROOT / "docs" / "picture.py"), "runs/example"])
    assert done.returncode == 0, done.stderr[-2000:]
    shown = done.stdout.replace("&#160;", " ")
    assert "autoreward design doorkey16 --iterations 2" in shown
    assert "winner chosen: among 1b, 2a" in shown
    assert "autoreward runs show runs/example" in shown


def test_the_program_of_the_readme_is_accepted_by_check():
    pytest.importorskip("gymnasium_robotics", reason="pip install 'autoreward-rl[robotics]'")
    [program] = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    Path("readme.py").write_text(program)
    run_line("autoreward check readme.py --task pointmaze_u")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_paths_and_links_of_a_page_exist(page):
    text = page.read_text()
    named = re.findall(r"\b(?:autoreward|tests|benchmarks)/[\w./*-]*[\w*]", text)
    missing = [name for name in named if not list(ROOT.glob(name))]
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http") and not (page.parent / target).exists():
            missing.append(target)
    assert missing == []


def test_readme_and_security_state_the_same_trust_line():
    sentence = (
        "The trusted process never runs generated code; "
        "generated code never sees secrets, the network, or the score."
    )
    pages = ("README.md", "SECURITY.md", "docs/design/trust-line.md")
    assert [page for page in pages if sentence not in (ROOT / page).read_text()] == []


def test_every_page_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text()
    pages = [p.relative_to(ROOT) for p in PAGES if p.parent == ROOT / "docs"]
    assert [str(p) for p in pages if f"({p})" not in readme] == []
