"""One stable-baselines3 training: weights, curve, and done.json at the end."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv

from autoreward.annotation.channel import Channel
from autoreward.rewards.composition import Composition
from autoreward.rewards.signals import SignalContext, find_signal
from autoreward.sandbox.outside.worker import ProgramRejected, Worker
from autoreward.seeds import stream_seed
from autoreward.store.io import read_bytes_safely, write, write_arrays
from autoreward.store.jobs import TrainJob
from autoreward.store.records import TrainingDone, Verdict
from autoreward.store.training import TrainingFolder
from autoreward.tasks.card import ROLLOUTS
from autoreward.tasks.find import LocatedCard, load
from autoreward.trainer import hindsight, policy
from autoreward.trainer.curve import Curve
from autoreward.trainer.deferred import DeferredRewards, DeferredRolloutBuffer
from autoreward.trainer.environment import CardEnvironment, captions_of, trusted_code
from autoreward.trainer.inbox import INBOX
from autoreward.trainer.recomputed import RecomputedReplay
from autoreward.trainer.reward_env import RewardVecEnv


def train(job: TrainJob) -> None:
    """Do the job. A program that is rejected ends in done.json, not in an error.

    Raises UserError for what is wrong with the machine or the card.
    """
    torch.set_num_threads(job.threads)
    setup = TrainingSetup(job)
    worker = None
    try:
        worker = setup.start_worker()
        training = Training(setup, worker)
        refusal = training.run()
    except ProgramRejected as error:
        refused = TrainingDone(
            seed=job.seed, stopped="refused", steps=0, budget=setup.budget, refusal=error.verdict
        )
        write(setup.folder.done_path, refused)
        return
    finally:
        if worker:
            worker.close()
    training.save(refusal)


def environments(card: LocatedCard, code: ModuleType | None, n: int) -> DummyVecEnv:
    """Return n environments of the card, stepped in this process (measured faster than one process
    each, for every shipped card).
    """
    return DummyVecEnv([lambda: CardEnvironment(card, code)] * n)


class TrainingSetup:
    """What a job asks for, with its files read and its names resolved.

    Raises UserError if the card, its code or the signal cannot be used.
    """

    def __init__(self, job: TrainJob) -> None:
        self.job = job
        self.folder = TrainingFolder(Path(job.out))
        card = load(Path(job.card))
        self.card = card.with_episodic_return() if job.episodic_return else card
        self.code = trusted_code(self.card)
        self.budget = job.steps or self.card.card.training.steps
        self.device = policy.choose_device(self.card.card, job.device)
        self.program = read_bytes_safely(Path(job.program)).decode() if job.program else None
        self.on_policy = self.card.card.training.algorithm in ROLLOUTS
        self.signal_class = find_signal(job.signal)
        if self.program is not None:
            self.signal_class.require(self.card.card, job.settings)

    @property
    def defers_rewards(self) -> bool:
        """Whether rewards may arrive one step late: on-policy learners need them at rollout end."""
        return self.on_policy and self.program is not None

    @property
    def learns_signal(self) -> bool:
        """Whether the signal learns during this training."""
        return self.signal_class.learned and self.program is not None

    def start_worker(self) -> Worker | None:
        """Start the reward worker; None for the sparse task reward.

        Raises ProgramRejected if the program does not load, MachineFault if no worker can run here.
        """
        if self.program is None:
            return None
        card = self.card.card
        return Worker(
            self.program,
            card.reward_layout,
            card.action,
            entry=self.signal_class.entry,
            profile=self.job.sandbox,
            same_cpu=not self.defers_rewards,
        )

    def signal_context(self) -> SignalContext:
        """Return what the signal is built from, without the names that the program gives."""
        return SignalContext(
            self.card.card,
            (),
            settings=self.job.settings,
            seed=self.job.seed,
            folder=self.folder.path,
            device=self.device,
            channel=self._channel(),
        )

    def _channel(self) -> Channel | None:
        """The annotator's channel over this process's pipes, if the job asks for one."""
        annotated = self.job.annotated
        if annotated is None:
            return None
        return Channel(
            captions_of(self.card, self.code, annotated.most),
            annotated,
            self.folder.path,
            lambda line: print(line, flush=True),
            INBOX.lines,
        )


class Training:
    """The parts of one training, wired together: environments, rewards, agent and curve.

    Raises ProgramRejected if the program or its composition cannot be used with this learner.
    """

    def __init__(self, setup: TrainingSetup, worker: Worker | None) -> None:
        self.setup = setup
        card = setup.card.card
        job = setup.job
        context = setup.signal_context()
        raw = hindsight.with_recorder(
            environments(setup.card, setup.code, card.training.n_envs), card
        )
        self.rewards = RewardVecEnv(
            raw,
            context,
            worker,
            Composition.model_validate(job.composition),
            setup.signal_class,
            job.record_rewards,
        )
        self.view = policy.PolicyView(self.rewards, setup.card, setup.code, training=True)
        self.agent = self._agent()
        if setup.learns_signal:
            skip_updates_until_signal_ready(self.agent, self.rewards)
        # the agent seeds environments with its own seed, so ours must come after
        self.view.seed(stream_seed("training", job.seed))
        if job.tensorboard:
            self.agent.set_logger(configure(str(setup.folder.tensorboard_path), ["tensorboard"]))
        else:
            self.agent.set_logger(configure(None, []))
        may_give_up = setup.program is not None
        self.curve = Curve(self.rewards, setup.budget, card, may_give_up)

    def _agent(self) -> BaseAlgorithm:
        setup = self.setup
        replay: tuple[type, dict[str, Any]] | None
        if setup.learns_signal and not setup.on_policy:
            replay = RecomputedReplay, {"source": self.rewards}
        else:
            replay = hindsight.replay_buffer(setup.card, setup.code, self.rewards, self.view)
        agent = policy.build(
            setup.card.card,
            self.view,
            setup.job.seed,
            setup.device,
            rollout=DeferredRolloutBuffer if setup.defers_rewards else None,
            replay=replay,
        )
        if setup.defers_rewards:
            self.rewards.deferred = DeferredRewards()
            agent.rollout_buffer.source = self.rewards  # type: ignore[attr-defined]
        return agent

    def run(self) -> Verdict | None:
        """Train to the end; return why the program was rejected on the way, if it was."""
        try:
            self.agent.learn(self.setup.budget, callback=self.curve)
            self.rewards.collect_reward()
        except ProgramRejected as error:
            steps = self.rewards.vector_steps * self.rewards.num_envs
            message = f"after {steps} steps: {error.verdict.message}"
            return error.verdict.model_copy(update={"stage": "training", "message": message})
        return None

    def save(self, refusal: Verdict | None) -> None:
        """Write everything that the training leaves; done.json comes last."""
        folder = self.setup.folder
        if not all(torch.isfinite(p).all() for p in self.agent.policy.parameters()):
            refusal = refusal or _diverged()
        if self.rewards.new_episodes:
            self.curve.close_window()
        self.curve.save(folder.curve_path)
        if self.setup.job.record_rewards:
            write_arrays(folder.rewards_path, self.rewards.recording.arrays())
        policy.save(self.agent, self.view, folder.policy_path)
        self._save_composition(folder.composition_path)
        self._save_signal(folder.signal_path)
        write(folder.done_path, self._done(refusal))

    def _save_composition(self, path: Path) -> None:
        """Write the composition and what it has learned, if it has any transforms."""
        composer = self.rewards.composer
        if composer is None or not composer.bound:
            return
        saved = {
            "composition": self.rewards.composition.data(),
            "state": composer.state(),
            "notes": composer.notes(),
        }
        write(path, json.dumps(saved, allow_nan=False) + "\n")

    def _save_signal(self, path: Path) -> None:
        """Write what the signal has learned, and its notes and evidence if it has any."""
        signal = self.rewards.signal
        if signal is None:
            return
        signal.save(self.setup.folder.path)
        saved: dict[str, Any] = {"signal": self.setup.job.signal}
        notes = signal.notes()
        if notes:
            saved["notes"] = notes
        evidence = signal.evidence()
        if evidence:
            saved["evidence"] = evidence
        if notes or evidence:
            write(path, json.dumps(saved, indent=1, allow_nan=False) + "\n")

    def _done(self, refusal: Verdict | None) -> TrainingDone:
        success = None
        if self.setup.card.card.success is not None and self.rewards.recent_episodes:
            success = float(np.mean([e.success for e in self.rewards.recent_episodes]))
        return TrainingDone(
            seed=self.setup.job.seed,
            stopped="refused" if refusal else self.curve.stopped,  # type: ignore[arg-type]
            steps=int(self.agent.num_timesteps),
            budget=self.setup.budget,
            episodes=self.rewards.episode_count,
            success=success,
            steps_to_80=self.curve.steps_to_80,
            refusal=refusal,
            terms=self.curve.term_curves(),
            device=str(self.agent.device),
            threads=torch.get_num_threads(),
            versions={"torch": torch.__version__, "numpy": np.__version__},
        )


def skip_updates_until_signal_ready(agent: BaseAlgorithm, rewards: RewardVecEnv) -> None:
    """Skip what the agent would learn from rewards that mean nothing yet.

    Rewards of 0 do harm: Adam remembers their small gradients when the first real ones come,
    clipped together with the critic's much larger ones, and the policy hardly moves for some 50,000
    steps (measured in docs/return-decomposition.md).
    """
    learn = agent.train  # type: ignore[attr-defined]

    def train_if_ready(*arguments: Any, **named: Any) -> None:
        if rewards.signal_ready:
            learn(*arguments, **named)

    agent.train = train_if_ready  # type: ignore[attr-defined]


def _diverged() -> Verdict:
    return Verdict(
        kind="diverged",
        stage="training",
        message="the agent's weights are not finite at the end",
        hint="use smaller terms: the sum of a term over an episode should stay below about 100",
    )
