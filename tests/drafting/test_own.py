"""Cards of unknown environments, by the benchmark: a few here, all with designs in long tests."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "benchmarks" / "own.py"


def rows(*words: str, timeout: int) -> list[list[str]]:
    done = subprocess.run(
        [sys.executable, str(BENCH), *words], capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in done.stdout.splitlines()
        if line.startswith("| ")
    ][2:]


def test_cards_of_unknown_environments_are_accepted_after_few_edits():
    found = rows("frozenlake", "blackjack", "pendulum", timeout=120)
    assert [r[0] for r in found] == ["frozenlake", "blackjack", "pendulum"] and all(
        r[6] == "accepted" and int(r[5]) <= 10 for r in found
    )


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_ten_environments_go_from_nothing_to_a_report():
    found = rows("--design", timeout=2900)
    tried = [r for r in found if not r[2].startswith("skipped")]
    assert len(tried) >= 9 and all(
        r[7].startswith("report after") and int(r[5]) <= 10 for r in tried
    )
