"""Which way the surfaces of a picture face and how much light falls on them, guessed by a small network: what
relighting priors are told beside the picture. Trained on rendered scenes; weights in ``assets/priors``."""
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
LAYERS = (3, 1)
PLANES = 8
"""Channels of :func:`lit_planes`."""


class Geometry:
    """``geometry(image)`` -> surface; ``hash`` names the weights. Make one by :meth:`load`."""

    def __init__(self, net: LayerUNet, hash: str = "untrained") -> None:
        self.net = net.eval().requires_grad_(False)
        self.hash = hash

    @staticmethod
    def load(path: str | Path | None = None) -> Geometry:
        """Weights from a .safetensors file, by default the ones that ship. PriorError when they cannot be used."""
        net, meta = read_network(Path(path or DEFAULT_PATH), ARCHITECTURE, COMMAND, lambda settings: LayerUNet(LAYERS))
        return Geometry(net, meta["hash"])

    @staticmethod
    def untrained() -> Geometry:
        """Sees no surface and even light (its last layer is zero)."""
        return Geometry(LayerUNet(LAYERS))

    def save(self, path: str | Path, notes: Mapping[str, str] | None = None) -> str:
        """Write the weights as float16; returns their hash."""
        return write_weights(path, self.net.state_dict(), ARCHITECTURE, "{}", notes)

    @torch.no_grad()
    def __call__(self, image_disp: Image) -> Tensor:
        """(B, 3, H, W) display [0, 1], about 64 pixels a side -> (B, 4, H, W): normals (+x the picture's right, +y up,
        +z towards the camera), shorter where the network is unsure or sees no surface; and the light that falls on
        them, log2(shading / mean) / 2."""
        return surface_of(self.net(image_disp))


def surface_of(raw: tuple[Tensor, Tensor]) -> Tensor:
    """What the network gives, any numbers -> (B, 4, H, W): vectors of length at most 1, and shading."""
    normal, shading = (x.float() for x in raw)
    return torch.cat([normal / (1 + normal.square().sum(1, keepdim=True)).sqrt(), shading], 1)


def lit_planes(image_disp: Image, surface: Tensor, light: Tensor) -> Tensor:
    """(B, 8, H, W) what a relighting network is told: the picture in [-1, 1], the ``surface`` (1 or B, 4, H, W), and
    the cosine between its normals and the light. light : (1 or B, 3 or more), the unit vector first."""
    cosine = (surface[:, :3] * light[:, :3, None, None]).sum(1, keepdim=True)
    told = torch.cat([image_disp * 2 - 1, surface], 1)
    return torch.cat([told.expand(len(cosine), -1, -1, -1), cosine], 1)
