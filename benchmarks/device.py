"""Measure steps per second on the processor and on the GPU: when does a GPU pay?

    python benchmarks/device.py [--task hopper3m] [--widths 64 512] [--algorithms PPO SAC]

Trains with the task's card and human reward, with two hidden layers of each width for policy and
critic. Each measurement follows a short training of the same kind, so that starting CUDA is not
counted. `--device auto` takes the GPU from policy.BIG_NET units on.
"""

import argparse
import contextlib
import io
import tempfile
import time
from pathlib import Path

import torch
import yaml

from autoreward.store.jobs import TrainJob
from autoreward.tasks.find import LocatedCard, find
from autoreward.trainer.train import train

HYPERPARAMETERS = {
    "PPO": {"n_steps": 256, "batch_size": 1024, "n_epochs": 5},
    "SAC": {
        "learning_starts": 200,
        "batch_size": 512,
        "buffer_size": 50_000,
        "train_freq": 1,
        "gradient_steps": 1,
    },
}
STEPS = {"PPO": 8_192, "SAC": 1_600}
WARM_UP_STEPS = {"PPO": 2_048, "SAC": 400}
HEAD = ("algorithm", "two layers of", "processor", "GPU", "GPU / processor")


def main(task: str, widths: list[int], algorithms: list[str]) -> None:
    card = find(task)
    has_gpu = torch.cuda.is_available()
    gpu = torch.cuda.get_device_name() if has_gpu else "no GPU"
    print(f"{task}, {torch.get_num_threads()} threads by default, 1 per training; {gpu}")
    for cells in (HEAD, ["---"] * len(HEAD)):
        print("| " + " | ".join(cells) + " |")
    for algorithm in algorithms:
        for width in widths:
            cpu = steps_per_second(card, algorithm, width, "cpu")
            cells = [algorithm, str(width), f"{cpu:.0f}", "-", "-"]
            if has_gpu:
                cuda = steps_per_second(card, algorithm, width, "cuda")
                cells[3:] = [f"{cuda:.0f}", f"{cuda / cpu:.2f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


def steps_per_second(card: LocatedCard, algorithm: str, width: int, device: str) -> float:
    """Train twice on a device, and return the speed of the second, longer training."""
    with tempfile.TemporaryDirectory() as folder:
        path = card_with_network(card, algorithm, width, Path(folder))
        seconds = 0.0
        for steps in (WARM_UP_STEPS[algorithm], STEPS[algorithm]):
            job = TrainJob(
                card=str(path),
                program=str(card.human),
                seed=0,
                out=str(Path(folder) / str(steps)),
                steps=steps,
                device=device,
            )
            started = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                train(job)
            seconds = time.perf_counter() - started
    return STEPS[algorithm] / seconds


def card_with_network(card: LocatedCard, algorithm: str, width: int, folder: Path) -> Path:
    """Copy the card and its files into a folder, with two layers of `width` units."""
    data = yaml.safe_load(card.path.read_text())
    data["training"] = {
        "algorithm": algorithm,
        "steps": STEPS[algorithm],
        "n_envs": 8,
        "net": [width, width],
        "hyperparameters": HYPERPARAMETERS[algorithm],
    }
    path = folder / card.path.name
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    for beside in (card.code, card.human):
        if beside:
            (folder / beside.name).write_text(beside.read_text())
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", default="hopper3m")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256, 512, 1024])
    parser.add_argument("--algorithms", nargs="+", default=list(STEPS), choices=list(STEPS))
    options = parser.parse_args()
    main(options.task, options.widths, options.algorithms)
