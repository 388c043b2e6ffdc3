"""A composition gives the same numbers step by step, in a replay, and after it was restored."""

import json
from itertools import pairwise

import numpy as np
import pytest

from autoreward.rewards.composition import (
    KINDS,
    Columns,
    Composer,
    Composition,
    UnsuitableComposition,
)

TERMS, POTENTIALS, SPARSE = (
    ("a", "b", "factor", "event"),
    ("near", "done", "phi"),
    frozenset({"event"}),
)
LISTS = {
    "potential": [{"kind": "potential", "over": ["near"], "shift": -1.0}],
    "gain": [{"kind": "gain", "over": ["near"]}],
    "best": [{"kind": "best"}],
    "milestones": [
        {"kind": "milestones", "stages": [{"done": "done", "progress": "near"}, {"done": "phi"}]}
    ],
    "clip": [{"kind": "clip", "over": ["a", "near"], "eta": 0.5}],
    "delta": [{"kind": "delta", "over": ["a", "near"]}],
    "delta, weighed": [
        {"kind": "delta", "over": ["b"]},
        {"kind": "weights", "weights": {"b": -2.0}},
        {"kind": "gate", "over": ["a"], "until": "event"},
    ],
    "normalize": [{"kind": "normalize", "rollouts": 3}],
    "weights": [{"kind": "weights", "weights": {"a": 2.0}, "sparse": 0.5}],
    "difficulty": [{"kind": "difficulty", "over": ["event", "b"], "window": 5}],
    "gate": [{"kind": "gate", "over": "dense", "until": "event"}],
    "switch": [
        {
            "kind": "switch",
            "over": ["b"],
            "window": 6,
            "episodes": 2,
            "above": 0.3,
            "below": 0.1,
            "ramp": 2,
        }
    ],
    "penalties": [{"kind": "penalties", "progress": "a", "factors": ["factor"]}],
    "lagrange": [
        {"kind": "lagrange", "constraints": [{"term": "b", "at_most": -0.3}], "rate": 1.0}
    ],
    "ensemble": [{"kind": "ensemble", "over": ["a", "b"]}],
    "signs": [{"kind": "signs"}],
    "all of them": [
        {"kind": "best", "over": ["phi"]},
        {"kind": "milestones", "stages": [{"done": "done", "progress": "near"}]},
        {"kind": "normalize", "over": "dense"},
        {"kind": "weights", "weights": {"phi": 0.3}},
        {"kind": "difficulty", "over": "sparse", "window": 5},
        {"kind": "gate", "over": ["phi"], "until": "event"},
        {"kind": "penalties", "progress": "a", "factors": ["factor"]},
        {"kind": "lagrange", "constraints": [{"term": "b", "at_least": 0.1}]},
        {"kind": "ensemble", "over": ["a", "b"]},
    ],
}


def composer(transforms):
    return Composer(
        Composition.model_validate({"transforms": transforms}),
        Columns(TERMS, POTENTIALS, SPARSE),
        0.97,
    )


def stream(steps=60, n=4, seed=0):
    """Return the arrays of `Composer.replay`, and where rollouts of 10 steps end.

    The n environments reset by themselves: a new episode starts with new potentials, and episodes
    end by termination and by truncation.
    """
    rng = np.random.default_rng(seed)
    terms = rng.normal(size=(steps, n, len(TERMS)))
    terms[..., 2], terms[..., 3] = rng.uniform(size=(steps, n)), rng.uniform(size=(steps, n)) < 0.2
    done = rng.uniform(size=(steps, n)) < 0.15
    terminated = done & (rng.uniform(size=(steps, n)) < 0.6)
    first = np.concatenate([np.ones((1, n), bool), done[:-1]])
    after = np.stack(
        [
            rng.normal(size=(steps, n)),
            rng.uniform(size=(steps, n)) < 0.3,
            rng.normal(size=(steps, n)),
        ],
        -1,
    )
    before = np.where(
        first[..., None], rng.normal(size=after.shape), np.concatenate([after[:1], after[:-1]])
    )
    task = (terminated & (rng.uniform(size=(steps, n)) < 0.5)).astype(float)
    return [terms, before, after, task, first, terminated, done, task > 0], np.arange(
        steps
    ) % 10 == 9


def test_every_kind_is_covered_here():
    assert {k.model_fields["kind"].default for k in KINDS} <= LISTS.keys()


@pytest.mark.parametrize("name", LISTS)
def test_step_by_step_is_the_replay_of_the_whole(name):
    arrays, ends = stream()
    whole, columns = composer(LISTS[name]).replay(*arrays, ends=ends)
    one = composer(LISTS[name])
    rewards = np.zeros_like(whole)
    for t in range(len(ends)):
        rewards[t], shaped = one.step(*(a[t] for a in arrays))
        if one.late is not None and t > 0:
            rewards[t - 1] += one.late
        if ends[t]:
            one.update()
        assert shaped.tobytes() == columns[t].tobytes()
    assert rewards.tobytes() == whole.tobytes()
    assert columns.shape[-1] == len(one.names)


