"""Bad lists are rejected with a reason; errors in a file name the line; presets are what they
say.
"""

import pytest

from autoreward.errors import UserError
from autoreward.rewards.composition import (
    KINDS,
    PRESETS,
    Columns,
    Composer,
    Composition,
    UnreadableComposition,
    UnsuitableComposition,
    parse,
    read,
)
from autoreward.tasks.find import find

BAD = [
    ("transforms:\n  - kind: wieghts\n", 2, "unknown kind 'wieghts'", "did you mean weights?"),
    ("transforms:\n  - over: [a]\n", 2, "kind", "each transform needs a kind"),
    (
        "transforms:\n  - kind: gate\n    over: [a]\n    untl: b\n",
        4,
        "untl",
        "gate takes over, until",
    ),
    ("task_rewrd: 2\n", 1, "task_rewrd", "a composition takes task_reward, transforms"),
    ("task_reward: 0\n", 1, "greater than 0", ""),
    (
        "transforms:\n  - kind: signs\n  - kind: weights\n",
        3,
        "'weights' cannot come after 'signs'",
        "",
    ),
    ("- kind: weights\n- kind: gain\n", 2, "'gain' cannot come after 'weights'", ""),
    ("- kind: normalize\n- kind: signs\n", 2, "discard the scale", ""),
    ("- kind: potential\n- kind: signs\n", 2, "not a potential", ""),
    (
        "- kind: potential\n  over: [phi]\n- kind: ensemble\n  over: [phi, a]\n",
        3,
        "not a potential",
        "",
    ),
    ("- kind: normalize\n  over: [a]\n- kind: normalize\n", 3, "can appear only once", ""),
    ("- kind: best\n  over: nearness\n", 2, "'nearness' is not a group", ""),
    ("- kind: best\n  over: [a, a]\n", 2, "twice", ""),
    ("- kind: clip\n  over: [a]\n  eta: 1.5\n", 3, "less than or equal to 1", ""),
    ("- kind: weights\n  weights: {a: .nan}\n", 2, "", ""),
    ("- kind: weights\n  weights: {a: 1.0e+9}\n", 2, "less than or equal to 1000000", ""),
    ("- kind: switch\n  over: [a]\n  above: 0.4\n", 1, "flaps", ""),
    (
        "- kind: lagrange\n  constraints: [{term: a, at_least: 1, at_most: 2}]\n",
        2,
        "one of `at_least`, `at_most` and `equals`",
        "",
    ),
    ("- kind: penalties\n  progress: a\n  factors: [b, c, d, e]\n", 3, "at most 3", ""),
    ("- kind: signs\n- kind: signs\n", 2, "can appear only once", ""),
    # no mean is ever subtracted
    ("- kind: normalize\n  mean: true\n", 2, "mean", "normalize takes over, floor, rollouts"),
    ("transforms: [\n", 1, "cannot be read as YAML", ""),
    ("just words\n", 1, "a mapping", ""),
    ("a: &x [1]\nb: *x\n", None, "refers to itself", ""),
    ("!!python/object/apply:os.system ['true']\n", 1, "cannot be read as YAML", ""),
]


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    BAD,
    ids=[b[0].split("\n")[-2][:30] + f" {k}" for k, b in enumerate(BAD)],
)
def test_a_bad_list_is_rejected_with_line_reason_and_hint(text, line, message, hint):
    with pytest.raises(UnreadableComposition) as caught:
        parse(text)
    assert message in caught.value.message and hint in caught.value.hint
    assert caught.value.line == line or message == ""


UNFIT = [
    (
        [{"kind": "weights", "weights": {"c": 1}}],
        "weights is over 'c', but the program has no such term; it has a, b, phi",
    ),
    ([{"kind": "best", "over": ["a"]}], "a term of reward()"),
    ([{"kind": "gain"}, {"kind": "potential", "over": ["phi"]}], "both shape 'phi'"),
    (
        [{"kind": "milestones", "stages": [{"done": "phi"}]}, {"kind": "gate", "over": ["phi"]}],
        "used up",
    ),
    ([{"kind": "milestones", "stages": [{"done": "phi"}], "name": "a"}], "already has a term 'a'"),
    ([{"kind": "gate", "over": ["a"], "until": "a"}], "cannot open the gate"),
    ([{"kind": "gate", "over": "sparse"}, {"kind": "gate", "over": ["x"]}], "no such term"),
    (
        [
            {"kind": "penalties", "progress": "a", "factors": ["b"]},
            {"kind": "ensemble", "over": ["a", "b"]},
        ],
        "used up",
    ),
    ([{"kind": "penalties", "progress": "a", "factors": ["phi"]}], "is a potential"),
    (
        [{"kind": "ensemble", "over": ["a", "b"], "how": "worst"}],
        "declared sparse, so the worst case over it is almost always 0",
    ),
    (
        [
            {
                "kind": "lagrange",
                "constraints": [{"term": "a", "at_least": 0}, {"term": "a", "at_most": 1}],
            }
        ],
        "two constraints",
    ),
]


