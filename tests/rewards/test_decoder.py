"""Return decomposition in numbers: the losses on worked examples, the unbiased one in expectation,
planted factors found, slopes bounded.
"""

import json
from itertools import combinations, product

import numpy as np
import pytest
import torch

from autoreward.errors import UserError
from autoreward.rewards.signals.decoder import Decoder, mean_error, slope_penalty
from autoreward.rewards.signals.episodes import Episodes, ircr


def tensors(*arrays):
    return tuple(torch.tensor(np.asarray(a, np.float64)) for a in arrays)


def drawn_losses(rewards, k, replacement):
    """(biased, unbiased) RRD loss, averaged over every way to draw k steps of one episode of the
    true rewards.
    """
    steps = (
        product(range(len(rewards)), repeat=k)
        if replacement
        else combinations(range(len(rewards)), k)
    )
    rows = np.array([[rewards[i] for i in chosen] for chosen in steps])
    correction = np.full(len(rows), 1.0 if replacement else 1 - k / len(rewards))
    values, mask, target, correction = tensors(
        rows, np.ones_like(rows), np.full(len(rows), np.mean(rewards)), correction
    )
    return float(mean_error(values, mask, target)), float(
        mean_error(values, mask, target, correction)
    )


def test_the_worked_example_of_rrd_and_its_correction():
    biased, unbiased = drawn_losses([1, 2, 3, 6], 2, replacement=False)
    assert biased == pytest.approx(7 / 6) and unbiased == pytest.approx(0)
    biased, unbiased = drawn_losses([0, 2], 4, replacement=True)
    assert biased == pytest.approx(0.25) and unbiased == pytest.approx(0)


@pytest.mark.parametrize("replacement", [False, True])
def test_the_unbiased_loss_is_the_full_one_in_expectation_for_wrong_rewards_too(replacement):
    """Any rewards and any return, not only a perfect decoder: all draws are enumerated, so this is
    the expectation itself.
    """
    chance = np.random.default_rng(0)
    for length, k in ((3, 2), (5, 3), (6, 4)):
        rewards, mean = chance.normal(size=length) * 3, float(chance.normal())
        steps = np.array(
            list(
                product(range(length), repeat=k) if replacement else combinations(range(length), k)
            )
        )
        correction = np.full(len(steps), 1.0 if replacement else 1 - k / length)
        values, mask, target, factor = tensors(
            rewards[steps], np.ones(steps.shape), np.full(len(steps), mean), correction
        )
        full = (rewards.mean() - mean) ** 2
        assert float(mean_error(values, mask, target, factor)) == pytest.approx(full)
        assert float(mean_error(values, mask, target)) > full + 0.01


def test_the_decoders_own_draws_give_the_full_loss_in_expectation():
    """As the decoder samples: episodes longer and shorter than K, masked; 2,000 draws against the
    loss over all steps.
    """
    chance = np.random.default_rng(1)
    decoder = Decoder(("a", "b"), "rrd-unbiased", drawn=8, batch=8 * 64, hidden=(16,), seed=3)
    lengths = [40, 5, 8, 25, 60, 12, 9, 30]
    for length in lengths:
        decoder.add(chance.normal(size=(length, 2)), float(chance.normal() * length))
    decoder.fit(1)
    with torch.no_grad():
        # steps that differ much
        decoder.network[-1].weight.normal_(generator=decoder.generator)
        known = decoder.episodes
        whole = [
            decoder.network(decoder._inputs(known.rows(np.arange(e.start, e.start + e.length))))[
                :, 0
            ]
            for e in known.stored
        ]
        full = np.mean(
            [
                (float(r.mean()) - e.task_return / e.length / decoder.unit) ** 2
                for r, e in zip(whole, known.stored, strict=True)
            ]
        )
        biased, unbiased = [], []
        for _ in range(2000):
            places, mask, target, correction = decoder._sample()
            assert ((mask.sum(1) <= 8).all()) and (correction >= 0).all()
            rewards = decoder.network(decoder._inputs(known.rows(places)))[..., 0]
            biased.append(float(mean_error(rewards, mask, target)))
            unbiased.append(float(mean_error(rewards, mask, target, correction)))
    error = np.std(unbiased) / np.sqrt(len(unbiased))
    assert abs(np.mean(unbiased) - full) < 4 * error < 0.05 * full
    assert np.mean(biased) > full + 10 * error


