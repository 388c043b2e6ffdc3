"""Planted agents, each with one failure: the finding is typed, names the term, and cites."""

import numpy as np

from autoreward.loop.diagnosis import DiagnosisInput, diagnose, endings, part
from autoreward.store.episodes import Episode, Trajectories
from autoreward.store.records import Evaluation, TrainingDone
from autoreward.tasks.find import find

CORRIDOR, DOORKEY = find("corridor").card, find("doorkey16").card
NOTHING = Evaluation(success=0.0, low=0.0, high=0.1, steps=(1000,), steps_to_80=(None,))
DONE = [TrainingDone(seed=0, stopped="budget", steps=1000, budget=1000)]


def evidence(
    card,
    terms: dict[str, list[float]],
    length: int = 40,
    ending: str = "limit",
    fields: dict[str, np.ndarray] | None = None,
) -> DiagnosisInput:
    """Three equal episodes; `terms` are values per step, repeated to the length."""
    states = np.zeros((length + 1, card.layout.width))
    for name, values in (fields or {}).items():
        states[:, card.layout.slices[name][0]] = values
    episode = Episode(
        states, np.zeros(length, int), ending != "limit", ending == "limit", ending == "success"
    )
    values = np.stack(
        [
            np.resize(np.asarray(v, float), length) if len(v) < length else np.asarray(v, float)
            for v in terms.values()
        ],
        1,
    )
    return DiagnosisInput(
        card, Trajectories(card.layout, (episode,) * 3), tuple(terms), [values] * 3
    )


def found(e: DiagnosisInput, result: Evaluation = NOTHING, done=DONE) -> dict[str, str | None]:
    return {d.kind: d.term for d in diagnose(e, result, done)}


def test_stalling_is_a_term_that_goes_on_paying():
    kinds = found(evidence(CORRIDOR, {"alive": [0.1], "step_cost": [-0.001]}))
    assert kinds["stalling"] == "alive" and "hovering" not in kinds and "never-succeeds" in kinds


def test_hovering_is_a_term_earned_early_and_then_nothing():
    e = evidence(CORRIDOR, {"near": [1.0] * 5 + [0.0] * 35, "step_cost": [-0.001] * 40})
    [hovering] = [d for d in diagnose(e, NOTHING, DONE) if d.kind == "hovering"]
    assert hovering.term == "near" and hovering.evidence[0].step == 5


def test_early_failure_and_endings():
    e = evidence(CORRIDOR, {"a": [0.0]}, 7, "failure")
    assert "early-failure" in found(e) and endings(e) == {
        "success": 0.0,
        "failure": 1.0,
        "limit": 0.0,
        "mean_length": 7.0,
    }


def test_success_is_no_failure():
    good = Evaluation(success=1.0, low=0.9, high=1.0, steps=(1000,), steps_to_80=(200,))
    e = evidence(CORRIDOR, {"progress": [0.1]}, 20, "success")
    assert (
        found(
            e,
            good,
            [TrainingDone(seed=0, stopped="solved", steps=300, budget=1000, steps_to_80=200)],
        )
        == {}
    )
    assert "slow" in found(
        e, good, [TrainingDone(seed=0, stopped="solved", steps=900, budget=1000, steps_to_80=800)]
    )
    assert part(e, False) is None and part(e, True).term_sums["progress"] > 0


def test_swamping_costly_and_silent_terms():
    kinds = found(evidence(CORRIDOR, {"huge": [-5.0, 5.0], "quiet": [0.0]}))
    assert kinds["swamping"] == "huge" and kinds["silent-term"] == "quiet"
    assert found(evidence(CORRIDOR, {"price": [-0.2], "other": [0.3]}))["costly"] == "price"


def test_a_toggled_flag_and_the_furthest_subgoal():
    toggling = np.resize([0.0, 1.0], 41)
    e = evidence(DOORKEY, {"a": [0.0]}, fields={"has_key": toggling, "goal_pos": np.full(41, 9.0)})
    found_ = {d.kind: d for d in diagnose(e, NOTHING, DONE)}
    assert found_["loop-farming"].fields == ("has_key",)
    stuck = found_["furthest-subgoal"]
    assert stuck.from_hints and "reach 1 of 3" in stuck.words and "open_door" in stuck.words


def test_touched_and_left():
    import copy

    data = copy.deepcopy(CORRIDOR.model_dump(by_alias=True))
    data["success"] |= {"latches": False, "ends_episode": False}
    card = type(CORRIDOR).model_validate(data)
    there = np.where(np.arange(41) == 12, 50.0, 0.0)
    e = evidence(card, {"a": [0.0]}, fields={"cell": there, "exit": np.full(41, 40.0)})
    [touched] = [d for d in diagnose(e, NOTHING, DONE) if d.kind == "touched-not-held"]
    assert touched.evidence[0].step == 12
