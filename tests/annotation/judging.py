"""A signal that asks about the corridor, and models that answer as scripted."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from autoreward.models import Reply, Request

NAMES = ("past_two", "at_exit")
TRUTH = (
    ({"field": "cell", "op": ">=", "value": 3},),
    ({"field": "cell", "op": ">=", "other": "exit"},),
)
PROGRAM = """import numpy as np


def reward(prev, action, curr, memory):
    return {'past_two': 0.0 * curr.cell, 'at_exit': 0.0 * curr.exit}
"""
SIGNAL = '''"""Pays for the labels of captions."""

from autoreward.rewards.composition import Columns
from autoreward.rewards.signals import Signal


class Judged(Signal):
    learns = True

    @classmethod
    def columns(cls, terms, potentials, sparse):
        return Columns(terms, (), frozenset(terms))

    def step(self, terms, before, after, facts):
        channel = self.context.channel
        captions = channel.caption_numbers(facts.prev, facts.action, facts.curr)
        return 0.1 * channel.labels_of(captions), before, after

    def update(self):
        self.context.channel.update()

    def notes(self):
        return self.context.channel.notes()

    def evidence(self):
        return self.context.channel.evidence()
'''


class Judge:
    """A model: `says(captions)` gives the reply's text, or raises.

    It sees only prompts, as a real model does.
    """

    language = True

    def __init__(self, says: Callable[[list[str]], str], name: str = "judge") -> None:
        self.says, self.name = says, name
        self.batches: list[list[str]] = []
        self.prompts: list[str] = []

    def ask(self, request: Request) -> Reply:
        self.prompts.append(request.text)
        captions = re.findall(r"^\d+\. (.*)$", request.text.split("# The transitions")[1], re.M)
        self.batches.append(captions)
        return Reply(self.says(captions), self.name, 100, 10)

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        return 0.0

    def tokens(self, text: str) -> int:
        return len(text) // 4


def right(captions: list[str]) -> str:
    """As a good model would: `cell 2 -> 3` ends past_two, the exit's cell ends at_exit."""
    said = {}
    for k, caption in enumerate(captions, 1):
        before, after = (
            re.search(r"cell (\d+)(?: -> (\d+))?", caption) or pytest.fail(caption)
        ).groups()
        exit_ = re.search(r"exit (\d+)", caption)[1]
        moved = int(after or before)
        said[str(k)] = [
            n for n, end in (("past_two", 3), ("at_exit", int(exit_))) if int(before) < end <= moved
        ]
    return json.dumps(said)


def rows(folder: Path) -> list[tuple[int, str, list[int] | None]]:
    """What labels.jsonl of a training holds."""
    lines = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()[1:]]
    return [(line["rollout"], line["caption"], line["label"]) for line in lines]
