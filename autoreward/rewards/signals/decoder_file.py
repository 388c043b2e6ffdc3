"""A decoder on disk: one safetensors file, no pickle."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as unpack
from safetensors.numpy import save as pack

from autoreward.errors import MISSING, REFUSED, UserError
from autoreward.state import Array
from autoreward.store.io import MAX_ARRAY_BYTES, read_bytes_safely, write

PREFIX = "network."
MAX_LAYERS = 8
MAX_LAYER_SIZE = 4096


@dataclass(frozen=True)
class DecoderFile:
    """What is saved of a decoder: its shape, its weights, the inputs' statistics and the unit."""

    names: tuple[str, ...]
    loss: str
    hidden: tuple[int, ...]
    frozen: bool
    fitted: int
    network: dict[str, Array]
    center: Array
    scale: Array
    unit: float

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        tensors = {f"{PREFIX}{name}": weights for name, weights in self.network.items()}
        tensors["center"] = self.center
        tensors["scale"] = self.scale
        tensors["unit"] = np.array([self.unit])
        header = {
            "names": self.names,
            "loss": self.loss,
            "hidden": self.hidden,
            "frozen": self.frozen,
            "fitted": self.fitted,
        }
        contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        write(path, pack(contiguous, {"decoder": json.dumps(header)}))

    @classmethod
    def read(cls, path: Path, losses: Collection[str]) -> DecoderFile:
        """Read the file. Raises UserError if it is missing or is not a decoder."""
        try:
            data = read_bytes_safely(path, MAX_ARRAY_BYTES)
            return cls._parse(data, losses)
        except FileNotFoundError:
            raise UserError(
                f"no decoder at {path}", "autoreward resume trains again", MISSING
            ) from None
        except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
            raise UserError(
                f"{path} is not a decoder: {error}",
                "move it away, then run: autoreward resume",
                REFUSED,
            ) from None

    @classmethod
    def _parse(cls, data: bytes, losses: Collection[str]) -> DecoderFile:
        tensors = unpack(data)
        # safetensors: eight bytes of length, then the header as JSON
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        known = json.loads(header["__metadata__"]["decoder"])
        hidden = tuple(int(size) for size in known["hidden"])
        loss = str(known["loss"])
        if loss not in losses:
            raise ValueError("it has an unknown loss")
        if len(hidden) > MAX_LAYERS or not all(0 < size <= MAX_LAYER_SIZE for size in hidden):
            raise ValueError("its layers have a size that is not allowed")
        statistics = {name: tensors.pop(name, np.zeros(0)) for name in ("center", "scale", "unit")}
        if not all(name.startswith(PREFIX) for name in tensors):
            raise ValueError("it holds unknown arrays")
        if statistics["unit"].shape != (1,):
            raise ValueError("its unit is not one number")
        return cls(
            names=tuple(map(str, known["names"])),
            loss=loss,
            hidden=hidden,
            frozen=bool(known["frozen"]),
            fitted=int(known["fitted"]),
            network={name.removeprefix(PREFIX): value for name, value in tensors.items()},
            center=statistics["center"],
            scale=statistics["scale"],
            unit=float(statistics["unit"][0]),
        )

    def require_shapes(self, path: Path, network: Mapping[str, tuple[int, ...]]) -> None:
        """Raise UserError unless every array has the shape that the header implies, and is finite.

        network: name of each of the network's parameters -> its shape.
        """
        arrays = {f"{PREFIX}{name}": value for name, value in self.network.items()}
        arrays |= {"center": self.center, "scale": self.scale, "unit": np.array([self.unit])}
        shapes = {f"{PREFIX}{name}": shape for name, shape in network.items()}
        shapes |= {"center": (len(self.names),), "scale": (len(self.names),), "unit": (1,)}
        wrong = []
        for name in sorted({*shapes, *arrays}):
            value = arrays.get(name)
            fits = value is not None and value.shape == shapes.get(name)
            if value is None or not fits or not np.isfinite(value).all():
                wrong.append(name)
        if wrong:
            raise UserError(
                f"{path} does not fit its own header: {', '.join(wrong[:3])}",
                "move it away, then run: autoreward resume",
                REFUSED,
            )
