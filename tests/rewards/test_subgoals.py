"""A bonus once per subgoal and episode, in order; what never ends is left out; judgements are
measured.
"""

import numpy as np
import pytest

from autoreward.rewards.signals import SignalContext, StepBatch, find_signal
from autoreward.rewards.signals.subgoals import (
    MIN_FURTHER,
    RECENT_EPISODES,
    Progress,
    Subgoals,
    compare,
    trusted_subgoals,
)
from autoreward.store.records import Measure
from autoreward.tasks.find import find

CARD = find("doorkey16").card


def facts(first, done, success=None):
    first, done = np.atleast_1d(np.array(first, bool)), np.atleast_1d(np.array(done, bool))
    nothing = np.zeros((len(first), 0))
    won = np.zeros(len(first), bool) if success is None else np.atleast_1d(np.array(success, bool))
    return StepBatch(nothing, nothing, nothing, first, done, done, won, won.astype(float))


def signal(**settings):
    return Subgoals(
        SignalContext(CARD, ("key", "door"), settings={"bonus": "0.5", "order": "on", **settings})
    )


def paid(made, held, first=None, done=None):
    """What one row is paid, step by step."""
    steps = len(held)
    first, done = first or [True] + [False] * (steps - 1), done or [False] * steps
    return [
        made.step(np.array([h], float), None, None, facts(f, d))[0][0].tolist()
        for h, f, d in zip(held, first, done, strict=True)
    ]


def test_a_subgoal_pays_once_however_often_it_holds():
    assert paid(signal(), [(0, 0), (1, 0), (0, 0), (1, 0), (1, 1)]) == [
        [0, 0],
        [0.5, 0],
        [0, 0],
        [0, 0],
        [0, 0.5],
    ]


def test_in_order_a_later_subgoal_waits_for_the_earlier_one():
    assert paid(signal(), [(0, 1), (1, 0), (1, 1)]) == [[0, 0], [0.5, 0], [0, 0.5]]
    assert paid(signal(order="off"), [(0, 1), (1, 0), (1, 1)]) == [[0, 0.5], [0.5, 0], [0, 0]]


def test_several_may_end_at_one_step_and_a_new_episode_begins_afresh():
    assert paid(signal(), [(1, 1), (1, 1)]) == [[0.5, 0.5], [0, 0]]
    assert paid(signal(), [(1, 0), (1, 0)], first=[True, True]) == [[0.5, 0], [0.5, 0]]


def test_rows_do_not_mix():
    progress = Progress(2, ordered=True)
    held = np.array([[True, False], [False, True]])
    assert progress.step(held, np.ones(2, bool)).tolist() == [[True, False], [False, False]]
    assert progress.step(np.ones((2, 2), bool), np.zeros(2, bool)).tolist() == [
        [False, True],
        [True, True],
    ]


def episodes(made, count, held, success):
    for _ in range(count):
        for t, h in enumerate(held):
            last = t == len(held) - 1
            made.step(np.array([h], float), None, None, facts(t == 0, last, last and success))
    made.update()


def test_a_subgoal_that_never_ends_is_left_out_once_others_came_further_without_it():
    made = signal()
    episodes(made, RECENT_EPISODES - MIN_FURTHER, [(0, 0), (0, 0)], False)
    assert not made.progress.left_out.any()
    # the door opens all the same
    episodes(made, MIN_FURTHER, [(0, 0), (0, 1)], False)
    assert made.progress.left_out.tolist() == [True, False]
    assert paid(made, [(0, 0), (0, 1)]) == [[0, 0], [0, 0.5]]
    assert "subgoal 'key' was left out" in made.notes()[0] and made.evidence()["left_out"] == [
        "key"
    ]


def test_nothing_is_left_out_where_nobody_came_further():
    made = signal()
    # the door stood open from the start: that is no progress
    episodes(made, RECENT_EPISODES, [(0, 1), (0, 1)], False)
    assert not made.progress.left_out.any()
    assert "never ended" in made.notes()[0]


def test_what_is_left_out_changes_between_rollouts_alone():
    made = signal()
    for _ in range(RECENT_EPISODES):
        for t, h in enumerate([(0, 0), (0, 1)]):
            made.step(np.array([h], float), None, None, facts(t == 0, t == 1))
    assert not made.progress.left_out.any()
    made.update()
    assert made.progress.left_out[0]


def test_recorded_episodes_replay_as_they_were_trained():
    made, again = signal(), signal()
    held = np.array([[[0, 0]], [[1, 0]], [[1, 1]], [[0, 0]]], float)
    first, done = (
        np.array([[True], [False], [False], [True]]),
        np.array([[False], [False], [True], [False]]),
    )
    nothing = np.zeros((4, 1, 0))
    whole = StepBatch(nothing, nothing, nothing, first, done, done, done, done.astype(float))
    replayed, _, _ = again.replay(held, nothing, nothing, whole)
    assert replayed[:, 0].tolist() == paid(
        made, held[:, 0].tolist(), first[:, 0].tolist(), done[:, 0].tolist()
    )


def test_flags_alone_are_taken_and_what_holds_from_the_start_is_warned_about():
    values = np.zeros((3, 2, 2))
    values[1, 0, 0], values[..., 1] = 0.5, 1.0
    kinds = {
        v.kind: v
        for v in Subgoals.check_answers(CARD, ("half", "always"), values, np.ones((3, 2), bool))
    }
    assert (
        kinds["no-flag"].severity == "refuse"
        and "'half' takes the value 0.5" in kinds["no-flag"].message
    )
    assert kinds["constant"].severity == "warn" and "'always'" in kinds["constant"].message


def test_measures_have_the_numbers_of_the_sheet():
    found = Measure(
        what="any", true_positive=8, false_positive=2, false_negative=4, true_negative=26
    )
    assert (found.accuracy, found.precision) == (pytest.approx(0.85), pytest.approx(0.8))
    assert (found.recall, found.f1) == (pytest.approx(2 / 3), pytest.approx(8 / 11))


def test_any_subgoal_and_which_one_are_counted_apart():
    """The released code of CALM counts a transition as right when any subgoal is flagged,
    whichever.
    """
    truth = np.array([[1, 0], [0, 1], [0, 0]], bool)
    swapped = truth[:, ::-1]
    any_, which, *_ = compare(("key", "door"), ("key", "door"), [(truth, swapped)])
    assert (any_.what, any_.f1, which.what, which.f1) == ("any", 1.0, "which", 0.0)
    assert [m.what for m in compare(("key", "door"), ("other", "door"), [(truth, truth)])] == [
        "any",
        "which",
        "door",
    ]


def test_a_program_is_measured_against_the_cards_own_predicates():
    layout = CARD.layout
    states = np.zeros((4, layout.width))
    start, end, _ = layout.slices["has_key"]
    states[2:, start:end] = 1.0
    answers = np.array([[0, 0], [1, 0], [1, 0]], float)
    states[:, slice(*layout.slices["agent_pos"][:2])] = 1.0
    measures = Subgoals.measure(CARD, layout, ("take_key", "open_door"), [(states, answers)])
    assert [s.name for s in trusted_subgoals(CARD)] == ["take_key", "open_door", "reach_goal"]
    assert [m.f1 for m in measures if m.what in ("any", "which", "take_key")] == [1.0, 1.0, 1.0]
    assert Subgoals.measure(find("corridor").card, layout, ("a",), []) == ()


def test_unknown_signals_are_named():
    with pytest.raises(Exception, match="unknown signal 'subgoal'") as caught:
        find_signal("subgoal")
    assert "did you mean subgoals" in caught.value.hint
