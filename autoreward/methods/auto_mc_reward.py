"""Auto MC-Reward (Li et al. 2023, arXiv 2312.09238): designer, critic and trajectory analyzer.

Unlike the paper, terms are added up as a plain weighted sum.
"""

from autoreward.methods import Method, Setting

METHOD = Method(
    name="auto-mc-reward",
    title="Designer, critic and trajectory analyzer write and revise reward code",
    paper="Auto MC-Reward, arXiv 2312.09238",
    writes="a reward program; a review of it; causes and suggestions from recorded episodes",
    settings=(
        Setting(
            "batches",
            "1",
            "batches of four failed episodes that the analyzer reads, one call each; with several, "
            "a last call sums up",
            low=1,
            high=5,
            whole=True,
        ),
    ),
)
