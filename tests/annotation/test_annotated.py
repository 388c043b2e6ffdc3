"""Whole trainings with an annotator: a trainer process, the engine, and a scripted model."""

import json
import shutil
import threading
import time
from pathlib import Path

import psutil
import pytest
from judging import NAMES, Judge, right, rows

from autoreward.annotation.labels import Annotation
from autoreward.errors import ModelFailed
from autoreward.models import connect
from autoreward.store.io import read
from autoreward.store.records import Limits, TrainingDone


def finished(folder: Path) -> TrainingDone:
    done = read(folder / "done.json", TrainingDone)
    assert done is not None and done.stopped != "refused"
    return done


def same_agent(one: Path, other: Path) -> bool:
    return (one / "policy.safetensors").read_bytes() == (other / "policy.safetensors").read_bytes()


def evidence(folder: Path) -> dict:
    return json.loads((folder / "signal.json").read_text())["evidence"]


@pytest.mark.long
def test_a_training_that_waits_gets_every_label_at_the_end_of_the_rollout_that_asked(
    tmp_path, job, annotator, train
):
    model = Judge(right)
    with annotator(model) as answers:
        train(answers, job("a", wait=True))
    finished(tmp_path / "a")
    told, found = evidence(tmp_path / "a"), rows(tmp_path / "a")
    assert (
        told["asked"] == told["answered"] == told["captions"] == len(found)
        and told["late"] == told["unanswered"] == 0
    )
    assert {r for r, _, _ in found} <= set(range(1, 7)) and found == sorted(
        found, key=lambda r: r[0]
    )
    assert {tuple(label) for _, _, label in found} >= {(0, 0), (1, 0)}
    assert (
        all(m["false_positive"] == m["false_negative"] == 0 for m in told["measures"])
        and told["measures"][0]["true_positive"] > 0
    )
    record = read(tmp_path / "run" / "annotation.json", Annotation)
    assert (
        record is not None
        and record.answered == record.captions == len(found)
        and record.calls == len(model.batches)
        and not record.stopped
        and not record.simulated
    )
    calls = sorted((tmp_path / "run" / "calls" / "iteration-1").glob("a-annotator-*.json"))
    assert len(calls) == record.calls and not any("truth" in p.read_text() for p in calls)
    # the same again: the same agent, whatever the order of answers was
    with annotator(Judge(right), "other") as answers:
        train(answers, job("b", wait=True))
    assert rows(tmp_path / "b") == found and same_agent(tmp_path / "a", tmp_path / "b")
    # and the labels do something: without them the agent is another
    with annotator(
        Judge(lambda captions: json.dumps({str(k): [] for k in range(1, len(captions) + 1)}), "no"),
        "third",
    ) as answers:
        train(answers, job("c", wait=True))
    assert not same_agent(tmp_path / "a", tmp_path / "c")


@pytest.mark.long
def test_captions_of_several_trainers_are_asked_once_in_batches_and_kept_for_good(
    tmp_path, job, annotator, train
):
    model = Judge(right)
    with annotator(model, shared=tmp_path / "shared") as answers:
        train(answers, job("a", seed=0), job("b", seed=1), job("c", seed=0, wait=True))
    asked = [caption for batch in model.batches for caption in batch]
    assert len(asked) == len(set(asked)) and max(map(len, model.batches)) <= 50
    seen = {caption for name in "abc" for _, caption, _ in rows(tmp_path / name)}
    assert seen <= set(asked)
    # in another run nothing is asked again, and the carried run is whole
    again = Judge(right)
    with annotator(again, "second", shared=tmp_path / "shared") as answers:
        train(answers, job("d", seed=0, wait=True))
    assert (
        again.batches == []
        and not (tmp_path / "second" / "calls").exists()
        and same_agent(tmp_path / "c", tmp_path / "d")
    )
    record = read(tmp_path / "second" / "annotation.json", Annotation)
    assert record is not None and record.kept == record.captions > 0 and record.calls == 0
    shutil.rmtree(tmp_path / "shared")
    third = Judge(right)
    with annotator(third, "second") as answers:
        train(answers, job("e", seed=0, wait=True))
    assert third.batches == [] and same_agent(tmp_path / "c", tmp_path / "e")


def test_a_training_that_does_not_wait_ends_before_the_model_answers(
    tmp_path, job, annotator, train
):
    over = threading.Event()

    def slow(captions: list[str]) -> str:
        assert over.wait(120)
        return right(captions)

    model = Judge(slow)
    answers = annotator(model)
    train(answers, job("a"))
    finished(tmp_path / "a")
    assert (
        evidence(tmp_path / "a")["late"] == evidence(tmp_path / "a")["captions"] > 0
        and not (tmp_path / "a" / "labels.jsonl").exists()
    )
    assert "were not labelled before training ended" in (tmp_path / "a" / "signal.json").read_text()
    over.set()
    answers.close()
    record = read(tmp_path / "run" / "annotation.json", Annotation)
    # what was under way is paid for, and kept
    assert record is not None and 0 < record.answered == sum(map(len, model.batches))


