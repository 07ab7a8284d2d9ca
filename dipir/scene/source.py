"""One small bright light at infinity: a sun, a lamp, a window."""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dipir.arrays import EnvMap
from dipir.image import latlong
from dipir.image.color import BT709
from dipir.scene.light import SphericalGaussians

SUN_SIGMA = 0.0033
"""Width of a spherical Gaussian with the second moment of the sun's disc, 0.53 degrees across."""


@dataclass(frozen=True)
class Source:
    """What throws a hard shadow, apart from the light around it."""

    direction: Tensor
    """(3,) unit vector towards it."""
    irradiance: Tensor
    """(3,) on a surface that faces it, linear BT.709; a white diffuse surface that receives pi has radiance 1."""
    sigma: float = SUN_SIGMA
    """Width of its spherical Gaussian."""

    def lobe(self) -> SphericalGaussians:
        """One spherical Gaussian with this irradiance as its energy."""
        s2 = self.sigma**2
        amplitude = self.irradiance / (2 * math.pi * s2 * -math.expm1(-2 / s2))
        return SphericalGaussians.of(self.direction[None], amplitude[None], self.irradiance.new_tensor([self.sigma]))

    def ground_share(self, rest: EnvMap) -> float:
        """Its part of the luminance that level ground receives, the other part being from ``rest`` (H, W, 3)."""
        weights = self.irradiance.new_tensor(BT709)
        own = float(self.irradiance @ weights) * max(0.0, float(self.direction[1]))
        return own / max(own + float(ground_irradiance(rest) @ weights), 1e-12)

    def with_ground_share(self, rest: EnvMap, share: float) -> Source:
        """The same light as strong as is needed to have ``share`` in [0, 1) of what level ground receives."""
        weights = self.irradiance.new_tensor(BT709)
        own = (self.irradiance @ weights) * self.direction[1].clamp_min(0.02)
        wanted = share / (1 - share) * (ground_irradiance(rest) @ weights)
        return Source(self.direction, self.irradiance * (wanted / own.clamp_min(1e-12)), self.sigma)


def ground_irradiance(envmap: EnvMap) -> Tensor:
    """(3,) that level ground receives from a map (H, W, 3)."""
    return ground_irradiances(envmap[None])[0]


def ground_irradiances(maps: Tensor) -> Tensor:
    """(B, 3) that level ground receives from maps (B, H, W, 3)."""
    weights = latlong.plane_weights(*maps.shape[1:3], device=maps.device) * math.pi
    return torch.einsum("bhwc,hw->bc", maps, weights)
