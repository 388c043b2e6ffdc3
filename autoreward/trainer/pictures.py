"""Frames of episodes as a moving GIF, or as a strip in a PNG: a row an episode.

Needs Pillow, imported when used.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from autoreward.errors import MISSING, USAGE, UserError
from autoreward.state import Array
from autoreward.store.files import write

# pixels, the longer side of a frame
SIDE = 320
# frames kept of an episode; beyond, every second one goes
MOST = 120
# frames for which a GIF stays on an episode's last state
LAST = 12
# frames in a row of a strip
COLUMNS = 8
MILLISECONDS = 50
# pixels for words under a frame
BAND = 16


class Film:
    """Takes frames one at a time, keeps few, and writes them at the end."""

    def __init__(self, path: Path) -> None:
        try:
            import PIL  # noqa: F401
        except ImportError:
            raise UserError(
                "a picture needs Pillow, not installed here",
                "pip install 'autoreward-rl[play]', or without --out",
                MISSING,
            ) from None
        if path.suffix not in (".gif", ".png"):
            raise UserError(
                f"--out {path}: a picture is a .gif or a .png", "--out agent.gif", USAGE
            )
        self.path = path
        self.episodes: list[list[Any]] = []
        self._begin()

    def _begin(self) -> None:
        self.frames: list[Any] = []
        self.seen, self.stride = 0, 1

    def add(self, frame: Array, words: str) -> None:
        """One frame (height, width, 3) of uint8, and the words under it.

        An episode's last frame is always kept.
        """
        from PIL import Image, ImageDraw

        image = Image.fromarray(frame.astype("uint8"))
        scale = SIDE / max(image.size)
        wide, high = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(
            (wide, high), Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR
        )
        whole = Image.new("RGB", (wide, high + BAND), "white")
        whole.paste(image, (0, 0))
        ImageDraw.Draw(whole).text((4, high + 2), words, fill="black")
        if self.frames and self.frames[-1][0] % self.stride:
            # it was there in case it was the last
            self.frames.pop()
        self.frames.append((self.seen, whole))
        self.seen += 1
        if len(self.frames) > MOST:
            self.stride *= 2
            self.frames = [
                f for f in self.frames if f[0] % self.stride == 0 or f is self.frames[-1]
            ]

    def cut(self) -> None:
        """The episode has ended."""
        self.episodes.append([image for _, image in self.frames])
        self._begin()

    def save(self) -> None:
        """Write the file, whole or not at all."""
        from PIL import Image

        buffer = io.BytesIO()
        if self.path.suffix == ".gif":
            film = [
                image for episode in self.episodes for image in [*episode, *[episode[-1]] * LAST]
            ]
            film[0].save(
                buffer, "GIF", save_all=True, append_images=film[1:], duration=MILLISECONDS, loop=0
            )
        else:
            rows = [
                [e[round(k * (len(e) - 1) / (COLUMNS - 1))] for k in range(COLUMNS)]
                for e in self.episodes
            ]
            wide, high = rows[0][0].size
            strip = Image.new("RGB", (COLUMNS * (wide + 4), len(rows) * (high + 4)), "white")
            for y, row in enumerate(rows):
                for x, image in enumerate(row):
                    strip.paste(image, (x * (wide + 4), y * (high + 4)))
            strip.save(buffer, "PNG")
        write(self.path, buffer.getvalue())
