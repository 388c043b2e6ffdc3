"""Measure what the annotator channel costs a training that does not wait for it.

    python benchmarks/annotator.py [--rounds 4] [--steps 250000] [--captions 10000] [--seconds 1]

Trains the same agent with the channel and without it, in turns, and compares steps per second.
Everything is real: trainer processes, the engine, an annotator with four questions in flight,
litellm, and a server on loopback that thinks for a second before each answer. It answers that no
transition ends a subgoal, so both trainings earn the same and are the same, step by step; each
pair's line says so. The card is DoorKey's without its caption: every field is in the caption, so
there is no end of different captions.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from autoreward.annotation.annotator import Annotator
from autoreward.annotation.labels import Annotation
from autoreward.loop.engine import Engine
from autoreward.models import ModelOptions, connect
from autoreward.models.briefing import task
from autoreward.models.caller import Caller
from autoreward.models.templates import Prompts
from autoreward.store.io import read
from autoreward.store.jobs import LabelRequest, TrainJob
from autoreward.store.records import Limits
from autoreward.tasks.find import find, load

ROOT = Path(__file__).parents[1]
NAMES = ("take_key", "open_door")
CAPTION = "caption: {function: door_key_caption}\n"
SUBGOALS = [
    {"name": "take_key", "means": "has_key becomes 1"},
    {"name": "open_door", "means": "door_open becomes 1"},
]
PROGRAM = """
def reward(prev, action, curr, memory):
    return {"take_key": 0.0 * curr.has_key, "open_door": 0.0 * curr.door_open}
"""
SIGNAL = '''
import json
import time

import numpy as np

from autoreward.rewards.composition import Columns
from autoreward.rewards.signals import Signal


class Timed(Signal):
    """Pays what a judge answers and measures the time spent in the channel."""

    def __init__(self, context):
        super().__init__(context)
        self.channel = context.channel
        # seconds, and seconds of processor time, in the channel
        self.inside = np.zeros(2)
        self.started = np.array([time.perf_counter(), time.process_time()])
        self.ended = self.started

    @classmethod
    def columns(cls, terms, potentials, sparse):
        return Columns(terms, (), frozenset(terms))

    def step(self, terms, before, after, batch):
        if self.channel is None:
            return np.zeros(terms.shape), before, after
        start = self.now()
        captions = self.channel.caption_numbers(batch.prev, batch.action, batch.curr)
        labels = self.channel.labels_of(captions)
        self.inside += self.now() - start
        return 0.1 * labels, before, after

    def update(self):
        if self.channel:
            start = self.now()
            self.channel.update()
            self.inside += self.now() - start
        self.ended = np.array([time.perf_counter(), time.process_time()])

    @staticmethod
    def now():
        return np.array([time.perf_counter(), time.thread_time()])

    def save(self, folder):
        seconds, cpu = (self.ended - self.started).tolist()
        clock = {"seconds": seconds, "cpu": cpu, "inside": self.inside.tolist()}
        if self.channel:
            clock |= self.channel.evidence()
        (folder / "clock.json").write_text(json.dumps(clock))
'''


class Judge(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that takes its time."""

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        request = json.loads(self.rfile.read(length))
        prompt = request["messages"][-1]["content"]
        time.sleep(float(sys.argv[2]))
        transitions = prompt.split("# The transitions")[1]
        numbers = re.findall(r"^(\d+)\. ", transitions, re.M)
        answer = json.dumps({number: [] for number in numbers})
        message = {"role": "assistant", "content": answer}
        reply = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        }
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body)


def installed(folder: Path) -> None:
    """Install the signal where trainers find it, as a package would."""
    info = folder / "clocking-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "clocking_signal.py").write_text(SIGNAL)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: clocking\nVersion: 1.0\n")
    entry_points = "[autoreward.signals]\ntimed = clocking_signal:Timed\n"
    (info / "entry_points.txt").write_text(entry_points)
    os.environ["PYTHONPATH"] = f"{folder}:{ROOT}"


def bare(folder: Path) -> Path:
    """Write DoorKey's card without its caption into a folder."""
    card = find("doorkey16")
    assert card.code is not None
    (folder / card.code.name).write_text(card.code.read_text())
    (folder / "doorkey16.human.py").write_text("")
    text = card.path.read_text()
    assert CAPTION in text
    path = folder / "bare.yaml"
    path.write_text(text.replace(CAPTION, ""))
    return path


