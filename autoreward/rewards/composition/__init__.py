"""From named terms to the scalar that the agent maximizes: an ordered list of transforms, as data.

See docs/composition.md.

    r = task_reward * task + sum over the columns that the transforms leave

A composition is pinned by a person (`--compose FILE|PRESET`) or chosen by the designer, and is part
of a candidate's training job.
"""

from autoreward.rewards.composition.composer import Composer
from autoreward.rewards.composition.reading import (
    DESIGNER,
    PRESETS,
    UnreadableComposition,
    chosen,
    parse,
    read,
    refusal,
    yaml_of,
)
from autoreward.rewards.composition.sequence import KINDS, Composition
from autoreward.rewards.composition.transform import (
    Columns,
    UnsuitableComposition,
    shape_potentials,
)

__all__ = [
    "DESIGNER",
    "KINDS",
    "PRESETS",
    "Columns",
    "Composer",
    "Composition",
    "UnreadableComposition",
    "UnsuitableComposition",
    "chosen",
    "parse",
    "read",
    "refusal",
    "shape_potentials",
    "yaml_of",
]
