"""The benchmarks import, and their parts that can be checked quickly are right."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from autoreward.errors import UserError
from autoreward.sandbox.outside.worker import Worker
from autoreward.tasks.find import find

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_benchmark_imports_what_exists(name):
    if name == "match":
        pytest.importorskip("mujoco")
    importlib.import_module(name)


def test_the_signal_of_the_annotator_benchmark_calls_what_exists():
    from autoreward.rewards.signals import Signal
    from autoreward.rewards.signals.signal import LabelChannel

    source = importlib.import_module("annotator").SIGNAL
    namespace: dict = {}
    exec(source, namespace)
    assert issubclass(namespace["Timed"], Signal)
    called = set(re.findall(r"self\.channel\.(\w+)", source))
    assert called and called <= set(dir(LabelChannel))


def test_training_time_patches_methods_that_exist():
    for calls in importlib.import_module("training_time").PARTS.values():
        for owner, method in calls:
            assert callable(getattr(owner, method))


@pytest.mark.parametrize("task", ["corridor", "swingup"])
def test_raw_factors_are_the_fields_the_action_and_what_changed(task):
    raw_factors = importlib.import_module("raw_factors")
    card = find(task).card
    width = card.reward_layout.width
    prev = np.arange(2.0 * width).reshape(1, 2, width)
    curr = 10 + prev**2
    if card.action.integer:
        actions, one_hot_or_numbers = np.array([[1, 0]]), [0, 1]
    else:
        actions, one_hot_or_numbers = np.array([[[0.5], [-0.5]]]), [0.5, -0.5]

    program = raw_factors.raw_factors(card)
    with Worker(program, card.reward_layout, card.action, entry="factors") as worker:
        answer = worker.ask(prev, actions, curr, np.ones((1, 2), bool)).terms[0]
    found = dict(zip(worker.terms, answer.T, strict=True))

    first_field = card.reward_layout.names[0]
    assert len(found) == 2 * width + raw_factors.action_width(card.action)
    assert found[f"{first_field}_0"].tolist() == prev[0, :, 0].tolist()
    assert found[f"change_{first_field}_0"].tolist() == (curr - prev)[0, :, 0].tolist()
    assert found["action_0"].tolist() == one_hot_or_numbers


def test_a_card_with_too_many_numbers_for_raw_factors_is_rejected():
    raw_factors = importlib.import_module("raw_factors").raw_factors
    card = find("corridor").card
    wide = card.fields[0].model_copy(update={"shape": (200,)})
    with pytest.raises(UserError, match="at most 256"):
        raw_factors(card.model_copy(update={"fields": (wide,)}))
