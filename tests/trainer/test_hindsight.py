"""Hindsight: relabelled transitions are what the environment and the program say of them, their
goals are of their own episode's future.
"""

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest
import yaml
from stable_baselines3.common.utils import set_random_seed

from autoreward.errors import UserError
from autoreward.loop.engine import Engine
from autoreward.loop.stages.check import check
from autoreward.rewards.composition import Columns, Composer, Composition, UnsuitableComposition
from autoreward.rewards.signals import PLAIN, SignalContext, find_signal
from autoreward.sandbox.outside.worker import Worker
from autoreward.store.io import read
from autoreward.store.jobs import ProbeJob, TrainJob
from autoreward.store.records import TrainingDone
from autoreward.tasks.find import find, load
from autoreward.trainer import hindsight, policy
from autoreward.trainer.environment import CardEnvironment, trusted_code
from autoreward.trainer.reward_env import RewardVecEnv
from autoreward.trainer.train import environments

CODE = '''
import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Plane(gym.Env):
    """A point on a plane with a goal, its number of steps, and a cliff at x = 1.

    Success, failure and truncation all happen.
    """

    observation_space = spaces.Dict(
        {
            "at": spaces.Box(-9, 9, (2,), np.float64),
            "goal": spaces.Box(-9, 9, (2,), np.float64),
            "t": spaces.Box(0, 99, (), np.float64),
        }
    )

    def __init__(self, discrete=False):
        self.action_space = spaces.Discrete(4) if discrete else spaces.Box(-1, 1, (2,), np.float32)

    def told(self):
        return {"at": self.at.copy(), "goal": self.goal.copy(), "t": np.array(float(self.t))}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = self.np_random.normal(size=2) * 0.5
        self.goal = self.np_random.normal(size=2)
        self.t = 0
        return self.told(), {}

    def step(self, action):
        move = np.asarray(action, np.float64)
        if isinstance(self.action_space, spaces.Discrete):
            move = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])[action]
        self.at, self.t = self.at + 0.5 * move, self.t + 1
        return self.told(), 0.0, bool(self.at[0] > 1), False, {}


def features(s):
    return np.concatenate([s.at - s.goal, s.at, s.t[:, None] / 12], -1)


def near(s):
    return np.sqrt(np.square(s.at - s.goal).sum(-1)) < 0.4
'''
PROGRAM = """
import numpy as np


def gap(s):
    return np.sqrt(np.square(s.at - s.goal).sum(-1))


def reward(prev, action, curr, memory):
    effort = np.square(np.reshape(action, (len(curr), -1))).sum(-1)
    return {"gain": gap(prev) - gap(curr), "effort": -0.01 * effort, "late": -0.001 * curr.t}


def potential(s):
    return {"near": -gap(s)}
"""
REMEMBERS = (
    "import numpy as np\n\nMEMORY = {'best': 9.0}\n\n\n"
    "def reward(prev, action, curr, memory):\n"
    "    memory['best'] = np.minimum(memory['best'], curr.t)\n"
    "    return {'a': memory['best']}\n"
)
WITHIN = [{"field": "at", "op": "within", "other": "goal", "value": 0.4}]
OFF = {"learning_starts": 60, "buffer_size": 400, "batch_size": 50, "train_freq": 4}


@pytest.fixture
def goal_card(tmp_path: Path):
    """goal_card(...) -> the card's path; program.py lies beside it.

    `training` adds to what is there.
    """

    def make(training: dict | None = None, discrete: bool = False, **changes) -> Path:
        (tmp_path / "plane.py").write_text(textwrap.dedent(CODE))
        (tmp_path / "program.py").write_text(PROGRAM)
        algorithm = {
            "algorithm": "DQN" if discrete else "SAC",
            "steps": 300,
            "n_envs": 3,
            "net": [8],
            "her": 4,
            "hyperparameters": OFF,
        }
        card = {
            "name": "plane",
            "title": "A plane",
            "description": "A point on a plane.",
            "code": "plane.py",
            "environment": {"factory": "here:Plane", "kwargs": {"discrete": discrete}, "limit": 12},
            "action": {"type": "discrete", "n": 4, "meaning": "where"}
            if discrete
            else {"type": "box", "shape": [2], "meaning": "where"},
            "fields": [
                {"name": "goal", "source": "obs.goal", "shape": [2]},
                {"name": "at", "source": "obs.at", "shape": [2]},
                {"name": "t", "source": "obs.t"},
            ],
            "policy": {"input": "fields", "normalize": True},
            "goal": {"achieved": "at", "desired": "goal"},
            "success": {"when": WITHIN},
        } | changes
        card["training"] = algorithm | (training or {})
        path = tmp_path / "plane.yaml"
        path.write_text(yaml.safe_dump(card, sort_keys=False))
        return path

    return make


