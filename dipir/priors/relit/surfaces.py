"""What a photo shows of surfaces: normals, albedo, the light on them, depth, cast shadows, and where there are none.
A network trained on rendered scenes guesses them; weights in ``assets/priors``."""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import Image
from dipir.priors.nets.surface_net import SurfaceNet, SurfaceNetConfig
from dipir.priors.weights import PRIORS, read_network, write_weights

DEFAULT_PATH = PRIORS / "surfaces.safetensors"
ARCHITECTURE = "dipir.surfaces.1"
COMMAND = "dipir prior train surfaces"
SIZE = 128
"""Longer side of the pictures that it was trained on."""
_UNIT = 32


@dataclass(frozen=True)
class Surfaces:
    """Guessed surfaces of B pictures."""

    normal: Tensor
    """(B, 3, H, W), +x the picture's right, +y its top, +z towards the camera; shorter where the network is unsure."""
    albedo: Tensor  # (B, 3, H, W) linear (0, 1)
    shading: Tensor  # (B, 1, H, W) log2(light / its mean) / 2, where light = linear picture / albedo
    depth: Tensor  # (B, 1, H, W) distance along the view in stops about the median, within 4
    shadow: Tensor  # (B, 1, H, W) [0, 1] share of the main light that something keeps off a surface that faces it
    solid: Tensor  # (B, 1, H, W) [0, 1] 1 = a surface, 0 = sky, nothing that could be lit
    up: Tensor  # (B, 3) unit vector, the vertical in the frame of ``normal``

    def __getitem__(self, rows: slice | Tensor) -> Surfaces:
        """Those of some of the pictures."""
        return Surfaces(*(value[rows] for value in vars(self).values()))


class SurfacePrior:
    """``hash`` names the weights. Make one by :meth:`load`."""

    def __init__(self, net: SurfaceNet, hash: str = "untrained") -> None:
        self.net = net.eval().requires_grad_(False)
        self.hash = hash

    @staticmethod
    def load(path: str | Path | None = None) -> SurfacePrior:
        """Weights from a .safetensors file, by default the one that ships. PriorError when they cannot be used."""
        net, meta = read_network(Path(path or DEFAULT_PATH), ARCHITECTURE, COMMAND,
                                 lambda settings: SurfaceNet(SurfaceNetConfig(**settings)))
        return SurfacePrior(net, meta["hash"])

    @staticmethod
    def untrained() -> SurfacePrior:
        """Sees no surface (the last layer is zero)."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return SurfacePrior(SurfaceNet())

    def save(self, path: str | Path, notes: Mapping[str, str] | None = None) -> str:
        """Write the weights as float16; returns their hash."""
        return write_weights(path, self.net.state_dict(), ARCHITECTURE, json.dumps(asdict(self.net.config)), notes)

    @torch.no_grad()
    def see(self, image: Image) -> Surfaces:
        """(B, 3, H, W) display [0, 1], at any size; 128 to 192 pixels a side are best."""
        height, width = image.shape[2:]
        padded = functional.pad(image, (0, -width % _UNIT, 0, -height % _UNIT), mode="replicate")
        raw, whole = self.net(padded)
        return surfaces_of(raw[..., :height, :width], whole)


def surfaces_of(raw: Tensor, whole: Tensor) -> Surfaces:
    """What the network gives, any numbers (B, 10, H, W) and (B, 2), as surfaces."""
    raw, (right, towards) = raw.float(), whole.float().unbind(1)
    normal, albedo, shading, depth, shadow, solid = raw.split((3, 3, 1, 1, 1, 1), 1)
    # A grey of a fifth where nothing is said; a stop is a step of one.
    albedo = torch.sigmoid(albedo * 1.5 - 1.4)
    return Surfaces(normal / (1 + normal.square().sum(1, keepdim=True)).sqrt(), albedo, shading, depth,
                    torch.sigmoid(shadow), torch.sigmoid(solid + 1),
                    functional.normalize(torch.stack([right, torch.ones_like(right), towards], 1), dim=1))
