"""A trained agent outside of its run: shown, as a stable-baselines3 model, as ONNX."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

import autoreward
from autoreward.errors import UserError
from autoreward.loop.engine import Engine
from autoreward.store.io import read
from autoreward.store.jobs import NetworkJob, Played, PlayJob, TrainJob
from autoreward.tasks.find import load
from autoreward.trainer import agent_export as agents
from autoreward.trainer import policy
from autoreward.trainer.environment import CardEnvironment, trusted_code

ROOT = Path(__file__).parents[2]
OFF = {"learning_starts": 100, "buffer_size": 1000, "batch_size": 32}
KINDS = [
    ("PPO", {"n_steps": 32, "batch_size": 64, "n_epochs": 1}, False),
    ("PPO", {"n_steps": 32, "batch_size": 64, "n_epochs": 1}, True),
    ("DQN", OFF, False),
    ("SAC", OFF, True),
    ("TD3", OFF, True),
]
DRAWN = """

class Drawn(Walk):
    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, continuous, render_mode=None):
        super().__init__(continuous)
        self.render_mode = render_mode

    def render(self):
        frame = np.full((40, 64, 3), 255, np.uint8)
        frame[:, int(np.clip(32 + 8 * self.x, 0, 63))] = 0
        return frame
"""


def trained(path: Path, out: Path) -> Path:
    Engine(1).run(
        [
            (
                "test",
                TrainJob(
                    card=str(path), program=str(path.parent / "program.py"), seed=0, out=str(out)
                ),
            )
        ]
    )
    return out / "policy.safetensors"


LATE = [k if k[0] == "PPO" else pytest.param(*k, marks=pytest.mark.long) for k in KINDS]


@pytest.mark.parametrize(
    ("algorithm", "hyperparameters", "continuous"),
    LATE,
    ids=["PPO", "PPO-box", "DQN", "SAC", "TD3"],
)
def test_model_and_network_act_as_the_trained_policy_normalization_included(
    make_card, tmp_path, algorithm, hyperparameters, continuous
):
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    path = make_card(algorithm, hyperparameters, continuous)
    weights, card = trained(path, tmp_path / "out"), load(path)
    code = trusted_code(card)
    view = policy.PolicyView(
        DummyVecEnv([lambda: CardEnvironment(card, code)]), card, code, training=False
    )
    agent = policy.build(card.card, view, 0, "cpu", for_evaluation=True)
    policy.load(agent, view, weights)
    assert (np.abs(view.rms.mean) > 1e-3).any(), "a normalization that changes something"
    agent.policy.set_training_mode(False)
    model, env = agents.model(card, weights), agents.environment(card)
    Engine(1).run(
        [
            (
                "onnx",
                NetworkJob(card=str(path), policy=str(weights), out=str(tmp_path / "policy.onnx")),
            )
        ]
    )
    network = onnxruntime.InferenceSession(str(tmp_path / "policy.onnx"))
    view.seed(5)
    seen, raw = view.reset(), env.reset(seed=5)[0]
    for _ in range(25):
        expected, _ = agent.policy.predict(seen, deterministic=True)
        action, _ = model.predict(raw, deterministic=True)
        out = network.run(None, {"observation": raw[None]})
        assert np.allclose(action, expected[0], atol=1e-5) and np.allclose(
            out[0][0], expected[0], atol=1e-5
        )
        if algorithm == "PPO":
            drawn = agent.policy.get_distribution(agent.policy.obs_to_tensor(seen)[0]).distribution
            shape = (
                np.concatenate([drawn.mean.detach(), drawn.stddev.detach()], -1)
                if continuous
                else drawn.logits.detach().numpy()
            )
            assert np.allclose(out[1], shape, atol=1e-4)
        seen, _, dones, _ = view.step(expected)
        raw, _, terminated, truncated, _ = env.step(action)
        if dones[0]:
            assert terminated or truncated
            break
    assert network.run(None, {"observation": np.zeros((7, 2), np.float32)})[0].shape[0] == 7


def test_a_model_goes_on_learning(make_card, tmp_path):
    path = make_card("PPO", {"n_steps": 32, "batch_size": 32, "n_epochs": 1})
    model = agents.model(load(path), trained(path, tmp_path / "out"))
    model.learn(64)
    assert model.num_timesteps >= 64


def test_the_policy_of_a_run_reaches_what_the_run_reports(monkeypatch):
    monkeypatch.chdir(ROOT)
    run = autoreward.load_run("runs/example")
    model, env = run.policy(), run.environment()
    won = 0
    model.set_random_seed(3)
    for k in range(60):
        seen, ended = env.reset(seed=1000 + k)[0], False
        while not ended:
            seen, _, terminated, truncated, info = env.step(model.predict(seen)[0])
            ended = terminated or truncated
        won += info["success"]
    reported = run.final.arms["winner"]
    assert reported.low <= won / 60 <= reported.high
    assert "def reward" in run.program() and run.summary["state"] == "done"
    with pytest.raises(UserError, match="it has seeds 50, 51, 52"):
        run.policy(seed=7)
    with pytest.raises(UserError, match="no candidate '9z'"):
        run.policy("9z")


@pytest.mark.parametrize("suffix", [".png", pytest.param(".gif", marks=pytest.mark.long)])
def test_play_draws_episodes_and_tells_how_they_ended(make_card, tmp_path, suffix):
    image = pytest.importorskip("PIL.Image", reason="pip install 'autoreward-rl[play]'")
    path = make_card(
        "PPO",
        {"n_steps": 32, "batch_size": 64},
        environment={"factory": "here:Drawn", "kwargs": {"continuous": False}, "limit": 12},
    )
    (path.parent / "walk.py").write_text((path.parent / "walk.py").read_text() + DRAWN)
    weights = trained(path, tmp_path / "out")
    picture = tmp_path / f"agent{suffix}"
    Engine(1).run(
        [
            (
                "play",
                PlayJob(
                    card=str(path),
                    policy=str(weights),
                    out=str(tmp_path / "played.json"),
                    picture=str(picture),
                    episodes=3,
                ),
            )
        ]
    )
    played = read(tmp_path / "played.json", Played)
    assert len(played.episodes) == 3 and played.picture == str(picture) and not played.why
    for episode in played.episodes:
        assert (episode.ending == "success") == (
            episode.task_return == 1
        ) and 0 < episode.length <= 12
        assert (episode.ending == "success") == (float(episode.rows[-1]["x"]) >= 3)
    with image.open(picture) as drawn:
        if suffix == ".gif":
            assert drawn.n_frames > sum(e.length for e in played.episodes)
        else:
            assert drawn.size == (8 * 324, 3 * 220)


def test_where_nothing_can_be_drawn_play_tells_numbers(make_card, tmp_path):
    path = make_card("PPO", {"n_steps": 32, "batch_size": 64})
    job = PlayJob(
        card=str(path),
        policy=str(trained(path, tmp_path / "out")),
        out=str(tmp_path / "played.json"),
        picture=str(tmp_path / "a.gif"),
        episodes=1,
    )
    Engine(1).run([("play", job)])
    played = read(tmp_path / "played.json", Played)
    assert (
        played.picture is None
        and "cannot be drawn" in played.why
        and not (tmp_path / "a.gif").exists()
    )
    assert set(played.episodes[0].rows[0]) == {"step", "x", "noise", "action"}


def autoreward_command(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "autoreward", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_export_and_play_on_the_command_line(tmp_path):
    pytest.importorskip("onnx", reason="pip install 'autoreward-rl[onnx]'")
    said = autoreward_command("export", "runs/example", "--out", str(tmp_path / "r.py"))
    assert (
        said.returncode == 0
        and "candidate 1b" in said.stdout
        and "success 100% (89% to 100%)" in (tmp_path / "r.py").read_text()
    )
    said = autoreward_command("export", "runs/example", "--policy", str(tmp_path / "p.onnx"))
    assert said.returncode == 0 and [p.name for p in tmp_path.iterdir() if "onnx" in p.name] == [
        "p.onnx"
    ]
    told = json.loads(
        autoreward_command("play", "runs/example", "--episodes", "2", "--json").stdout
    )
    assert [e["ending"] for e in told["episodes"]] == ["success", "success"]
    said = autoreward_command("play", "runs/example", "--sparse", "--episodes", "1")
    assert "reached the step limit, 100 steps, task reward 0" in said.stdout
    said = autoreward_command("play", "runs/example", "--out", "a.mp4")
    assert said.returncode == 2 and ".gif or .png" in said.stderr


def test_a_strangers_run_is_exported_and_not_played_unasked(tmp_path):
    """Exporting and opening touch nothing; what imports the stranger's card asks first."""
    import shutil

    mark = tmp_path / "mark"
    there = shutil.copytree(ROOT / "runs" / "example", tmp_path / "runs" / "stranger")
    (tmp_path / "evil.yaml").write_text(
        (ROOT / "envs" / "classic" / "corridor.yaml").read_text().replace("corridor.py", "evil.py")
    )
    (tmp_path / "evil.py").write_text(
        (ROOT / "envs" / "classic" / "corridor.py").read_text() + f"\nopen({str(mark)!r}, 'w')\n"
    )
    digest = load(tmp_path / "evil.yaml").digest()
    text = (
        (there / "run.yaml")
        .read_text()
        .replace("envs/classic/corridor.yaml", str(tmp_path / "evil.yaml"))
        .replace("a8dc25be157e", digest)
    )
    (there / "run.yaml").write_text(text)
    said = autoreward_command("export", "stranger", cwd=tmp_path)
    assert said.returncode == 0 and (tmp_path / "corridor_reward.py").is_file()
    for words in (("play", "stranger"), ("export", "stranger", "--policy", "p.onnx")):
        said = autoreward_command(*words, cwd=tmp_path)
        assert said.returncode == 1 and "--trust" in said.stderr, said
    with pytest.raises(UserError, match="created elsewhere"):
        autoreward.load_run(there).policy()
    assert not mark.exists()
    assert (
        autoreward_command(
            "play", "stranger", "--trust", "--episodes", "1", cwd=tmp_path
        ).returncode
        == 0
        and mark.exists()
    )
