"""A candidate for your own trainer: a checked program as text, and its rewards.

The program runs in a reward worker, inside the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from autoreward.errors import USAGE, UserError
from autoreward.sandbox.outside.worker import Worker
from autoreward.state import Array
from autoreward.store.candidate import CandidateFolder
from autoreward.tasks.find import LocatedCard

if TYPE_CHECKING:
    import gymnasium

    from autoreward.tasks.runtime import StepAnswer, Task
    from autoreward.trainer.wrappers import RewardWrapper, View


class SandboxedSource:
    """A program in a reward worker, as the wrappers ask it (`runtime.RewardSource`).

    Raises ProgramRejected if the program fails.
    """

    def __init__(self, program: str, card: LocatedCard, sandbox: str) -> None:
        layout = card.card.reward_layout
        self.worker = Worker(program, layout, card.card.action, profile=sandbox)

    def ask(
        self,
        prev: Array,
        action: Array,
        curr: Array,
        first: Array,
    ) -> StepAnswer:
        """Return the answers for n transitions."""
        answer = self.worker.ask(prev[None], action[None], curr[None], first[None])
        names = self.worker.terms + self.worker.potentials
        return (answer.terms[0], answer.before[0], answer.after[0], names)


class Candidate:
    """A checked program, and three ways to get its rewards.

    Each of them starts a reward worker, which `close()` and `Study.tell` end.
    """

    def __init__(
        self, folder: CandidateFolder, card: LocatedCard, task: Task, sandbox: str
    ) -> None:
        self.id = folder.id
        self.iteration = folder.iteration
        self.program = folder.program
        self.folder = folder.path
        self._card = card
        self._task = task
        self._sandbox = sandbox
        self._sources: list[SandboxedSource] = []
        # of `rewards`
        self._direct: SandboxedSource | None = None

    def __repr__(self) -> str:
        return f"<candidate {self.id}>"

    def _new_source(self) -> SandboxedSource:
        source = SandboxedSource(self.program, self._card, self._sandbox)
        self._sources.append(source)
        return source

    def wrap(self, env: gymnasium.Env) -> RewardWrapper:
        """Return one environment of the task with the candidate's reward.

        `info["autoreward"]` holds the fields, the terms, and whether it has succeeded.
        """
        from autoreward.trainer.wrappers import RewardWrapper

        return RewardWrapper(env, self._task, self._new_source())

    def vector(self, make: Callable[[], gymnasium.Env], n: int, view: View | None = None) -> Any:
        """Return n environments as a VecEnv for stable-baselines3.

        The program is asked once per vector step. `view` wraps each environment for what your
        policy sees.
        """
        from autoreward.trainer.wrappers import reward_vec

        return reward_vec(make, n, self._task, self._new_source(), view)

    def rewards(
        self,
        prev: Any,
        action: Any,
        curr: Any,
        *,
        first: Any,
        terminated: Any,
        task_reward: Any = 0.0,
    ) -> tuple[Array, dict[str, Array]]:
        """Return the rewards (n,) and every term (n,) by name of one step of n environments.

        For trainers without gymnasium. prev, curr: the card's fields by name, each (n, *shape), or
        arrays (n, D). `first` (n,) marks rows that begin an episode with this step, `terminated`
        (n,) rows that end by success or failure, not by a time limit. `task_reward` is added with
        weight 1. Raises UserError if a field is missing.
        """
        from autoreward.tasks.runtime import composed

        if self._direct is None:
            self._direct = self._new_source()
        slices = self._card.card.reward_layout.slices
        before = fields_array(prev, slices)
        after = fields_array(curr, slices)
        n = len(before)
        dtype = np.int64 if self._task.integer else np.float64
        actions = np.asarray(action, dtype).reshape(n, *self._task.row)
        begins = np.asarray(first, bool).reshape(n)
        answer = self._direct.ask(before, actions, after, begins)

        ended = np.asarray(terminated, bool).reshape(n)
        task_rewards = np.broadcast_to(np.asarray(task_reward, np.float64), (n,))
        reward, columns = composed(self._task, answer, task_rewards, ended)
        names = answer[3]
        return reward, dict(zip(names, columns.T, strict=True))

    def close(self) -> None:
        """End the candidate's workers."""
        for source in self._sources:
            source.worker.close()
        self._sources = []
        self._direct = None


def fields_array(fields: Any, slices: Mapping[str, tuple[int, int, tuple[int, ...]]]) -> Array:
    """Return fields by name as one array (n, D) in the order of `slices`; an array as it is.

    Raises UserError that names a missing field.
    """
    if not isinstance(fields, Mapping):
        return np.asarray(fields, np.float64)
    missing = [name for name in slices if name not in fields]
    if missing:
        raise UserError(f"fields: {missing[0]!r} is missing", f"give {', '.join(slices)}", USAGE)
    parts = []
    for name, (start, end, _) in slices.items():
        values = np.asarray(fields[name], np.float64)
        parts.append(values.reshape(-1, end - start))
    return np.concatenate(parts, -1)
