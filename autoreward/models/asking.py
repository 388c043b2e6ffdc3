"""Ask a model for an answer in a given form, and ask once more if the reply cannot be read.

The second prompt names the problem. Each turn is a call of its own, recorded and counted as such.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from pydantic import BaseModel

from autoreward.models.caller import Caller
from autoreward.models.model import Message, Reply, Request
from autoreward.models.replies import UnreadableReply, record_of

T = TypeVar("T")
R = TypeVar("R", bound=BaseModel)
# The first reply, and one more if it could not be read.
TURNS = 2
CUT_OFF = "the answer was cut off; answer shorter"


def ask_for_record(
    caller: Caller,
    request: Request,
    record: type[R],
    messages: Callable[[str], tuple[Message, ...]],
) -> R:
    """Return the record that the reply holds, asking for it by its schema.

    Otherwise like `ask_until_read`.
    """

    def read(text: str) -> R:
        return record_of(text, record)

    return ask_until_read(caller.ask, replace(request, schema=record), messages, read)


def ask_until_read(
    ask: Callable[[Request], Reply],
    request: Request,
    messages: Callable[[str], tuple[Message, ...]],
    read: Callable[[str], T],
) -> T:
    """Return what `read` finds in the reply.

    `messages(problem)` builds the prompt; `problem` is empty in the first turn, and afterwards says
    why the last reply could not be read. Turns are numbered from `request.turn`. Raises
    UnreadableReply with the last problem if no turn gave a readable reply, and whatever `ask`
    raises.
    """
    problem = ""
    kind = "no-record"
    for turn in range(TURNS):
        reply = ask(replace(request, turn=request.turn + turn, messages=messages(problem)))
        try:
            return read(reply.text)
        except UnreadableReply as error:
            kind = error.kind
            problem = CUT_OFF if reply.finish == "length" else error.message
    raise UnreadableReply(kind, problem)
