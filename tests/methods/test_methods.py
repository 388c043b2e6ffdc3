"""Methods: found by name or entry point, checked against the card, counted in calls.

Also what their prompts say.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autoreward.errors import UserError
from autoreward.loop.stages.designer import Question, messages
from autoreward.methods import AGENTS, SHIPPED, Need, find_method, names
from autoreward.models.templates import REQUIRED, Prompts
from autoreward.models.variables import examples
from autoreward.store.records import (
    Analysis,
    Diagnostic,
    Evaluation,
    Feedback,
    Outcome,
    TermCurve,
    Verdict,
)
from autoreward.tasks.find import find, listing


def installed(folder: Path, **points: str) -> Path:
    """A package of that many entry points, as pip would leave it on the path."""
    place = folder / "others-1.0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (place / "entry_points.txt").write_text(
        "[autoreward.methods]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
    )
    return folder


def autoreward(*words: str, path: Path) -> subprocess.CompletedProcess[str]:
    found = os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-m", "autoreward", *words],
        cwd=path,
        env={**os.environ, "PYTHONPATH": found, "AUTOREWARD_MODEL": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_broken_package_is_one_line_of_warning_and_the_others_are_listed(tmp_path):
    (tmp_path / "others.py").write_text(
        "from autoreward.methods import Method\nWRONG = Method('else', 't', 'p', 'w')\nNUMBER = 7\n"
    )
    (tmp_path / "leaving.py").write_text("import sys\nprint('imported')\nsys.exit(3)\n")
    installed(
        tmp_path,
        absent="no_such_package.inner:METHOD",
        leaving="leaving:METHOD",
        named="others:WRONG",
        number="others:NUMBER",
        eureka="others:NUMBER",
    )
    done = autoreward("methods", "list", "--json", path=tmp_path)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 4 and all(
        any(f"method {n!r}" in w for w in warnings)
        for n in ("absent", "leaving", "named", "number")
    )
    listed = {m["name"]: m for m in json.loads(done.stdout[done.stdout.index("[") :])}
    assert listed["eureka"]["origin"] == "autoreward" and "problem" not in listed["eureka"], (
        "a package cannot take a shipped name"
    )
    asked = autoreward("design", "corridor", "--method", "named", path=tmp_path)
    assert (
        asked.returncode == 1
        and "is named 'else'" in asked.stderr
        and not (tmp_path / "runs").exists()
    )
    misspelled = autoreward("design", "corridor", "--method", "leavin", path=tmp_path)
    assert (
        misspelled.returncode == 2
        and "did you mean leaving?" in misspelled.stderr
        and "imported" not in misspelled.stdout
    ), "names are told without importing anybody's code"


@pytest.mark.parametrize("name", SHIPPED)
def test_show_tells_the_paper_the_calls_and_what_the_card_must_have(name, tmp_path):
    told, method = (
        json.loads(autoreward("methods", "show", name, "--json", path=tmp_path).stdout),
        find_method(name),
    )
    assert told["paper"] == method.paper and "arXiv" in told["paper"] and told["needs"] == []
    assert (told["calls"]["least"], told["calls"]["most"]) == {
        "auto-mc-reward": (9, 33),
        "eureka": (3, 3),
        "lare": (3, 21),
        "calm": (3, 15),
    }[name]
    assert {f"{name}/{n}" for n in REQUIRED if n.split("/")[0] in method.agents} <= set(
        told["templates"]
    )


def test_a_card_without_what_a_method_needs_is_rejected_with_key_and_hint():
    need = Need("human", "it starts from a person's reward", "human: reward.py")
    never = Need(
        "fields",
        "goals are relabelled",
        "a field of three numbers",
        holds=lambda card: any(f.shape == (3,) for f in card.fields),
    )
    method, card = replace(find_method("eureka"), needs=(need, never)), find("corridor")
    with pytest.raises(
        UserError,
        match=r"method eureka needs `fields` in the card 'corridor': goals are relabelled",
    ) as caught:
        method.require(card, "manual", {})
    assert str(card.path) in caught.value.hint and "a field of three numbers" in caught.value.hint
    bare = card.model_copy(
        update={"card": card.card.model_copy(update={"human": None, "hints": ()})}
    )
    with pytest.raises(UserError, match=r"needs `human`"):
        method.require(bare, "manual", {})
    with pytest.raises(UserError, match="works from a card's hints"):
        find_method("eureka").require(bare, "offline/search", {})
    find_method("eureka").require(bare, "manual", {})


def test_a_sample_is_dropped_and_a_reward_of_ones_own_is_repaired():
    eureka, default = find_method("eureka"), find_method("auto-mc-reward")
    assert (eureka.drafts(), eureka.drafts(given=True), default.drafts()) == (1, 5, 5), (
        "one design, three repairs, one new design"
    )


@pytest.mark.parametrize(
    ("name", "setting", "said"),
    [
        ("auto-mc-reward", "critic=maybe", "must be on or off"),
        ("auto-mc-reward", "critic=code", "must be on or off"),
        ("eureka", "critic=on", "the method eureka has no critic"),
        ("eureka", "analyzer=code", "the method eureka has no analyzer"),
    ],
)
def test_a_meaningless_switch_is_rejected(name, setting, said):
    with pytest.raises(UserError, match=said):
        find_method(name).require(find("corridor"), "manual", dict([setting.split("=")]))


def test_a_dry_run_counts_the_calls_of_the_method_and_its_switches(command):
    def calls(*words: str) -> tuple[int, int]:
        done = command(
            "design",
            "corridor",
            "--candidates",
            "4",
            "--iterations",
            "2",
            "--model",
            "manual",
            "--dry-run",
            "--json",
            *words,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["calls"], json.loads(done.stdout)["calls_at_most"]

    assert calls("--method", "eureka") == (8, 8)
    assert calls() == (24, 88) and calls("--set", "critic=off", "--set", "analyzer=code") == (8, 40)


def test_the_loop_knows_no_method_by_name():
    source = Path(find_method.__code__.co_filename).parents[1]
    # The default method is declared in one, and an error of the other suggests it.
    declaring = {source / "loop" / "options.py", source / "loop" / "setup.py"}
    modules = [
        path for wing in ("loop", "models", "api") for path in sorted((source / wing).rglob("*.py"))
    ]
    assert len(modules) > 25
    for path in [p for p in modules if p not in declaring]:
        assert not re.search(rf"\b({'|'.join(names())})\b", path.read_text()), path


# -- prompts ---------------------------------------------------------------------------------------


def outcome(place: str, success: float, **update: object) -> Outcome:
    """A trained program with two terms, its numbers made of its own letter so that they cannot be
    mistaken for another's.
    """
    own = 10.0 * (ord(place[1]) - ord("a") + 1)
    made = Outcome(
        iteration=int(place[0]),
        candidate=place[1],
        program=f"def reward(prev, action, curr, memory):\n    return {{'way_{place}': 0}}",
        status="evaluated",
        evaluation=Evaluation(success=success, low=success / 2, high=1.0, steps=(900,)),
        curve=tuple((100 * (k + 1), k / 20, 50.0) for k in range(20)),
        terms=(
            TermCurve(name=f"way_{place}", episode_sum=own, share=1.0),
            TermCurve(name="told", episode_sum=0.0, share=0.0),
        ),
        windows={f"way_{place}": (None, *(own + k for k in range(19)))},
        analysis=Analysis(
            diagnostics=(Diagnostic(kind="hovering", words="HOVERS"),), causes=("CAUSE",)
        ),
    )
    return made.model_copy(update=update)


def prompt(method: str, task: str = "corridor", **options) -> str:
    return "\n".join(
        m.content
        for m in messages(Prompts(), find(task).card, find_method(method), Question(**options))
    )


def test_the_reflection_is_the_best_programs_own_curves_and_nobody_elses():
    refused = Outcome(
        iteration=1,
        candidate="b",
        program="import os",
        status="rejected",
        verdicts=(Verdict(kind="import", message="imports os"),),
    )
    told = prompt(
        "eureka",
        feedback=Feedback(iteration=1, outcomes=(outcome("1c", 0.75), outcome("1a", 0.5), refused)),
    )
    assert "The best program so far: 1c" in told and "on fresh episodes: 0.75" in told
    # A window in which no episode ended is left out of its mean.
    windows = "30, 31.5, 33.5, 35.5, 37.5, 39.5, 41.5, 43.5, 45.5, 47.5"
    assert f"- way_1c: {windows}. Max 48, mean 39, min 30" in told
    assert "- success: 0.025, 0.125," in told and "- told: 0 at the end" in told
    assert not any(other in told for other in ("1a", "imports os", "HOVERS", "CAUSE")), (
        "one program, and no findings"
    )


def test_where_nothing_could_be_trained_the_next_round_reads_why():
    refused = Outcome(
        iteration=1,
        candidate="b",
        program="import os",
        status="rejected",
        verdicts=(Verdict(kind="import", line=1, message="imports os"),),
    )
    failed = outcome(
        "1a",
        0.0,
        status="failed",
        evaluation=Evaluation(ok=False, why="refused during training: infinite"),
    )
    told = prompt("eureka", feedback=Feedback(iteration=1, outcomes=(failed, refused)))
    assert (
        "program 1b: import (line 1): imports os" in told
        and "program 1a: refused during training: infinite" in told
        and "best program so far" not in told
    )


@pytest.mark.parametrize("task", sorted(listing()))
def test_eurekas_prompts_name_every_field_and_no_hint_for_every_card(task):
    card = find(task).card
    for told in (
        prompt("eureka", task),
        prompt("eureka", task, feedback=Feedback(iteration=1, outcomes=(outcome("1a", 0.5),))),
    ):
        assert all(f"| {f.name} |" in told for f in card.fields if f.reward)
        assert "Hints from a person" not in told and "exactly one fenced block" in told
    assert "Hints from a person" in prompt("eureka", task, hints=True) or not card.hints
    assert "second fenced block" in prompt("eureka", task, composing=True)


def test_a_missing_or_faulty_template_is_named_before_a_run_begins(tmp_path):
    Prompts().require("eureka", ("designer",))
    with pytest.raises(
        UserError, match=r"method eureka lacks the template eureka/critic/review\.md\.j2"
    ):
        Prompts().require("eureka", AGENTS)
    place = tmp_path / "eureka" / "designer" / "reflection.md.j2"
    place.parent.mkdir(parents=True)
    place.write_text("{{ outcome.sucess }}")
    with pytest.raises(UserError, match=r"reflection\.md\.j2:1.*sucess"):
        Prompts(str(tmp_path)).render("eureka/designer/revise", examples("designer"))
