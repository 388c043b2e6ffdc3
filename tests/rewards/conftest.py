"""Episodes of one environment, written as lists: what a composition pays for them."""

import numpy as np
import pytest

from autoreward.rewards.composition import Columns, Composer, Composition


def composer(
    transforms, terms=(), potentials=(), sparse=(), gamma=0.9, task_reward=1.0
) -> Composer:
    made = Composition.model_validate({"transforms": transforms, "task_reward": task_reward})
    return Composer(made, Columns(tuple(terms), tuple(potentials), frozenset(sparse)), gamma)


def play(
    made: Composer, terms=None, potentials=None, task=None, terminated=True, success=False
) -> np.ndarray:
    """Rewards (T,) of one episode.

    terms: name -> T values; potentials: name -> T + 1 values, one a state.
    """
    terms, potentials = terms or {}, potentials or {}
    steps = len(next(iter(terms.values()))) if terms else len(next(iter(potentials.values()))) - 1
    column = lambda values: np.array(values, float).T.reshape(steps, 1, -1)  # noqa: E731
    last = np.arange(steps)[:, None] == steps - 1
    rewards, _ = made.replay(
        column(list(terms.values())) if terms else np.zeros((steps, 1, 0)),
        column([v[:-1] for v in potentials.values()]) if potentials else np.zeros((steps, 1, 0)),
        column([v[1:] for v in potentials.values()]) if potentials else np.zeros((steps, 1, 0)),
        np.array(task if task is not None else np.zeros(steps), float)[:, None],
        np.arange(steps)[:, None] == 0,
        last & terminated,
        last,
        last & success,
    )
    return rewards[:, 0]


@pytest.fixture
def pays():
    """pays([{"kind": ...}], terms={...}, potentials={...}, ...) -> the rewards of one episode."""

    def run(
        transforms, terms=None, potentials=None, sparse=(), gamma=0.9, task_reward=1.0, **episode
    ):
        return play(
            composer(transforms, terms or (), potentials or (), sparse, gamma, task_reward),
            terms,
            potentials,
            **episode,
        )

    return run


@pytest.fixture
def made():
    return composer


@pytest.fixture
def played():
    return play
