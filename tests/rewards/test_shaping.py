"""What potentials, gains, milestones and step scores pay, in numbers worked out by hand."""

import numpy as np
import pytest

from autoreward.rewards.composition import Columns, Composer, Composition, shape_potentials

# of the chain 0, 1, 2, goal 3
PHI = np.array([0.5, 2.0, 1.0, 5.0])
PATH, CUT = [0, 1, 2, 1, 2, 3], [1, 2, 1, 0]


def discounted(rewards, gamma=0.9):
    return float((gamma ** np.arange(len(rewards)) * rewards).sum())


def chain_values(transforms, gamma=0.9):
    """Return Q (3, 2) of the chain by value iteration.

    The rewards come from a composer, one transition at a time.
    """

    def reward(s, after):
        made = Composer(
            Composition.model_validate({"transforms": transforms}), Columns((), ("phi",)), gamma
        )
        once = np.ones(1, bool)
        return made.step(
            np.zeros((1, 0)),
            PHI[[s], None],
            PHI[[after], None],
            np.array([float(after == 3)]),
            once,
            np.array([after == 3]),
            np.array([after == 3]),
            once,
        )[0][0]

    paid = {
        (s, a): (reward(s, after), after)
        for s in range(3)
        for a, after in enumerate((max(0, s - 1), s + 1))
    }
    q = np.zeros((3, 2))
    for _ in range(300):
        value = np.append(q.max(1), 0.0)
        q = np.array(
            [[paid[s, a][0] + gamma * value[paid[s, a][1]] for a in (0, 1)] for s in range(3)]
        )
    return q


def test_the_optimal_values_of_the_chain_shift_by_the_potential_exactly():
    base = chain_values([{"kind": "weights", "potentials": 0.0}])
    assert base == pytest.approx(np.array([[0.729, 0.81], [0.729, 0.9], [0.81, 1.0]]))
    # potentials that no transform names are shaped by us
    shaped = chain_values([])
    assert shaped == pytest.approx(np.array([[0.229, 0.31], [-1.271, -1.1], [-0.19, 0.0]]))
    assert base - shaped == pytest.approx(np.repeat(PHI[:3, None], 2, 1))
    moved = chain_values([{"kind": "potential", "scale": 3.0, "shift": -5.0}])
    assert base - moved == pytest.approx(np.repeat(3 * (PHI[:3, None] - 5), 2, 1))


@pytest.mark.parametrize("seed", range(5))
def test_shaping_keeps_the_optimal_policy_of_random_processes(seed):
    """Exact values of a random process with noise and a terminal state; rewards of every (s, a,
    s') from a composer.
    """
    rng, n, actions, gamma = np.random.default_rng(seed), 7, 3, 0.95
    # (s, a, s'); the last state is terminal
    moves = rng.dirichlet(np.full(n, 0.3), (n, actions))
    task, phi = rng.normal(size=(n, actions, n)), rng.normal(size=n) * 10
    s, _, after = (
        g.ravel()
        for g in np.meshgrid(np.arange(n), np.arange(actions), np.arange(n), indexing="ij")
    )

    def values(transforms):
        composer = Composer(
            Composition.model_validate({"transforms": transforms}), Columns((), ("phi",)), gamma
        )
        ends, once = after == n - 1, np.ones(len(s), bool)
        reward, _ = composer.step(
            np.zeros((len(s), 0)),
            phi[s, None],
            phi[after, None],
            task.ravel(),
            once,
            ends,
            ends,
            ends,
        )
        q = np.zeros((n, actions))
        for _ in range(2000):
            value = q.max(1)
            value[-1] = 0.0
            q = (moves * (reward.reshape(n, actions, n) + gamma * value)).sum(-1)
        return q[:-1]

    base = values([{"kind": "weights", "potentials": 0.0}])
    for transforms, scale, shift in (
        ([], 1, 0),
        ([{"kind": "potential", "scale": 2.0, "shift": -3.0}], 2, -3),
        ([{"kind": "weights", "potentials": -1.0}], -1, 0),
    ):
        shaped = values(transforms)
        assert (shaped.argmax(1) == base.argmax(1)).all()
        assert base - shaped == pytest.approx(
            np.repeat(scale * (phi[:-1, None] + shift), actions, 1)
        )


def test_the_return_of_an_episode_shifts_by_a_constant(pays):
    # - Phi of the first state, whatever the way
    assert discounted(pays([], potentials={"phi": PHI[PATH]})) == pytest.approx(-0.5)
    # a truncation keeps the last
    assert discounted(pays([], potentials={"phi": PHI[CUT]}, terminated=False)) == pytest.approx(
        0.9**3 * 0.5 - 2
    )


def test_a_terminal_potential_counts_as_0(pays):
    """Two exits, gamma 1: A pays 1 with potential 0, B pays .5 with potential 1."""
    a = pays([], potentials={"phi": [0.0, 0.0]}, task=[1.0], gamma=1.0).sum()
    b = pays([], potentials={"phi": [0.0, 1.0]}, task=[0.5], gamma=1.0).sum()
    assert (a, b) == (1.0, 0.5)


def test_columns_are_shaped_along_any_leading_axes():
    phi = PHI[PATH][:, None]
    assert shape_potentials(phi[:-1], phi[1:], np.array([0.0, 0, 0, 0, 1]), 0.9)[
        :, 0
    ] == pytest.approx([1.3, -1.1, 0.8, -1.1, -1.0])


