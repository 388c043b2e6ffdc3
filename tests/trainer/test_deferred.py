"""Deferred rewards train the same agent as rewards that the trainer waits for."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from autoreward.store.jobs import TrainJob
from autoreward.trainer.train import TrainingSetup, train


def weights(card: Path, out: Path) -> dict[str, np.ndarray]:
    job = TrainJob(
        card=str(card), program=str(card.parent / "program.py"), seed=0, steps=512, out=str(out)
    )
    train(job)
    return load_file(out / "policy.safetensors")


@pytest.mark.parametrize(
    ("algorithm", "hyperparameters", "continuous"),
    [
        ("PPO", {"n_steps": 32, "batch_size": 64, "n_epochs": 1}, False),
        ("A2C", {}, True),
        ("TRPO", {"n_steps": 32, "batch_size": 64}, False),
    ],
)
def test_deferring_rewards_changes_no_weight(
    make_card, tmp_path, monkeypatch, algorithm, hyperparameters, continuous
):
    card = make_card(algorithm, hyperparameters, continuous)
    deferred = weights(card, tmp_path / "deferred")
    monkeypatch.setattr(TrainingSetup, "defers_rewards", property(lambda setup: False))
    immediate = weights(card, tmp_path / "immediate")
    assert deferred.keys() == immediate.keys()
    changed = [name for name in deferred if deferred[name].tobytes() != immediate[name].tobytes()]
    assert changed == []
