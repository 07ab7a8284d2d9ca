"""Which way the surfaces of a picture face, guessed by a small network: what relighting priors are told beside the
picture. Trained on rendered scenes; weights in ``assets/priors``."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dipir.arrays import Image
from dipir.diffusion.weights import PRIORS, read_network, write_weights
from dipir.nets.shading import LayerUNet

DEFAULT_PATH = PRIORS / "geometry.safetensors"
ARCHITECTURE = "dipir.geometry.1"
COMMAND = "dipir prior train geometry"
PLANES = 7
"""Channels of :func:`lit_planes`."""


class Geometry:
    """``geometry(image)`` -> normals; ``hash`` names the weights. Make one by :meth:`load`."""

    def __init__(self, net: LayerUNet, hash: str = "untrained") -> None:
        self.net = net.eval().requires_grad_(False)
        self.hash = hash

    @staticmethod
    def load(path: str | Path | None = None) -> Geometry:
        """Weights from a .safetensors file, by default the ones that ship. PriorError when they cannot be used."""
        net, meta = read_network(Path(path or DEFAULT_PATH), ARCHITECTURE, COMMAND, lambda settings: LayerUNet((3,)))
        return Geometry(net, meta["hash"])

    @staticmethod
    def untrained() -> Geometry:
        """Sees no surface anywhere (its last layer is zero)."""
        return Geometry(LayerUNet((3,)))

    def save(self, path: str | Path, notes: Mapping[str, str] | None = None) -> str:
        """Write the weights as float16; returns their hash."""
        return write_weights(path, self.net.state_dict(), ARCHITECTURE, "{}", notes)

    def __call__(self, image_disp: Image) -> Tensor:
        """(B, 3, H, W) display [0, 1], about 64 pixels a side -> (B, 3, H, W): unit normals (+x the picture's right, +y
        up, +z towards the camera), shorter where the network is unsure or sees no surface."""
        return normals_of(self.net(image_disp)[0])


def normals_of(raw: Tensor) -> Tensor:
    """Any vectors -> vectors of length at most 1, short ones nearly unchanged."""
    return raw / (1 + raw.square().sum(1, keepdim=True)).sqrt()


def lit_planes(image_disp: Image, normal: Tensor, light: Tensor) -> Tensor:
    """(B, 7, H, W) what a relighting network is told: the picture in [-1, 1], normals, and the cosine between normal
    and light. light : (1 or B, 3 or more), the unit vector first."""
    cosine = (normal * light[:, :3, None, None]).sum(1, keepdim=True)
    return torch.cat([image_disp * 2 - 1, normal.expand(len(cosine), -1, -1, -1), cosine], 1)
