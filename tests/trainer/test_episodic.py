"""An episodic return: the same episodes, sums and metrics, with the reward on the last step.

By the card, by an option, and in an exported file.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from test_replay import train

from autoreward.errors import UserError
from autoreward.loop.header import card_for, header
from autoreward.loop.options import DesignOptions
from autoreward.store.io import read
from autoreward.store.records import RunHeader
from autoreward.tasks.find import find, load
from autoreward.tasks.plain_task import plain_task
from autoreward.trainer.environment import CardEnvironment, trusted_code
from autoreward.trainer.wrappers import TaskWrapper


def played(env, episodes=20, seed=3):
    """Per episode: rewards, the infos, and whether it was cut by the limit."""
    env.action_space.seed(seed)
    env.reset(seed=seed)
    found = []
    for _ in range(episodes):
        env.reset()
        rewards, infos, ended = [], [], False
        while not ended:
            _, reward, terminated, truncated, info = env.step(env.action_space.sample())
            rewards.append(reward)
            infos.append(info)
            ended = terminated or truncated
        found.append((rewards, infos, truncated))
    return found


def test_rewards_are_withheld_until_the_last_step_and_nothing_else_changes(paid):
    card = load(paid())
    dense, held = (
        played(CardEnvironment(c, trusted_code(c))) for c in (card, card.with_episodic_return())
    )
    assert any(cut for *_, cut in dense) and not all(cut for *_, cut in dense)
    for (rewards, infos, _), (late, told, _) in zip(dense, held, strict=True):
        assert late[:-1] == [0.0] * (len(late) - 1) and late[-1] == pytest.approx(
            sum(rewards), rel=1e-12
        )
        assert [i["dense"] for i in told] == rewards and not any("dense" in i for i in infos)
        assert {k: v for k, v in told[-1].items() if k != "dense"} == infos[-1] and infos[-1][
            "metrics"
        ]["paid"] == late[-1]


def test_the_card_says_it_or_the_option_and_both_are_the_same_task(paid):
    card = load(paid()).with_episodic_return()
    said = load(paid(episodic_return=True))
    assert said.card == card.card and said.digest() == card.digest() != load(paid()).digest()
    options = DesignOptions(str(said.path), episodic_return=True)
    assert header(options, card_for(options)).card["episodic_return"] is True


def test_a_task_whose_reward_is_its_success_has_nothing_to_withhold(make_card):
    with pytest.raises(UserError, match="its success, which is given only once anyway") as caught:
        load(make_card()).with_episodic_return()
    assert "task_reward: environment" in caught.value.hint
    with pytest.raises(UserError, match="episodic_return: the task reward is the success"):
        load(make_card(episodic_return=True))


def test_cards_without_the_key_are_the_cards_they_were():
    """Runs that began before the key was there go on: their digest is of the card without it."""
    run = yaml.safe_load((Path(__file__).parents[2] / "runs" / "example" / "run.yaml").read_text())
    assert find("corridor").digest() == run["card_digest"]


def test_an_exported_task_withholds_its_return_as_training_does(paid):
    card = load(paid(episodic_return=True))
    task = plain_task(card.card)
    code = trusted_code(card)
    ours, theirs = played(CardEnvironment(card, code)), played(TaskWrapper(code.Walk(), task))
    for (rewards, *_), (exported, *_) in zip(ours, theirs, strict=True):
        assert np.float32(rewards).tolist() == exported


def test_a_training_with_the_option_learns_from_the_return_and_is_scored_as_ever(paid, tmp_path):
    card = load(paid())
    curves = []
    for name, option in (("dense", False), ("held", True)):
        train(card.path, tmp_path / name, program=False, episodic_return=option)
        with np.load(tmp_path / name / "curve.npz", allow_pickle=False) as data:
            curves.append({k: data[k] for k in data.files})
    dense, held = curves
    assert np.allclose(held["reward"], held["metric"], rtol=1e-5, equal_nan=True) and np.allclose(
        dense["reward"], dense["metric"], rtol=1e-5, equal_nan=True
    )
    assert (tmp_path / "dense" / "policy.safetensors").read_bytes() != (
        tmp_path / "held" / "policy.safetensors"
    ).read_bytes()


def test_on_the_command_line_it_is_recorded_and_refused_where_it_makes_no_sense(
    command, paid, tmp_path
):
    card = load(paid())
    done = command(
        "train",
        "sparse",
        "--task",
        str(card.path),
        "--episodic-return",
        "--seeds",
        "1",
        "--steps",
        "300",
        "--out",
        "out",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    made = read(tmp_path / "out" / "header.json", RunHeader)
    assert made is not None and made.episodic_return and made.card["episodic_return"] is True
    assert json.loads(done.stdout)["metric"] is not None
    refused = command("design", "corridor", "--episodic-return", "--dry-run")
    assert (
        refused.returncode == 2
        and "--episodic-return" in refused.stderr
        and "task_reward: environment" in refused.stderr
    )
