"""One stable-baselines3 training: weights, curve, and done.json at the end."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv

from autoreward.annotation.channel import Channel
from autoreward.rewards.composition import Composition
from autoreward.rewards.signals import SignalContext, find_signal
from autoreward.sandbox.outside.worker import ProgramRefused, Worker
from autoreward.seeds import stream_seed
from autoreward.state import Array
from autoreward.store.files import plain, write, write_arrays
from autoreward.store.jobs import TrainJob
from autoreward.store.records import TermCurve, TrainingDone
from autoreward.store.training import TrainingFolder
from autoreward.tasks.card import ROLLOUTS, TaskCard
from autoreward.tasks.find import LocatedCard, load
from autoreward.trainer import hindsight, policy
from autoreward.trainer.environment import CardEnvironment, captions_of, trusted_code
from autoreward.trainer.inbox import INBOX
from autoreward.trainer.recomputed import RecomputedReplay
from autoreward.trainer.rewards import LateRollout, RewardVecEnv

# rows of the curve over the whole budget
WINDOWS = 50
# finished episodes that a success rate is taken over
ENOUGH = 100
# windows in a row at the card's `solved` rate that end a training
HELD = 2
# of the budget without a single success, and the return no longer rising
HOPELESS_AFTER = 0.8
PROGRESS_SECONDS = 1.0


def environments(card: LocatedCard, code: ModuleType | None, n: int) -> DummyVecEnv:
    """n environments of the card, stepped in this process (measured faster than one process each
    for every shipped card).
    """
    return DummyVecEnv([lambda: CardEnvironment(card, code)] * n)


class Curve(BaseCallback):
    """Keeps the curve, tells progress, and stops when solved or hopeless.

    Takes no random numbers and evaluates nothing.
    """

    def __init__(
        self, rewards: RewardVecEnv, budget: int, card: TaskCard, may_give_up: bool
    ) -> None:
        super().__init__()
        self.rewards, self.budget, self.metric = rewards, budget, card.metric
        self.solved = card.training.solved if card.success else None
        self.may_give_up = may_give_up and self.solved is not None
        self.rows: list[tuple[int, float, float, float, float, Array]] = []
        self.next, self.held, self.stopped = budget / WINDOWS, 0, "budget"
        self.first_sums: Array | None = None
        self.steps_to_80: int | None = None
        self.any_success = False
        self.told = 0.0

    @property
    def rate(self) -> float | None:
        done = self.rewards.finished
        return (
            float(np.mean([e.success for e in done]))
            if len(done) >= ENOUGH and self.solved is not None
            else None
        )

    def _good(self) -> bool:
        """Success at the rate that counts as solved, or, on a card without a success, the metric
        at its goal.
        """
        done, rate = self.rewards.finished, self.rate
        if self.solved is not None:
            return rate is not None and rate >= self.solved
        return (
            self.metric is not None
            and len(done) >= ENOUGH
            and self.metric.reached(float(np.mean([e.metric for e in done])))
        )

    def _on_step(self) -> bool:
        if self.num_timesteps < self.next and self.num_timesteps < self.budget:
            return True
        while self.next <= self.num_timesteps:
            self.next += self.budget / WINDOWS
        return self._window()

    def _on_rollout_end(self) -> None:
        self.rewards.rollout_ended()

    def _window(self) -> bool:
        self.rewards.settle()
        fresh, self.rewards.fresh = self.rewards.fresh, []
        nothing = np.full(len(self.rewards.names), np.nan)
        terms = np.mean(
            [e.terms for e in fresh if len(e.terms) == len(nothing)] or [nothing], axis=0
        )
        if self.first_sums is None and fresh and len(nothing):
            self.first_sums = terms
        rate = self.rate
        success = (
            float(np.mean([e.success for e in fresh]))
            if fresh and self.solved is not None
            else np.nan
        )
        length = float(np.mean([e.length for e in fresh])) if fresh else np.nan
        metric = float(np.mean([e.metric for e in fresh])) if fresh and self.metric else np.nan
        self.rows.append(
            (
                self.num_timesteps,
                success,
                length,
                float(np.mean([e.reward for e in fresh])) if fresh else np.nan,
                metric,
                terms,
            )
        )
        self.any_success = self.any_success or any(e.success for e in fresh)
        for name, value in zip(self.rewards.names, terms, strict=True):
            self.logger.record(f"terms/{name}", float(value))
        self.logger.record("rollout/success", success)
        if self.metric:
            self.logger.record(f"rollout/{self.metric.name}", metric)
        self._tell(rate, length, metric)
        if self.steps_to_80 is None and rate is not None and rate >= 0.8:
            self.steps_to_80 = self.num_timesteps
        self.held = self.held + 1 if self._good() else 0
        if self.held >= HELD:
            self.stopped = "solved"
        elif (
            self.may_give_up
            and not self.any_success
            and self.num_timesteps >= HOPELESS_AFTER * self.budget
            and not self._rising()
        ):
            self.stopped = "hopeless"
        return self.stopped == "budget"

    def _rising(self) -> bool:
        """Whether the mean return still rises: the last fifth of the windows against the fifth
        before.
        """
        returns = np.array([r[3] for r in self.rows])
        fifth = WINDOWS // 5
        last, before = returns[-fifth:], returns[-2 * fifth : -fifth]
        if not (np.isfinite(last).any() and np.isfinite(before).any()):
            return True
        return bool(
            np.nanmean(last) > np.nanmean(before) + 0.02 * (np.nanmax(returns) - np.nanmin(returns))
        )

    def _tell(self, rate: float | None, length: float, metric: float) -> None:
        if time.monotonic() - self.told >= PROGRESS_SECONDS:
            self.told = time.monotonic()
            known = {k: v for k, v in (("length", length), ("metric", metric)) if not np.isnan(v)}
            print(
                json.dumps({"steps": self.num_timesteps, "success": rate, "length": None, **known}),
                flush=True,
            )

    def save(self, path: Path) -> None:
        width = len(self.rewards.names)
        terms = (
            np.stack([r[-1] if len(r[-1]) == width else np.full(width, np.nan) for r in self.rows])
            if self.rows
            else np.zeros((0, width))
        )
        columns = ("steps", "success", "length", "reward", *(("metric",) if self.metric else ()))
        parts = {
            name: np.array([r[k] for r in self.rows], np.float64) for k, name in enumerate(columns)
        }
        write_arrays(path, {**parts, "terms": terms, "names": np.array(self.rewards.names, str)})

    def term_curves(self) -> tuple[TermCurve, ...]:
        """Means over the last episodes; a share is of the sum of all terms' sizes."""
        done = [e.terms for e in self.rewards.finished if len(e.terms) == len(self.rewards.names)]
        if not done or not self.rewards.names:
            return ()
        means = np.mean(done, axis=0)
        sizes = np.abs(done).mean(0)
        total = float(sizes.sum()) or 1.0
        first = self.first_sums if self.first_sums is not None else np.zeros(len(means))
        return tuple(
            TermCurve(
                name=n, episode_sum=float(m), share=float(s / total), first_window_sum=float(f)
            )
            for n, m, s, f in zip(self.rewards.names, means, sizes, first, strict=True)
        )