class Played:
    """A buffer filled by random play, and what it was filled with."""

    def __init__(
        self,
        path: Path,
        worker: Worker | None,
        steps: int,
        size: int,
        composition: Composition | None = None,
    ) -> None:
        self.card = load(path)
        code = trusted_code(self.card)
        self.composition = composition or Composition()
        venv = hindsight.with_recorder(environments(self.card, code, 3), self.card.card)
        rewards = RewardVecEnv(
            venv,
            SignalContext(self.card.card, ()),
            worker,
            self.composition,
            find_signal(PLAIN),
            record=steps,
        )
        self.view = policy.PolicyView(rewards, self.card, code, training=True)
        self.view.seed(7)
        made = hindsight.replay_buffer(self.card, code, rewards, self.view)
        assert made is not None
        self.buffer = made[0](
            size,
            self.view.observation_space,
            self.view.action_space,
            device="cpu",
            n_envs=3,
            **made[1],
        )
        self.view.action_space.seed(7)
        set_random_seed(7)
        self.infos, self.dones = [], []
        seen = self.view.reset()
        for _ in range(steps):
            actions = np.array([self.view.action_space.sample() for _ in range(3)])
            after, reward, dones, infos = self.view.step(actions)
            last = after.copy()
            for i in np.flatnonzero(dones):
                last[i] = infos[i]["terminal_observation"]
            self.buffer.add(seen, last, actions, reward, dones, infos)
            self.infos.append(infos)
            self.dones.append(dones.copy())
            seen = after
        self.dones = np.array(self.dones)
        # prev, action, curr (T, 3, ...): all fields are offered to rewards, so nothing is missing
        self.lived = rewards.recording.arrays()

    def episode(self, t: int, env: int) -> tuple[int, int]:
        """First step and the one after the last known, from what was played."""
        before = np.flatnonzero(self.dones[:t, env])
        ends = t + np.flatnonzero(self.dones[t:, env])
        return (before[-1] + 1 if len(before) else 0), (
            ends[0] + 1 if len(ends) else len(self.dones)
        )


def asked(played: Played, monkeypatch) -> dict:
    """One batch, with what the worker was asked, which steps it is of, and which goals they were
    given.
    """
    seen: dict = {"calls": 0}
    buffer = played.buffer
    goals, rewards = buffer.goals, buffer.goal_rewards.rewards

    def spied_goals(steps, envs):
        found, later = goals(steps, envs)
        seen.update(steps=steps.copy(), envs=envs.copy(), goals=found.copy(), later=later.copy())
        return found, later

    def spied_rewards(*arguments):
        seen["judged"] = [np.copy(a) for a in arguments]
        seen["answer"] = rewards(*arguments)
        return seen["answer"]

    monkeypatch.setattr(buffer, "goals", spied_goals)
    monkeypatch.setattr(buffer.goal_rewards, "rewards", spied_rewards)
    if buffer.goal_rewards.worker is not None:
        ask = buffer.goal_rewards.worker.ask

        def spied_ask(prev, *rest):
            seen["calls"] += 1
            seen["asked"] = prev.shape[:2]
            return ask(prev, *rest)

        monkeypatch.setattr(buffer.goal_rewards.worker, "ask", spied_ask)
    seen["batch"] = buffer.sample(250)
    return seen


def by_hand(played: Played, seen: dict, k: int) -> tuple[float, bool]:
    """(task reward, terminated) of the k-th relabelled transition, from the environment's own
    rule, step by step over the episode.
    """
    card, code = played.card, trusted_code(played.card)
    env = CardEnvironment(card, code)
    t, i, goal = int(seen["steps"][k]), int(seen["envs"][k]), seen["goals"][k]
    start, _ = played.episode(t, i)
    success, paid, now = card.card.success, False, False
    for s in range(start if not success.ends_episode else t, t + 1):
        # goal is the card's first field
        vector = np.concatenate([goal, played.lived["curr"][s, i][2:]])
        now = bool(env.task.succeeds(vector[None])[0])
        new = now and not paid
        paid = paid or now
    won = played.dones[t, i] and played.infos[t][i]["success"] and success.ends_episode
    # an end at success is success's
    cliff = bool(played.lived["curr"][t, i][2] > 1) and not won
    return float(new), cliff or (now and success.ends_episode)


