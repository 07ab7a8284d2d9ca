"""What a picture shows of surfaces and of the light on them, and how it might look in another light: a first guess by
two small networks, which relighting priors are told beside the picture. Trained on rendered scenes; weights in
``assets/priors``."""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from dipir.arrays import Image
from dipir.priors.nets.picture_unet import PictureUNet
from dipir.priors.nets.turned_unet import TurnedUNet
from dipir.priors.weights import PRIORS, read_network, write_weights

DEFAULT_PATH = PRIORS / "geometry.safetensors"
ARCHITECTURE = "dipir.geometry.2"
COMMAND = "dipir prior train geometry"
SIZE = 64
"""Longer side of the pictures that it was trained on."""
PLANES = 11
"""Channels of :meth:`Geometry.planes`."""
_UNIT = 16
_STRONGEST = 3.0


@dataclass(frozen=True)
class GeometryConfig:
    """Size of the network."""

    surfaces: tuple[int, ...] = (48, 64, 72)
    light: tuple[int, ...] = (32, 48, 56)
    """Channels of the levels of the two networks."""
    fine: tuple[int, int] = (32, 24)
    """Of their layers at full size."""


class GeometryNets(nn.Module):
    """``surface(picture)`` and ``gain(picture, surface, light)``, for squares whose side is a multiple of 16."""

    def __init__(self, config: GeometryConfig = GeometryConfig()) -> None:
        super().__init__()
        self.config = config
        self.surfaces = PictureUNet(3, 4, config.surfaces, 1, fine=config.fine[0])
        self.light = TurnedUNet(5, config.light, 96, config.fine[1])

    def surface(self, image: Image) -> Tensor:
        """(B, 3, S, S) display -> (B, 4, S, S): normals of length at most 1, and shading."""
        return surface_of(self.surfaces(image * 2 - 1))

    def gain(self, image: Image, surface: Tensor, light: Tensor) -> Tensor:
        """(B, 1, S, S) log2 of what the picture is to be multiplied with, within three stops; 0 at first."""
        planes = torch.cat([image * 2 - 1, surface[:, 3:], cosine(surface, light)], 1)
        raw = self.light(planes, surface[:, :3], light).float()
        return _STRONGEST * torch.tanh(raw / _STRONGEST)


class Geometry:
    """``hash`` names the weights. Make one by :meth:`load`."""

    def __init__(self, nets: GeometryNets, hash: str = "untrained") -> None:
        self.nets = nets.eval().requires_grad_(False)
        self.hash = hash

    @staticmethod
    def load(path: str | Path | None = None) -> Geometry:
        """Weights from a .safetensors file, by default the ones that ship. PriorError when they cannot be used."""
        nets, meta = read_network(Path(path or DEFAULT_PATH), ARCHITECTURE, COMMAND,
                                  lambda settings: GeometryNets(GeometryConfig(**settings)))
        return Geometry(nets, meta["hash"])

    @staticmethod
    def untrained() -> Geometry:
        """Sees no surface and even light, and changes nothing (the last layers are zero)."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Geometry(GeometryNets())

    def save(self, path: str | Path, notes: Mapping[str, str] | None = None) -> str:
        """Write the weights as float16; returns their hash."""
        return write_weights(path, self.nets.state_dict(), ARCHITECTURE, json.dumps(asdict(self.nets.config)), notes)

    @torch.no_grad()
    def surface(self, image: Image) -> Tensor:
        """(B, 3, H, W) display [0, 1], about 64 pixels a side -> (B, 4, H, W): normals (+x the picture's right, +y up,
        +z towards the camera), shorter where the network is unsure or sees no surface; and the light that falls on
        them, log2(shading / mean) / 2."""
        height, width = image.shape[2:]
        return self.nets.surface(_square(image))[..., :height, :width]

    @torch.no_grad()
    def planes(self, image: Image, light: Tensor) -> Tensor:
        """What a relighting network is told. image : (B, 3, H, W) display [0, 1]
        light : (K B, 4), ``LightDirection.numbers``, K lights for each picture, those of one picture in a row
        -> (K B, 11, H, W): the first guess of the picture in that light and the picture, both in [-1, 1], the surface,
        and the cosine between its normals and the light."""
        height, width = image.shape[2:]
        each = len(light) // len(image)
        full = _square(image)
        full, surface = (x.repeat_interleave(each, 0) for x in (full, self.nets.surface(full)))
        lit = (full * torch.exp2(self.nets.gain(full, surface, light))).clamp(0, 1)
        return torch.cat([lit * 2 - 1, full * 2 - 1, surface, cosine(surface, light)], 1)[..., :height, :width]


def surface_of(raw: Tensor) -> Tensor:
    """What the network gives, any numbers (B, 4, H, W) -> vectors of length at most 1, and shading."""
    normal, shading = raw[:, :3].float(), raw[:, 3:].float()
    return torch.cat([normal / (1 + normal.square().sum(1, keepdim=True)).sqrt(), shading], 1)


def cosine(surface: Tensor, light: Tensor) -> Tensor:
    """(B, 1, H, W) between normals, as short as they are, and the light (B, 3 or more)."""
    return (surface[:, :3] * light[:, :3, None, None]).sum(1, keepdim=True)


def _square(image: Image) -> Image:
    """The picture continued to the right and below to a square whose side is a multiple of 16."""
    height, width = image.shape[2:]
    side = max(height, width)
    side += -side % _UNIT
    return functional.pad(image, (0, side - width, 0, side - height), mode="replicate")