@dataclass(frozen=True)
class Training:
    """One finished training, with or without the channel."""

    steps_per_second: float
    weights: bytes
    # time in the channel as a share of the rest: by the clock, by processor time
    overhead: tuple[float, float]


class Bench:
    """Trains pairs of agents on one card, with and without the channel."""

    def __init__(self, options: argparse.Namespace, url: str, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.card = load(bare(folder))
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM)
        os.environ["OPENAI_API_KEY"] = "none"
        self.model = connect("thinker", ModelOptions(base_url=url))

    def train(self, seed: int, asking: bool) -> Training:
        """Train one agent in the engine, with an annotator beside it."""
        place = self.folder / f"{seed}-{asking}"
        job = TrainJob(
            card=str(self.card.path),
            program=str(self.program),
            seed=seed,
            out=str(place),
            steps=self.options.steps,
            signal="timed",
        )
        if asking:
            annotated = LabelRequest(labels=NAMES, most=self.options.captions)
            job = job.model_copy(update={"annotated": annotated})
        with self.annotator(place) as annotator:
            Engine(1).run([("training", job)], None, {"training": annotator})
        clock = json.loads((place / "clock.json").read_text())
        done = json.loads((place / "done.json").read_text())
        if asking:
            self.print_labels(place, clock)
        inside, whole = clock["inside"], (clock["seconds"], clock["cpu"])
        return Training(
            steps_per_second=done["steps"] / clock["seconds"],
            weights=(place / "policy.safetensors").read_bytes(),
            overhead=(inside[0] / (whole[0] - inside[0]), inside[1] / (whole[1] - inside[1])),
        )

    def annotator(self, place: Path) -> Annotator:
        variables = {"task": task(self.card.card), "subgoals": SUBGOALS}
        return Annotator(
            Caller(self.model, place / "calls", Limits()),
            Prompts(),
            "calm/annotator/judge",
            variables,
            NAMES,
            place / "labels",
            place / "annotation.json",
        )

    @staticmethod
    def print_labels(place: Path, clock: dict) -> None:
        record = read(place / "annotation.json", Annotation)
        assert record is not None
        print(
            f"  asked {clock['asked']} of {clock['captions']} captions in {record.calls} calls; "
            f"{clock['answered']} labels took effect, {clock['late']} came too late"
        )

    def pair(self, k: int) -> tuple[float, tuple[float, float]]:
        """Train a pair and return its ratio of speeds and the overhead of the channel."""
        trained = {}
        # in turns, so that neither is always second
        for asking in (False, True) if k % 2 else (True, False):
            trained[asking] = self.train(k, asking)
        without, with_channel = trained[False], trained[True]
        ratio = with_channel.steps_per_second / without.steps_per_second
        clock, cpu = with_channel.overhead
        same = without.weights == with_channel.weights
        print(
            f"{f'pair {k}' if k else 'warm-up'}: {without.steps_per_second:.0f} steps/s without, "
            f"{with_channel.steps_per_second:.0f} with: {ratio:.3f}; "
            f"in the channel {clock:.1%} on top of the rest, {cpu:.1%} by processor time; "
            f"{'the same agent' if same else 'DIFFERENT AGENTS'}",
            flush=True,
        )
        return ratio, with_channel.overhead


def main(options: argparse.Namespace, url: str, folder: Path) -> None:
    bench = Bench(options, url, folder)
    bench.pair(0)
    pairs = [bench.pair(k) for k in range(1, options.rounds + 1)]
    ratios = [ratio for ratio, _ in pairs]
    clock, cpu = zip(*(overhead for _, overhead in pairs), strict=True)
    print(
        f"with / without: {statistics.median(ratios):.3f} (median of {options.rounds} pairs, "
        f"{min(ratios):.3f} to {max(ratios):.3f}), {options.captions} captions, "
        f"{options.seconds:g} s per answer"
    )
    print(
        "time in the channel, including waits for its pipe: "
        f"{statistics.median(clock):.1%} on top of the rest (at most {max(clock):.1%})"
    )
    print(
        "the same by the trainer's processor time: "
        f"{statistics.median(cpu):.1%} (at most {max(cpu):.1%})"
    )


def serve() -> None:
    """Serve the judge on a free port, and print the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=250_000)
    parser.add_argument("--captions", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    command = [sys.executable, __file__, "serve", str(options.seconds)]
    server_process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server_process.stdout is not None
        port = int(server_process.stdout.readline())
        with tempfile.TemporaryDirectory() as made:
            installed(Path(made) / "packages")
            main(options, f"http://127.0.0.1:{port}/v1", Path(made))
    finally:
        server_process.kill()
