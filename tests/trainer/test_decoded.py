"""The learned signal in training: returns of whole episodes reach the decoder, the agent sees
decoded rewards alone, off-policy they are computed when sampled.
"""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from test_replay import train

from autoreward.errors import UserError
from autoreward.rewards.composition import Columns, Composition
from autoreward.rewards.signals import Signal, SignalContext, StepBatch, find_signal
from autoreward.rewards.signals.decoded import Decoded
from autoreward.rewards.signals.decoder import Decoder
from autoreward.sandbox.outside.worker import Worker
from autoreward.tasks.find import load
from autoreward.trainer import policy
from autoreward.trainer.environment import trusted_code
from autoreward.trainer.recomputed import RecomputedReplay
from autoreward.trainer.reward_env import RewardVecEnv
from autoreward.trainer.train import environments

FACTORS = """
import numpy as np

MEMORY = {"steps": 0.0}


def factors(prev, action, curr, memory):
    memory["steps"] = memory["steps"] + 1
    return {"place": curr.x, "noise": np.sin(1e4 * curr.x), "steps": memory["steps"]}
"""
OFF = {"learning_starts": 150, "buffer_size": 1000, "batch_size": 32}


def factored(path, text=FACTORS):
    (path.parent / "program.py").write_text(text)
    return path


def said(folder):
    return json.loads((folder / "signal.json").read_text())


