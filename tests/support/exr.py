"""Layered EXR files for tests: the package writes them and reads plain pictures only."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import torch
from torch import Tensor

ORDERS = ("RGBA", "RGB", "XYZ", "Y", "Z", "A")


def read_exr(path: str | Path) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, object]]:
    """{layer: {channel: (H, W) array of the file's type}}, "" for top-level channels, and the header."""
    file = OpenEXR.File(str(path), separate_channels=True)
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, channel in file.channels().items():
        layers.setdefault(name.rpartition(".")[0], {})[name.rpartition(".")[2]] = channel.pixels
    return layers, file.header()


def read_layers(path: str | Path) -> dict[str, Tensor]:
    """{layer: (1, C, H, W) float32}, "beauty" for top-level channels."""
    found = {}
    for name, channels in read_exr(path)[0].items():
        order = next(o for o in ORDERS if set(o) == set(channels))
        found[name or "beauty"] = torch.from_numpy(np.stack([channels[c].astype(np.float32) for c in order]))[None]
    return found
