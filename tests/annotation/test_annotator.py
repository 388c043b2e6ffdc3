"""The annotator: what is asked and how often, what is read from a reply, what is kept."""

import json
import threading
from itertools import chain

import pytest
from judging import NAMES, Judge

from autoreward.annotation.labels import Annotation, CaptionRequest
from autoreward.errors import UserError
from autoreward.models import connect
from autoreward.models.simulated import Simulated
from autoreward.models.templates import Prompts
from autoreward.store.io import read


def none(captions: list[str]) -> str:
    return json.dumps({str(k): [] for k in range(1, len(captions) + 1)})


class Mailbox:
    """A trainer that keeps the labels it gets."""

    def __init__(self) -> None:
        self.labels, self.more = {}, threading.Condition()

    def __call__(self, labels) -> None:
        with self.more:
            self.labels.update(labels)
            self.more.notify_all()

    def wait(self, n: int) -> dict:
        with self.more:
            assert self.more.wait_for(lambda: len(self.labels) >= n, 60)
        return self.labels


def captions(n: int, start: int = 0) -> list[CaptionRequest]:
    return [CaptionRequest(k, f"caption {k}") for k in range(start, start + n)]


def test_whole_batches_are_asked_side_by_side_and_the_rest_together(annotator):
    model, box, gate = (
        Judge(lambda texts: (gate.wait(60), none(texts))[1]),
        Mailbox(),
        threading.Event(),
    )
    with annotator(model, batch=10, workers=3) as answers:
        for k in range(37):
            answers.ask("t", captions(1, k), box)
        gate.set()
        assert box.wait(37) == dict.fromkeys(range(37), (False, False))
    assert sorted(map(len, model.batches))[-3:] == [10, 10, 10] and len(model.batches) <= 5


def test_a_caption_in_flight_is_not_asked_twice_and_every_trainer_gets_the_label(annotator):
    gate, one, two = threading.Event(), Mailbox(), Mailbox()
    model = Judge(
        lambda texts: (
            gate.wait(60),
            json.dumps({str(k): ["at_exit"] for k in range(1, len(texts) + 1)}),
        )[1]
    )
    with annotator(model) as answers:
        answers.ask("one", captions(3), one)
        answers.ask("two", [CaptionRequest(70, "caption 2"), CaptionRequest(71, "caption 1")], two)
        gate.set()
        assert one.wait(3) == dict.fromkeys(range(3), (False, True)) and two.wait(2) == {
            70: (False, True),
            71: (False, True),
        }
        three = Mailbox()
        answers.ask("three", [CaptionRequest(0, "caption 2")], three)
        # known: told at once
        assert three.labels == {0: (False, True)}
    assert [*chain(*model.batches)] == ["caption 0", "caption 1", "caption 2"]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("they all look fine to me", "the reply holds no JSON object"),
        ("{}", "transition 1 is missing, and 2 more"),
        ('{"1": [], "2": []}', "transition 3 is missing"),
        (
            '{"1": [], "2": ["take_key"], "3": []}',
            "transition 2: unknown subgoal 'take_key'; the subgoals are past_two, at_exit",
        ),
        (
            '{"1": [], "2": [], "3": [], "4": []}',
            "unknown transition '4'; they are numbered 1 to 3",
        ),
        ('{"1": [], "2": "at_exit", "3": []}', "2: Input should be a valid list"),
        ('{"1": [], "2": [[]], "3": []}', "2.0: Input should be a valid string"),
        ("[" * 100_000, "the reply holds no JSON object"),
        ('{"1": ' * 100_000, "the reply holds no JSON object"),
    ],
)
def test_nonsense_is_asked_once_more_with_the_error(annotator, tmp_path, said, problem):
    replies, box = [said, '{"1": [], "2": ["at_exit"], "3": []}'], Mailbox()
    model = Judge(lambda texts: replies.pop(0))
    with annotator(model) as answers:
        answers.ask("t", captions(3), box)
        assert box.wait(3)[1] == (False, True)
    assert (
        len(model.prompts) == 2
        and "Your last answer could not be read" not in model.prompts[0]
        and f"could not be read: {problem}" in model.prompts[1]
    )
    assert read(tmp_path / "run" / "annotation.json", Annotation).unreadable == 0


