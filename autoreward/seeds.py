"""Every seed of a run: the training seeds, and the random streams drawn from them.

A learner and a learned signal seed themselves with the training seed; all else draws from a stream.

Two runs with the same seed draw the same numbers. Streams of different purposes never overlap, so
an agent is never evaluated on episodes that it was trained on or chosen by.
"""

from __future__ import annotations

from typing import Literal, get_args

Purpose = Literal["training", "evaluation", "confirmation", "probe"]

# A stream's seed is 31 bits: 2 for the purpose, 17 for the training seed, 12 for the place.
SEED_BITS = 17
PLACE_BITS = 12
# Training seeds, and so seeds of evidence, lie below this bound.
SEED_BOUND = 2**SEED_BITS
# Places of a vector's environments count up from 0, so the other streams count down from the top.
AGENT_PLACE = 2**PLACE_BITS - 1
SCRIPT_PLACE = 2**PLACE_BITS - 2

# A run owns the training seeds `seed * 100` to `seed * 100 + 99`: the search takes the lower half,
# the confirmation the upper half, so that no agent of the search takes part in the confirmation.
SEEDS_PER_RUN = 100
FINAL_OFFSET = 50
MAX_TRAINING_SEEDS = 49
# The largest `--seed` whose training seeds all stay below SEED_BOUND, rounded down.
MAX_RUN_SEED = 1300

# Episodes that `Study.evaluate` may play on one seed before it meets those of the next.
EPISODES_PER_SEED = 10_000


def stream_seed(purpose: Purpose, seed: int, place: int = 0) -> int:
    """Return the seed of one random stream, below 2**31.

    `seed` is the run's or the training's seed. `place` is the environment's place in its vector, or
    AGENT_PLACE (the policy's own draws) or SCRIPT_PLACE (the scripted actions of a probe).

    Raises ValueError if `seed` or `place` is out of range.
    """
    if not (0 <= seed < SEED_BOUND and 0 <= place < 2**PLACE_BITS):
        raise ValueError(
            f"seed must be in [0, {SEED_BOUND}), place in [0, {2**PLACE_BITS}); got {seed}, {place}"
        )
    number = get_args(Purpose).index(purpose)
    return number << (SEED_BITS + PLACE_BITS) | seed << PLACE_BITS | place


def training_seeds(run_seed: int, count: int, *, final: bool = False) -> list[int]:
    """Return the first `count` training seeds of a run.

    Every candidate trains on the same seeds (common random numbers); the confirmation (`final`)
    trains on others.
    """
    first = run_seed * SEEDS_PER_RUN
    if final:
        first += FINAL_OFFSET
    return list(range(first, first + count))


def episode_seed(seed: int, episode: int) -> int:
    """Return the seed of an episode that `Study.evaluate` plays."""
    return seed * EPISODES_PER_SEED + episode
