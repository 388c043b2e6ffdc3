"""A training with a composition: replayed offline it gives the same rewards bit for bit, and ends
in the state that was saved with the policy.
"""

import json

import numpy as np
import pytest
from test_replay import train

from autoreward.loop.engine import Engine
from autoreward.rewards.composition import Columns, Composer, Composition
from autoreward.sandbox.outside.worker import Worker
from autoreward.store.io import read
from autoreward.store.jobs import TrainJob
from autoreward.store.records import TrainingDone
from autoreward.tasks.find import load

STATEFUL = {
    "transforms": [
        {"kind": "best"},
        {"kind": "delta", "over": ["late"]},
        {"kind": "normalize", "over": ["near", "effort"], "rollouts": 3},
        {"kind": "weights", "weights": {"near": 0.5, "late": 2.0}},
        {"kind": "gate", "over": ["effort"], "until": "near", "at_least": 0.1},
        {
            "kind": "switch",
            "over": ["effort"],
            "above": 0.2,
            "below": 0.05,
            "ramp": 2,
            "episodes": 2,
        },
        {
            "kind": "lagrange",
            "over": ["near"],
            "constraints": [{"term": "effort", "at_most": 0.0}],
            "rate": 1.0,
        },
    ]
}


def test_a_replay_gives_rewards_and_learned_state_of_training(make_card, tmp_path):
    path = make_card("PPO", {"n_steps": 32, "batch_size": 64, "n_epochs": 1}, False)
    done = train(path, tmp_path / "out", record_rewards=100_000, composition=STATEFUL)
    assert done.refusal is None
    with np.load(tmp_path / "out" / "rewards.npz", allow_pickle=False) as data:
        seen = {k: data[k] for k in data.files}
    assert (
        seen["updated"].sum() >= 3
        and (seen["done"] & ~seen["terminated"]).any()
        and seen["success"].any()
    )
    card = load(path).card
    with Worker(
        (path.parent / "program.py").read_text(), card.reward_layout, card.action
    ) as worker:
        answer = worker.ask(seen["prev"], seen["action"], seen["curr"], seen["first"])
        composer = Composer(
            Composition.model_validate(STATEFUL),
            Columns(worker.terms, worker.potentials, worker.sparse),
            card.training.gamma,
        )
    rewards, _ = composer.replay(
        *answer,
        *(seen[k] for k in ("task", "first", "terminated", "done", "success")),
        ends=seen["updated"],
    )
    assert rewards.astype(np.float32).tobytes() == seen["reward"].tobytes()
    saved = json.loads((tmp_path / "out" / "composition.json").read_text())
    assert (
        saved["composition"] == Composition.model_validate(STATEFUL).data()
        and saved["state"] == composer.state()
    )
    assert (
        any("raw scales" in note for note in saved["notes"])
        and composer.bound[5][1].learned["on"].shape == ()
    )


def test_the_plain_sum_leaves_no_file_of_its_own_and_another_composition_changes_what_is_learned(
    make_card, tmp_path
):
    path = make_card("PPO", {"n_steps": 32, "batch_size": 64, "n_epochs": 1}, False)
    weights = []
    for name, composition in (
        ("plain", {}),
        ("ones", {"transforms": [{"kind": "weights"}]}),
        ("signs", {"transforms": [{"kind": "signs"}]}),
    ):
        train(path, tmp_path / name, composition=composition)
        weights.append((tmp_path / name / "policy.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]
    assert (
        not (tmp_path / "plain" / "composition.json").exists()
        and (tmp_path / "signs" / "composition.json").exists()
    )


@pytest.mark.parametrize("program", ["sparse", "human"])
def test_terms_that_the_program_does_not_have_are_a_verdict(make_card, tmp_path, program):
    path = make_card("PPO", {"n_steps": 32, "batch_size": 64}, False)
    out, text = tmp_path / "out", str(path.parent / "program.py") if program == "human" else None
    job = TrainJob(
        card=str(path),
        program=text,
        seed=0,
        out=str(out),
        composition={"transforms": [{"kind": "weights", "weights": {"nearness": 2}}]},
    )
    Engine(1).run([("test", job)])
    done = read(out / "done.json", TrainingDone)
    assert done is not None
    if program == "sparse":
        # nothing to compose
        assert done.refusal is None
        return
    assert (
        done.refusal is not None
        and done.refusal.kind == "composition"
        and "it has progress, effort, late, near" in done.refusal.message
    )