def test_episodes_of_at_most_k_steps_are_taken_whole_and_not_corrected():
    decoder = Decoder(("a",), "rrd-unbiased", drawn=4, batch=64)
    for length in (1, 2, 3, 4, 4, 3, 2, 1):
        decoder.add(np.arange(length)[:, None], length)
    places, mask, _, correction = decoder._sample()
    assert set(mask.sum(1).tolist()) <= {1.0, 2.0, 3.0, 4.0} and (correction == 0).all()
    for row, chosen in zip(places, mask.numpy() > 0, strict=True):
        assert decoder.episodes.rows(row[chosen])[:, 0].tolist() == list(range(chosen.sum()))
    assert np.isfinite(decoder.fit(5))


def test_rd_over_sums_of_factors_finds_the_weights_of_the_worked_example():
    """Linear f, factor sums [[3, 1], [1, 2], [2, 2]], R = (5, 0, 2): w = (2, -1)."""
    decoder = Decoder(("a", "b"), "rd", hidden=(), rate=0.03, batch=16)
    for _ in range(4):
        for (a, b), task_return in zip([[3, 1], [1, 2], [2, 2]], [5, 0, 2], strict=True):
            decoder.add(np.array([[a, b - 1], [0, 1]], float), task_return)
    decoder.fit(4000)
    slopes = decoder.reward(np.array([[1.0, 0], [0, 1], [0, 0]]))
    assert slopes[:2] - slopes[2] == pytest.approx([2, -1], abs=0.02)


def planted(chance):
    """The hidden reward is tanh(s0 * s1) + .3 s2 of a 30-dimensional state; 60 episodes of 50
    steps.
    """
    states = chance.normal(size=(60, 50, 30))
    hidden = np.tanh(states[..., 0] * states[..., 1]) + 0.3 * states[..., 2]
    return states, hidden, chance.normal(size=(60, 50, 3))


def correlation(inputs, truth, loss, steps=300, **changes):
    decoder = Decoder(
        tuple(f"z{k}" for k in range(inputs.shape[-1])),
        loss,
        **{"hidden": (), "rate": 0.01, "batch": 1500, **changes},
    )
    for z, rewards in zip(inputs, truth, strict=True):
        decoder.add(z, rewards.sum())
    decoder.fit(steps)
    decoded = decoder.reward(inputs.reshape(-1, inputs.shape[-1]))
    return np.corrcoef(decoded, truth.ravel())[0, 1], decoder


@pytest.mark.parametrize("loss", ["rd", "rrd", "rrd-unbiased"])
def test_a_planted_factor_is_found_and_raw_fields_do_not_show_it(loss):
    states, hidden, noise = planted(np.random.default_rng(0))
    drawn = {"drawn": 16}
    good, decoder = correlation(
        np.concatenate([hidden[..., None], noise], -1), hidden, loss, **drawn
    )
    raw, _ = correlation(states, hidden, loss, **drawn)
    without, _ = correlation(noise, hidden, loss, **drawn)
    assert good > 0.98 and raw < 0.45 and abs(without) < 0.1
    shares = decoder.attributions()
    assert shares["z0"] > 0.7 and sum(shares.values()) == pytest.approx(1)


@pytest.mark.long
def test_the_network_of_the_paper_finds_the_planted_factor_too():
    _, hidden, noise = planted(np.random.default_rng(2))
    good, _ = correlation(
        np.concatenate([hidden[..., None], noise], -1),
        hidden,
        "rrd-unbiased",
        400,
        hidden=(256, 256),
        rate=3e-4,
        batch=256,
        drawn=16,
    )
    assert good > 0.9


def test_decoded_rewards_of_an_episode_sum_up_to_its_return_in_the_tasks_own_unit():
    chance = np.random.default_rng(0)
    decoder = Decoder(("a",), "rd", hidden=(), rate=0.05, batch=1000)
    z = chance.normal(size=(40, 50, 1)) + chance.normal(size=(40, 1, 1))
    for episode in z:
        decoder.add(episode, 1000 * episode.sum() - 700)
    decoder.fit(800)
    sums = np.array([decoder.reward(e).sum() for e in z])
    assert sums == pytest.approx(1000 * z.sum((1, 2)) - 700, rel=0.02, abs=500)


def test_slopes_above_one_are_penalized_and_flat_ones_are_free():
    x, y, along = (torch.randn(64, 1) for _ in range(3))
    assert 10 * float(slope_penalty(lambda v: 2 * v, x, y, along)) == pytest.approx(10)
    assert float(slope_penalty(lambda v: 0.5 * v, x, y, along)) == 0
    two = torch.randn(64, 2)
    assert float(
        slope_penalty(lambda v: v.sum(-1, keepdim=True) * 3 / 2**0.5, two, two, along)
    ) == pytest.approx(4)