@pytest.mark.parametrize("name", LISTS)
def test_a_restored_composer_continues_with_the_same_numbers(name):
    arrays, ends = stream()
    whole, _ = composer(LISTS[name]).replay(*arrays, ends=ends)
    begun = composer(LISTS[name])
    # in the middle of episodes and of a rollout
    begun.replay(*(a[:33] for a in arrays), ends=ends[:33])
    resumed = composer(LISTS[name])
    resumed.restore(json.loads(json.dumps(begun.state(), allow_nan=False)))
    rest, _ = resumed.replay(*(a[33:] for a in arrays), ends=ends[33:])
    assert rest.tobytes() == whole[33:].tobytes()


@pytest.mark.parametrize("name", LISTS)
def test_environments_and_episodes_do_not_influence_each_other(name):
    """Before any update, an episode on its own pays what it paid among others."""
    arrays, _ = stream()
    whole, _ = composer(LISTS[name]).replay(*arrays)
    for env in range(2):
        starts = [*np.flatnonzero(arrays[4][:, env]), len(whole)]
        for start, end in pairwise(starts):
            alone, _ = composer(LISTS[name]).replay(*(a[start:end, env : env + 1] for a in arrays))
            assert alone[:, 0] == pytest.approx(whole[start:end, env], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in LISTS
        if any(k.state == "across episodes" for k in KINDS if k.model_fields["kind"].default == n)
    ],
)
def test_what_is_learned_takes_effect_only_between_rollouts(name):
    arrays, ends = stream()
    never, _ = composer(LISTS[name]).replay(*arrays)
    learned, _ = composer(LISTS[name]).replay(*arrays, ends=ends)
    assert never[:10].tobytes() == learned[:10].tobytes() and not np.array_equal(
        never[10:], learned[10:]
    )


def cycle(kind, times):
    """Return the sum of an episode that goes up and down `times` times, then succeeds."""
    states = [0.1, *[0.9, 0.1] * times, 1.0]
    terms = {
        "a": [np.diff(states)],
        "b": [np.array(states[1:])],
        "event": [(np.array(states[1:]) > 0.8).astype(float)],
        "factor": [np.ones(len(states) - 1)],
    }
    potentials = {
        "near": states,
        "done": [float(s > 0.8) for s in states],
        "phi": [0.0] * len(states),
    }
    steps = len(states) - 1
    gamma = 0.999999
    made = Composer(
        Composition.model_validate({"transforms": LISTS[kind]}),
        Columns(TERMS, POTENTIALS, SPARSE),
        gamma,
    )
    column = np.stack([np.ravel(terms[t]) for t in TERMS], -1)[:, None]
    phi = np.array([potentials[p] for p in POTENTIALS]).T[:, None]
    off = np.array(
        [
            float(
                t
                in {
                    "potential": (),
                    "delta": ("a",),
                    "difficulty": ("event", "b"),
                    "penalties": ("a",),
                }.get(kind, ())
            )
            for t in TERMS
        ]
    )
    last = np.arange(steps)[:, None] == steps - 1
    rewards, _ = made.replay(
        column * off,
        phi[:-1],
        phi[1:],
        np.zeros((steps, 1)),
        np.arange(steps)[:, None] == 0,
        last,
        last,
        last,
    )
    return float(rewards.sum())


@pytest.mark.parametrize("kind", [k for k in KINDS if k.bounded == "yes"], ids=lambda k: k.__name__)
def test_what_the_table_calls_bounded_cannot_be_farmed_by_going_up_and_down(kind):
    name = kind.model_fields["kind"].default
    assert cycle(name, 200) == pytest.approx(cycle(name, 2), abs=0.02)


def test_a_state_of_another_composition_or_shape_is_rejected():
    arrays, ends = stream()
    made = composer(LISTS["normalize"])
    made.replay(*arrays, ends=ends)
    with pytest.raises(UnsuitableComposition, match="another composition"):
        composer(LISTS["best"]).restore(made.state())
    other = Composer(
        Composition.model_validate({"transforms": LISTS["normalize"]}), Columns(("a",)), 0.9
    )
    with pytest.raises(UnsuitableComposition, match="another shape"):
        other.restore(made.state())


def test_numbers_that_training_cannot_hold_are_the_candidates_fault():
    made = Composer(
        Composition.model_validate({"transforms": [{"kind": "weights", "weights": {"a": 1e6}}]}),
        Columns(("a",)),
        0.9,
    )
    once = np.ones(1, bool)
    with pytest.raises(UnsuitableComposition) as caught:
        made.step(
            np.array([[1e35]]),
            np.zeros((1, 0)),
            np.zeros((1, 0)),
            np.zeros(1),
            once,
            once,
            once,
            once,
        )
    assert caught.value.kind == "not-finite"