@pytest.mark.parametrize(("transforms", "message"), UNFIT)
def test_a_list_that_does_not_fit_the_program_names_the_terms_that_exist(transforms, message):
    with pytest.raises(UnsuitableComposition) as caught:
        Composer(
            Composition.model_validate({"transforms": transforms}),
            Columns(("a", "b"), ("phi",), frozenset({"b"})),
            0.9,
        )
    assert message in caught.value.message and caught.value.hint


def test_a_group_that_is_empty_says_how_to_fill_it():
    with pytest.raises(UnsuitableComposition) as caught:
        Composer(read("best"), Columns(("a",)), 0.9)
    assert (
        "has no potentials; it has a" in caught.value.message
        and "potential(state)" in caught.value.hint
    )


@pytest.mark.parametrize(
    "kind", [k for k in KINDS if k.state == "across episodes"], ids=lambda k: k.__name__
)
def test_what_changes_between_rollouts_is_rejected_if_a_buffer_keeps_old_rewards(kind):
    card = find("corridor").card
    off = card.model_copy(
        update={"training": card.training.model_copy(update={"algorithm": "SAC"})}
    )
    given = {
        "normalize": {},
        "difficulty": {"over": ["a"]},
        "switch": {"over": ["a"]},
        "lagrange": {"constraints": [{"term": "a", "at_least": 0}]},
        "ensemble": {"over": ["a"]},
    }
    name = kind.model_fields["kind"].default
    made = Composition.model_validate({"transforms": [{"kind": name, **given[name]}]})
    made.require(card)
    with pytest.raises(UnsuitableComposition, match="keeps rewards in a buffer"):
        made.require(off)
    assert kind.state == "across episodes"


def test_delta_needs_a_rollout_and_columns_of_its_own():
    card = find("corridor").card
    off = card.model_copy(
        update={"training": card.training.model_copy(update={"algorithm": "SAC"})}
    )
    delta = parse("- kind: delta\n  over: [q]\n")
    delta.require(card)
    with pytest.raises(UnsuitableComposition, match="the step before"):
        delta.require(off)
    columns = Columns(("q", "r"), ())
    parse("- {kind: delta, over: [q]}\n- {kind: normalize, over: [r]}\n").bind(columns)
    for later in (
        "normalize, over: [q]",
        "gate, over: all",
        "signs",
        "penalties, progress: r, factors: [q]",
    ):
        with pytest.raises(UnsuitableComposition, match="delta pays a part to the step before"):
            parse(f"- {{kind: delta, over: [q]}}\n- {{kind: {later}}}\n").bind(columns)


def test_a_clip_that_makes_ending_early_pay_and_a_switch_without_success_are_rejected():
    card, endless = find("corridor").card, find("halfcheetah5m").card
    clip = parse("- kind: clip\n  over: [q]\n  eta: 0.5\n")
    with pytest.raises(UnsuitableComposition, match="may cost 50 over 100 steps"):
        clip.require(card)
    parse("task_reward: 60\ntransforms:\n- kind: clip\n  over: [q]\n  eta: 0.5\n").require(card)
    no_success = endless.model_copy(update={"success": None})
    with pytest.raises(UnsuitableComposition, match="has no success"):
        parse("- kind: switch\n  over: [q]\n").require(no_success)


def test_warnings_name_the_promise_that_does_not_hold():
    columns = Columns(("a",), ("phi",))
    told = lambda text: " ".join(parse(text).warnings(columns))  # noqa: E731
    assert (
        "creeping forward" in told("- kind: signs\n")
        and told("- kind: best\n- kind: signs\n") == ""
    )
    lagrange = "- kind: lagrange\n  constraints: [{term: a, at_least: 1}]\n"
    assert "share a scale" in told(lagrange)
    assert "share a scale" not in told("- kind: normalize\n" + lagrange)
    assert "the optimal policy may change" in told("- kind: potential\n- kind: gate\n  over: all\n")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_reads_and_comes_back_from_its_data(name):
    made = read(name)
    assert Composition.model_validate(made.data()) == made and made.plain == (name == "plain")
    Composer(made, Columns(("a",), ("phi",)), 0.9)


def test_a_file_is_read_and_its_errors_name_file_and_line(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("task_reward: 2\ntransforms:\n  - {kind: weights, weights: {a: 3}}\n")
    assert read(str(good)).data() == {
        "task_reward": 2.0,
        "transforms": [{"kind": "weights", "weights": {"a": 3.0}}],
    }
    assert read(str(good)).weights_by_name() == {"a": 3.0}
    bad.write_text("transforms:\n\n  - kind: signs\n    dense: much\n")
    with pytest.raises(UserError) as caught:
        read(str(bad))
    assert caught.value.message.startswith(f"{bad}:4: ") and "dense" in caught.value.message
    with pytest.raises(UserError) as caught:
        read("sgns")
    assert "did you mean signs?" in caught.value.hint
