"""Eureka (Ma et al. 2023, arXiv 2310.12931): whole programs, sampled side by side; the best one
goes on with the curves of its terms.

As in the paper: K independent samples a round (`--candidates`), no critic, no analyzer, a sample
that fails is dropped, and the next round is shown one program, with every term and the success rate
over training. Otherwise where the released code is wrong: samples are known by their candidate's
id, never by their place in a list; the best is chosen among all rounds by success on fresh episodes
at the end of training, not by the maximum during training, which flatters (16 samples of true rate
.5, 20 episodes each: the best shows about .70).
"""

from autoreward.methods import Method

METHOD = Method(
    name="eureka",
    title="K programs a round, and the best one's term curves for the next",
    paper="Eureka, arXiv 2310.12931",
    writes="a whole reward program",
    agents=("designer",),
    repairs=0,
)
