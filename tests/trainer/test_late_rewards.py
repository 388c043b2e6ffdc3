"""Rewards that reach the learner's buffer late: in which row they lie when it learns from them."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from autoreward.rewards.composition import Columns, Composer, Composition
from autoreward.trainer.deferred import DeferredRewards, DeferredRolloutBuffer

GAMMA = 0.9


class Source:
    """Composes the scores of one row step by step, and delivers them as training does."""

    def __init__(self, transforms: list[dict]) -> None:
        composition = Composition.model_validate({"transforms": transforms})
        self.composer = Composer(composition, Columns(("q",)), GAMMA)
        self.deferred = DeferredRewards()
        self.pending: list[np.ndarray] = []

    @property
    def needs_future(self) -> bool:
        return self.composer.needs_future

    def collect_reward(self) -> None:
        for score, first, done in self.pending:
            none = np.zeros((1, 0))
            ends = np.array([done])
            reward, _ = self.composer.step(
                np.array([[score]]), none, none, np.zeros(1), np.array([first]), ends, ends, ends
            )
            self.deferred.deliver(reward.astype(np.float32), self.composer.late)
        self.pending = []


def rollouts(transforms: list[dict], scores: list[float], ends: list[bool], size: int):
    """The buffers (rewards, advantages, values) after each rollout of `size` steps of one row."""
    source = Source(transforms)
    box = spaces.Box(-1, 1, (1,))
    buffer = DeferredRolloutBuffer(size, box, box, device="cpu", gamma=GAMMA, gae_lambda=1.0)
    buffer.source = source
    first = True
    found = []
    for start in range(0, len(scores), size):
        buffer.reset()
        for k in range(start, start + size):
            source.collect_reward()
            source.pending.append((scores[k], first, ends[k]))
            value = torch.tensor([[0.5 + 0.1 * k]])
            zero = np.zeros((1, 1), np.float32)
            buffer.add(zero, zero, np.zeros(1), np.array([first]), value, torch.zeros(1))
            first = ends[k]
        following = torch.tensor([[0.5 + 0.1 * (start + size)]])
        buffer.compute_returns_and_advantage(following, np.array([ends[start + size - 1]]))
        copies = (buffer.rewards, buffer.advantages, buffer.values)
        found.append(tuple(array[:, 0].copy() for array in copies))
    return found


def test_delta_lies_in_the_row_of_its_own_step():
    delta = [{"kind": "delta", "over": ["q"]}]
    ((rewards, _, _),) = rollouts(delta, [0.9, 0.2, 0.7, 1.0], [False] * 3 + [True], 4)
    assert rewards == pytest.approx([0.7, -0.5, 0.7, 0.0])
    assert rewards[::-1].cumsum()[::-1] == pytest.approx([0.9, 0.2, 0.7, 0.0])


def test_a_weighed_delta_is_weighed_in_both_rows():
    weighed = [{"kind": "delta", "over": ["q"]}, {"kind": "weights", "weights": {"q": -2.0}}]
    ((rewards, _, _),) = rollouts(weighed, [0.9, 0.2, 0.7, 1.0], [False] * 3 + [True], 4)
    assert rewards == pytest.approx([-1.4, 1.0, -1.4, 0.0])


def test_the_last_row_of_a_rollout_says_nothing_while_its_next_score_is_unknown():
    delta = [{"kind": "delta", "over": ["q"]}]
    scores = [0.9, 0.2, 0.7, 0.4, 0.6, 1.0]
    (first, _, _), (second, _, _) = rollouts(delta, scores, [False] * 5 + [True], 3)
    both = rollouts(delta, scores, [False] * 5 + [True], 3)
    assert first[:2] == pytest.approx([0.7, -0.5])
    # no advantage of its own, and the critic's value is what the rows before it see
    assert both[0][1][2] == pytest.approx(0.0)
    assert both[0][1][1] == pytest.approx(-0.5 + GAMMA * both[0][2][2] - both[0][2][1])
    assert second == pytest.approx([-0.2, 0.6, 0.0])


def test_without_delta_every_row_keeps_its_reward():
    found = rollouts([], [0.9, 0.2, 0.7, 0.4], [False] * 4, 2)
    assert np.concatenate([rewards for rewards, _, _ in found]) == pytest.approx(
        [0.9, 0.2, 0.7, 0.4]
    )
