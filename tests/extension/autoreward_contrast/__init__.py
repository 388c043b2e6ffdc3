"""A designer without critic and analyzer, shown the best and the worst program side by side."""

from autoreward.methods import Method, Need

METHOD = Method(
    name="contrast",
    title="The best and the worst program, side by side",
    paper="after CARD, arXiv 2410.14660",
    writes="a reward program",
    agents=("designer",),
    repairs=1,
    needs=(Need("success", "success decides which program is best", "success: {when: [...]}"),),
)