def test_after_nonsense_twice_the_missing_captions_stay_unanswered_and_others_are_asked(
    annotator, tmp_path
):
    replies = [
        "hm",
        '{"1": [], "3": ["past_two"], "9": [], "2": ["no such"]}',
        '{"1": ["at_exit"]}',
    ]
    model, box = Judge(lambda texts: replies.pop(0)), Mailbox()
    with annotator(model) as answers:
        answers.ask("t", captions(3), box)
        assert box.wait(3) == {0: (False, False), 1: None, 2: (True, False)}
        answers.ask("t", [CaptionRequest(5, "caption 1"), CaptionRequest(6, "new")], box)
        assert box.wait(5)[5] is None and box.labels[6] == (False, True)
    record = read(tmp_path / "run" / "annotation.json", Annotation)
    assert (
        record.captions,
        record.answered,
        record.unanswered,
        record.unreadable,
        record.calls,
        record.stopped,
    ) == (4, 3, 1, 1, 3, "")


def test_a_bug_in_a_models_client_ends_the_questions_and_nothing_else(annotator, tmp_path):
    box = Mailbox()
    with annotator(Judge(lambda texts: 1 / 0), batch=2) as answers:
        answers.ask("t", captions(5), box)
        assert box.wait(5) == dict.fromkeys(range(5))
    assert (
        read(tmp_path / "run" / "annotation.json", Annotation).stopped
        == "ZeroDivisionError: division by zero"
    )


def test_its_own_limit_of_calls(annotator, tmp_path):
    box, model = Mailbox(), Judge(none)
    with annotator(model, batch=2, max_calls=2, workers=1) as answers:
        answers.ask("t", captions(9), box)
        box.wait(9)
    record = read(tmp_path / "run" / "annotation.json", Annotation)
    assert (
        len(model.batches) == 2
        and record.answered == 4
        and record.unanswered == 5
        and "own limit of 2 calls" in record.stopped
    )


def test_captions_that_only_an_ended_trainer_waits_for_are_not_asked(annotator, tmp_path):
    gate, gone, there = threading.Event(), Mailbox(), Mailbox()
    model = Judge(lambda texts: (gate.wait(60), none(texts))[1])
    with annotator(model, batch=2, workers=1) as answers:
        answers.ask("gone", captions(10_000), gone)
        answers.ask("there", [CaptionRequest(3, "caption 9000")], there)
        while not model.batches:
            pass
        answers.leave("gone")
        gate.set()
        there.wait(1)
    assert [*chain(*model.batches)] == ["caption 0", "caption 1", "caption 9000"]
    record = read(tmp_path / "run" / "annotation.json", Annotation)
    assert record.captions == record.answered == 3


def test_a_torn_or_damaged_line_of_the_store_is_asked_again(annotator, tmp_path):
    box = Mailbox()
    with annotator(Judge(none)) as answers:
        answers.ask("t", captions(4), box)
        box.wait(4)
    store = next((tmp_path / "run" / "labels").iterdir())
    lines = store.read_text().splitlines()
    store.write_text(
        "\n".join(
            [
                lines[0],
                lines[1],
                '{"caption": "caption 1", "label": [1, 2]}',
                '{"caption": 7}',
                "[]",
                lines[4],
                lines[3][:20],
            ]
        )
    )
    model, box = Judge(none), Mailbox()
    with annotator(model) as answers:
        answers.ask("t", captions(4), box)
        box.wait(4)
    assert model.batches == [["caption 1", "caption 2"]]
    model = Judge(none)
    with annotator(model) as answers:
        answers.ask("t", captions(4), box)
    assert model.batches == []


