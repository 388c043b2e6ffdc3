"""Edge observations: ends of ranges, nothing that moves, two things in one place, the first step,
one row, many rows.
"""

import pytest
from harness import HEAD, case, must_be_accepted, must_be_refused, reward, twins

GAP = "gap = np.linalg.norm(curr.pos - curr.goal, axis=-1)\n"
CASES = [
    case(
        "one over the distance",
        GAP + "return {'near': 1 / gap}",
        "",
        "not-finite",
        GAP + "return {'near': 1 / (gap + 0.1)}",
    ),
    case(
        "logarithm of the distance",
        GAP + "return {'near': -np.log(gap)}",
        "",
        "not-finite",
        GAP + "return {'near': -np.log(gap + 0.01)}",
    ),
    case(
        "direction to the goal",
        "d = curr.goal - curr.pos\nunit = d / np.linalg.norm(d, axis=-1, keepdims=True)\nreturn {'along': (unit * curr.vel).sum(-1)}",
        "",
        "not-finite",
        "d = curr.goal - curr.pos\nunit = d / np.maximum(np.linalg.norm(d, axis=-1, keepdims=True), 1e-6)\nreturn {'along': (unit * curr.vel).sum(-1)}",
    ),
    case(
        "cosine of a velocity of zero",
        "speed = np.linalg.norm(prev.vel, axis=-1)\nreturn {'turn': (prev.vel * curr.vel).sum(-1) / speed}",
        "",
        "not-finite",
        "speed = np.linalg.norm(prev.vel, axis=-1)\nreturn {'turn': (prev.vel * curr.vel).sum(-1) / np.maximum(speed, 1e-6)}",
    ),
    case(
        "relative change",
        "return {'a': (curr.room - prev.room) / prev.room}",
        "",
        "not-finite",
        "return {'a': (curr.room - prev.room) / (1 + prev.room)}",
    ),
    case(
        "arcsine beyond 1",
        "return {'a': np.arcsin(1.05 * curr.pos[:, 0])}",
        "",
        "not-finite",
        "return {'a': np.arcsin(np.clip(1.05 * curr.pos[:, 0], -1, 1))}",
    ),
    case(
        "square root below 0 at the edge",
        "return {'a': np.sqrt(0.99 - curr.pos[:, 0])}",
        "",
        "not-finite",
        "return {'a': np.sqrt(np.maximum(0.99 - curr.pos[:, 0], 0))}",
    ),
    case(
        "a pole at the end of a range",
        "return {'a': 1 / (1 - curr.pos[:, 0])}",
        "",
        "not-finite",
        "return {'a': 1 / (1.5 - curr.pos[:, 0])}",
    ),
    case(
        "a power of a negative",
        "return {'a': curr.pos[:, 0] ** 0.5}",
        "",
        "not-finite",
        "return {'a': np.abs(curr.pos[:, 0]) ** 0.5}",
    ),
    case(
        "a table too short for the last code",
        reward("return {'a': TABLE[curr.room.astype(int)]}", "TABLE = np.array([0.0, 0.1, 0.3])\n"),
        "",
        "exception",
        reward(
            "return {'a': TABLE[curr.room.astype(int)]}", "TABLE = np.array([0.0, 0.1, 0.3, 1.0])\n"
        ),
    ),
    case(
        "a dict too short for the last code",
        reward(
            "return {'a': np.array([TABLE[int(r)] for r in curr.room])}",
            "TABLE = {0: 0.0, 1: 0.1, 2: 0.3}\n",
        ),
        "",
        "exception",
        reward(
            "return {'a': np.array([TABLE.get(int(r), 1.0) for r in curr.room])}",
            "TABLE = {0: 0.0, 1: 0.1, 2: 0.3}\n",
        ),
    ),
    case(
        "an assertion about the recorded states only",
        "assert (curr.pos < 1).all()\nreturn {'a': curr.has_key}",
        "",
        "exception",
        "assert (curr.pos <= 1).all()\nreturn {'a': curr.has_key}",
    ),
    case(
        "a potential with a pole",
        HEAD
        + "def potential(s):\n    return {'near': -1 / np.linalg.norm(s.pos - s.goal, axis=-1)}\n",
        "",
        "not-finite",
        HEAD + "def potential(s):\n    return {'near': -np.linalg.norm(s.pos - s.goal, axis=-1)}\n",
    ),
    case(
        "if on an array",
        "if curr.has_key:\n    return {'a': 1.0 + 0 * curr.has_key}\nreturn {'a': 0.0 * curr.has_key}",
        "",
        "exception",
        "return {'a': np.where(curr.has_key > 0, 1.0, 0.0)}",
    ),
    case(
        "only for eight rows",
        "return {'a': curr.has_key + np.zeros(8)}",
        "",
        "exception|shape",
        "return {'a': curr.has_key + np.zeros(len(curr.has_key))}",
    ),
    case(
        "a constant of training's batch size",
        "return {'a': np.zeros(12) + curr.has_key}",
        "",
        "exception|shape",
        "return {'a': np.zeros_like(curr.has_key)}",
    ),
    case(
        "no more than twenty rows",
        "if len(curr.pos) > 20:\n    raise ValueError\nreturn {'a': curr.has_key}",
        "",
        "exception",
        "if len(curr.pos) > 20:\n    pass\nreturn {'a': curr.has_key}",
    ),
    case(
        "squeezed at one row",
        "return {'a': np.squeeze(curr.pos[:, :1]) @ np.ones(len(curr.pos))}",
        "",
        "not-pure|exception",
        "return {'a': np.squeeze(curr.pos[:, :1], axis=1)}",
    ),
    case(
        "two rows at least",
        "return {'a': curr.has_key - curr.has_key[1]}",
        "",
        "exception",
        "return {'a': curr.has_key - prev.has_key}",
    ),
    case(
        "a standard deviation over rows",
        "x = curr.pos[:, 0]\nreturn {'a': (x - x.mean()) / x.std()}",
        "",
        "not-finite|not-pure",
        "x = curr.pos\nreturn {'a': (x - x.mean(-1, keepdims=True)).std(-1)}",
    ),
    case(
        "a rank among rows",
        "return {'a': np.argsort(curr.pos[:, 0]).astype(float)}",
        "",
        "not-pure",
        "return {'a': np.argsort(curr.pos, axis=-1)[:, 0].astype(float)}",
    ),
    case(
        "the best row",
        "return {'a': (curr.pos[:, 0] == curr.pos[:, 0].max()).astype(float)}",
        "",
        "not-pure",
        "return {'a': (curr.pos[:, 0] == curr.pos.max(-1)).astype(float)}",
    ),
    case(
        "the row before",
        "return {'a': np.roll(curr.pos[:, 0], 1)}",
        "",
        "not-pure",
        "return {'a': np.roll(curr.pos, 1, axis=1)[:, 0]}",
    ),
    case(
        "another row in large batches only",
        "x = curr.pos[:, 0]\nreturn {'a': x if len(x) < 12 else x - x.mean()}",
        "",
        "not-pure",
        "x = curr.pos[:, 0]\nreturn {'a': x}",
    ),
    case(
        "larger in larger batches",
        "return {'a': curr.pos[:, 0] * max(len(curr.pos), 8) / 8}",
        "",
        "not-pure",
        "return {'a': curr.pos[:, 0] * curr.pos.shape[1] / 8}",
    ),
    case(
        "cumulated over rows",
        "return {'a': np.cumsum(curr.pos)[::2]}",
        "",
        "not-pure",
        "return {'a': np.cumsum(curr.pos, axis=1)[:, -1]}",
    ),
    case(
        "memory of the first row for all",
        reward(
            "memory['m'] = np.full(len(curr.pos), curr.pos[0, 0])\nreturn {'a': memory['m']}",
            "MEMORY = {'m': 0.0}\n",
        ),
        "",
        "not-pure",
        reward("memory['m'] = curr.pos[:, 0]\nreturn {'a': memory['m']}", "MEMORY = {'m': 0.0}\n"),
    ),
    case(
        "infinite where nothing was seen yet",
        reward(
            "out = np.where(np.isinf(memory['last']), np.nan, curr.room - memory['last'])\nmemory['last'] = curr.room\nreturn {'a': out}",
            "MEMORY = {'last': np.inf}\n",
        ),
        "",
        "not-finite",
        reward(
            "out = np.where(np.isinf(memory['last']), 0.0, curr.room - memory['last'])\nmemory['last'] = curr.room\nreturn {'a': out}",
            "MEMORY = {'last': np.inf}\n",
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_refused_with_its_class(bench, case):
    must_be_refused(bench, case)


@pytest.mark.parametrize(("name", "text"), twins(CASES), ids=[n for n, _ in twins(CASES)])
def test_its_twin_is_accepted(bench, name, text):
    must_be_accepted(bench, text)


def test_a_refusal_at_an_edge_says_where_it_was(bench):
    _, ran = bench.refusals(next(c for c in CASES if c.name == "one over the distance").text)
    assert ran[0].message.endswith("(where two fields are equal)")
