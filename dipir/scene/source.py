"""One small bright light at infinity: a sun, a lamp, a window."""
from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dipir.arrays import EnvMap
from dipir.image import latlong
from dipir.image.color import BT709
from dipir.scene.light import SphericalGaussians, azimuth_elevation_deg

SUN_SIGMA = 0.0023
"""Width of a spherical Gaussian with the second moment of the sun's disc, which is 0.53 degrees across: half its
radius, because exp(-(1 - cos t) / sigma^2) has the mean square angle 2 sigma^2 and a disc half its radius squared."""


@dataclass(frozen=True)
class Source:
    """What throws a hard shadow, apart from the light around it."""

    direction: Tensor
    """(3,) unit vector towards it."""
    irradiance: Tensor
    """(3,) on a surface that faces it, linear BT.709; a white diffuse surface that receives pi has radiance 1."""
    sigma: float = SUN_SIGMA
    """Width of its spherical Gaussian."""

    @property
    def disc_rad(self) -> float:
        """Radius of the even disc with the second moment of its spherical Gaussian."""
        return 2 * self.sigma

    def lobe(self) -> SphericalGaussians:
        """One spherical Gaussian with this irradiance as its energy."""
        s2 = self.sigma**2
        amplitude = self.irradiance / (2 * math.pi * s2 * -math.expm1(-2 / s2))
        return SphericalGaussians.of(self.direction[None], amplitude[None], self.irradiance.new_tensor([self.sigma]))

    def ground_share(self, rest: EnvMap, up: Tensor | None = None) -> float:
        """Its part of the luminance that the ground receives, the other part being from ``rest`` (H, W, 3);
        ``up`` : (3,) unit normal of the ground, None = level."""
        own = float(luminance_of(self.irradiance)) * max(0.0, float(self._cosine(up)))
        return own / max(own + float(luminance_of(ground_irradiance(rest, up))), 1e-12)

    def with_ground_share(self, rest: EnvMap, share: float | Tensor, up: Tensor | None = None) -> Source:
        """The same light as strong as is needed to have ``share`` in [0, 1) of what the ground receives (as of
        :meth:`ground_share`). Light that grazes the ground counts as if it came from 1.1 degrees above it."""
        own = luminance_of(self.irradiance) * self._cosine(up).clamp_min(0.02)
        wanted = share / (1 - share) * luminance_of(ground_irradiance(rest, up))
        return replace(self, irradiance=self.irradiance * (wanted / own.clamp_min(1e-12)))

    def shared_out(self, rest: EnvMap, share: float, up: Tensor | None = None) -> tuple[Source, EnvMap]:
        """Source and rest (H, W, 3) of which the source has ``share`` of what the ground receives, while the ground
        stays as bright as it was (luminance)."""
        own = luminance_of(self.irradiance) * self._cosine(up).clamp_min(0)
        around = luminance_of(ground_irradiance(rest, up))
        dimmed = rest * ((1 - share) * (own + around) / around.clamp_min(1e-12))
        return self.with_ground_share(dimmed, share, up), dimmed

    def to(self, like: Tensor) -> Source:
        """The same on the device and of the dtype of ``like``."""
        return replace(self, direction=self.direction.to(like), irradiance=self.irradiance.to(like))

    def describe(self) -> str:
        """In a few words: what it may be and where it stands."""
        azimuth, elevation = azimuth_elevation_deg(self.direction.detach().cpu())
        kind = "a sun" if self.sigma < 2 * SUN_SIGMA else "a lamp or window"
        return f"{kind} from azimuth {round(azimuth)}, elevation {round(elevation)}"

    def _cosine(self, up: Tensor | None) -> Tensor:
        return self.direction[1] if up is None else self.direction @ up.to(self.direction)


def luminance_of(colour: Tensor) -> Tensor:
    """(..., 3) linear BT.709 -> (...)."""
    return sum(weight * colour[..., channel] for channel, weight in enumerate(BT709))


def ground_irradiance(envmap: EnvMap, up: Tensor | None = None) -> Tensor:
    """(3,) that the ground receives from a map (H, W, 3); ``up`` : (3,) its unit normal, None = level."""
    return ground_irradiances(envmap[None], up)[0]


def ground_irradiances(maps: Tensor, up: Tensor | None = None) -> Tensor:
    """(B, 3) the same of maps (B, H, W, 3)."""
    height, width = maps.shape[1:3]
    if up is None:
        return torch.einsum("bhwc,hw->bc", maps, math.pi * latlong.plane_weights(height, width, device=maps.device))
    fine = max(1, -(-64 // height))
    above = (latlong.directions(height * fine, width * fine, device=maps.device) @ up.to(maps)).clamp_min(0)
    weights = latlong.resize(above[..., None], height, width)[..., 0]
    return torch.einsum("bhwc,hw->bc", maps, weights * latlong.solid_angles(height, width, device=maps.device))
