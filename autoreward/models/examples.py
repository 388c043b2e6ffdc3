"""Example variables for templates, with every branch filled: `autoreward prompts check` renders
with them.
"""

from __future__ import annotations

from typing import Any

OUTCOME: dict[str, Any] = {
    "id": "1a",
    "full": True,
    "program": "def reward(prev, action, curr, memory):\n    return {}",
    "composition": "transforms:\n- kind: signs\n",
    "status": "evaluated",
    "success": 0.5,
    "metric": 1.0,
    "broken": ["energy at most 4: 5.2"],
    "why": "why",
    "steps": 1000,
    "steps_to_80": 800,
    "verdicts": [
        {"kind": kind, "severity": severity, "line": 1, "message": "message"}
        for kind, severity in (("import", "refuse"), ("scale", "warn"))
    ],
    "curve": [{"steps": 100, "success": float("nan"), "length": 10.0}],
    "terms": [
        {
            "name": "progress",
            "sum": 1.0,
            "first": 0.1,
            "share": 0.9,
            "curve": [0.1, None, 1.0],
            "most": 1.0,
            "mean": 0.5,
            "least": 0.1,
        }
    ],
    "endings": {"success": 0.5, "failure": 0.2, "limit": 0.3, "mean_length": 20.0},
    "parts": [
        (
            "unsuccessful",
            {
                "episodes": 3,
                "mean_length": 20.0,
                "term_sums": {"progress": 1.0},
                "fields": {"x": {"end": 1.0, "end_std": 0.1, "lowest": 0.0, "highest": 2.0}},
                "flags": {"has_key": {"ever": 0.5, "changes": 2.0}},
            },
        )
    ],
    "diagnostics": [{"kind": "hovering", "words": "words"}],
    "causes": ["a cause"],
    "suggestions": ["a suggestion"],
    "notes": ["a note"],
}


def variables(agent: str) -> dict[str, Any]:
    """What an agent's templates get, with made-up content."""
    task = {
        "title": "title",
        "description": "description",
        "success": "success",
        "metric": "metric",
        "constraints": ["constraint"],
        "ends_at_success": True,
        "endings": "endings",
        "limit": 100,
        "own_reward": True,
        "episodic_return": True,
        "action": {"type": "discrete", "shape": "(n,)", "meaning": "meaning"},
        "fields": [
            {"name": "x", "shape": [2], "unit": "m", "range": "0 .. 1", "meaning": "meaning"}
        ],
        "policy": "the fields",
        "relabelled": "goal",
        "training": {"algorithm": "PPO", "steps": 1000, "n_envs": 8, "gamma": 0.99},
    }
    shared: dict[str, Any] = {
        "task": task,
        "hints": ["bring a to b"],
        "composition": "```yaml\ntransforms:\n- kind: signs\n```",
        "program": OUTCOME["program"],
        "outcome": OUTCOME,
        "warnings": ["warning"],
        "problem": "problem",
    }
    designer = {
        "number": 2,
        "candidates": 3,
        "feedback": [OUTCOME, {**OUTCOME, "full": False}],
        "iteration": 2,
        "verdicts": [{"kind": "import", "line": 1, "message": "m", "hint": "h"}],
        "from_scratch": False,
        "origin": {
            "code": "def reward(obs, action, next_obs):\n    return 0.0",
            "sources": [("x", "0:2")],
            "why": "why",
        },
        "given": [{"name": "take_key", "means": "the agent carries the key"}],
        "replies": [{"template": "sample", "number": 1, "text": "text"}],
        "transforms": [
            {
                "kind": "weights",
                "fields": "weights: {}",
                "title": "title",
                "equation": "r = w * x",
                "paper": "paper",
                "use": "use",
            }
        ],
    }
    said = {
        "summary": "summary",
        "causes": ["cause"],
        "suggestions": ["suggestion"],
        "citations": [{"episode": 0, "step": 1, "field": "x", "claim": "claim"}],
    }
    analyzer = {
        "parts": [said],
        "episodes": [
            {
                "number": 0,
                "ending": "success",
                "length": 10,
                "fields": ["x"],
                "rows": [{"step": 0, "values": ["1"]}],
            }
        ],
    }
    facts = {
        "title": "Reach-v0",
        "observation": "Box",
        "action": "Box",
        "reward": "sparse",
        "endings": "endings",
        "info": ["speed"],
    }
    drafter = {
        "facts": {**facts, "fields": [{**task["fields"][0], "source": "0:2", "by": "nobody"}]},  # type: ignore[index]
        "documentation": "text",
        "source": "class Reach: ...",
        "problem": "problem",
    }
    annotator = {
        "task": task,
        "subgoals": [{"name": "take_key", "means": "has_key == 1"}],
        "captions": ["pick up: has_key 0 -> 1"],
        "problem": "problem",
    }
    return {
        "annotator": annotator,
        "designer": {**shared, **designer},
        "critic": shared,
        "drafter": drafter,
        "analyzer": {**shared, **analyzer},
    }.get(agent, {**shared, **designer, **analyzer})
