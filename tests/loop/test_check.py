"""Check: programs over recorded transitions, in the jail; refusals and warnings."""

from pathlib import Path

import pytest

from autoreward.loop.engine import Engine
from autoreward.loop.stages.check import check
from autoreward.store.jobs import ProbeJob
from autoreward.tasks.find import find, load

CARD = find("corridor")
HEAD = "import numpy as np\n\nMEMORY = {'t': 0.0}\n\n\n"


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("probes") / "probes.npz"
    Engine(1).run([("probes", ProbeJob(card=str(CARD.path), seed=0, out=str(out)))])
    return out


def reward(body: str) -> str:
    return HEAD + "def reward(prev, action, curr, memory):\n    " + body + "\n"


def test_the_human_program_passes_and_its_terms_are_measured(probes):
    assert CARD.human is not None
    result = check(CARD.human.read_text(), CARD.card, probes, "default")
    assert (
        result.ok
        and {t.name for t in result.terms} == {"progress", "step_cost"}
        and result.memory
        and result.probes >= 1000
    )
    assert sum(t.share for t in result.terms) == pytest.approx(1.0)
    assert [v.kind for v in result.verdicts] == ["broadcast"]


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        (reward("return {'a': prev.nothing}"), "exception"),
        (reward("return {'a': np.log(prev.cell)}"), "not-finite"),
        (reward("return {'a': np.cumsum(prev.cell)}"), "not-pure"),
        (reward("return {'a': prev.cell - prev.cell.mean()}"), "not-pure"),
        (reward("return {'a' * len(prev.cell): prev.cell}"), "names-changed"),
        (reward("return {'a': prev.cell + float(len(prev.cell) > 1)}"), "not-pure"),
        (reward("return {'a': prev.cell + float(id(object()) % 1000)}"), "not-pure"),
    ],
)
def test_refusals(probes, program, kind):
    result = check(program, CARD.card, probes, "default")
    assert not result.ok and kind in [v.kind for v in result.verdicts if v.severity == "refuse"]


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        (reward("return {'a': 0 * prev.cell}"), "silent"),
        (reward("return {'a': 1 + prev.cell}"), "stalling"),
        (reward("return {'a': 1e4 * (curr.cell - prev.cell)}"), "scale"),
        (HEAD + "def potential(s):\n    return {'near': s.cell}\n", "potential-above-0"),
    ],
)
def test_warnings_go_along_and_refuse_nobody(probes, program, kind):
    result = check(program, CARD.card, probes, "default")
    assert result.ok and kind in [v.kind for v in result.verdicts if v.severity == "warn"]


def test_terms_that_use_what_the_policy_does_not_see_are_named(tmp_path):
    """Asked by changing the field, so that it does not matter how the code comes by it."""
    text = CARD.path.read_text().replace(
        '{name: handle, source: "2",', '{name: handle, source: "2", policy: false,'
    )
    (tmp_path / "corridor.yaml").write_text(text.replace("code: corridor.py", f"code: {CARD.code}"))
    card = load(tmp_path / "corridor.yaml").card
    out = tmp_path / "probes.npz"
    Engine(1).run(
        [("probes", ProbeJob(card=str(tmp_path / "corridor.yaml"), seed=0, out=str(out)))]
    )
    program = (
        reward(
            "read = getattr(curr, 'han' + 'dle')\n"
            "    return {'way': curr.cell - prev.cell, 'peek': 0.1 * (read - 1.5), "
            "'both': read * curr.cell}"
        )
        + "\n\ndef potential(s):\n    return {'p': -s.handle}\n"
    )
    result = check(program, card, out, "default")
    assert {t.name: t.unseen for t in result.terms} == {
        "way": (),
        "peek": ("handle",),
        "both": ("handle",),
        "p": ("handle",),
    }
