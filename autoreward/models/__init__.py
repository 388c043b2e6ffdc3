"""Everything between autoreward and a language model.

`connect(name)` returns a `Model`, and a `Caller` (caller.py) is the only one that asks it: it
records every call, enforces the limits and retries. Prompts come from templates.py and
variables.py, and replies are read by replies.py and asking.py.
"""

from autoreward.models.connection import BUILT_IN, connect
from autoreward.models.estimate import estimate
from autoreward.models.model import (
    Message,
    Model,
    ModelOptions,
    Price,
    Reply,
    Request,
    Role,
    Transient,
)

__all__ = [
    "BUILT_IN",
    "Message",
    "Model",
    "ModelOptions",
    "Price",
    "Reply",
    "Request",
    "Role",
    "Transient",
    "connect",
    "estimate",
]
