"""A candidate outside of the loop: a checked program as text, and its rewards from behind the
jail's wall, for anybody's trainer.
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

    from autoreward.tasks.standalone import Task
    from autoreward.trainer.wrappers import RewardWrapper, View


class Jailed:
    """A program behind the jail's wall, as the wrappers ask it.

    Raises ProgramRejected where it fails.
    """

    def __init__(self, program: str, card: LocatedCard, sandbox: str) -> None:
        self.worker = Worker(program, card.card.reward_layout, card.card.action, profile=sandbox)

    def ask(
        self, prev: Array, action: Array, curr: Array, first: Array
    ) -> tuple[Array, Array, Array, tuple[str, ...]]:
        answer = self.worker.ask(prev[None], action[None], curr[None], first[None])
        return (
            answer.terms[0],
            answer.before[0],
            answer.after[0],
            self.worker.terms + self.worker.potentials,
        )


class Candidate:
    """A checked program, and ways to get its rewards; each starts a jailed worker of its own,
    ended by `close()` and by `tell`.
    """

    def __init__(
        self, folder: CandidateFolder, card: LocatedCard, task: Task, sandbox: str
    ) -> None:
        self.id, self.iteration, self.program, self.folder = (
            folder.id,
            folder.iteration,
            folder.program,
            folder.path,
        )
        self._card, self._task, self._sandbox = card, task, sandbox
        self._started: list[Jailed] = []
        self._direct: Jailed | None = None

    def __repr__(self) -> str:
        return f"<candidate {self.id}>"

    def _jailed(self) -> Jailed:
        self._started.append(Jailed(self.program, self._card, self._sandbox))
        return self._started[-1]

    def wrap(self, env: gymnasium.Env) -> RewardWrapper:
        """One environment of the task with the candidate's reward; `info["autoreward"]` holds
        fields, terms, and whether it succeeded.
        """
        from autoreward.trainer.wrappers import RewardWrapper

        return RewardWrapper(env, self._task, self._jailed())

    def vector(self, make: Callable[[], gymnasium.Env], n: int, view: View | None = None) -> Any:
        """n environments as a VecEnv for stable-baselines3, the program asked once per vector step.

        `view`: a wrapper around each of them, for what your policy sees.
        """
        from autoreward.trainer.wrappers import reward_vec

        return reward_vec(make, n, self._task, self._jailed(), view)

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
        """(rewards (n,), every term (n,) by name) of one step of n environments, for trainers
        without gymnasium.

        prev, curr: the card's fields by name, each (n, *shape), or arrays (n, D); `first` (n,):
        rows that begin an episode with this step; `terminated` (n,): rows that end by success or
        failure, not by time; `task_reward`: the task's own, added with weight 1.
        """
        from autoreward.tasks.standalone import composed

        self._direct = self._direct or self._jailed()
        layout = self._card.card.reward_layout
        before, after = columns_of(prev, layout.slices), columns_of(curr, layout.slices)
        kind = np.int64 if self._task.integer else np.float64
        actions = np.asarray(action, kind).reshape(len(before), *self._task.row)
        answer = self._direct.ask(
            before, actions, after, np.asarray(first, bool).reshape(len(before))
        )
        ended = np.asarray(terminated, bool).reshape(len(before))
        reward, columns = composed(
            self._task,
            answer,
            np.broadcast_to(np.asarray(task_reward, np.float64), (len(before),)),
            ended,
        )
        return reward, dict(zip(answer[3], columns.T, strict=True))

    def close(self) -> None:
        """End the candidate's workers."""
        for jailed in self._started:
            jailed.worker.close()
        self._started, self._direct = [], None


def columns_of(fields: Any, slices: Mapping[str, tuple[int, int, tuple[int, ...]]]) -> Array:
    """Fields by name as one array (n, D) in the order of `slices`; an array is taken as it is.

    UserError names a field that is missing.
    """
    if not isinstance(fields, Mapping):
        return np.asarray(fields, np.float64)
    if absent := [name for name in slices if name not in fields]:
        raise UserError(f"fields: {absent[0]!r} is missing", f"give {', '.join(slices)}", USAGE)
    parts = [
        np.asarray(fields[name], np.float64).reshape(-1, end - start)
        for name, (start, end, _) in slices.items()
    ]
    return np.concatenate(parts, -1)
