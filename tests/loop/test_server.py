"""The whole loop against a real HTTP server that misbehaves at one agent: the run ends well, or
says why not and goes on later.
"""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from server import FATAL, MENDED, RETRIED, UNDERSTOOD, serve

QUICK = (
    "--iterations",
    "1",
    "--candidates",
    "1",
    "--final-seeds",
    "1",
    "--steps",
    "1024",
    "--name",
    "run",
)
FEW = [("designer", "truncated")]
ALL = [
    (a, f)
    for a in ("designer", "critic", "analyzer")
    for f in (*UNDERSTOOD, *MENDED, *RETRIED, *FATAL)
    if (a, f) not in FEW
]


def play(command, tmp_path: Path, agent: str, fault: str) -> None:
    broken = True

    def what(asked: str, number: int) -> str | None:
        return fault if asked == agent and (number == 0 or (broken and fault in FATAL)) else None

    key = {"OPENAI_API_KEY": "sk-SECRET"}
    with serve(what) as server:
        done = command(
            "design",
            "corridor",
            *QUICK,
            "--model",
            "test-model",
            "--base-url",
            server.url,
            "--set",
            "timeout=5",
            env=key,
        )
        run = tmp_path / "runs" / "run"
        if fault in FATAL:
            assert done.returncode == FATAL[fault], done.stderr[-2000:]
            assert (
                "error:" in done.stderr
                and "next:" in done.stderr
                and "Traceback" not in done.stderr
            )
            before = {
                p: p.read_bytes() for p in run.rglob("*-*.json") if '"reply"' in p.read_text()
            }
            broken = False
            done = command("resume", "runs/run", env=key)
            assert all(p.read_bytes() == b for p, b in before.items())
        assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((run / "final.json").read_text())["winner"] == "1a"
    assert {
        "1-designer.py",
        "2-critic.json",
        "3-check.json",
        "6-evaluation.json",
        "7-analyzer.json",
    } <= {p.name for p in (run / "iteration-1" / "candidate-a").iterdir()}
    everything = b"".join(p.read_bytes() for p in run.rglob("*") if p.is_file())
    assert b"sk-SECRET" not in everything
    if agent == "designer" and fault in MENDED:
        assert list((run / "iteration-1" / "candidate-a" / "tries").glob("0-designer.json"))


@pytest.mark.parametrize(("agent", "fault"), FEW)
def test_a_fault_at_an_agent(command, tmp_path, agent, fault):
    play(command, tmp_path, agent, fault)


@pytest.mark.long
@pytest.mark.parametrize(("agent", "fault"), ALL)
def test_every_fault_at_every_agent(command, tmp_path, agent, fault):
    play(command, tmp_path, agent, fault)


def test_a_designer_that_never_delivers_is_rejected_after_its_repairs(command, tmp_path):
    with serve(lambda agent, number: "nonsense" if agent == "designer" else None) as server:
        done = command(
            "design", "corridor", *QUICK, "--model", "test-model", "--base-url", server.url
        )
    assert done.returncode == 1 and "no program passed" in done.stderr
    assert server.counts["designer"] == 5, "one design, three repairs, one new design"
    tries = tmp_path / "runs" / "run" / "iteration-1" / "candidate-a" / "tries"
    assert sorted(p.name for p in tries.glob("*.json")) == [f"{k}-designer.json" for k in range(5)]
    scratch = server.requests[-1]["body"]["messages"][-1]["content"]
    assert "from scratch" in scratch