def channel(card: LocatedCard, code: ModuleType | None, job: TrainJob) -> Channel | None:
    """The annotator's channel over this process's pipes, where the job asks for one."""
    if job.annotated is None:
        return None
    return Channel(
        captions_of(card, code, job.annotated.most),
        job.annotated,
        Path(job.out),
        lambda line: print(line, flush=True),
        INBOX.lines,
    )


def train(job: TrainJob) -> None:
    """Do the job.

    UserError for what is wrong with the machine or the card; a refused program ends in done.json.
    """
    torch.set_num_threads(job.threads)
    out = Path(job.out)
    folder = TrainingFolder(out)
    card = load(Path(job.card))
    card = card.at_end() if job.episodic_return else card
    code = trusted_code(card)
    budget = job.steps or card.card.training.steps
    device = policy.choose_device(card.card, job.device)
    program = plain(Path(job.program)).decode() if job.program else None
    late = card.card.training.algorithm in ROLLOUTS and program is not None
    kind = find_signal(job.signal)
    if program is not None:
        kind.require(card.card, job.settings)
    worker = None
    try:
        worker = (
            Worker(
                program,
                card.card.reward_layout,
                card.card.action,
                entry=kind.entry,
                profile=job.sandbox,
                same_cpu=not late,
            )
            if program is not None
            else None
        )
        making = SignalContext(
            card.card,
            (),
            settings=job.settings,
            seed=job.seed,
            folder=out,
            device=device,
            channel=channel(card, code, job),
        )
        environment = hindsight.kept(environments(card, code, card.card.training.n_envs), card.card)
        rewards = RewardVecEnv(
            environment,
            making,
            worker,
            Composition.model_validate(job.composition),
            kind,
            job.record_rewards,
        )
        view = policy.PolicyView(rewards, card, code, training=True)
        asks = kind.learns and program is not None and card.card.training.algorithm not in ROLLOUTS
        replay = (
            (RecomputedReplay, {"source": rewards})
            if asks
            else hindsight.buffer(card, code, rewards, view)
        )
        agent = policy.build(
            card.card, view, job.seed, device, rollout=LateRollout if late else None, replay=replay
        )
        if kind.learns and program is not None:
            _patient(agent, rewards)
        if late:
            rewards.late, agent.rollout_buffer.source = True, rewards  # type: ignore[attr-defined]
        # the agent seeds environments with its own seed: ours come after
        view.seed(stream_seed("training", job.seed))
        agent.set_logger(
            configure(str(folder.tensorboard_path), ["tensorboard"])
            if job.tensorboard
            else configure(None, [])
        )
        success = card.card.success is not None
        curve = Curve(rewards, budget, card.card, may_give_up=program is not None)
        refusal = None
        try:
            agent.learn(budget, callback=curve)
            rewards.settle()
        except ProgramRefused as error:
            refusal = error.verdict.model_copy(
                update={
                    "stage": "training",
                    "message": f"after {rewards.ticks * rewards.num_envs} steps: {error.verdict.message}",
                }
            )
    except ProgramRefused as error:
        write(
            folder.done_path,
            TrainingDone(
                seed=job.seed, stopped="refused", steps=0, budget=budget, refusal=error.verdict
            ),
        )
        return
    finally:
        if worker:
            worker.close()
    if not all(torch.isfinite(p).all() for p in agent.policy.parameters()):
        refusal = refusal or _diverged()
    if rewards.fresh:
        curve._window()
    curve.save(folder.curve_path)
    if job.record_rewards:
        write_arrays(folder.rewards_path, rewards.recording.arrays())
    policy.save(agent, view, folder.policy_path)
    if rewards.composer and rewards.composer.bound:
        kept = {
            "composition": rewards.composition.data(),
            "state": rewards.composer.state(),
            "notes": rewards.composer.notes(),
        }
        write(folder.composition_path, json.dumps(kept, allow_nan=False) + "\n")
    if rewards.signal:
        rewards.signal.save(out)
        if said := {
            k: v
            for k, v in (("notes", rewards.signal.notes()), ("evidence", rewards.signal.evidence()))
            if v
        }:
            write(
                folder.signal_path,
                json.dumps({"signal": job.signal, **said}, indent=1, allow_nan=False) + "\n",
            )
    done = TrainingDone(
        seed=job.seed,
        stopped="refused" if refusal else curve.stopped,  # type: ignore[arg-type]
        steps=int(agent.num_timesteps),
        budget=budget,
        episodes=rewards.ended,
        success=float(np.mean([e.success for e in rewards.finished]))
        if success and rewards.finished
        else None,
        steps_to_80=curve.steps_to_80,
        refusal=refusal,
        terms=curve.term_curves(),
        device=str(agent.device),
        threads=torch.get_num_threads(),
        versions={"torch": torch.__version__, "numpy": np.__version__},
    )
    write(folder.done_path, done)


def _patient(agent: BaseAlgorithm, rewards: RewardVecEnv) -> None:
    """Skip what the agent would learn from rewards that mean nothing yet.

    Rewards of 0 do harm: small gradients then are what Adam remembers when the first real ones
    come, clipped together with the critic's much larger ones, and the policy hardly moves for some
    50,000 steps (docs/return-decomposition.md has it measured).
    """
    learn = agent.train  # type: ignore[attr-defined]

    def train(*arguments: Any, **named: Any) -> None:
        if rewards.taught:
            learn(*arguments, **named)

    agent.train = train  # type: ignore[attr-defined]


def _diverged():  # type: ignore[no-untyped-def]
    from autoreward.store.records import Verdict

    return Verdict(
        kind="diverged",
        stage="training",
        message="the agent's weights are not finite at the end",
        hint="smaller terms: an episode's sum of a term should stay below about 100",
    )
