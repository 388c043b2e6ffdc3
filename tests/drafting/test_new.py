"""`envs new` from the command line: cards of unknown environments, requests, and rejections."""

import json

import pytest
import yaml

from autoreward.errors import UserError
from autoreward.tasks.find import load


def new(command, *words, code=0):
    done = command("envs", "new", *words)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_an_unnamed_vector_gets_fields_for_what_varies_and_its_return_as_a_proposal(command, here):
    done = new(command, "--factory", "mine:Vector", "--out", "vector.yaml")
    card = load(here / "vector.yaml").card
    names = [f.name for f in card.fields]
    assert names == ["x0", "x1", "x2", "x3", "x4", "x5", *[f"x{k}" for k in range(9, 24)]], (
        "columns 6, 7 and 8 never change"
    )
    told = {f.name: f.meaning for f in card.fields}
    assert (
        "rate of change of column 0" in told["x2"]
        and "cosine and sine" in told["x4"]
        and "moved by the action's part 1" in told["x3"]
    )
    assert (
        card.metric
        and card.metric.of == "return"
        and card.success is None
        and card.action.low == -2.0
    )
    assert (
        "next: autoreward envs check vector.yaml" in done.stdout and "left for you" in done.stdout
    )
    checked = command("envs", "check", "vector.yaml")
    assert checked.returncode == 0, checked.stdout


def test_the_list_at_the_top_points_at_the_lines_that_are_meant(command, here):
    done = new(command, "--factory", "mine:Vector", "--kwargs", '{"dense": false}', "--json")
    data = json.loads(done.stdout)
    lines = (here / data["card"]).read_text().splitlines()
    wanted = {
        what.split(":")[0]: lines[item["line"] - 1]
        for item in data["left"]
        for what in [item["what"]]
    }
    assert wanted["say when the task is done"].startswith("# success: {when:")
    assert wanted[
        "not documented" if "not documented" in wanted else "say what each action does"
    ].startswith("  meaning:")
    assert (
        wanted["describe the task in a few plain sentences"].startswith("description:")
        if any("plain sentences" in w for w in wanted)
        else True
    )
    assert [line for line in lines[2:8] if line.startswith("#  1. line ")]
    with pytest.raises(UserError, match=r"a card needs `success`.*\(line \d+\)"):
        load(here / data["card"])


def test_uncommenting_what_the_list_names_makes_the_card_valid(command, here):
    new(command, "--factory", "mine:Vector", "--kwargs", '{"dense": false}', "--out", "v.yaml")
    text = (here / "v.yaml").read_text()
    mended = text.replace(
        '# success: {when: [{field: x0, op: ">=", value: 1.0}]}',
        'success: {when: [{field: x0, op: ">=", value: 1.0}]}',
    )
    assert mended != text
    (here / "v.yaml").write_text(mended)
    assert load(here / "v.yaml").card.success.when[0].field == "x0"
    (here / "v.yaml").write_text(
        text.replace("# task_reward:", "task_reward:").replace("# metric:", "metric:")
    )
    assert load(here / "v.yaml").card.metric.of == "return"


