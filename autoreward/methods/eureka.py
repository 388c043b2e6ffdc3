"""Eureka (Ma et al. 2023, arXiv 2310.12931): complete programs, sampled side by side.

The best program goes on to the next iteration with the curves of its terms. As in the paper: K
independent samples per iteration (`--candidates`), no critic, no analyzer, a sample that fails is
dropped, and the next prompt shows one program, with every term and the success rate over training.

Unlike the released code, where that is wrong: samples are known by their candidate's id, never by
their place in a list. The best is chosen among all iterations by success on fresh episodes after
training, not by the maximum during training, which flatters (of 16 samples with a true rate of .5,
scored on 20 episodes each, the best shows about .70).
"""

from autoreward.methods import Method

METHOD = Method(
    name="eureka",
    title="K programs per iteration; the next one is shown the best one's term curves",
    paper="Eureka, arXiv 2310.12931",
    writes="a whole reward program",
    agents=("designer",),
    repairs=0,
)