DISTANCES = -np.array([5, 3, 4, 3, 2, 2.5, 1.0])


def test_gain_and_best_so_far_gain(pays):
    assert pays([{"kind": "gain"}], potentials={"s": DISTANCES}).tolist() == [
        2,
        -1,
        1,
        1,
        -0.5,
        1.5,
    ]
    best = pays([{"kind": "best"}], potentials={"s": DISTANCES})
    assert best.tolist() == [2, 0, 0, 1, 0, 1] and best.sum() == 4 == DISTANCES.max() - DISTANCES[0]


def test_step_scores_clipped_and_as_deltas(pays):
    q = {"q": [0.9, 0.2, 0.7, 1.0]}
    assert pays([{"kind": "clip", "over": ["q"], "eta": 0.8}], q) == pytest.approx(
        [0, -0.6, -0.1, 0.0]
    )
    delta = pays([{"kind": "delta", "over": ["q"]}], q)
    # each at its own step, as the learner gets them: what is left to come is the step's score
    assert delta == pytest.approx([0.7, -0.5, 0.7, 0])
    assert delta[::-1].cumsum()[::-1] == pytest.approx([0.9, 0.2, 0.7, 0.0])
    # nothing is lost at a truncation
    assert pays([{"kind": "delta", "over": ["q"]}], q, terminated=False).sum() == pytest.approx(0.9)
    assert pays([{"kind": "delta", "over": ["q"]}], {"q": [0.4]}, terminated=False).tolist() == [
        0.4
    ]
    assert pays([{"kind": "delta", "over": ["q"]}], {"q": [0.4]}).tolist() == [0.0]


STAGES = [
    {"done": "key", "progress": "near_key"},
    {"done": "door", "progress": "near_door"},
    {"done": "goal"},
]


def test_the_potential_of_milestones_never_falls_along_a_solution(pays):
    way = {
        "key": [0, 0, 1, 1, 1, 1, 1],
        "near_key": [0.2, 0.9, 1.0, 1, 1, 1, 1],
        "door": [0, 0, 0, 0, 1, 1, 1],
        "near_door": [0, 0, 0.1, 0.8, 1, 1, 1],
        "goal": [0, 0, 0, 0, 0, 0, 1],
    }
    steps = pays([{"kind": "milestones", "stages": STAGES, "pay": "gain"}], potentials=way)
    # from .2 - 3 up to 0: success is 0
    assert (steps >= 0).all() and steps == pytest.approx([0.7, 0.2, 0.7, 0.2, 0.0, 1.0])
    as_potential = {"kind": "milestones", "stages": STAGES, "pay": "potential"}
    shaped = pays([as_potential], potentials=way)
    assert discounted(shaped) == pytest.approx(3 - 0.2) and shaped[-1] == pytest.approx(1.0)


def test_picking_up_and_dropping_again_pays_once(pays):
    farm = {
        "key": [0, *([1, 0] * 30)],
        "near_key": [0.0] * 61,
        "door": [0.0] * 61,
        "near_door": [0.0] * 61,
        "goal": [0.0] * 61,
    }
    assert pays(
        [{"kind": "milestones", "stages": STAGES, "pay": "gain"}], potentials=farm
    ).sum() == pytest.approx(1.0)


def test_failing_pays_nothing_by_default_and_the_rest_as_a_potential(pays):
    """An episode that falls into a pit after the first of three stages."""
    fall = {
        "key": [0, 1, 1],
        "near_key": [0.0] * 3,
        "door": [0.0] * 3,
        "near_door": [0.0] * 3,
        "goal": [0.0] * 3,
    }
    milestones = {"kind": "milestones", "stages": STAGES}
    assert pays([milestones], potentials=fall).tolist() == [1.0, 0.0]
    paid = pays([{**milestones, "pay": "potential"}], potentials=fall)
    assert paid[-1] == pytest.approx(2.0)


def test_milestones_true_at_the_start_are_skipped_and_those_done_early_count_in_their_turn(
    pays,
):
    stages = [{"done": "a"}, {"done": "b"}, {"done": "c"}]
    begun = pays(
        [{"kind": "milestones", "stages": stages, "pay": "gain"}],
        potentials={"a": [1, 1, 1], "b": [0, 1, 1], "c": [0, 0, 0]},
    )
    assert begun.tolist() == [1.0, 0.0]
    other = pays(
        [{"kind": "milestones", "stages": stages, "pay": "gain"}],
        potentials={"a": [0, 0, 1], "b": [0, 1, 0], "c": [0, 0, 0]},
    )
    assert other.tolist() == [0.0, 2.0]


def test_milestones_add_a_column_and_their_flags_pay_nothing(made):
    composer = made(
        [{"kind": "milestones", "stages": STAGES, "name": "stages", "pay": "potential"}],
        ("effort",),
        ("key", "near_key", "door", "near_door", "goal"),
    )
    assert composer.names == ("effort", "key", "near_key", "door", "near_door", "goal", "stages")
    once, rest = np.ones(1, bool), np.zeros(1, bool)
    before, after = np.array([[0, 0.2, 0, 0, 0.0]]), np.array([[1, 1, 0, 0.5, 0.0]])
    reward, columns = composer.step(
        np.array([[-0.1]]), before, after, np.zeros(1), once, rest, rest, rest
    )
    assert columns[0, 1:6].tolist() == [0.0] * 5 and reward[0] == pytest.approx(
        -0.1 + 0.9 * (1.5 - 3) - (0.2 - 3)
    )
