"""Auto MC-Reward (Li et al. 2023, arXiv 2312.09238): designer, critic, trajectory analyzer; here with the plain weighted sum."""

from autoreward.methods import Method

METHOD = Method(
    name="auto-mc-reward",
    title="Designer, critic and trajectory analyzer write and revise reward code",
    paper="Auto MC-Reward, arXiv 2312.09238",
    writes="a reward program; a review of it; causes and suggestions from recorded episodes",
)
