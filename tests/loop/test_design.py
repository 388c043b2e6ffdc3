"""The whole loop on a tiny card, from the command line: what lies on disk, kill -9 and resume,
replay.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

OPTIONS = [
    "--iterations",
    "2",
    "--candidates",
    "2",
    "--final-seeds",
    "1",
    "--jobs",
    "2",
    "--model",
    "offline/search",
]


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "AUTOREWARD_CACHE": str(tmp_path / "cache"), "AUTOREWARD_MODEL": ""}


def autoreward(
    tmp_path: Path, *words: str, timeout: float = 280
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "autoreward", *words],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def content(run: Path) -> dict[str, object]:
    """Everything a run decided: programs, verdicts, curves, counts, winner; not times, not job
    files.
    """
    found: dict[str, object] = {}
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        name = str(path.relative_to(run))
        if (
            name.startswith((".", "calls/", "report", "events", "run.yaml"))
            or "job" in path.name
            or path.name.startswith(".")
            or path.suffix == ".stderr"
        ):
            continue
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as data:
                found[name] = {k: data[k].tobytes() for k in data.files}
        else:
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    place = tmp_path_factory.mktemp("whole")
    done = autoreward(place, "design", "corridor", *OPTIONS, "--name", "whole", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["final"]["winner"]
    return place / "runs" / "whole"


def test_a_run_leaves_every_stage_on_disk(whole: Path):
    for iteration in (1, 2):
        assert (whole / f"iteration-{iteration}" / "feedback.json").is_file()
        for candidate in sorted((whole / f"iteration-{iteration}").glob("candidate-*")):
            names = {p.name for p in candidate.iterdir()}
            assert {
                "1-designer.py",
                "2-critic.json",
                "3-check.json",
                "4-screening.json",
                "5-training",
                "6-evaluation.json",
                "7-analyzer.json",
            } <= names
    assert (whole / "best" / "program.py").is_file() and (whole / "report.html").is_file()
    final = json.loads((whole / "final.json").read_text())
    assert final["arms"]["winner"]["success"] >= 0.8 > final["arms"]["sparse"]["success"]


def test_final_seeds_are_not_the_seeds_of_the_search(whole: Path):
    searched = {p.name for p in whole.glob("iteration-*/candidate-*/5-training/seed-*")}
    confirmed = {p.name for p in whole.glob("final/*/seed-*")}
    assert searched and confirmed and not searched & confirmed


@pytest.mark.parametrize(
    "kill", [0, *(pytest.param(k, marks=pytest.mark.long) for k in range(1, 10))]
)
def test_kill_and_resume_give_the_same_run(whole: Path, tmp_path: Path, kill: int):
    seed = int(os.environ.get("AUTOREWARD_KILL_SEED", "0")) or random.SystemRandom().randrange(
        10**6
    )
    moment = random.Random(seed + kill).uniform(0.5, 25)
    print(f"AUTOREWARD_KILL_SEED={seed} kill {kill} after {moment:.2f} s")
    process = subprocess.Popen(
        [sys.executable, "-m", "autoreward", "design", "corridor", *OPTIONS, "--name", "whole"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not (tmp_path / "runs" / "whole" / "run.yaml").exists():
        pytest.skip("killed before there was a run")
    calls = {
        p: p.read_bytes()
        for p in (tmp_path / "runs" / "whole" / "calls").rglob("*.json")
        if json.loads(p.read_text()).get("reply")
    }
    done = autoreward(tmp_path, "resume", "runs/whole", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    assert all(p.read_bytes() == before for p, before in calls.items()), (
        "a reply on disk was asked for again"
    )
    ours, theirs = content(tmp_path / "runs" / "whole"), content(whole)
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if ours[name] != theirs[name]]
    assert not different


# test_example.py replays a real conversation
@pytest.mark.long
def test_replay_gives_the_same_programs_and_scores(whole: Path, tmp_path: Path):
    options = [o for o in OPTIONS if o not in ("--model", "offline/search")]
    done = autoreward(
        tmp_path,
        "design",
        "corridor",
        *options,
        "--model",
        f"replay/{whole}",
        "--name",
        "again",
        "--json",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = content(tmp_path / "runs" / "again"), content(whole)
    same = [
        n
        for n in theirs
        if n.endswith(
            ("1-designer.py", "3-check.json", "curve.npz", "6-evaluation.json", "leaders.json")
        )
    ]
    assert len(same) > 10 and all(ours[n] == theirs[n] for n in same)


def test_a_card_that_changed_is_reported_and_not_used(tmp_path: Path):
    import yaml

    from autoreward.tasks.find import find

    card = find("corridor")
    (tmp_path / "envs").mkdir()
    for source in (card.path, card.code, card.human):
        if source:
            (tmp_path / "envs" / source.name).write_bytes(source.read_bytes())
    begun = autoreward(
        tmp_path, "design", "corridor", *OPTIONS, "--name", "one", "--max-calls", "1"
    )
    assert begun.returncode == 5, begun.stderr[-2000:]
    data = yaml.safe_load((tmp_path / "envs" / card.path.name).read_text())
    (tmp_path / "envs" / card.path.name).write_text(yaml.safe_dump({**data, "title": "another"}))
    done = autoreward(tmp_path, "resume", "runs/one")
    assert done.returncode == 5, done.stderr[-2000:]
    assert "keeps its own card" in done.stderr and "Traceback" not in done.stderr