def test_labels_belong_to_model_template_and_subgoals(annotator, tmp_path):
    first = annotator(Judge(none))
    assert annotator(Judge(none)).digest == first.digest
    changed = tmp_path / "prompts" / "calm" / "annotator"
    changed.mkdir(parents=True)
    (changed / "judge.md.j2").write_text(
        Prompts().path("calm/annotator/judge").read_text() + "\nBe strict.\n"
    )
    names = {
        p.name for a in (first, annotator(Judge(none, "other/model: 7b"))) for p in [a._file.path]
    }
    assert len(names) == 2 and all("/" not in n and " " not in n for n in names)
    from autoreward.annotation.annotator import Annotator

    other = Annotator(
        first.caller,
        Prompts(str(tmp_path / "prompts")),
        first.question.template,
        first.question.variables,
        NAMES,
        tmp_path / "x",
        tmp_path / "x.json",
    )
    assert other.digest != first.digest
    renamed = Annotator(
        first.caller,
        Prompts(),
        first.question.template,
        first.question.variables,
        ("at_exit", "past_two"),
        tmp_path / "x",
        tmp_path / "x.json",
    )
    assert renamed.digest != first.digest


def test_the_prompt_names_the_subgoals_and_numbers_the_captions(annotator):
    box, model = Mailbox(), Judge(none)
    with annotator(model) as answers:
        answers.ask("t", captions(2), box)
        box.wait(2)
    assert (
        "- `at_exit`: cell reaches exit" in model.prompts[0]
        and "\n1. caption 0\n2. caption 1" in model.prompts[0]
        and "| handle | code |" in model.prompts[0]
    )


# -- the simulated judge ---------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9, 1.0])
def test_a_simulated_judge_errs_at_its_rate_and_always_on_the_same_captions(p):
    judge = Simulated(f"simulated/p={p}")
    said = [[judge.judged(f"caption {k}", name, k % 3 == 0) for name in NAMES] for k in range(5000)]
    kept = sum(x == (k % 3 == 0) for k, row in enumerate(said) for x in row) / 10_000
    assert abs(kept - p) < 0.02
    assert said == [
        [Simulated(f"simulated/p={p}").judged(f"caption {k}", name, k % 3 == 0) for name in NAMES]
        for k in range(5000)
    ]
    other = Simulated(f"simulated/p={p},seed=1")
    moved = (
        sum(
            other.judged(f"caption {k}", "at_exit", True)
            != judge.judged(f"caption {k}", "at_exit", True)
            for k in range(5000)
        )
        / 5000
    )
    assert abs(moved - 2 * p * (1 - p)) < 0.03
    both = (
        sum(
            judge.judged(f"caption {k}", "at_exit", True)
            == judge.judged(f"caption {k}", "past_two", True)
            for k in range(5000)
        )
        / 5000
    )
    # names err on their own
    assert abs(both - (p * p + (1 - p) ** 2)) < 0.03


@pytest.mark.parametrize(
    "name",
    [
        "simulated/",
        "simulated/0.9",
        "simulated/p=1.1",
        "simulated/p=x",
        "simulated/p=0.9,q=1",
        "simulated/p=nan",
        "simulated/p=0.9,seed=1.5",
    ],
)
def test_a_misspelled_judge_is_rejected_with_a_hint(name):
    with pytest.raises(UserError) as caught:
        connect(name, judging=True)
    assert "simulated/p=0.9" in caught.value.hint


def test_a_simulated_judge_cannot_design(command):
    with pytest.raises(UserError, match="judges transitions and cannot write programs"):
        connect("simulated/p=0.9")
    done = command("design", "corridor", "--model", "simulated/p=0.9")
    assert (
        done.returncode == 2
        and "--model offline/search" in done.stderr
        and not (done.stdout + done.stderr).count("Traceback")
    )


def test_without_trusted_predicates_a_simulated_judge_reports_it_and_answers_nothing(
    annotator, tmp_path
):
    box = Mailbox()
    with annotator(connect("simulated/p=1", judging=True)) as answers:
        answers.ask("t", captions(2), box)
        assert box.wait(2) == {0: None, 1: None}
    assert (
        "without trusted predicates"
        in read(tmp_path / "run" / "annotation.json", Annotation).stopped
    )
