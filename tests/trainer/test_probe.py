"""Probe transitions: random play and two scripts."""

import numpy as np

from autoreward.loop.engine import Engine
from autoreward.store.io import read_arrays
from autoreward.store.jobs import ProbeJob
from autoreward.tasks.find import find


def test_two_environments_follow_scripts(tmp_path):
    out = tmp_path / "probes.npz"
    Engine(1).run(
        [
            (
                "probes",
                ProbeJob(card=str(find("pendulum").path), seed=0, out=str(out), transitions=3200),
            )
        ]
    )
    data = read_arrays(out)
    actions, first = data["action"][..., 0], data["first"]
    steady, extreme = actions[:, -1], actions[:, -2]
    held = steady[1:] == steady[:-1]
    assert (
        held[~first[1:, -1]].all() and not held[first[1:, -1]].any() and first[:, -1].sum() == 2
    ), "one action an episode"
    assert set(np.abs(extreme)) == {2.0} and len(set(extreme)) == 2, "the ends of the range"
    assert (np.abs(actions[:, :6]) < 2).all() and len(np.unique(actions[:, :6])) > 100
