"""Jobs: what a trainer is asked to do, each one JSON file, and what it reports back.

Plain pydantic. What a run keeps is in records.py.
"""

from __future__ import annotations

from typing import Any, Literal

from autoreward.seeds import Purpose
from autoreward.store.records import Record


class LabelRequest(Record):
    """The labels that a training job requests for its transitions: true or false for each name.

    `most` limits the number of different captions. With `wait`, a rollout ends only when everything
    asked is answered. `truth` are conditions of the card for each name, which labels are compared
    with; with `tells` they are sent beside a caption, for simulated annotators only.
    """

    labels: tuple[str, ...]
    wait: bool = False
    most: int = 20_000
    truth: tuple[tuple[dict[str, Any], ...], ...] = ()
    tells: bool = False


class TrainJob(Record):
    """Asks a trainer for one agent.

    `program` None = the sparse task reward alone. Leaves
    `out`/{curve.npz,policy.safetensors,done.json}, and what a signal learned.
    """

    kind: Literal["train"] = "train"
    card: str
    program: str | None
    seed: int
    out: str
    steps: int | None = None
    # composition/sequence.py, {} = the plain sum
    composition: dict[str, Any] = {}
    # as if the card said so
    episodic_return: bool = False
    # signals/: what turns the program's answers into terms
    signal: str = "program"
    # the method's own
    settings: dict[str, str] = {}
    device: str = "auto"
    threads: int = 1
    sandbox: str = "default"
    tensorboard: bool = False
    record_rewards: int = 0
    annotated: LabelRequest | None = None


class EvaluateJob(Record):
    """Asks for scores of trained policies, without any reward program.

    One `Score` per policy at its `out` path (JSON).
    """

    kind: Literal["evaluate"] = "evaluate"
    card: str
    policies: tuple[str, ...]
    outs: tuple[str, ...]
    seeds: tuple[int, ...]
    purpose: Purpose = "evaluation"
    episodes: int | None = None
    record: int = 0
    device: str = "cpu"
    threads: int = 1


class ProbeJob(Record):
    """Asks for recorded transitions and a report on the environment, for the checks.

    Actions are random, and held for a while.
    """

    kind: Literal["probe"] = "probe"
    card: str
    seed: int
    out: str
    transitions: int = 1000


class PlayJob(Record):
    """Asks for episodes of a trained agent, with a picture (.gif or .png) if it can be drawn.

    Leaves a `Played` at `out`.
    """

    kind: Literal["play"] = "play"
    card: str
    policy: str
    out: str
    picture: str | None = None
    episodes: int = 3
    seed: int = 0
    device: str = "cpu"


class PlayedEpisode(Record):
    """One episode that was shown.

    `rows`: some of its states: step, the card's fields by name, and the action taken there.
    """

    ending: Literal["success", "failure", "limit"]
    length: int
    task_return: float
    metrics: dict[str, float] = {}
    rows: tuple[dict[str, str], ...] = ()


class Played(Record):
    """What `play` showed.

    `picture` is the file's path, None with the reason in `why` where nothing could be drawn.
    """

    episodes: tuple[PlayedEpisode, ...]
    picture: str | None = None
    why: str = ""


class NetworkJob(Record):
    """Asks for a trained policy as ONNX at `out`."""

    kind: Literal["network"] = "network"
    card: str
    policy: str
    out: str
    device: str = "cpu"


class CaptionJob(Record):
    """Asks how transitions read as captions: of recorded `episodes` (npz), or of play as `probe`
    does it. Leaves a `CaptionReport` (JSON) at `out`.
    """

    kind: Literal["caption"] = "caption"
    card: str
    episodes: str | None = None
    seed: int = 0
    out: str
    transitions: int = 1000
    rows: int = 10


class CaptionReport(Record):
    """The result of a CaptionJob: the captions' source, how many differ, and examples with counts.

    The most frequent come first.

    `texts`: of recorded episodes, a caption for every transition; "" where there were too many.
    """

    by: str
    transitions: int
    distinct: int
    examples: tuple[tuple[str, int], ...]
    texts: tuple[tuple[str, ...], ...] = ()