VARIANTS = [
    ("plain", {}, {}, {}),
    ("a buffer that has wrapped", {}, {}, {"size": 150}),
    (
        "predicate and features",
        {},
        {"success": {"predicate": "near"}, "policy": {"input": "features", "normalize": False}},
        {},
    ),
    (
        "an episode goes on after success",
        {},
        {"success": {"when": WITHIN, "ends_episode": False}},
        {"size": 90},
    ),
    (
        "composed",
        {},
        {},
        {"composition": {"transforms": [{"kind": "gain", "scale": 2}, {"kind": "signs"}]}},
    ),
    ("whole numbers", {}, {}, {"discrete": True}),
]


@pytest.mark.parametrize(
    ("training", "changes", "how"), [v[1:] for v in VARIANTS], ids=[v[0] for v in VARIANTS]
)
def test_relabelled_transitions_are_what_environment_and_program_say_of_them_bit_for_bit(
    goal_card, monkeypatch, training, changes, how
):
    path = goal_card(training, how.get("discrete", False), **changes)
    composition = Composition.model_validate(how.get("composition", {}))
    card = load(path).card
    with (
        Worker(PROGRAM, card.reward_layout, card.action) as worker,
        Worker(PROGRAM, card.reward_layout, card.action) as other,
    ):
        played = Played(path, worker, 97, how.get("size", 900), composition)
        seen = asked(played, monkeypatch)
        buffer, batch = played.buffer, seen["batch"]
        m = len(seen["steps"])
        assert (
            seen["calls"] == 1
            and seen["asked"] == (1, m)
            and m == (200 if card.success.ends_episode else m)
        )
        steps, envs = seen["steps"], seen["envs"]
        assert (
            steps.min() >= buffer.oldest_step
            and steps.max() < 97
            and (steps.max() > buffer.buffer_size) == (buffer.oldest_step > 0)
        )
        prev, curr, action = (
            played.lived[name][steps, envs].copy() for name in ("prev", "curr", "action")
        )
        prev[:, :2] = curr[:, :2] = seen["goals"]
        hand = [by_hand(played, seen, k) for k in range(m)]
        task, terminated = np.array([h[0] for h in hand]), np.array([h[1] for h in hand])
        truncated = np.array(
            [
                bool(played.infos[t][i].get("TimeLimit.truncated"))
                for t, i in zip(steps, envs, strict=True)
            ]
        )
        first = np.ones(m, bool)
        answer = other.ask(prev[None], action[None], curr[None], first[None])
        composer = Composer(
            composition, Columns(other.terms, other.potentials, other.sparse), card.training.gamma
        )
        done = terminated | truncated
        expected, _ = composer.step(
            answer.terms[0], answer.before[0], answer.after[0], task, first, terminated, done, done
        )
    assert batch.rewards.numpy()[:m, 0].tobytes() == expected.astype(np.float32).tobytes()
    assert (batch.dones.numpy()[:m, 0] == terminated).all()
    shown = [played.view._normalized(played.view.view(x)) for x in (prev, curr)]
    assert (
        batch.observations.numpy()[:m].tobytes() == shown[0].tobytes()
        and batch.next_observations.numpy()[:m].tobytes() == shown[1].tobytes()
    )
    cliff = curr[:, 2] > 1
    assert (
        (task > 0).any()
        and (task == 0).any()
        and cliff.any()
        and truncated.any()
        and (~terminated & ~truncated).any()
    ), "all endings are met"
    if card.success.ends_episode:
        assert terminated[truncated].all(), (
            "its own end is the only goal that the last step of an episode can get"
        )
    else:
        assert (terminated == cliff).all() and not terminated[truncated].any()


def test_what_is_not_relabelled_is_as_it_was_lived(goal_card, monkeypatch):
    path = goal_card()
    card = load(path).card
    with Worker(PROGRAM, card.reward_layout, card.action) as worker:
        played = Played(path, worker, 97, 900)
        seen = asked(played, monkeypatch)
        batch, buffer = seen["batch"], played.buffer
    real = batch.rewards.numpy()[200:, 0]
    assert len(real) == 50, "four relabelled for each one as it was"
    at = {
        tuple(played.view._normalized(played.view.view(buffer.prev[t, i][None]))[0]): (t, i)
        for t in range(97)
        for i in range(3)
    }
    found = [at[tuple(row)] for row in batch.observations.numpy()[200:]]
    assert [float(buffer.rewards[t, i]) for t, i in found] == [float(r) for r in real]
    ended = [played.dones[t, i] and not played.infos[t][i]["TimeLimit.truncated"] for t, i in found]
    assert (batch.dones.numpy()[200:, 0] == ended).all()


