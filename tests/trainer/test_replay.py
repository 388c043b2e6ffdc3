"""An episode replayed offline gives bit for bit the rewards of training: memory, terminal
observation, truncation; for every algorithm.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from autoreward.errors import UserError
from autoreward.loop.engine import Engine
from autoreward.rewards.composition import Columns, Composer, Composition
from autoreward.sandbox.outside.worker import Worker
from autoreward.seeds import stream_seed
from autoreward.store.episodes import Trajectories
from autoreward.store.io import read
from autoreward.store.jobs import EvaluateJob, TrainJob
from autoreward.store.records import Score, TrainingDone
from autoreward.tasks.find import load

OFF = {"learning_starts": 100, "buffer_size": 1000, "batch_size": 32}
ALGORITHMS = [
    ("PPO", {"n_steps": 32, "batch_size": 64, "n_epochs": 1}, False),
    ("A2C", {}, True),
    ("DQN", OFF, False),
    ("SAC", OFF, True),
    ("TD3", OFF, True),
    ("TRPO", {"n_steps": 32, "batch_size": 64}, False),
]


def train(path: Path, out: Path, seed: int = 0, program: bool = True, **options) -> TrainingDone:
    job = TrainJob(
        card=str(path),
        program=str(path.parent / "program.py") if program else None,
        seed=seed,
        out=str(out),
        **options,
    )
    Engine(1).run([("test", job)])
    done = read(out / "done.json", TrainingDone)
    assert done is not None
    return done


@pytest.mark.parametrize(
    ("algorithm", "hyperparameters", "continuous"), ALGORITHMS, ids=[a[0] for a in ALGORITHMS]
)
def test_a_replay_gives_the_rewards_of_training_bit_for_bit(
    make_card, tmp_path, algorithm, hyperparameters, continuous
):
    if algorithm == "TRPO":
        pytest.importorskip("sb3_contrib", reason="pip install 'autoreward-rl[contrib]'")
    path = make_card(algorithm, hyperparameters, continuous)
    done = train(path, tmp_path / "out", record_rewards=150)
    assert done.refusal is None and done.steps >= 600
    with np.load(tmp_path / "out" / "rewards.npz", allow_pickle=False) as data:
        seen = {k: data[k] for k in data.files}
    truncated = seen["done"] & ~seen["terminated"]
    assert truncated.any() and seen["terminated"].any() and (seen["task"] > 0).any()
    card = load(path).card
    text = (path.parent / "program.py").read_text()
    episodes = 0
    for env in range(seen["done"].shape[1]):
        starts = np.flatnonzero(seen["first"][:, env])
        for start, end in zip(starts, [*starts[1:], len(seen["done"])], strict=True):
            # a fresh process: nothing but the episode can matter
            with Worker(text, card.reward_layout, card.action) as worker:
                part = {k: v[start:end, env : env + 1] for k, v in seen.items() if k != "updated"}
                answer = worker.ask(part["prev"], part["action"], part["curr"], part["first"])
                composer = Composer(
                    Composition(), Columns(worker.terms, worker.potentials), card.training.gamma
                )
            rewards, _ = composer.replay(
                *answer, *(part[k] for k in ("task", "first", "terminated", "done", "success"))
            )
            assert rewards.astype(np.float32).tobytes() == part["reward"].tobytes()
            episodes += 1
            if episodes >= 12:
                return
    assert episodes >= 12


def test_the_last_state_of_an_episode_is_its_own_and_not_the_next_ones(make_card, tmp_path):
    train(make_card("PPO", {"n_steps": 32, "batch_size": 64}), tmp_path / "out", record_rewards=100)
    with np.load(tmp_path / "out" / "rewards.npz", allow_pickle=False) as seen:
        won = seen["task"] > 0
        assert won.any() and (seen["curr"][won][:, 0] >= 3).all()
        continued = ~seen["done"][:-1]
        assert (seen["curr"][:-1][continued] == seen["prev"][1:][continued]).all()
        assert (np.abs(seen["prev"][seen["first"]][:, 0]) < 3).all()


def test_same_seed_same_weights_and_another_seed_others(make_card, tmp_path):
    path = make_card("PPO", {"n_steps": 32, "batch_size": 64})
    weights = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        train(path, tmp_path / name, seed)
        weights.append((tmp_path / name / "policy.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_evaluation_takes_its_quota_and_leaves_no_pickle(make_card, tmp_path):
    path = make_card("PPO", {"n_steps": 32, "batch_size": 64})
    train(path, tmp_path / "out", program=False)
    out = tmp_path / "out"
    job = EvaluateJob(
        card=str(path),
        policies=(str(out / "policy.safetensors"),),
        outs=(str(out / "score.json"),),
        seeds=(0,),
        record=8,
    )
    Engine(1).run([("evaluation", job)])
    score = read(out / "score.json", Score)
    assert score is not None and score.episodes == 20
    assert (score.successes or 0) + score.terminated_failures + score.truncations == 20
    recorded = Trajectories.load(out / "score.npz")
    assert len(recorded.episodes) == 8
    for k, episode in enumerate(recorded.episodes):
        assert (
            len(recorded.states(k)) == episode.length + 1
            and episode.terminated != episode.truncated
        )
        assert episode.success == (recorded.states(k).x[-1] >= 3)
    assert not [p for p in out.rglob("*") if p.suffix in (".zip", ".pkl", ".pt", ".pth")]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"fields": {"x": "0", "noise": "7"}}, "fields.noise"),
        ({"action": {"type": "discrete", "n": 3, "meaning": "?"}}, "the card says discrete 3"),
        ({"code": "missing.py"}, "does not exist"),
        ({"environment": {"factory": "here:Nothing", "limit": 5}}, "no function Nothing"),
        ({"policy": {"input": "features"}}, "features"),
        ({"success": {"predicate": "won"}}, "won"),
        (
            {"training": {"algorithm": "PPO", "steps": 100, "hyperparameters": {"n_stepps": 3}}},
            "n_stepps",
        ),
        ({"training": {"algorithm": "Magic", "steps": 100}}, "Magic"),
    ],
)
def test_a_card_that_does_not_fit_is_a_sentence_that_names_the_key(
    make_card, tmp_path, change, word
):
    path = make_card(**change)
    with pytest.raises(UserError) as caught:
        train(path, tmp_path / "out", program=False)
    assert caught.value.code == 3 and word in caught.value.message


def test_streams_of_different_purposes_never_meet():
    seen = {
        stream_seed(p, s, i)
        for p in ("training", "evaluation", "confirmation", "probe")
        for s in range(60)
        for i in range(40)
    }  # type: ignore[arg-type]
    assert len(seen) == 4 * 60 * 40 and max(seen) < 2**31


def test_a_program_that_fails_in_training_is_refused_with_its_step(make_card, tmp_path):
    path = make_card("PPO", {"n_steps": 32, "batch_size": 64})
    (path.parent / "program.py").write_text(
        "import numpy as np\n\nMEMORY = {'t': 0.0}\n\n\ndef reward(prev, action, curr, memory):\n"
        "    memory['t'] = memory['t'] + 1\n    return {'a': 1 / (memory['t'] < 5)}\n"
    )
    done = train(path, tmp_path / "out")
    assert (
        done.stopped == "refused"
        and done.refusal is not None
        and done.refusal.kind == "not-finite"
        and "after" in done.refusal.message
    )
    assert (
        json.loads((tmp_path / "out" / "done.json").read_text())["refusal"]["stage"] == "training"
    )