@pytest.mark.parametrize("penalty", [0.0, 10.0])
def test_with_the_penalty_the_slope_of_a_cliff_stays_below_one_and_a_half(penalty):
    chance = np.random.default_rng(0)
    decoder = Decoder(
        ("a", "b"), "rd", penalty=penalty, hidden=(64, 64), rate=3e-3, batch=64, seed=1
    )
    z = chance.normal(size=(64, 1, 2))
    for episode in z:
        decoder.add(episode, 100.0 * (episode[0, 0] > 0))
    decoder.fit(400)
    a, b = chance.normal(size=(2, 1000, 2))
    x = decoder._inputs(a), decoder._inputs(b)
    with torch.no_grad():
        rises = (decoder.network(x[0]) - decoder.network(x[1])).abs()[:, 0] / (x[0] - x[1]).norm(
            dim=1
        )
    assert float(rises.max()) < 1.5 if penalty else float(rises.max()) > 2
    assert np.corrcoef(decoder.reward(a), a[:, 0] > 0)[0, 1] > 0.6


def test_the_store_keeps_newest_whole_episodes_within_its_bound():
    known = Episodes(1, capacity=10)
    for value, length in ((1, 4), (2, 4), (3, 4), (4, 11)):
        known.add(np.full((length, 1), value, float), value)
    assert [e.task_return for e in known.stored] == [2, 3] and known.steps == 8 and known.ended == 4
    for episode in known.stored:
        assert (known.rows(episode.start + np.arange(episode.length)) == episode.task_return).all()
    assert known.rows(known.newest(5))[:, 0].tolist() == [2, 3, 3, 3, 3]
    assert (known.mean, known.std, known.mean_length) == pytest.approx(
        (2.5, np.std([1, 2, 3, 4]), 23 / 4)
    ) and known.extremes == (2, 3)


def test_ircr_spreads_returns_evenly_and_divides_by_no_zero():
    assert ircr(np.array([0, 5, 10]), 0, 10).tolist() == [0, 0.5, 1]
    assert ircr(np.array([7, 7]), 7, 7).tolist() == [0, 0]


def test_few_episodes_teach_nothing_and_constant_inputs_break_nothing():
    decoder = Decoder(("same", "good"), "rrd")
    z = np.column_stack([np.full(20, 5.0), np.arange(20)])
    for k in range(7):
        decoder.add(z, k)
    assert decoder.fit(3) is None and decoder.reward(z).tolist() == [0] * 20
    decoder.add(z, 1.0)
    assert np.isfinite(decoder.fit(3)) and decoder.attributions()["same"] == 0
    assert np.isfinite(decoder.reward(np.array([[1e30, -1e30]]))).all()
    other = Decoder(("x",), "rd")
    for _ in range(8):
        other.add(np.ones((3, 1)), 0.0)
    assert other.fit(10) == 0 and other.reward(np.ones((2, 1))).tolist() == [0, 0]


def fitted(seed=5, penalty=10.0):
    chance = np.random.default_rng(0)
    decoder = Decoder(("a", "b", "c"), "rrd-unbiased", seed=seed, penalty=penalty, drawn=8)
    for _ in range(12):
        z = chance.normal(size=(30, 3))
        decoder.add(z, z[:, 0].sum())
    # what others draw is no matter
    torch.rand(3)
    decoder.fit(15)
    for _ in range(4):
        z = chance.normal(size=(20, 3))
        decoder.add(z, z[:, 0].sum())
    decoder.fit(15)
    return decoder


def test_the_same_seed_gives_the_same_bits_and_takes_none_of_the_agents_chance(tmp_path):
    state = torch.random.get_rng_state()
    Decoder(("a",), seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    for name, seed in (("one", 5), ("two", 5), ("other", 6)):
        fitted(seed).save(tmp_path / name)
    one, two, other = ((tmp_path / n).read_bytes() for n in ("one", "two", "other"))
    assert one == two != other


def test_a_saved_decoder_says_the_same_and_a_broken_file_is_refused(tmp_path):
    decoder, path = fitted(), tmp_path / "signal.safetensors"
    decoder.save(path)
    again = Decoder.load(path)
    z = np.random.default_rng(1).normal(size=(9, 3))
    assert (
        again.reward(z).tobytes() == decoder.reward(z).tobytes()
        and again.names == decoder.names
        and again.loss == decoder.loss
    )
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert json.loads(header["__metadata__"]["decoder"])["hidden"] == [256, 256]
    path.write_bytes(data[:-40])
    with pytest.raises(UserError, match="is not a decoder"):
        Decoder.load(path)
    broken = fitted()
    broken.unit = float("nan")
    broken.save(path)
    with pytest.raises(UserError, match="unit"):
        Decoder.load(path)
    with pytest.raises(UserError, match="no decoder at"):
        Decoder.load(tmp_path / "nowhere")
