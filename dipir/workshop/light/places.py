"""Photographed environments made ready for training: what a camera sees of them, their light, and the one source in it
that throws shadows."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import EnvMap
from dipir.image import latlong
from dipir.image.color import BT709
from dipir.scene.light import EnvironmentMap
from dipir.scene.source import SUN_SIGMA, Source
from dipir.workshop import crops

HARD_DEG, RING_DEG = 5.0, (6.0, 10.0)
"""How far a source reaches, and the ring around it whose mean radiance is what would be there without it."""
FAINT, STRONG = 0.22, 0.42
"""Shares of the ground's irradiance from which on a source throws a shadow at all, and one that nobody overlooks."""
ENV = 64, 128


def split(envmap: EnvMap) -> tuple[EnvMap, Source]:
    """(rest, source): the brightest small light of a map (H, W, 3), and the map (64, 128, 3) without it.

    The source is what exceeds the mean of the ring around it within ``HARD_DEG``, found from the brightest texel of
    5.6 degrees; its width is that of the Gaussian with the same second moment, at least the sun's.
    """
    height, width = envmap.shape[:2]
    rays, solid = latlong.directions(height, width), latlong.solid_angles(height, width)
    weights = torch.tensor(BT709)
    energy = (envmap @ weights) * solid
    coarse = EnvironmentMap(envmap).envmap(32, 64) @ weights
    middle = latlong.directions(32, 64).reshape(-1, 3)[int(coarse.argmax())]
    excess = torch.zeros_like(envmap)
    for reach in (8.0, HARD_DEG, HARD_DEG):
        near = rays @ middle
        ring = (near < math.cos(math.radians(RING_DEG[0]))) & (near > math.cos(math.radians(RING_DEG[1])))
        around = (envmap * (solid * ring)[..., None]).sum((0, 1)) / (solid * ring).sum()
        excess = (envmap - around).clamp_min(0) * (near > math.cos(math.radians(reach)))[..., None]
        weighted = (excess @ weights) * solid
        middle = functional.normalize((rays * weighted[..., None]).sum((0, 1)) + 1e-12 * middle, dim=0)
    irradiance = (excess * solid[..., None]).sum((0, 1))
    spread = float((weighted * (1 - rays @ middle).clamp_min(0)).sum() / weighted.sum().clamp_min(1e-12))
    if float(irradiance @ weights) < 1e-4 * float(energy.sum()):
        excess, irradiance = torch.zeros_like(excess), torch.zeros_like(irradiance)
    source = Source(middle, irradiance, max(SUN_SIGMA, math.sqrt(spread)))
    return EnvironmentMap(envmap - excess).envmap(*ENV), source


def hardness(share: Tensor) -> Tensor:
    """From 0 to 1 as a source's share of the ground's irradiance rises from ``FAINT`` to ``STRONG``."""
    return ((share - FAINT) / (STRONG - FAINT)).clamp(0, 1)


@dataclass(frozen=True)
class Places:
    """N environments; tensors on one device."""

    padded: Tensor
    """(N, 3, H, W + 2) radiance, half precision, one column repeated at each side; suns limited to half's range."""
    rest: Tensor
    """(N, 64, 128, 3) radiance without the source."""
    direction: Tensor
    """(N, 3) towards the source."""
    irradiance: Tensor
    """(N, 3) of a surface that faces it."""
    sigma: Tensor
    """(N,) its width."""
    share: Tensor
    """(N,) its share of the luminance that level ground receives."""
    plain: Tensor
    """(N,) boolean: there is no ground in it to speak of, as in pure skies."""

    def __len__(self) -> int:
        return len(self.sigma)

    @staticmethod
    def of(panoramas: Sequence[EnvMap], height: int = 512) -> Places:
        """Of full-resolution maps; crops are cut from at most ``height`` rows, small maps are enlarged to that."""
        rows = []
        for envmap in panoramas:
            rest, source = split(envmap)
            seen = crops.prepare(envmap, height).padded[None]
            if seen.shape[2] != height:
                seen = functional.interpolate(seen, (height, 2 * height + 2), mode="bilinear")
            rows.append((seen[0].clamp(0, 60000).half(), rest, source.direction, source.irradiance,
                         torch.tensor(source.sigma), torch.tensor(source.ground_share(rest)), plain_ground(seen[0])))
        return Places(*(torch.stack(column) for column in zip(*rows, strict=True)))


def plain_ground(padded: Tensor) -> Tensor:
    """Whether the lower half of a panorama (3, H, W) is smooth: the mean step of log luminance between neighbours 30 to
    60 degrees below the horizon stays below 0.01."""
    height = padded.shape[1]
    ground = padded.mean(0)[2 * height // 3:5 * height // 6].float().clamp_min(1e-6).log()
    return (ground[:, 1:] - ground[:, :-1]).abs().mean() < 0.01
