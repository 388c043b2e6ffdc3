"""The run directory: files whole or absent, one writer, damaged files named."""

import errno
import json

import pytest

from autoreward.errors import UserError
from autoreward.store import run as run_module
from autoreward.store.io import read, write
from autoreward.store.records import (
    Analysis,
    Check,
    Feedback,
    Final,
    Outcome,
    Refused,
    Review,
    RunHeader,
    Verdict,
)
from autoreward.store.run import Run, find_run

HEADER = RunHeader(task="corridor", card={}, card_path="corridor.yaml", card_digest="0")


def test_a_full_disk_leaves_the_old_file_and_nothing_half(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write(path, Review(ok=True))

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(path, Review(ok=False))
    assert read(path, Review).ok and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "3-check.json").write_text('{"ok": ')
    with pytest.raises(UserError, match=r"3-check\.json is damaged"):
        read(tmp_path / "3-check.json", Check)


def test_a_candidate_ends_with_a_pass_or_a_refusal(tmp_path):
    run = Run.create(tmp_path, HEADER)
    candidate = run.candidate(1, "a")
    assert not candidate.drafted and candidate.id == "1a"
    verdict = Verdict(kind="syntax", message="m")
    write(
        candidate.path / "tries" / "0-designer.json", Refused(stage="critic", verdicts=(verdict,))
    )
    write(candidate.path / "tries" / "0-designer.py", "x =")
    assert [r.verdicts for r in candidate.rejected_drafts()] == [
        (verdict,)
    ] and candidate.rejected_program(0) == "x ="
    write(candidate.path / "2-critic.json", Review(ok=True))
    assert not candidate.drafted
    write(candidate.path / "3-check.json", Check(ok=True))
    assert candidate.drafted and candidate.accepted


def test_a_second_process_is_refused(tmp_path):
    run = Run.create(tmp_path, HEADER)
    with (
        run.locked(),
        pytest.raises(UserError, match="another process") as caught,
        Run(run.path).locked(),
    ):
        pass
    assert caught.value.code == 6


def test_a_cut_event_line_is_passed_over(tmp_path):
    run = Run.create(tmp_path, HEADER)
    run.event("check", "passed", 1, "a", terms=["x"])
    with (run.path / "events.jsonl").open("a") as file:
        file.write('{"time": "2026')
    assert [e.what for e in run.events()] == ["passed"]


def test_runs_are_found_by_name_path_and_last(tmp_path):
    run = Run.create(tmp_path, HEADER, "one")
    assert (
        find_run("one", tmp_path).path
        == find_run(str(run.path)).path
        == find_run("last", tmp_path).path
    )
    with pytest.raises(UserError, match="no run 'two'"):
        find_run("two", tmp_path)
    with pytest.raises(UserError, match="already holds a run"):
        Run.create(tmp_path, HEADER, "one")


def test_a_newer_format_is_refused(tmp_path):
    run = Run.create(tmp_path, HEADER, "one")
    text = (run.path / "run.yaml").read_text().replace("format: 1", "format: 2")
    (run.path / "run.yaml").write_text(text)
    with pytest.raises(UserError, match="format 2"):
        Run(run.path)


def outcome(**changes) -> dict:
    return {"iteration": 1, "candidate": "a", "status": "evaluated", **changes}


def test_a_programs_text_is_stored_once_and_read_with_its_outcome(tmp_path):
    run = Run.create(tmp_path, HEADER, "one")
    run.candidate(1, "a").accept_draft("P = 1\n", None, Review(ok=True), Check(ok=True))
    run.write_feedback(Feedback(iteration=1, outcomes=(Outcome(program="P = 1\n", **outcome()),)))
    run.write_final(Final(winner="1a", program="P = 1\n"))
    for path in (run.feedback_path(1), run.final_path):
        assert "P = 1" not in path.read_text()
    assert run.feedback(1).best.program == run.best.program == run.final.program == "P = 1\n"


def test_a_program_inside_an_old_record_is_read_from_there(tmp_path):
    run = Run.create(tmp_path, HEADER, "old")
    written = {"iteration": 1, "outcomes": [outcome(program="OLD")]}
    write(run.feedback_path(1), json.dumps(written))
    write(run.final_path, json.dumps({"winner": "1a", "program": "OLD"}))
    assert run.feedback(1).best.program == run.final.program == "OLD"


def test_renamed_fields_are_read_under_their_old_names(tmp_path):
    write(tmp_path / "review.json", '{"ok": true, "alone": "no model"}')
    write(tmp_path / "analysis.json", '{"alone": "no model", "told": false}')
    assert read(tmp_path / "review.json", Review).model_skipped_because == "no model"
    analysis = read(tmp_path / "analysis.json", Analysis)
    assert analysis.model_skipped_because == "no model"
    assert analysis.shown_to_designer is False
    old = HEADER.model_dump() | {"told": True}
    del old["external_training"]
    assert RunHeader.model_validate(old).external_training is True
