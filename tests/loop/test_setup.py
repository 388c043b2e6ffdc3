"""A run from someone else executes nothing from it: looking is free, continuing asks first."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from autoreward.errors import UserError
from autoreward.loop import setup
from autoreward.loop.options import DesignOptions
from autoreward.loop.trust import outside_access, require_trusted
from autoreward.results.report import write_report
from autoreward.results.summary import summary
from autoreward.store.io import read_arrays, read_bytes_safely, text
from autoreward.store.records import RunHeader
from autoreward.store.run import Run
from autoreward.tasks.find import find

EXAMPLE = Path(__file__).parents[2] / "runs" / "example"


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """stranger(model=...) returns someone else's run with that header."""
    monkeypatch.setenv("AUTOREWARD_CACHE", str(tmp_path / "cache"))

    def make(**changes) -> Run:
        run = tmp_path / "run"
        shutil.copytree(EXAMPLE, run)
        header = yaml.safe_load((run / "run.yaml").read_text()) | changes
        (run / "run.yaml").write_text(yaml.safe_dump(header))
        return Run(run)

    return make


def test_a_plain_run_continues_without_a_question(stranger):
    run = stranger()
    assert outside_access(run) == []
    require_trusted(run, False)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"model": "cmd:touch FLAG"}, "the command touch FLAG"),
        ({"trainer_python": "./evil"}, "the interpreter ./evil"),
        ({"settings": {"key_command": "touch FLAG"}}, "the command touch FLAG"),
        ({"settings": {"base_url": "http://127.0.0.1:9"}}, "the server http://127.0.0.1:9"),
        ({"sandbox": "unsafe"}, "the sandbox profile unsafe"),
    ],
)
def test_what_a_run_would_access_is_named_and_needs_trust(stranger, changes, word):
    run = stranger(**changes)
    with pytest.raises(UserError) as caught:
        require_trusted(run, False)
    assert word in caught.value.message and "--trust" in caught.value.hint
    # looking executes nothing
    summary(run.path), write_report(run.path)
    require_trusted(run, True)
    # once is enough
    require_trusted(run, False)


def test_a_card_of_the_run_needs_trust(stranger, tmp_path):
    card = find("corridor")
    for source in (card.path, card.code):
        shutil.copy(source, tmp_path)  # type: ignore[arg-type]
    (tmp_path / "corridor.py").write_text("raise SystemExit('executed')\n")
    with pytest.raises(UserError, match="its Python file"):
        require_trusted(stranger(card_path=str(tmp_path / "corridor.yaml")), False)


@pytest.mark.parametrize("folder", [True, False])
def test_a_run_with_a_link_in_it_is_not_written_through(stranger, tmp_path, folder):
    run = stranger()
    outside = tmp_path / "outside"
    outside.mkdir() if folder else outside.write_text("mine")
    (run.path / "iteration-9").symlink_to(outside)
    with pytest.raises(UserError, match="iteration-9 is a link"):
        require_trusted(run, True)


def test_a_run_created_here_is_trusted_until_its_header_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOREWARD_CACHE", str(tmp_path / "cache"))
    run = setup.start(
        DesignOptions("corridor", model="cmd:cat", folder=tmp_path / "runs", name="one"),
        setup.model_options({}),
    )
    require_trusted(run, False)
    header = RunHeader.model_validate(yaml.safe_load((run.path / "run.yaml").read_text()))
    (run.path / "run.yaml").write_text(
        yaml.safe_dump(header.model_copy(update={"model": "cmd:rm"}).model_dump(mode="json"))
    )
    with pytest.raises(UserError, match="the command rm"):
        require_trusted(Run(run.path), False)


def test_links_devices_and_archive_bombs_are_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("sk-SECRET")
    (tmp_path / "1-designer.py").symlink_to(secret)
    for path in (tmp_path / "1-designer.py", Path("/dev/zero")):
        with pytest.raises(UserError):
            text(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="not a regular file"):
        read_bytes_safely(tmp_path / "pipe")
    np.savez_compressed(
        tmp_path / "bomb.npz", zeros=np.zeros(1 << 28, np.uint8), more=np.zeros(1 << 28, np.float32)
    )
    with pytest.raises(UserError, match="unpacks to"):
        read_arrays(tmp_path / "bomb.npz")
    np.savez(tmp_path / "objects.npz", o=np.array([{}], object))
    with pytest.raises(UserError, match="cannot be read as npz arrays"):
        read_arrays(tmp_path / "objects.npz")


def test_weights_that_do_not_fit_are_rejected(stranger, tmp_path):
    from safetensors.numpy import load, save

    from autoreward.loop.engine import Engine
    from autoreward.store.jobs import EvaluateJob

    weights = EXAMPLE / "final" / "winner" / "seed-50" / "policy.safetensors"
    tensors = load(weights.read_bytes())
    for change in (
        {"policy.extra": np.ones(3, np.float32)},
        {"normalization.mean": np.ones(99)},
        {k: v * np.nan for k, v in tensors.items() if k.startswith("policy.")},
    ):
        (tmp_path / "policy.safetensors").write_bytes(save({**tensors, **change}))
        with pytest.raises(UserError, match="does not fit"):
            Engine(1).run(
                [
                    (
                        "x",
                        EvaluateJob(
                            card=str(find("corridor").path),
                            policies=(str(tmp_path / "policy.safetensors"),),
                            outs=(str(tmp_path / "s.json"),),
                            seeds=(0,),
                            episodes=2,
                        ),
                    )
                ]
            )
