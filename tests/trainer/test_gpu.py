"""Agents on a GPU: the same trainings as on the processor, repeatable within a tolerance, and
usable without one. Skipped where torch sees none.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from autoreward.loop.engine import Engine
from autoreward.store.io import read
from autoreward.store.jobs import EvaluateJob, TrainJob
from autoreward.store.records import Score, TrainingDone
from autoreward.tasks.find import load
from autoreward.trainer.policy import BIG_NET, choose_device

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
ON = {"n_steps": 32, "batch_size": 64, "n_epochs": 2}
OFF = {"learning_starts": 100, "buffer_size": 1000, "batch_size": 32}
# of weights, after some hundred steps: sums on a GPU are not always taken in one order
TOLERANCE = 1e-4


def trained(path: Path, out: Path, **more) -> dict[str, np.ndarray]:
    Engine(1).run(
        [
            (
                "test",
                TrainJob(
                    card=str(path),
                    program=str(path.parent / "program.py"),
                    seed=3,
                    out=str(out),
                    device="cuda",
                    **more,
                ),
            )
        ]
    )
    done = read(out / "done.json", TrainingDone)
    assert done.device.startswith("cuda") and done.refusal is None
    return load_file(str(out / "policy.safetensors"))


@pytest.mark.parametrize(
    ("algorithm", "hyperparameters", "continuous"),
    [
        ("PPO", ON, False),
        ("PPO", ON, True),
        ("A2C", {}, False),
        ("DQN", OFF, False),
        ("SAC", OFF, True),
        ("TD3", OFF, True),
    ],
)
def test_the_same_seed_is_the_same_agent_and_scores_without_a_gpu(
    make_card, tmp_path, algorithm, hyperparameters, continuous
):
    path = make_card(
        algorithm,
        hyperparameters,
        continuous,
        evaluation={"episodes": 20, "envs": 6, "mode": "deterministic"},
    )
    first, second = trained(path, tmp_path / "a"), trained(path, tmp_path / "b")
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(first[name], second[name], atol=TOLERANCE, err_msg=name)
    scores = []
    for device in ("cuda", "cpu"):
        out = tmp_path / f"{device}.json"
        Engine(1).run(
            [
                (
                    "score",
                    EvaluateJob(
                        card=str(path),
                        policies=(str(tmp_path / "a" / "policy.safetensors"),),
                        outs=(str(out),),
                        seeds=(3,),
                        device=device,
                    ),
                )
            ]
        )
        scores.append(read(out, Score))
    assert abs(scores[0].successes - scores[1].successes) <= 2, (
        "of 20 episodes; rounding may turn an action"
    )


@pytest.mark.parametrize(
    ("algorithm", "hyperparameters", "continuous", "signal"),
    [("PPO", ON, False, "subgoals"), ("PPO", ON, True, "decoded"), ("SAC", OFF, True, "decoded")],
)
def test_signals_work_beside_an_agent_on_the_gpu(
    make_card, paid, tmp_path, algorithm, hyperparameters, continuous, signal
):
    path = (
        paid(algorithm, hyperparameters)
        if signal == "decoded"
        else make_card(algorithm, hyperparameters, continuous)
    )
    body = {
        "subgoals": "SUBGOALS = {'half': 'x is 1.5 or more'}\n"
        "def subgoals(prev, action, curr, memory):\n    return {'half': curr.x >= 1.5}\n"
    }
    body["decoded"] = (
        "def factors(prev, action, curr, memory):\n"
        "    return {'moved': curr.x - prev.x, 'at': curr.x}\n"
    )
    (tmp_path / "program.py").write_text(body[signal])
    extra = {"episodic_return": True} if signal == "decoded" else {}
    trained(path, tmp_path / "out", signal=signal, **extra)
    assert json.loads((tmp_path / "out" / "signal.json").read_text())["evidence"]["episodes"] > 0


def test_auto_takes_the_gpu_for_a_big_network_alone(make_card):
    card = load(make_card()).card
    big = card.model_copy(update={"training": card.training.model_copy(update={"net": (BIG_NET,)})})
    assert (choose_device(card, "auto"), choose_device(big, "auto")) == ("cpu", "cuda")
