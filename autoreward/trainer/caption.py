"""Write captions of recorded play or episodes, for `envs caption` and `runs labels`.

A card's own caption function runs here, as trusted code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from autoreward.state import Array
from autoreward.store.episodes import Trajectories, columns
from autoreward.store.io import read_arrays, write
from autoreward.store.jobs import CaptionJob, CaptionReport, ProbeJob
from autoreward.tasks.find import load
from autoreward.trainer.environment import captions_of, trusted_code
from autoreward.trainer.probe import probe


def caption(job: CaptionJob) -> None:
    """Write the caption of every transition, and count the different ones."""
    card = load(Path(job.card))
    captions = captions_of(card, trusted_code(card))
    picked = columns(card.card.layout, card.card.reward_layout)
    numbers = []
    steps = _recorded(Path(job.episodes)) if job.episodes else _played(job)
    for prev, action, curr in steps:
        numbers.append(captions.numbers_of(prev[:, picked], action, curr[:, picked]).tolist())
    seen = Counter(number for part in numbers for number in part)
    ranked = [
        (captions.texts[number], count) for number, count in seen.most_common() if number >= 0
    ]
    rows = min(job.rows, len(ranked))
    # from the most frequent to the rarest
    examples = [ranked[round(k * (len(ranked) - 1) / max(1, rows - 1))] for k in range(rows)]
    texts: list[tuple[str, ...]] = []
    for part in numbers if job.episodes else ():
        texts.append(tuple(captions.texts[n] if n >= 0 else "" for n in part))
    write(
        Path(job.out),
        CaptionReport(
            by=captions.written_by,
            transitions=sum(seen.values()),
            distinct=len(ranked),
            examples=tuple(examples),
            texts=tuple(texts),
        ),
    )


def _recorded(path: Path) -> Iterator[tuple[Array, Array, Array]]:
    """Yield recorded episodes: fields before (T, D), actions (T, ...), fields after (T, D)."""
    for episode in Trajectories.load(path).episodes:
        yield episode.fields[:-1], episode.actions, episode.fields[1:]


def _played(job: CaptionJob) -> Iterator[tuple[Array, Array, Array]]:
    """Yield steps of play as `probe` records it, n rows each."""
    played = Path(job.out).with_suffix(".npz")
    probe(ProbeJob(card=job.card, seed=job.seed, out=str(played), transitions=job.transitions))
    data = read_arrays(played)
    yield from zip(data["prev"], data["action"], data["curr"], strict=True)
