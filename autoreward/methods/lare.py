"""LaRe (Qu et al. 2024, arXiv 2412.11120): code for latent factors of the return.

A decoder learns from returns how the factors add up. As in the paper: several samples, one call
that merges them, and self-verification with the error sent back (here by linter and check on a
thousand recorded steps; the released code tries one observation, repeated). The losses are those of
Ren et al. 2022 (RRD).
"""

from autoreward.methods import Ask, Method, Setting

METHOD = Method(
    name="lare",
    title="Code for latent factors of the return; a decoder learns how they add up",
    paper="LaRe, arXiv 2412.11120",
    writes="a program of factors: several samples, then one that merges them",
    agents=("designer",),
    repairs=5,
    signal="decoded",
    preparation=(Ask("sample", times="samples", temperature=1.0),),
    settings=(
        Setting(
            "samples",
            "5",
            "programs that the merging call reads, for each candidate",
            low=1,
            high=20,
            whole=True,
        ),
        Setting(
            "loss",
            "rrd-unbiased",
            "return decomposition: rd, rrd, rrd-unbiased; or ircr, which learns nothing",
            values=("rd", "rrd", "rrd-unbiased", "ircr"),
        ),
    ),
)
