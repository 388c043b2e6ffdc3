"""Trainers as processes: what they are given, and what becomes of a job whose trainer fails.

Stand-ins for the interpreter are shell scripts.
"""

import json
from pathlib import Path

import pytest

from autoreward.errors import UserError
from autoreward.loop.engine import Engine, gpus
from autoreward.store.jobs import TrainJob


def interpreter(folder: Path, body: str) -> str:
    """An executable that is called as `python -m autoreward.trainer JOB`; $OUT is the job's
    folder.
    """
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nOUT=$(dirname "$3")\n{body}\n')
    path.chmod(0o755)
    return str(path)


def jobs(folder: Path, n: int) -> list[tuple[str, TrainJob]]:
    return [
        (f"job {k}", TrainJob(card="card.yaml", program=None, seed=k, out=str(folder / str(k))))
        for k in range(n)
    ]


def test_several_gpus_are_dealt_out_one_a_trainer(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert gpus() == ["4", "7"]
    Engine(2, interpreter(tmp_path, 'echo "$CUDA_VISIBLE_DEVICES" > "$OUT/gpu"; sleep 0.3')).run(
        jobs(tmp_path, 2)
    )
    assert sorted((tmp_path / str(k) / "gpu").read_text().strip() for k in range(2)) == ["4", "7"]


def test_trainers_get_no_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-SECRET")
    Engine(
        1,
        interpreter(
            tmp_path, 'env > "$OUT/env"; cat /proc/$PPID/environ > "$OUT/parent" 2>/dev/null; true'
        ),
    ).run(jobs(tmp_path, 1))
    assert (
        "PATH=" in (tmp_path / "0" / "env").read_text()
        and "sk-SECRET" not in (tmp_path / "0" / "env").read_text()
    )


def test_a_kill_that_was_not_ours_runs_the_job_once_again(tmp_path):
    once = interpreter(
        tmp_path,
        'if [ -e "$OUT/seen" ]; then touch "$OUT/finished"; else touch "$OUT/seen"; kill -9 $$; fi',
    )
    Engine(1, once).run(jobs(tmp_path, 2))
    assert all((tmp_path / str(k) / "finished").exists() for k in range(2))


def test_killed_twice_is_the_machines_fault(tmp_path):
    with pytest.raises(UserError, match="killed twice by signal 9"):
        Engine(1, interpreter(tmp_path, "kill -9 $$")).run(jobs(tmp_path, 1))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo no such thing >&2; exit 3", "job 0: no such thing"),
        ("echo Traceback >&2; echo KeyError: 4 >&2; exit 1", r"exit code 1\): KeyError: 4"),
    ],
)
def test_what_a_trainer_says_is_told(tmp_path, body, said):
    with pytest.raises(UserError, match=said) as caught:
        Engine(1, interpreter(tmp_path, body)).run(jobs(tmp_path, 1))
    assert caught.value.code == 3


def test_progress_is_relayed_and_noise_is_not(tmp_path):
    told = []
    body = "echo hello; echo '{\"steps\": 5}'; echo '{broken'"
    Engine(1, interpreter(tmp_path, body)).run(
        jobs(tmp_path, 1), lambda label, data: told.append((label, data))
    )
    assert told == [("job 0", {"steps": 5})]
    assert json.loads((tmp_path / "0" / "job.json").read_text())["kind"] == "train"
