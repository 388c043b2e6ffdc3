"""docs/own-environment.md: every block is executed in order."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "own-environment.md").read_text()


@pytest.mark.long
def test_every_block_of_the_page_works_in_its_order(command, here):
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.M | re.S)
    assert [kind for kind, _ in blocks].count("bash") >= 4
    for kind, text in blocks:
        name = (re.match(r"# (\S+)\n", text) or ["", ""])[1]
        if kind == "python":
            (here / name).parent.mkdir(exist_ok=True)
            (here / name).write_text(text)
        elif kind == "diff":
            card = (here / name).read_text()
            for removed, added in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)+)", text, re.M):
                old, new = (
                    re.sub(r"^[-+]", "", part, flags=re.M).rstrip("\n") for part in (removed, added)
                )
                assert card.count(old) == 1, (old, card)
                card = card.replace(old, new)
            (here / name).write_text(card)
        elif kind == "bash":
            for line in text.splitlines():
                line, _, remark = line.partition("#")
                done = command(*shlex.split(line)[1:])
                assert done.returncode == (1 if "exits with 1" in remark else 0), (
                    line,
                    done.stdout,
                    done.stderr,
                )
    assert (here / "runs" / "first" / "report.html").is_file()


def test_the_pages_table_quotes_the_card(command, here):
    [arm] = [
        text
        for kind, text in re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.M | re.S)
        if text.startswith("# arm.py")
    ]
    (here / "arm.py").write_text(arm)
    command("envs", "new", "--factory", "arm:Arm", "--out", "a.yaml")
    card = (here / "a.yaml").read_text()
    for said in (
        "with column 2 the cosine and sine of an angle",
        "column 6 minus column 8",
        "changes only when an episode starts",
        "moved by the action's part 0",
    ):
        assert f"`{said}" in TEXT and said in card


def test_each_option_that_the_page_names_is_there():
    done = subprocess.run(
        [sys.executable, "-m", "autoreward", "envs", "new", "--help"],
        capture_output=True,
        text=True,
    )
    for option in set(re.findall(r"--[a-z][a-z-]+", TEXT)) - {
        "--iterations",
        "--candidates",
        "--final-seeds",
        "--name",
    }:
        assert option in done.stdout, option
