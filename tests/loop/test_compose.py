"""`--compose` from the command line, and a designer that chooses its composition."""

import json
import sys

import pytest

from autoreward.rewards.composition import Composition
from autoreward.store.io import read
from autoreward.store.run import Run

DESIGNER = """
import sys
prompt = sys.stdin.read()
refused = "in the yaml block" in prompt
print("A bounded way.\\n\\n```python\\nimport numpy as np\\n\\n\\n"
      "def reward(prev, action, curr, memory):\\n"
      "    return {'cost': np.full(len(action), -0.005)}\\n\\n\\ndef potential(state):\\n"
      "    return {'way': 0.1 * (state.cell - state.exit)}\\n```\\n\\n```yaml")
print(f"transforms:\\n  - kind: {'best' if refused else 'bset'}\\n    over: [way]")
print("```")
assert ("| best | over: potentials" in prompt) and "second fenced block" in prompt
"""


@pytest.mark.long
def test_a_preset_trains_and_a_bad_file_is_named_with_its_line(command, tmp_path):
    done = command(
        "train",
        "human",
        "--task",
        "corridor",
        "--compose",
        "signs",
        "--steps",
        "2000",
        "--seeds",
        "1",
        "--out",
        "signs",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "signs" / "seed-0" / "composition.json").read_text())[
        "composition"
    ] == {"transforms": [{"kind": "signs"}]}
    (tmp_path / "bad.yaml").write_text(
        "transforms:\n  - kind: weights\n    weihgts: {progress: 2}\n"
    )
    for verb in (("train", "human", "--task"), ("design",)):
        refused = command(*verb, "corridor", "--compose", "bad.yaml")
        assert (
            refused.returncode == 1
            and "bad.yaml:3: transforms.0.weihgts" in refused.stderr
            and "weights takes weights" in refused.stderr
        )
    (tmp_path / "names.yaml").write_text("- {kind: weights, weights: {progres: 2}}\n")
    (tmp_path / "way.py").write_text(
        "def potential(state):\n    return {'way': 0.1 * (state.cell - state.exit)}\n"
    )
    checked = command("check", "way.py", "--task", "corridor", "--compose", "signs")
    assert (
        checked.returncode == 0
        and "warning [composition] the sign of the shaped 'way' is not a potential"
        in checked.stdout
    )
    assert (
        command("check", "way.py", "--task", "corridor", "--compose", "names.yaml").returncode == 1
    )
    unknown = command(
        "train",
        "human",
        "--task",
        "corridor",
        "--compose",
        "names.yaml",
        "--steps",
        "2000",
        "--seeds",
        "1",
        "--out",
        "names",
    )
    assert unknown.returncode == 1 and "no such term; it has progress, step_cost" in unknown.stdout


@pytest.mark.long
def test_a_designer_chooses_and_a_bad_block_goes_back_with_its_line(command, tmp_path):
    (tmp_path / "designer.py").write_text(DESIGNER)
    words = [
        "--model",
        f"cmd:{sys.executable} designer.py",
        "--compose",
        "designer",
        "--set",
        "critic=off",
        "--set",
        "analyzer=off",
        "--iterations",
        "1",
        "--candidates",
        "1",
    ]
    done = command(
        "design", "corridor", *words, "--final-seeds", "1", "--steps", "2000", "--name", "chosen"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    candidate = Run(tmp_path / "runs" / "chosen").candidates()[0]
    refused = candidate.rejected_drafts()[0].verdicts[0]
    assert (
        (refused.kind, refused.stage, refused.line) == ("composition", "designer", 2)
        and "unknown kind 'bset'" in refused.message
        and "did you mean best?" in refused.hint
    )
    # the program was well, and is shown with the repair
    assert "def potential" in candidate.rejected_program(0)
    chosen = read(candidate.composition_path, Composition)
    assert chosen is not None and chosen.data() == {
        "transforms": [{"kind": "best", "over": ["way"]}]
    }
    for place in (
        candidate.path / "5-training" / "seed-0",
        tmp_path / "runs" / "chosen" / "final" / "winner" / "seed-50",
    ):
        assert json.loads((place / "composition.json").read_text())["composition"] == chosen.data()
    assert not (
        tmp_path / "runs" / "chosen" / "final" / "sparse" / "seed-50" / "composition.json"
    ).exists()
    exported = command("export", "runs/chosen", "--out", "reward.py")
    assert (
        exported.returncode == 1
        and "the composition best" in exported.stderr
        and not (tmp_path / "reward.py").exists()
    )


@pytest.mark.long
def test_a_pinned_composition_that_names_other_terms_is_a_verdict_that_the_designer_can_mend(
    command, tmp_path
):
    (tmp_path / "designer.py").write_text(
        "import sys\nname = 'wished' if 'no such term' in sys.stdin.read() else 'other'\n"
        'print(f"```python\\ndef reward(prev, action, curr, memory):\\n'
        "    return {{'{name}': 0.1 * (curr.cell - prev.cell)}}\\n```\")\n"
    )
    (tmp_path / "pinned.yaml").write_text(
        "transforms:\n  - kind: weights\n    weights: {wished: 2.0}\n"
    )
    words = [
        "--model",
        f"cmd:{sys.executable} designer.py",
        "--compose",
        "pinned.yaml",
        "--set",
        "critic=off",
        "--set",
        "analyzer=off",
        "--iterations",
        "1",
        "--candidates",
        "1",
    ]
    done = command(
        "design", "corridor", *words, "--final-seeds", "1", "--steps", "2000", "--name", "pinned"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = Run(tmp_path / "runs" / "pinned")
    refused = run.candidates()[0].rejected_drafts()[0].verdicts
    assert [v.message for v in refused if v.kind == "composition"] == [
        "weights is over 'wished', but the program has no such term; it has other"
    ]
    assert run.header.compose == "pinned.yaml" and run.header.composition == {
        "transforms": [{"kind": "weights", "weights": {"wished": 2.0}}]
    }
    exported = command("export", "runs/pinned", "--out", "reward.py")
    assert (
        exported.returncode == 0
        and "weights={'wished': 2.0}" in (tmp_path / "reward.py").read_text()
    )