def test_nested_observations_keep_their_keys_and_leave_out_images_and_text(command, here):
    done = new(command, "--factory", "mine:Nested", "--out", "nested.yaml")
    card = load(here / "nested.yaml").card
    sources = {f.name: (f.source, f.shape) for f in card.fields}
    assert sources == {
        "robot_arm": ("obs.robot.arm", (3,)),
        "robot_place": ("obs.robot.place", ()),
        "row_0": ("obs.row.0", (9,)),
        "row_1": ("obs.row.1", (2,)),
    }
    assert (
        card.success.info == "is_success"
        and card.policy.input == "fields"
        and card.action.meaning == "0 = stay, 1 = to the left, 2 = to the right"
    )
    assert "A picker moves along a row of plants." in card.description
    assert "image of shape (8, 8, 3)" in done.stdout and "obs.order is Text" in done.stdout
    checked = command("envs", "check", "nested.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_nested_actions_of_whole_numbers_are_flattened_with_their_names(command, here):
    new(command, "--factory", "mine:MixedActions", "--out", "mixed.yaml")
    card = load(here / "mixed.yaml").card
    assert (
        card.action.type == "multidiscrete"
        and sorted(card.action.nvec) == [2, 2, 2, 3, 3]
        and "grip" in card.action.meaning
    )
    assert command("envs", "check", "mixed.yaml").returncode == 0


def test_documentation_names_columns_and_discrete_observations_stay_whole(command, here):
    new(command, "--env-id", "CartPole-v1")
    card = (
        load(here / "envs" / "cartpole.yaml").card
        if False
        else yaml.safe_load((here / "envs" / "cartpole.yaml").read_text())
    )
    assert [f["name"] for f in card["fields"]] == [
        "cart_position",
        "cart_velocity",
        "pole_angle",
        "pole_angular_velocity",
    ] and card["environment"]["limit"] == 500
    new(command, "--env-id", "FrozenLake-v1")
    text = (here / "envs" / "frozenlake.yaml").read_text()
    assert (
        "{name: state, source: obs, " in text
        and '# success: {when: [{field: state, op: "==", value: 15}]}' in text
    ), "random play reached the goal, so its state is proposed"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "exactly one of --env-id and --factory"),
        (("--env-id", "NoSuch-v0"), 3, "environment.id"),
        (("--factory", "mine"), 2, "a module and a function"),
        (("--factory", "nowhere:make"), 3, "No module named 'nowhere'"),
        (("--factory", "mine:nothing"), 3, "this is builtins.int, not a gymnasium.Env"),
        (("--factory", "mine:Broken"), 3, "the arm is off (mine.py:"),
        (("--factory", "mine:Old"), 3, "step() must return"),
        (("--factory", "mine:TwoRewards"), 3, "reward of shape (2,)"),
        (("--factory", "mine:NoReward"), 3, "a reward that is nan"),
        (("--factory", "mine:Pixels"), 3, "image of shape (64, 64, 3)"),
        (("--factory", "mine:Vector", "--kwargs", "[1]"), 2, "--kwargs"),
        (("--factory", "mine:Vector", "--kwargs", '{"wide": 1}'), 3, "wide"),
        (("--factory", "mine:Vector", "--steps", "5"), 2, "--steps is 5"),
        (("--factory", "mine:Vector", "--model", "offline/search"), 2, "not a language model"),
    ],
)
def test_environments_without_a_possible_card_are_rejected_in_one_sentence(
    command, here, words, code, said
):
    done = new(command, *words, code=code)
    assert said in done.stderr and "next:" in done.stderr
    assert not (here / "envs").exists()


def test_an_existing_file_is_not_overwritten(command, here):
    (here / "v.yaml").write_text("mine")
    done = new(command, "--factory", "mine:Vector", "--out", "v.yaml", code=1)
    assert "already exists" in done.stderr and (here / "v.yaml").read_text() == "mine"
    new(command, "--factory", "mine:Vector", "--out", "v.yaml", "--force")
    assert (here / "v.yaml").read_text() != "mine"


def test_the_same_seed_gives_the_same_card(command, here):
    new(command, "--factory", "mine:Vector", "--out", "a.yaml", "--seed", "3")
    new(command, "--factory", "mine:Vector", "--out", "b.yaml", "--seed", "3")
    first, second = [
        [
            line
            for line in (here / f"{n}.yaml").read_text().splitlines()
            if not line.startswith(("  steps:", "  n_envs:", "  hyperparameters:"))
        ]
        for n in "ab"
    ]
    assert first == second, "but for the budget, which follows the machine's speed"


WRONG = [
    ('source: "2"', 'source: "99"', "fields.x2: source '99'"),
    ("  shape: [2]\n", "  shape: [3]\n", "action: the card says box (3,)"),
    ("  low: -2\n", "  low: -1\n", "action.low: the card says -1, the environment has -2"),
    (
        "task_reward: environment",
        "success: {info: is_sucess}",
        "success.info: no step's info had the key 'is_sucess'; it has speed",
    ),
    ("  limit: ", "  limitt: ", "environment.limitt: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("right", "wrong", "said"), WRONG, ids=[s for _, _, s in WRONG])
def test_check_names_what_is_wrong_and_the_line(command, here, right, wrong, said):
    new(command, "--factory", "mine:Vector", "--out", "v.yaml")
    text = (here / "v.yaml").read_text()
    assert right in text
    changed = text.replace(right, wrong, 1)
    (here / "v.yaml").write_text(changed)
    done = command("envs", "check", "v.yaml")
    # the shape is two lines below `action:`
    line = changed[: changed.index(wrong)].count("\n") + (-1 if said.startswith("action: ") else 1)
    told = done.stdout + done.stderr
    assert done.returncode in (1, 3) and said in told and f"(line {line})" in told, told


def test_check_advises_when_a_value_leaves_its_range(command, here):
    new(command, "--factory", "mine:Vector", "--out", "v.yaml")
    text = (here / "v.yaml").read_text()
    start = text.index("range: ", text.index("name: x0"))
    end = text.index(",", start)
    (here / "v.yaml").write_text(text[:start] + 'range: "0 .. 0.01"' + text[end:])
    done = command("envs", "check", "v.yaml")
    assert (
        done.returncode == 0
        and "advice: fields.x0.range: the card says '0 .. 0.01', random play gave" in done.stdout
    )
