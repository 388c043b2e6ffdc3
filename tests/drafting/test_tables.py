"""Gymnasium's docstrings: tables, lists, sections."""

from autoreward.drafting.tables import action_meanings, observation_rows, prose, section

DOC = """
## Description
A [ball](http://x.org) rolls.

## Action Space
| Num | Action | Control Min | Control Max | Name (in XML) | Unit |
|-----|--------|----|---|---|---|
| 0   | push along x | -1 | 1 | motor_x | force (N) |
| 1   | push along y | -1 | 1 | motor_y | force (N) |

## Observation Space
- `observation`: the ball

| Num | Observation | Min | Max | Unit |
|---|---|---|---|---|
| 0 | position of the ball | -Inf | Inf | position (m) |
| 1 | its **angle** | ~ -0.418 rad (-24°) | ~ 0.418 rad | angle (rad) |
| excluded | forward position | -Inf | Inf | position (m) |

- `desired_goal`: where it should go

| Num | Observation | Min | Max | Unit |
|---|---|---|---|---|
| 0 | goal | -3 | 3 | position (m) |
| 1 | height | -3 | 3 | - |
"""


def test_tables_belong_to_the_key_named_before_them():
    rows = observation_rows(DOC, "observation", 2)
    assert (
        rows[1].meaning == "its angle"
        and (rows[1].low, rows[1].high, rows[1].unit) == (-0.418, 0.418, "rad")
        and rows[0].low is None
    )
    assert (
        observation_rows(DOC, "desired_goal", 2)[0].meaning == "goal"
        and observation_rows(DOC, "achieved_goal", 2) == {}
    )
    assert observation_rows(DOC, "observation", 3) == {}, (
        "a table of another width is another observation's"
    )


def test_actions_come_from_a_table_or_a_list_that_is_complete():
    assert (
        action_meanings(DOC, 2) == {0: "push along x", 1: "push along y"}
        and action_meanings(DOC, 3) == {}
    )
    assert action_meanings("## Action Space\n- 0: left\n- 1: right\n\n## Else\n- 2: no", 2) == {
        0: "left",
        1: "right",
    }


def test_prose_is_the_description_without_links():
    assert (
        prose(DOC) == "A ball rolls."
        and section(DOC, "nothing") == ""
        and prose("Just this.\n\n# More\nnot this") == "Just this."
    )
