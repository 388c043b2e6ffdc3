"""Frames of episodes as an animated GIF, or as a strip in a PNG with one row per episode.

Needs Pillow, imported when used.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from autoreward.errors import MISSING, USAGE, UserError
from autoreward.state import Array
from autoreward.store.io import write

# pixels, the longer side of a frame
FRAME_SIDE = 320
# frames kept per episode; beyond that every second one is dropped
MAX_FRAMES = 120
# a GIF shows an episode's last state for this many frames
LAST_STATE_FRAMES = 12
# frames in a row of a strip
STRIP_COLUMNS = 8
FRAME_MILLISECONDS = 50
# pixels below a frame for the words
CAPTION_HEIGHT = 16
# pixels between the frames of a strip
STRIP_GAP = 4


class Film:
    """Takes frames one at a time, keeps a few, and writes them at the end.

    Raises UserError if Pillow is not installed or the file's suffix is neither .gif nor .png.
    """

    def __init__(self, path: Path) -> None:
        try:
            import PIL  # noqa: F401
        except ImportError:
            raise UserError(
                "a picture needs Pillow, which is not installed",
                "pip install 'autoreward-rl[play]', or leave out --out",
                MISSING,
            ) from None
        if path.suffix not in (".gif", ".png"):
            raise UserError(
                f"--out {path}: a picture must be a .gif or a .png", "--out agent.gif", USAGE
            )
        self.path = path
        self.episodes: list[list[Any]] = []
        self._begin()

    def _begin(self) -> None:
        self.frames: list[Any] = []
        self.seen = 0
        self.stride = 1

    def add(self, frame: Array, words: str) -> None:
        """Take one frame (height, width, 3) of uint8, and the words below it.

        An episode's last frame is always kept.
        """
        if self.frames and self.frames[-1][0] % self.stride:
            # it was kept only in case it was the last
            self.frames.pop()
        self.frames.append((self.seen, _captioned(frame, words)))
        self.seen += 1
        if len(self.frames) > MAX_FRAMES:
            self.stride *= 2
            last = self.frames[-1]
            self.frames = [f for f in self.frames if f[0] % self.stride == 0 or f is last]

    def cut(self) -> None:
        """End the episode."""
        self.episodes.append([image for _, image in self.frames])
        self._begin()

    def save(self) -> None:
        """Write the file, whole or not at all."""
        data = self._gif() if self.path.suffix == ".gif" else self._strip()
        write(self.path, data)

    def _gif(self) -> bytes:
        """Return all episodes as an animation."""
        frames: list[Any] = []
        for episode in self.episodes:
            frames += episode
            frames += [episode[-1]] * LAST_STATE_FRAMES
        buffer = io.BytesIO()
        frames[0].save(
            buffer,
            "GIF",
            save_all=True,
            append_images=frames[1:],
            duration=FRAME_MILLISECONDS,
            loop=0,
        )
        return buffer.getvalue()

    def _strip(self) -> bytes:
        """Return a few frames per episode, one row per episode."""
        from PIL import Image

        first = self.episodes[0][0]
        wide = first.width + STRIP_GAP
        high = first.height + STRIP_GAP
        size = (STRIP_COLUMNS * wide, len(self.episodes) * high)
        strip = Image.new("RGB", size, "white")
        for y, episode in enumerate(self.episodes):
            for x in range(STRIP_COLUMNS):
                k = round(x * (len(episode) - 1) / (STRIP_COLUMNS - 1))
                strip.paste(episode[k], (x * wide, y * high))
        buffer = io.BytesIO()
        strip.save(buffer, "PNG")
        return buffer.getvalue()


def _captioned(frame: Array, words: str) -> Any:
    """Return a frame scaled to FRAME_SIDE, with the words below it, as a Pillow image."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(frame.astype("uint8"))
    scale = FRAME_SIDE / max(image.size)
    wide = max(1, round(image.width * scale))
    high = max(1, round(image.height * scale))
    sampling = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR
    image = image.resize((wide, high), sampling)
    whole = Image.new("RGB", (wide, high + CAPTION_HEIGHT), "white")
    whole.paste(image, (0, 0))
    ImageDraw.Draw(whole).text((4, high + 2), words, fill="black")
    return whole
