"""A deferred reward reaches the buffer row of its step, whichever of the two comes first."""

import numpy as np

from autoreward.trainer.deferred import DeferredRewards, StepInFlight


def test_the_row_comes_first():
    deferred = DeferredRewards()
    deferred.start(StepInFlight(None, {}))
    row = np.array([0.0, 0.5], np.float32)
    deferred.attach_buffer_row(row)
    assert deferred.take() is not None and deferred.take() is None
    deferred.deliver(np.array([1.0, 2.0], np.float32))
    assert row.tolist() == [1.0, 2.5], "what was bootstrapped at a timeout stays in the row"


def test_the_reward_comes_first():
    deferred = DeferredRewards()
    deferred.start(StepInFlight(None, {}))
    deferred.take()
    deferred.deliver(np.array([1.0, 2.0], np.float32))
    row = np.zeros(2, np.float32)
    deferred.attach_buffer_row(row)
    assert row.tolist() == [1.0, 2.0]


def test_a_reward_is_delivered_to_its_own_step_only():
    deferred = DeferredRewards()
    first, second = np.zeros(1, np.float32), np.zeros(1, np.float32)
    deferred.start(StepInFlight(None, {}))
    deferred.attach_buffer_row(first)
    deferred.take()
    deferred.deliver(np.array([1.0], np.float32))
    deferred.start(StepInFlight(None, {}))
    deferred.attach_buffer_row(second)
    deferred.take()
    deferred.deliver(np.array([2.0], np.float32))
    assert (first[0], second[0]) == (1.0, 2.0)
