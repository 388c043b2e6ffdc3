"""How a card's transitions read: captions of recorded play, for `envs caption`. A card's own caption function runs here, as trusted code."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from autoreward.cards import load
from autoreward.environment import captions_of, trusted_code
from autoreward.files import read_arrays, write
from autoreward.jobs import Captioned, CaptionJob, ProbeJob
from autoreward.trainer.probe import probe
from autoreward.transitions import columns


def caption(job: CaptionJob) -> None:
    """Play as `probe` does, put every transition into words, and tell how many ways there were."""
    card, out = load(Path(job.card)), Path(job.out)
    captions = captions_of(card, trusted_code(card))
    played = out.with_suffix(".npz")
    probe(ProbeJob(card=job.card, seed=job.seed, out=str(played), transitions=job.transitions))
    data = read_arrays(played)
    picked = columns(card.card.layout, card.card.reward_layout)
    seen: Counter[int] = Counter()
    for prev, action, curr in zip(data["prev"], data["action"], data["curr"], strict=True):
        seen.update(captions.keys(prev[:, picked], action, curr[:, picked]).tolist())
    ranked = [(captions.texts[number], count) for number, count in seen.most_common() if number >= 0]
    rows = min(job.rows, len(ranked))
    examples = [ranked[round(k * (len(ranked) - 1) / max(1, rows - 1))] for k in range(rows)]  # from the most frequent to the rarest
    write(out, Captioned(by=captions.by, transitions=sum(seen.values()), distinct=len(ranked), examples=tuple(examples)))
