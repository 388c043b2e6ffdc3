"""Relations between unnamed columns, on numbers made here."""

import numpy as np

from autoreward.trainer.survey.relations import relations


def made(steps: int = 400):
    random = np.random.default_rng(0)
    angle, x, goal, rows = 0.0, 0.0, 0.0, []
    for t in range(steps + 1):
        if t % 50 == 0:
            goal = random.normal()
        turn, speed = random.normal(), random.normal()
        angle, x = angle + 0.1 * turn, x + 0.05 * speed
        rows.append(
            [np.cos(angle), turn, np.sin(angle), x, speed, goal, x - goal, random.normal(), 3.0]
        )
    rows = np.array(rows)
    first = np.arange(steps) % 50 == 49
    inside = ~first
    return rows[:-1][inside], rows[1:][inside], np.zeros(inside.sum(), bool)


def test_an_angle_its_rate_a_velocity_a_goal_and_a_difference_are_found_and_noise_is_not():
    found = relations(*made())
    assert found[
        0
    ] == "with column 2 the cosine and sine of an angle, in one order or the other" and found[
        2
    ].startswith("with column 0")
    assert found[1] == (
        "the rate of change of the angle in columns 0 and 2 "
        "(which grows by 0.1 times this in a step)"
    )
    assert found[4] == "the rate of change of column 3 (which grows by 0.05 times this in a step)"
    assert (
        found[5].startswith("changes only when an episode starts")
        and found[6] == "column 3 minus column 5"
    )
    assert not {3, 7, 8} & found.keys()


def test_a_stacked_frame_is_the_step_before():
    random = np.random.default_rng(1)
    values = np.cumsum(random.normal(size=301))
    rows = np.stack([values[1:], values[:-1]], 1)
    assert relations(rows[:-1], rows[1:], np.zeros(299, bool))[1] == "column 0 one step ago"


def test_few_or_infinite_numbers_give_no_relations():
    before, after, first = made()
    assert relations(before[:20], after[:20], first[:20]) == {}
    assert relations(before, np.where(np.arange(9) == 7, np.inf, after), first) == {}
