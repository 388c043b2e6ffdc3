"""Errors that a person reads: one clear sentence, the way out, and an exit code.

Exit codes (documented in docs/cli.md): 0 done; 1 a program, card or template was refused, or the
goal was not reached; 2 wrong usage; 3 something the machine or an account lacks (an extra, a key, a
sandbox, disk); 4 a model or server failed; 5 a budget ran out; 6 another process holds the run; 130
stopped by Ctrl-C.
"""

from __future__ import annotations

REFUSED, USAGE, MISSING, MODEL, BUDGET, LOCKED, INTERRUPTED = 1, 2, 3, 4, 5, 6, 130


class UserError(Exception):
    """Something the user can mend.

    `message` names the field or file, `hint` is the next thing to type.
    """

    def __init__(self, message: str, hint: str = "", code: int = USAGE) -> None:
        super().__init__(message)
        self.message, self.hint, self.code = message, hint, code


class BudgetExhausted(UserError):
    """A limit on money, tokens, calls or time would be passed by the next step."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, BUDGET)


class ModelFailed(UserError):
    """A model call failed for good: retries are used up, or repeating it cannot help."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, MODEL)