@pytest.mark.parametrize(
    "size",
    [900, 60, 21],
    ids=["all is there", "episodes are overwritten", "less than two episodes fit"],
)
def test_goals_are_of_the_same_episode_and_from_the_future(goal_card, size):
    """21 rows in 3 environments are 7 steps: shorter than an episode of 12, whose start is
    overwritten while it goes on.
    """
    played = Played(goal_card(), None, 200, size)
    buffer = played.buffer
    steps = np.repeat(np.arange(buffer.oldest_step, 200), 40)
    for env in range(3):
        envs = np.full(len(steps), env)
        goals, later = buffer.goals(steps, envs)
        given: dict[int, set[int]] = {}
        for t, j, goal in zip(steps, later, goals, strict=True):
            start, end = played.episode(t, env)
            assert t <= j < end and played.episode(j, env) == (start, end)
            assert (goal == played.lived["curr"][j, env][2:4]).all()
            given.setdefault(t, set()).add(j)
        assert all(len(given[t]) >= 0.7 * (played.episode(t, env)[1] - t) for t in given), (
            "the whole future is drawn from"
        )
    assert buffer.steps == 200 and buffer.pos == 200 % (size // 3) and buffer.full == (size < 600)


def test_the_stored_fields_are_the_episodes_own(goal_card):
    """curr of one step is prev of the next, but at an end, where it is the last state and not the
    first of the next episode.
    """
    played = Played(goal_card(), None, 97, 900)
    prev, curr = played.buffer.prev[:97], played.buffer.curr[:97]
    assert (
        (prev == played.lived["prev"]).all()
        and (curr == played.lived["curr"]).all()
        and (played.buffer.raw_actions[:97] == played.lived["action"]).all()
    )
    on = ~played.dones[:-1]
    assert (
        (curr[:-1][on] == prev[1:][on]).all()
        and (prev[1:][played.dones[:-1]][:, 4] == 0).all()
        and (curr[played.dones][:, 4] > 0).all()
    )
    truncated = np.array(
        [[bool(i.get("TimeLimit.truncated")) for i in infos] for infos in played.infos]
    )
    won = np.array([[bool(i.get("success")) for i in infos] for infos in played.infos])
    assert (
        (played.buffer.failed[:97] == (played.dones & ~truncated & ~won)).all()
        and played.buffer.failed.any()
        and won.any()
        and truncated.any()
    )


def test_without_a_program_relabelled_success_is_the_whole_reward(goal_card, monkeypatch):
    played = Played(goal_card(), None, 97, 900, Composition(task_reward=3.0))
    seen = asked(played, monkeypatch)
    expected = np.array([3.0 * by_hand(played, seen, k)[0] for k in range(200)])
    assert (seen["batch"].rewards.numpy()[:200, 0] == expected).all() and 0 < (
        expected > 0
    ).mean() < 1


def train(path: Path, out: Path, seed: int = 0, program: bool = True, **options) -> TrainingDone:
    Engine(1).run(
        [
            (
                "test",
                TrainJob(
                    card=str(path),
                    program=str(path.parent / "program.py") if program else None,
                    seed=seed,
                    out=str(out),
                    **options,
                ),
            )
        ]
    )
    done = read(out / "done.json", TrainingDone)
    assert done is not None
    return done


@pytest.mark.parametrize(
    "how",
    [
        "SAC",
        pytest.param("TD3, no program", marks=pytest.mark.long),
        pytest.param("DQN", marks=pytest.mark.long),
    ],
)
def test_same_seed_same_weights_and_another_seed_others(goal_card, tmp_path, how):
    path = goal_card({"algorithm": how.split(",")[0]}, discrete=how == "DQN")
    weights = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        done = train(path, tmp_path / name, seed, "no program" not in how)
        assert done.refusal is None and done.steps >= 300
        weights.append((tmp_path / name / "policy.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_programs_that_remember_are_refused_with_that_reason(goal_card, tmp_path):
    path = goal_card()
    (tmp_path / "program.py").write_text(REMEMBERS)
    done = train(path, tmp_path / "out")
    assert (
        done.stopped == "refused"
        and done.refusal is not None
        and done.refusal.kind == "needs-episode"
    )
    assert (
        "needs the whole episode, which relabelling" in done.refusal.message
        and "only from prev, action and curr" in done.refusal.hint
    )
    Engine(1).run([("probes", ProbeJob(card=str(path), seed=0, out=str(tmp_path / "probes.npz")))])
    told = [
        (v.kind, v.message)
        for v in check(REMEMBERS, load(path).card, tmp_path / "probes.npz", "default").verdicts
        if v.severity == "refuse"
    ]
    assert told == [("needs-episode", done.refusal.message)]
    assert check(PROGRAM, load(path).card, tmp_path / "probes.npz", "default").ok


@pytest.mark.parametrize(
    "transform",
    [
        {"kind": "best"},
        {"kind": "gate", "over": ["near"]},
        {"kind": "milestones", "stages": [{"done": "near"}]},
    ],
    ids=lambda t: t["kind"],
)
def test_compositions_that_remember_are_refused_with_that_reason(goal_card, tmp_path, transform):
    composition = {"transforms": [transform]}
    with pytest.raises(
        UnsuitableComposition,
        match=f"{transform['kind']} needs the whole episode, which relabelling",
    ):
        Composition.model_validate(composition).require(load(goal_card()).card)
    done = train(goal_card(), tmp_path / "out", composition=composition)
    assert done.refusal is not None and "needs the whole episode" in done.refusal.message
    Composition.model_validate(composition).require(load(goal_card({"her": 0})).card)


BAD = [
    (
        {},
        {"goal": None},
        r"training.her: needs `goal: \{achieved: FIELD, desired: FIELD\}`.*\(line",
    ),
    (
        {},
        {"goal": {"achieved": "att", "desired": "goal"}},
        "goal.achieved: unknown field 'att'; did you mean 'at'",
    ),
    ({}, {"goal": {"achieved": "t", "desired": "goal"}}, r"goal: t has the shape \[\], goal \[2\]"),
    ({}, {"goal": {"achieved": "goal", "desired": "goal"}}, "name two fields"),
    (
        {},
        {"success": {"when": [{"field": "t", "op": ">", "value": 3}]}},
        "success.when: no condition names goal.desired, 'goal'",
    ),
    (
        {"algorithm": "PPO", "hyperparameters": {}},
        {},
        "training.her: PPO keeps no transitions that could be relabelled; use one of SAC, TD3, DQN",
    ),
    (
        {"hyperparameters": {"n_steps": 3}},
        {},
        "training.hyperparameters.n_steps: training.her uses its own buffer",
    ),
    (
        {},
        {"policy": {"input": "observation"}},
        "policy.input: the goal inside .* cannot be changed; use `input: fields`",
    ),
    (
        {},
        {"success": {"info": "won"}},
        "success: only `when` and `predicate` can be evaluated under another goal",
    ),
    (
        {},
        {"task_reward": "environment"},
        "task_reward: the environment's own reward is known only for the original goal",
    ),
]


@pytest.mark.parametrize(("training", "changes", "message"), BAD, ids=[b[2][:30] for b in BAD])
def test_cards_that_cannot_be_relabelled_say_what_to_change(goal_card, training, changes, message):
    with pytest.raises(UserError, match=message):
        load(goal_card(training, **changes))


def test_a_goal_that_the_policy_does_not_see_is_refused(goal_card):
    path = goal_card()
    data = yaml.safe_load(path.read_text())
    data["fields"][0]["policy"] = False
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(UserError, match=r"goal\.desired: the policy does not see 'goal'"):
        load(path)


def test_cards_without_a_goal_keep_their_identity():
    """Digests name cached baselines and runs: keys that a card lacks must not change them."""
    run = yaml.safe_load((Path(__file__).parents[2] / "runs" / "example" / "run.yaml").read_text())
    assert find("corridor").digest() in json.dumps(run)
    card = find("corridor").card
    assert (
        card.digest()
        != card.model_copy(
            update={"training": card.training.model_copy(update={"her": 1})}
        ).digest()
    )


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("program", ["sparse", "human"])
def test_fetchreach_is_solved_with_hindsight(tmp_path, program):
    pytest.importorskip("gymnasium_robotics", reason="pip install 'autoreward-rl[robotics]'")
    from autoreward.store.jobs import EvaluateJob
    from autoreward.store.records import Score

    card = find("fetchreach")
    jobs = [
        TrainJob(
            card=str(card.path),
            program=str(card.human) if program == "human" else None,
            seed=s,
            out=str(tmp_path / str(s)),
        )
        for s in range(3)
    ]
    Engine(2).run([(f"train {j.seed}", j) for j in jobs])
    policies, outs = (
        [str(tmp_path / str(s) / "policy.safetensors") for s in range(3)],
        [str(tmp_path / f"{s}.json") for s in range(3)],
    )
    Engine(1).run(
        [
            (
                "test",
                EvaluateJob(
                    card=str(card.path),
                    policies=policies,
                    outs=outs,
                    seeds=[0, 1, 2],
                    purpose="evaluation",
                    episodes=50,
                ),
            )
        ]
    )
    scores = [read(Path(o), Score) for o in outs]
    assert sum(s.successes for s in scores if s) / 150 >= 0.8
