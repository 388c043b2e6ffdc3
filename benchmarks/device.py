"""Steps a second on the processor and on the GPU, by algorithm and width of the network: when does
a GPU pay?

    .venv/bin/python benchmarks/device.py [--task hopper3m] [--widths 64 256 512 1024] [--algorithms PPO SAC]

The task's card and human reward; two hidden layers of that width for policy and critic. Each row
after a short training of the same kind, so that starting CUDA is not counted. `auto` takes the GPU
from policy.BIG_NET units on.
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
from autoreward.tasks.find import find
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
WARM = {"PPO": 2_048, "SAC": 400}


def main(given: argparse.Namespace) -> None:
    card = find(given.task)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(
        f"{given.task}, {torch.get_num_threads()} threads by default, 1 a training; {gpu}\n| algorithm | two layers of | processor | GPU | GPU / processor |\n| --- | --- | --- | --- | --- |"
    )
    for algorithm in given.algorithms:
        for width in given.widths:
            rates = {}
            for device in ("cpu", "cuda")[: 1 + torch.cuda.is_available()]:
                with tempfile.TemporaryDirectory() as made:
                    data = yaml.safe_load(card.path.read_text())
                    data["training"] = {
                        "algorithm": algorithm,
                        "steps": STEPS[algorithm],
                        "n_envs": 8,
                        "net": [width, width],
                        "hyperparameters": HYPERPARAMETERS[algorithm],
                    }
                    path = Path(made) / card.path.name
                    path.write_text(yaml.safe_dump(data, sort_keys=False))
                    for beside in (card.code, card.human):
                        if beside:
                            (path.parent / beside.name).write_text(beside.read_text())
                    for steps in (WARM[algorithm], STEPS[algorithm]):
                        with contextlib.redirect_stdout(io.StringIO()):
                            began = time.perf_counter()
                            train(
                                TrainJob(
                                    card=str(path),
                                    program=str(card.human),
                                    seed=0,
                                    out=str(Path(made) / str(steps)),
                                    steps=steps,
                                    device=device,
                                )
                            )
                    rates[device] = STEPS[algorithm] / (time.perf_counter() - began)
            told = (
                f"{rates['cuda']:.0f} | {rates['cuda'] / rates['cpu']:.2f}"
                if "cuda" in rates
                else "- | -"
            )
            print(f"| {algorithm} | {width} | {rates['cpu']:.0f} | {told} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", default="hopper3m")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256, 512, 1024])
    parser.add_argument("--algorithms", nargs="+", default=list(STEPS), choices=list(STEPS))
    main(parser.parse_args())
