"""Errors that a person reads: one clear sentence, the next command, and an exit code.

Exit codes (documented in docs/cli.md):

    0     done
    1     a program, card or template was rejected, or no program passed
    2     wrong usage
    3     the machine or an account lacks something (an extra, a key, a sandbox, disk space)
    4     a model or server failed
    5     a limit was reached
    6     another process holds the run
    70    a bug in autoreward
    130   stopped by Ctrl-C
"""

from __future__ import annotations

REFUSED = 1
USAGE = 2
MISSING = 3
MODEL = 4
BUDGET = 5
LOCKED = 6
BUG = 70
INTERRUPTED = 130


class UserError(Exception):
    """Something that the user can fix.

    `message` names the field or file, `hint` is what to do or type next, `code` the exit code.
    """

    def __init__(self, message: str, hint: str = "", code: int = USAGE) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class BudgetExhausted(UserError):
    """The next step would exceed a limit on money, tokens, calls or time."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, BUDGET)


class ModelFailed(UserError):
    """A model call failed: retries are used up, or repeating it cannot help."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, MODEL)
