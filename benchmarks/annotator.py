"""What the annotator channel costs a training that does not wait: steps a second with it against
without it, in turns.

    .venv/bin/python benchmarks/annotator.py [--rounds 4] [--steps 250000] [--captions 10000] [--seconds 1]

Everything is real: trainer processes, the engine, an annotator with four questions under way,
litellm, and a server on loopback that thinks for a second before each answer. It says that no
transition ends a subgoal, so both trainings earn the same and are the same, step by step; the last
line of each pair says so. DoorKey without its caption: every field is told, and there is no end of
different captions.
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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from autoreward.annotation.annotator import Annotator
from autoreward.annotation.labels import Annotation
from autoreward.loop.engine import Engine
from autoreward.models import ModelOptions, connect
from autoreward.models.briefing import task
from autoreward.models.caller import Caller
from autoreward.models.templates import Prompts
from autoreward.store.files import read
from autoreward.store.jobs import Annotated, TrainJob
from autoreward.store.records import Limits
from autoreward.tasks.find import find, load

ROOT = Path(__file__).parents[1]
NAMES = ("take_key", "open_door")
PROGRAM = "def reward(prev, action, curr, memory):\n    return {'take_key': 0.0 * curr.has_key, 'open_door': 0.0 * curr.door_open}\n"
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
        labels = self.channel.labels_of(
            self.channel.caption_numbers(batch.prev, batch.action, batch.curr)
        )
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
        prompt = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][-1][
            "content"
        ]
        time.sleep(float(sys.argv[2]))
        numbers = re.findall(r"^(\d+)\. ", prompt.split("# The transitions")[1], re.M)
        said = {"role": "assistant", "content": json.dumps({n: [] for n in numbers})}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        body = json.dumps(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [choice],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1},
            }
        )
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())


def installed(folder: Path) -> None:
    """The signal, as a package brings one."""
    (folder / "clocking-1.0.dist-info").mkdir(parents=True)
    (folder / "clocking_signal.py").write_text(SIGNAL)
    (folder / "clocking-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: clocking\nVersion: 1.0\n"
    )
    (folder / "clocking-1.0.dist-info" / "entry_points.txt").write_text(
        "[autoreward.signals]\ntimed = clocking_signal:Timed\n"
    )
    os.environ["PYTHONPATH"] = f"{folder}:{ROOT}"


def bare(folder: Path) -> Path:
    """DoorKey's card with nothing said about captions."""
    card = find("doorkey16")
    assert card.code is not None
    (folder / card.code.name).write_text(card.code.read_text())
    (folder / "doorkey16.human.py").write_text("")
    (folder / "bare.yaml").write_text(
        card.path.read_text().replace("caption: {function: door_key_caption}\n", "")
    )
    return folder / "bare.yaml"


def main(given: argparse.Namespace, url: str, folder: Path) -> None:
    card = load(bare(folder))
    (folder / "program.py").write_text(PROGRAM)
    os.environ["OPENAI_API_KEY"] = "none"
    model = connect("thinker", ModelOptions(base_url=url))
    subgoals = [
        {"name": "take_key", "means": "has_key becomes 1"},
        {"name": "open_door", "means": "door_open becomes 1"},
    ]
    ratios, shares = [], []
    for k in range(given.rounds + 1):
        rates, agents = {}, {}
        for asking in (False, True)[:: 1 if k % 2 else -1]:
            place = folder / f"{k}-{asking}"
            job = TrainJob(
                card=str(card.path),
                program=str(folder / "program.py"),
                seed=k,
                out=str(place),
                steps=given.steps,
                signal="timed",
            )
            if asking:
                job = job.model_copy(
                    update={"annotated": Annotated(labels=NAMES, most=given.captions)}
                )
            caller = Caller(model, place / "calls", Limits())
            with Annotator(
                caller,
                Prompts(),
                "calm/annotator/judge",
                {"task": task(card.card), "subgoals": subgoals},
                NAMES,
                place / "labels",
                place / "annotation.json",
            ) as annotator:
                Engine(1).run([("training", job)], None, {"training": annotator})
            told = json.loads((place / "clock.json").read_text())
            rates[asking], agents[asking] = (
                json.loads((place / "done.json").read_text())["steps"] / told["seconds"],
                (place / "policy.safetensors").read_bytes(),
            )
            if asking:
                record = read(place / "annotation.json", Annotation)
                assert record is not None
                inside = [
                    part / (whole - part)
                    for part, whole in zip(
                        told["inside"], (told["seconds"], told["cpu"]), strict=True
                    )
                ]
                shares += [inside] if k else []
                print(
                    f"  asked {told['asked']} of {told['captions']} captions in {record.calls} calls, {told['answered']} labels took effect, {told['late']} came too late"
                )
        same = "the same agent" if agents[True] == agents[False] else "DIFFERENT AGENTS"
        pace = f"{rates[False]:.0f} steps a second without, {rates[True]:.0f} with: {rates[True] / rates[False]:.3f}"
        print(
            f"{f'pair {k}' if k else 'warm-up'}: {pace}; in the channel {inside[0]:.1%} on top of the rest, {inside[1]:.1%} by processor time; {same}",
            flush=True,
        )
        ratios += [rates[True] / rates[False]] if k else []
    print(
        f"with / without: {statistics.median(ratios):.3f} (median of {given.rounds} pairs, {min(ratios):.3f} to {max(ratios):.3f}), {given.captions} captions, {given.seconds:g} s an answer"
    )
    clock, cpu = zip(*shares, strict=True)
    print(
        f"time in the channel, waits for its pipe among it: {statistics.median(clock):.1%} on top of the rest (at most {max(clock):.1%})"
    )
    print(
        f"the same by the trainer's processor time: {statistics.median(cpu):.1%} (at most {max(cpu):.1%})"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
        print(server.server_port, flush=True)
        server.serve_forever()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("rounds", 4), ("steps", 250_000), ("captions", 10_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    serving = subprocess.Popen(
        [sys.executable, __file__, "serve", str(options.seconds)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert serving.stdout is not None
        port = int(serving.stdout.readline())
        with tempfile.TemporaryDirectory() as made:
            installed(Path(made) / "packages")
            main(options, f"http://127.0.0.1:{port}/v1", Path(made))
    finally:
        serving.kill()