@pytest.mark.long
def test_ppo_learns_from_the_return_at_the_end_over_factors(paid, tmp_path):
    path = factored(
        paid(
            training={
                "algorithm": "PPO",
                "steps": 3000,
                "n_envs": 4,
                "net": [8],
                "hyperparameters": {"n_steps": 64, "batch_size": 64, "n_epochs": 1},
            }
        )
    )
    done = train(
        path,
        tmp_path / "one",
        episodic_return=True,
        signal="decoded",
        settings={"loss": "rd"},
        record_rewards=100_000,
    )
    train(path, tmp_path / "two", episodic_return=True, signal="decoded", settings={"loss": "rd"})
    assert done.refusal is None and [t.name for t in done.terms] == ["decoded"]
    for name in ("policy.safetensors", "signal.safetensors", "signal.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    evidence = said(tmp_path / "one")["evidence"]
    assert (
        evidence["episodes"] > 200
        and evidence["correlation"] > 0.9
        and evidence["decoder_steps"] == 1000 + 100 * 11
    )
    assert evidence["attributions"]["place"] > 0.6 and sum(
        evidence["attributions"].values()
    ) == pytest.approx(1)
    assert any(
        "correlation 0.9" in note or "correlation 1.0" in note
        for note in said(tmp_path / "one")["notes"]
    )
    with np.load(tmp_path / "one" / "rewards.npz", allow_pickle=False) as data:
        seen = {k: data[k] for k in data.files}
    assert (seen["task"][~seen["done"]] == 0).all() and (seen["task"][seen["done"]] != 0).any()
    rewards = seen["reward"]
    assert (rewards[:64] == 0).all() and (rewards[64:] != 0).all(), (
        "nothing is known before the first fit, and the return itself is never paid"
    )
    again = Decoder.load(tmp_path / "one" / "signal.safetensors")
    assert again.names == ("place", "noise", "steps")
    with np.load(tmp_path / "one" / "curve.npz", allow_pickle=False) as curve:
        assert np.nanmean(np.abs(curve["reward"][-10:] - curve["metric"][-10:])) < np.nanstd(
            curve["metric"][-10:]
        ), "decoded rewards sum up to about the return"


def test_while_nothing_is_known_the_agent_plays_as_it_began(paid, tmp_path):
    path = factored(paid())
    # one rollout, scored with nothing
    train(path, tmp_path / "out", signal="decoded", steps=100, settings={"decoder_steps": "5"})
    card = load(path)
    venv = RewardVecEnv(
        environments(card, trusted_code(card), 4),
        SignalContext(card.card, ()),
        None,
        Composition(),
        find_signal("decoded"),
    )
    fresh = policy.build(
        card.card, policy.PolicyView(venv, card, trusted_code(card), training=True), 0, "cpu"
    ).policy.state_dict()
    saved = load_file(tmp_path / "out" / "policy.safetensors")
    assert all((saved[f"policy.{k}"] == v.numpy()).all() for k, v in fresh.items())
    # the second is learned from
    train(path, tmp_path / "two", signal="decoded", steps=200, settings={"decoder_steps": "5"})
    assert any(
        (load_file(tmp_path / "two" / "policy.safetensors")[f"policy.{k}"] != v.numpy()).any()
        for k, v in fresh.items()
    )


def test_between_two_rollouts_and_at_no_other_time_the_decoder_changes(paid):
    card = load(factored(paid())).with_episodic_return()
    signal = Decoded(SignalContext(card.card, ("place",), rows=2, settings={"decoder_steps": "20"}))
    chance = np.random.default_rng(0)

    def step(first, done, task):
        ends = np.zeros(2, bool), np.array(done), np.zeros(2, bool)
        return signal.step(
            z := chance.normal(size=(2, 1)),
            z,
            z,
            StepBatch(z, z, z, np.array(first), *ends, np.array(task)),
        )[0][:, 0]

    first = [True, True]
    for t in range(40):
        done = [t % 3 == 0, t % 5 == 0]
        assert step(first, done, [3.0 if d else 0.0 for d in done]).tolist() == [0, 0]
        first = done
    weights = [p.detach().clone() for p in signal.decoder.network.parameters()]
    signal.update()
    assert any(
        (a != b).any() for a, b in zip(weights, signal.decoder.network.parameters(), strict=True)
    )
    assert (step(first, [False, False], [0.0, 0.0]) != 0).all()


def test_only_finished_episodes_enter_truncated_ones_with_what_was_seen_of_their_return(paid):
    signal = Decoded(SignalContext(load(factored(paid())).card, ("a",), rows=2))
    no, yes = np.array([False, False]), np.array([True, True])

    def step(value, task, first=no, done=no, terminated=no):
        z = np.array(value, float)[:, None]
        signal.step(z, z, z, StepBatch(z, z, z, first, terminated, done, no, np.array(task, float)))

    step([1, 2], [1, 1], first=yes)
    # row 0 is cut by the limit
    step([3, 4], [2, 5], done=np.array([True, False]))
    step([5, 6], [0, 7], first=np.array([True, False]))
    # a reset in the middle: what came before is forgotten
    step([7, 8], [0, 0], first=yes)
    step([9, 10], [1, 2], done=yes, terminated=yes)
    known = signal.episodes
    assert [(e.length, e.task_return) for e in known.stored] == [(2, 3), (2, 1), (2, 2)]
    assert [known.rows(e.start + np.arange(e.length))[:, 0].tolist() for e in known.stored] == [
        [1, 3],
        [7, 9],
        [8, 10],
    ]


@pytest.mark.parametrize(
    ("algorithm", "loss"), [("SAC", "rrd-unbiased"), ("TD3", "rd"), ("SAC", "ircr")]
)
def test_off_policy_learners_train_on_rewards_that_were_not_stored(paid, tmp_path, algorithm, loss):
    path = factored(
        paid(
            algorithm,
            OFF,
            training={
                "algorithm": algorithm,
                "steps": 500,
                "n_envs": 2,
                "net": [8],
                "hyperparameters": OFF,
            },
        )
    )
    done = train(
        path, tmp_path / "out", episodic_return=True, signal="decoded", settings={"loss": loss}
    )
    assert done.refusal is None and done.steps == 500
    evidence = said(tmp_path / "out")["evidence"]
    assert evidence["episodes"] > 30 and (tmp_path / "out" / "signal.safetensors").exists() == (
        loss != "ircr"
    )
    if loss != "ircr":
        assert evidence["decoder_steps"] > 50 and evidence["error"] is not None


class Doubled(Signal):
    """A signal of somebody's package, which counts its batches as what it has learned."""

    entry, learned, replaces_task = "factors", True, True
    batches = 0

    @classmethod
    def columns(cls, terms, potentials, sparse):
        return Columns(("first", "second"))

    def step(self, terms, before, after, batch):
        self.stored_inputs, self.finished_episodes = terms[:, :1], {}
        return np.zeros((len(terms), 2)), np.zeros((len(terms), 0)), np.zeros((len(terms), 0))

    def before_sampling(self):
        self.batches += 1

    def recompute(self, inputs, returns):
        return np.concatenate([self.batches * inputs, np.ones_like(inputs)], 1)


def test_any_signal_that_learns_feeds_an_off_policy_learner(paid):
    slow = {"learning_starts": 10_000, "buffer_size": 100, "batch_size": 32}
    card = load(
        factored(
            paid(
                "SAC",
                training={
                    "algorithm": "SAC",
                    "steps": 100,
                    "n_envs": 2,
                    "net": [8],
                    "hyperparameters": slow,
                },
            )
        )
    ).with_episodic_return()
    buffer, _ = buffer_of(card, "rd", {"first": 3.0, "second": 0.5}, signal_class=Doubled)
    for batches in (1, 2):
        batch = buffer.sample(64)
        for observation, reward in zip(
            batch.observations.numpy(), batch.rewards.numpy()[:, 0], strict=True
        ):
            where = np.argwhere((buffer.observations == observation).all(-1))
            assert any(
                np.isclose(3.0 * batches * buffer.inputs[i, j, 0] + 0.5, reward, rtol=1e-5)
                for i, j in where
            )


def buffer_of(card, loss, weights=None, steps=118, signal_class=Decoded):
    """A buffer filled by random play, its signal, and the transitions as they went in: z and the
    episode's return, NaN where it is not over.
    """
    with Worker(
        (card.path.parent / "program.py").read_text(),
        card.card.reward_layout,
        card.card.action,
        entry="factors",
    ) as worker:
        composition = Composition.model_validate(
            {"transforms": [{"kind": "weights", "weights": weights}]} if weights else {}
        )
        venv = RewardVecEnv(
            environments(card, trusted_code(card), 2),
            SignalContext(card.card, (), settings={"loss": loss, "decoder_steps": "5"}),
            worker,
            composition,
            signal_class,
        )
        view = policy.PolicyView(venv, card, trusted_code(card), training=True)
        agent = policy.build(card.card, view, 0, "cpu", replay=(RecomputedReplay, {"source": venv}))
        view.seed(1)
        view.action_space.seed(1)
        agent.learn(steps)
    return agent.replay_buffer, venv.signal


@pytest.mark.parametrize("weights", [None, {"decoded": 3.0}])
def test_a_sampled_reward_is_what_the_decoder_says_now(paid, weights):
    slow = {"learning_starts": 10_000, "buffer_size": 100, "batch_size": 32}
    card = load(
        factored(
            paid(
                "SAC",
                training={
                    "algorithm": "SAC",
                    "steps": 100,
                    "n_envs": 2,
                    "net": [8],
                    "hyperparameters": slow,
                },
            )
        )
    ).with_episodic_return()
    buffer, signal = buffer_of(card, "rd", weights)
    assert buffer.full and (buffer.rewards == 0).all()
    place = {z.tobytes(): (i, j) for i, row in enumerate(buffer.inputs) for j, z in enumerate(row)}
    before = signal.decoder.fitted
    for _ in range(3):
        batch = buffer.sample(64)
        worth = (weights or {"decoded": 1.0})["decoded"] * signal.decoder.reward(
            buffer.inputs.reshape(-1, 3)
        ).astype(np.float32).reshape(buffer.inputs.shape[:2])
        for observation, reward in zip(
            batch.observations.numpy(), batch.rewards.numpy()[:, 0], strict=True
        ):
            where = np.argwhere((buffer.observations == observation).all(-1))
            assert any(np.isclose(worth[i, j], reward, rtol=1e-5) for i, j in where)
    assert before == 0 and signal.decoder.fitted == 50 + 2 and len(place) == 100


def test_ircr_gives_each_step_its_episodes_return_and_draws_no_open_episode(paid):
    slow = {"learning_starts": 10_000, "buffer_size": 100, "batch_size": 32}
    card = load(
        factored(
            paid(
                "SAC",
                training={
                    "algorithm": "SAC",
                    "steps": 100,
                    "n_envs": 2,
                    "net": [8],
                    "hyperparameters": slow,
                },
            )
        )
    ).with_episodic_return()
    buffer, signal = buffer_of(card, "ircr")
    assert np.isnan(buffer.returns).any() and np.isfinite(buffer.returns).sum() > 60
    low, high = signal.episodes.extremes
    # along a row of the ring: a finished episode has one return, and it is one that was seen
    for j in range(2):
        assert set(buffer.returns[:, j][np.isfinite(buffer.returns[:, j])]) <= {
            e.task_return for e in signal.episodes.stored
        }
    rewards = buffer.sample(512).rewards.numpy()[:, 0]
    expected = (buffer.returns[np.isfinite(buffer.returns)] - low) / (high - low)
    assert (
        set(rewards.tolist()) <= set(expected.astype(np.float32).tolist())
        and rewards.min() >= 0
        and rewards.max() <= 1
    )


def test_what_cannot_be_served_is_refused_with_its_reason(paid, make_card, tmp_path):
    ppo, sac = load(paid()).card, load(paid("SAC", OFF)).card
    with pytest.raises(UserError, match="known only once it is over, and PPO"):
        Decoded.require(ppo, {"loss": "ircr"})
    Decoded.require(sac, {"loss": "ircr"})
    with pytest.raises(UserError, match="loss=mse"):
        Decoded.require(ppo, {"loss": "mse"})
    with pytest.raises(UserError, match="n_steps"):
        Decoded.require(load(paid("SAC", {"n_steps": 3})).card, {})
    path = factored(paid("SAC", OFF))
    done = train(
        path,
        tmp_path / "gate",
        signal="decoded",
        composition={
            "transforms": [
                {"kind": "gate", "over": ["decoded"], "until": "decoded", "at_least": 0.1}
            ]
        },
    )
    assert (
        done.refusal is not None
        and done.refusal.kind == "composition"
        and "gate" in done.refusal.message
    )


def test_more_than_64_factors_fit_and_too_many_are_refused(paid):
    card = load(paid()).card
    for count, fine in ((200, True), (257, False)):
        text = (
            "def factors(prev, action, curr, memory):\n"
            f"    return {{f'{{k:060d}}': curr.x * k for k in range({count})}}\n"
        )
        with Worker(text, card.reward_layout, card.action, entry="factors") as worker:
            arguments = (
                np.zeros((1, 2, 1)),
                np.zeros((1, 2, 1)),
                np.ones((1, 2, 1)),
                np.ones((1, 2), bool),
            )
            if fine:
                assert worker.ask(*arguments).terms.shape == (1, 2, count)
            else:
                with pytest.raises(Exception, match="more than 256 names"):
                    worker.ask(*arguments)


def test_factors_that_say_nothing_twice_the_same_or_the_time_are_told():
    chance = np.random.default_rng(0)
    a = chance.normal(size=(50, 4))
    time = np.repeat(np.arange(50.0)[:, None], 4, 1)
    first = np.zeros((50, 4), bool)
    first[0] = True
    values = np.stack(
        [a, 2 * a + 1, np.full((50, 4), 7.0), time**1.1, chance.normal(size=(50, 4))], -1
    )
    found = {
        (v.kind, v.severity): v.message
        for v in Decoded.check_answers(None, ("a", "twice", "seven", "clock", "b"), values, first)
    }
    assert set(found) == {
        ("constant-factor", "warn"),
        ("duplicate-factor", "warn"),
        ("clock-factor", "warn"),
    }
    assert (
        "'seven'" in found["constant-factor", "warn"]
        and "'twice' equals 'a' up to scale" in found["duplicate-factor", "warn"]
        and "'clock'" in found["clock-factor", "warn"]
    )
    refused = Decoded.check_answers(None, ("seven",), values[..., 2:3], first)
    assert [(v.kind, v.severity) for v in refused] == [("constant-factor", "refuse")]
