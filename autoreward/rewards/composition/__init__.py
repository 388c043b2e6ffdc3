"""From named terms to the scalar that the agent maximizes: an ordered list of transforms, as data.

    r = task_reward * task + sum of the columns that the transforms leave

A composition is pinned by a person (`--compose FILE|PRESET`) or chosen by the designer, and belongs
to a candidate's training job. See docs/composition.md.
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
)
from autoreward.tasks.runtime import shape_potentials

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