def test_training_continues_when_the_call_budget_runs_out_and_reports_it(
    tmp_path, job, annotator, train
):
    said = []
    model = Judge(right)
    with annotator(
        model, limits=Limits(max_calls=2), batch=10, say=lambda *a, **k: said.append((a, k))
    ) as answers:
        train(answers, job("a"))
    assert finished(tmp_path / "a").steps > 1024
    record = read(tmp_path / "run" / "annotation.json", Annotation)
    assert (
        record is not None
        and len(model.batches) == 2
        and "--max-calls 2" in record.stopped
        and record.answered <= 20
        and record.unanswered > 0
    )
    assert [a[1] for a, _ in said] == [
        "annotator stopped, training continues without it",
        "annotated",
    ] and "--max-calls" in said[0][1]["why"]
    told = json.loads((tmp_path / "a" / "signal.json").read_text())
    assert told["evidence"]["unanswered"] > 0 and "the annotator did not answer" in told["notes"][0]
    # with more of it, what was unanswered is asked, and the counts go on
    with annotator(model) as answers:
        train(answers, job("b", wait=True))
    again = read(tmp_path / "run" / "annotation.json", Annotation)
    assert (
        again is not None
        and not again.stopped
        and again.answered > record.answered
        and evidence(tmp_path / "b")["unanswered"] == 0
    )


def test_without_an_annotator_nothing_hangs(tmp_path, job, train):
    train(None, job("a", wait=True, steps=1024))
    assert (
        finished(tmp_path / "a")
        and evidence(tmp_path / "a")["unanswered"] == evidence(tmp_path / "a")["captions"]
    )


def test_a_model_that_fails_ends_the_questions_and_not_the_training(
    tmp_path, job, annotator, train
):
    def fails(captions: list[str]) -> str:
        raise ModelFailed("judge refuses the request")

    with annotator(Judge(fails)) as answers:
        train(answers, job("a", wait=True, steps=1024))
    record = read(tmp_path / "run" / "annotation.json", Annotation)
    assert (
        finished(tmp_path / "a")
        and record is not None
        and record.stopped == "judge refuses the request"
        and record.answered == 0
    )


def child() -> psutil.Process | None:
    for process in psutil.Process().children():
        if "autoreward.trainer" in " ".join(process.cmdline()):
            return process
    return None


def test_a_killed_training_gets_the_same_labels_at_the_same_rollouts_again(
    tmp_path, job, annotator, train
):
    folder, before = tmp_path / "a", []

    def kill() -> None:
        while not (folder / "labels.jsonl").exists() or rows(folder)[-1][0] < 3:
            time.sleep(0.01)
        process = child()
        # so that what is read is what it leaves
        process.suspend()
        before.extend(rows(folder))
        with (folder / "labels.jsonl").open("a") as file:
            # torn
            file.write('{"rollout": 9, "caption": "ac')
        process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    slow = Judge(lambda captions: (time.sleep(0.1), right(captions))[1])
    with annotator(slow, batch=5) as answers:
        train(answers, job("a", steps=6000))
    killer.join(60)
    after = [
        r
        for r in (
            json.loads(line)
            for line in (folder / "labels.jsonl").read_text().splitlines()[1:]
            if line.endswith("}")
        )
    ]
    after = [(r["rollout"], r["caption"], r["label"]) for r in after]
    assert (
        before
        and after[: len(before)] == before
        and len({c for _, c, _ in after}) == len(after) > len(before)
    )
    assert evidence(folder)["stored"] == len(before)
    # that file alone makes the same agent, with a judge that would say the opposite
    (tmp_path / "b").mkdir()
    shutil.copy(folder / "labels.jsonl", tmp_path / "b")
    opposite = Judge(
        lambda captions: json.dumps({str(k): list(NAMES) for k in range(1, len(captions) + 1)}),
        "opposite",
    )
    with annotator(opposite, "other") as answers:
        train(answers, job("b", steps=6000))
    assert same_agent(folder, tmp_path / "b")
    assert not any(set(batch) & {c for _, c, _ in after} for batch in opposite.batches)


def test_a_simulated_judge_is_marked_everywhere_and_errs_at_its_rate(
    tmp_path, job, annotator, train
):
    with annotator(connect("simulated/p=0.9", judging=True), shared=tmp_path / "shared") as answers:
        train(answers, job("a", wait=True, tells=True))
    record = read(tmp_path / "run" / "annotation.json", Annotation)
    assert (
        record is not None
        and record.model == "simulated/p=0.9"
        and record.simulated
        and not (tmp_path / "shared").exists()
    )
    assert next((tmp_path / "run" / "labels").iterdir()).name.startswith("simulated-p=0.9-")
    note = json.loads(next((tmp_path / "run" / "calls" / "iteration-1").iterdir()).read_text())
    assert note["model"] == "simulated/p=0.9" and "no model was asked" in note["reply"]["note"]
    measures = evidence(tmp_path / "a")["measures"]
    wrong, pairs = (
        sum(sum(m[k] for k in keys) for m in measures)
        for keys in (("false_positive", "false_negative"), [k for k in measures[0] if k != "what"])
    )
    assert pairs > 100 and 0.03 < wrong / pairs < 0.19


def test_a_label_file_of_another_question_is_rejected(tmp_path, job, train):
    from autoreward.errors import UserError

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "labels.jsonl").write_text('{"labels": ["other"], "captions": "default"}\n')
    with pytest.raises(UserError, match="contains labels for a different question"):
        train(None, job("a", steps=512))
