"""Seeds keep their numbers, and streams of different purposes never overlap."""

from itertools import product
from typing import get_args

import pytest

from autoreward.seeds import (
    AGENT_PLACE,
    FINAL_OFFSET,
    MAX_RUN_SEED,
    MAX_TRAINING_SEEDS,
    SCRIPT_PLACE,
    SEED_BOUND,
    SEEDS_PER_RUN,
    Purpose,
    episode_seed,
    stream_seed,
    training_seeds,
)


def test_numbers_are_those_of_recorded_runs() -> None:
    assert training_seeds(0, 3) == [0, 1, 2]
    assert training_seeds(7, 2, final=True) == [750, 751]
    assert stream_seed("training", 750) == 750 << 12
    assert stream_seed("probe", 3, AGENT_PLACE) == 3 << 29 | 3 << 12 | 4095
    assert episode_seed(2, 17) == 20_017


def test_streams_never_overlap() -> None:
    seeds = (0, 1, 50, SEED_BOUND - 1)
    places = (0, 1, SCRIPT_PLACE, AGENT_PLACE)
    streams = [stream_seed(*key) for key in product(get_args(Purpose), seeds, places)]
    assert len(set(streams)) == len(streams)
    assert all(0 <= seed < 2**31 for seed in streams)


def test_the_bounds_keep_search_and_confirmation_apart() -> None:
    search = training_seeds(MAX_RUN_SEED, MAX_TRAINING_SEEDS)
    final = training_seeds(MAX_RUN_SEED, MAX_TRAINING_SEEDS, final=True)
    assert not set(search) & set(final)
    assert MAX_TRAINING_SEEDS < FINAL_OFFSET
    assert max(final) < training_seeds(MAX_RUN_SEED + 1, 1)[0] < SEED_BOUND + SEEDS_PER_RUN
    assert stream_seed("confirmation", max(final), 0) > 0


@pytest.mark.parametrize(("seed", "place"), [(-1, 0), (SEED_BOUND, 0), (0, -1), (0, 2**12)])
def test_a_seed_out_of_range_is_an_error(seed: int, place: int) -> None:
    with pytest.raises(ValueError, match="seed must be in"):
        stream_seed("training", seed, place)
