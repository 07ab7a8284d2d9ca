"""Light: mixtures of spherical Gaussians and environment maps; fusion, dominant direction, export.

Radiance is relative to plate white (a plate pixel of linear 1.0 has radiance 1). Maps follow ``dipir/arrays.py``.
"""
from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from dipir import device
from dipir.arrays import EnvMap
from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.image.color import BT709

SIGMA_MIN, SIGMA_MAX = 0.002, 2.0
"""Widths of spherical Gaussians; the sun's disc is one of 0.0023."""
Fusion = Literal["linear", "step", "exponential", "none", "adaptive"]


class AbstractLight(ABC):
    """A light at infinity. Subclasses are final."""

    @abstractmethod
    def envmap(self, height: int, width: int) -> EnvMap:
        """(H, W, 3) mean radiance of every texel, >= 0; no energy is lost at any resolution."""


@dataclass(frozen=True)
class EnvironmentMap(AbstractLight):
    """A measured or painted map."""

    data: EnvMap  # (H, W, 3) radiance

    def envmap(self, height: int, width: int) -> EnvMap:
        h, w = self.data.shape[:2]
        if h % height == 0 and w % width == 0:
            return latlong.resize(self.data, height, width)
        # Up-sample to a common multiple first, so that the reduction keeps the energy.
        up_h, up_w = height * math.ceil(h / height), width * math.ceil(w / width)
        directions = latlong.directions(up_h, up_w, device=self.data.device)
        return latlong.resize(latlong.sample(self.data, directions), height, width)


@dataclass(frozen=True)
class SphericalGaussians(AbstractLight):
    """L(v) = sum_k c_k exp(-(1 - v . mu_k) / sigma_k^2)   (docs/method.md 1.3), unconstrained parameters."""

    axis: Tensor  # (N, 3) any length > 0, mu = axis / |axis|
    log_amplitude: Tensor  # (N, 3), c = exp(log_amplitude) > 0
    raw_width: Tensor  # (N,), sigma = SIGMA_MIN (SIGMA_MAX / SIGMA_MIN)^sigmoid(raw_width), bounded

    @staticmethod
    def of(mu: Tensor, amplitude: Tensor, sigma: Tensor) -> SphericalGaussians:
        """From axes (N, 3), amplitudes (N, 3) >= 0 and widths (N,) within (SIGMA_MIN, SIGMA_MAX)."""
        unit = (sigma.clamp(SIGMA_MIN * 1.001, SIGMA_MAX * 0.999) / SIGMA_MIN).log() / math.log(SIGMA_MAX / SIGMA_MIN)
        return SphericalGaussians(mu / mu.norm(dim=-1, keepdim=True), amplitude.clamp_min(1e-6).log(),
                                  torch.logit(unit))

    @staticmethod
    def uniform(radiance: Tensor, count: int = 32, sigma: float = 0.5) -> SphericalGaussians:
        """A nearly constant light of ``radiance`` (3,): equal lobes on a Fibonacci sphere."""
        lobe = 2 * math.pi * sigma**2 * (1 - math.exp(-2 / sigma**2))
        amplitude = (radiance * 4 * math.pi / (count * lobe)).expand(count, 3)
        return SphericalGaussians.of(fibonacci_sphere(count, radiance.device), amplitude.clone(),
                                     torch.full((count,), sigma, device=radiance.device))

    @property
    def mu(self) -> Tensor:
        """(N, 3) unit axes."""
        return self.axis / self.axis.norm(dim=-1, keepdim=True)

    @property
    def amplitude(self) -> Tensor:
        """(N, 3) radiance on the axis."""
        return self.log_amplitude.exp()

    @property
    def sigma(self) -> Tensor:
        """(N,) width; sharpness lambda = 1 / sigma^2."""
        return SIGMA_MIN * (SIGMA_MAX / SIGMA_MIN) ** torch.sigmoid(self.raw_width)

    @property
    def energy(self) -> Tensor:
        """(N, 3) integral of each lobe over the sphere: 2 pi sigma^2 (1 - exp(-2 / sigma^2)) c."""
        s2 = self.sigma**2
        return (2 * math.pi * s2 * -torch.expm1(-2 / s2))[:, None] * self.amplitude

    def radiance(self, direction: Tensor) -> Tensor:
        """Point-wise radiance in unit directions (..., 3) -> (..., 3)."""
        return torch.exp((direction @ self.mu.T - 1) / self.sigma**2) @ self.amplitude

    def envmap(self, height: int, width: int) -> EnvMap:
        """Texel means. Lobes are evaluated on a grid at least 64 rows high, as wide as the grid's own spacing at
        least (a sharper one would fall between its points), scaled to their exact energy, then averaged."""
        factor = max(1, math.ceil(64 / height))
        h, w = height * factor, width * factor
        direction = latlong.directions(h, w, self.axis.dtype, self.axis.device).reshape(-1, 3)
        weight = latlong.solid_angles(h, w, self.axis.dtype, self.axis.device)
        spacing = math.pi / h
        lobes = torch.exp((direction @ self.mu.T - 1) / (self.sigma**4 + (0.7 * spacing) ** 4).sqrt())
        # Row by row: one sum over all texels of a large map would lose digits.
        scale = self.energy / (weight * lobes.reshape(h, w, -1).sum(1)).sum(0)[:, None]
        fine = (lobes @ scale).reshape(h, w, 3)
        return latlong.resize(fine, height, width) if factor > 1 else fine

    def parameters(self, prefix: str = "light") -> dict[str, Tensor]:
        """The unconstrained tensors by name."""
        return {f"{prefix}.axis": self.axis, f"{prefix}.log_amplitude": self.log_amplitude,
                f"{prefix}.raw_width": self.raw_width}

    @staticmethod
    def from_parameters(values: dict[str, Tensor], prefix: str = "light") -> SphericalGaussians:
        """Inverse of :meth:`parameters`."""
        return SphericalGaussians(*(values[f"{prefix}.{name}"] for name in ("axis", "log_amplitude", "raw_width")))

    def joined(self, other: SphericalGaussians) -> SphericalGaussians:
        """The lobes of both."""
        mine, theirs = self.parameters().values(), other.parameters().values()
        return SphericalGaussians(*(torch.cat([a, b.to(a)]) for a, b in zip(mine, theirs, strict=True)))

    def split(self, sigma: float) -> tuple[SphericalGaussians | None, SphericalGaussians | None]:
        """(lobes at least as wide as ``sigma``, lobes sharper than that), None where there are none."""
        wide = self.sigma.detach() >= sigma
        parts = [SphericalGaussians(*(t[kept] for t in self.parameters().values())) if bool(kept.any()) else None
                 for kept in (wide, ~wide)]
        return parts[0], parts[1]

    def widened(self, sigma: float) -> SphericalGaussians:
        """No lobe sharper than ``sigma``, each with the energy that it had."""
        wide = self.sigma.clamp_min(sigma)
        lobe = 2 * math.pi * wide**2 * -torch.expm1(-2 / wide**2)
        return SphericalGaussians.of(self.mu, self.energy / lobe[:, None], wide)

    def detach(self) -> SphericalGaussians:
        """A copy without gradient history."""
        return SphericalGaussians(*(t.detach().clone() for t in (self.axis, self.log_amplitude, self.raw_width)))

    def to_dict(self) -> dict:
        """JSON-able: lobes (axis, sharpness, colour), dominant direction, conventions."""
        light = device.moved(self.detach(), torch.device("cpu"))
        direction = dominant_direction(light.envmap(64, 128))
        azimuth, elevation = azimuth_elevation_deg(direction)
        lobes = [{"axis": [round(float(v), 6) for v in m], "sharpness": float(1 / s**2), "sigma": float(s),
                  "colour": [float(v) for v in c]}
                 for m, s, c in zip(light.mu, light.sigma, light.amplitude, strict=True)]
        return {"kind": "spherical_gaussians",
                "formula": "L(v) = sum colour * exp(-sharpness * (1 - v.axis)); radiance, plate white = 1",
                "frame": "right-handed, +Y up; camera looks towards +Z at yaw 0; +X is the picture's left",
                "azimuth": "degrees; 0 = from the camera, +90 = from the picture's right, "
                           "180 = from behind the subject",
                "dominant": {"direction": [float(v) for v in direction], "azimuth_deg": azimuth,
                             "elevation_deg": elevation},
                "lobes": lobes}

    @staticmethod
    def from_dict(data: dict) -> SphericalGaussians:
        """Inverse of :meth:`to_dict`, on the CPU. Raises ConfigError on a file of another kind."""
        try:
            lobes = data["lobes"]
            columns = [torch.tensor([lobe[k] for lobe in lobes], dtype=torch.float32, device="cpu")
                       for k in ("axis", "colour", "sharpness")]
            mu, colour, sharpness = columns
            sound = mu.shape[1:] == colour.shape[1:] == (3,) and sharpness.ndim == 1
            if (not lobes or not sound or not all(c.isfinite().all() for c in columns)
                    or bool((mu.norm(dim=-1) < 1e-6).any() | (sharpness < 0).any() | (colour < -1e-6).any())):
                raise ValueError("lobes need axis [3], which is not 0, colour [3] and sharpness from 0, all finite")
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as problem:
            raise ConfigError(f"light.json: not a light of ours ({problem}); expected 'lobes': a list of "
                              "{axis: [x, y, z], sharpness: s, colour: [r, g, b]}.") from problem
        return SphericalGaussians.of(mu, colour, sharpness.clamp_min(1e-6).rsqrt())


def fibonacci_sphere(count: int, device: torch.device | str = "cpu") -> Tensor:
    """(count, 3) nearly equidistant unit vectors, on ``device``."""
    i = torch.arange(count, dtype=torch.float32, device=device) + 0.5
    y, phi = 1 - 2 * i / count, i * math.pi * (3 - math.sqrt(5))
    r = (1 - y**2).sqrt()
    return torch.stack([r * phi.cos(), y, r * phi.sin()], -1)


def fuse(foreground: EnvMap, shadow: EnvMap, progress: float) -> EnvMap:
    """The map in use for the object at ``progress`` in [0, 1] of the run (docs/method.md 1.5):

    r = (l_fg / max l_fg) (l_sh / (l_fg + l_sh)), l_fused = (1 - r) l_fg + r l_sh, colour of the foreground map;
    linear from the separate map (0) to the fused one (1).
    """
    l_fg, l_sh = (_luminance(envmap)[..., None] for envmap in (foreground, shadow))
    ratio = (l_fg / l_fg.max().clamp_min(1e-12)) * (l_sh / (l_fg + l_sh).clamp_min(1e-12))
    fused = foreground * (((1 - ratio) * l_fg + ratio * l_sh) / l_fg.clamp_min(1e-12))
    return (1 - progress) * foreground + progress * fused


def fusion_weight(schedule: Fusion, progress: float, foreground: EnvMap, shadow: EnvMap) -> float:
    """How far :func:`fuse` goes at ``progress`` in [0, 1] of the run: linear (as published), step (nothing until the
    middle, then all), exponential (e^(5 x), from 0 to 1: late and smooth), none, or adaptive: as far as the maps agree
    already, the sum of the smaller luminances in that of the larger ones, so that each may find its own light first.
    """
    if schedule == "adaptive":
        share = latlong.solid_angles(*foreground.shape[:2], device=foreground.device)
        l_fg, l_sh = (_luminance(envmap.detach()) * share for envmap in (foreground, shadow))
        return float(torch.minimum(l_fg, l_sh).sum() / torch.maximum(l_fg, l_sh).sum().clamp_min(1e-12))
    return {"linear": progress, "step": float(progress >= 0.5), "none": 0.0,
            "exponential": math.expm1(5 * progress) / math.expm1(5)}[schedule]


def _luminance(envmap: EnvMap) -> Tensor:
    """(H, W, 3) radiance -> (H, W) BT.709 luminance."""
    return sum(weight * envmap[..., channel] for channel, weight in enumerate(BT709))


def bright_region(luminance: Tensor) -> Tensor:
    """(H, W) bool, on the CPU: the connected region around the brightest texel of a map (H, W) whose luminance is at
    least half of the peak; regions join across the azimuth seam."""
    lum = luminance.detach().double().cpu().numpy()
    height, width = lum.shape
    labels, _ = ndimage.label(np.concatenate([lum, lum], 1) >= 0.5 * lum.max(), structure=np.ones((3, 3)))
    row, col = np.unravel_index(np.argmax(lum), lum.shape)
    double = np.isin(labels, [labels[row, col], labels[row, col + width]])
    return torch.asarray(double[:, :width] | double[:, width:], device="cpu")


def dominant_direction(envmap: EnvMap) -> Tensor:
    """(3,) unit centroid, solid-angle and luminance weighted, of the :func:`bright_region`; straight up for a map that
    is bright all around. A figure for people: found on the CPU, given back where the map is."""
    lum = _luminance(envmap.detach().double().cpu())
    height, width = lum.shape
    energy = lum * bright_region(lum) * latlong.solid_angles(height, width, torch.float64)
    centroid = (latlong.directions(height, width, torch.float64) * energy[..., None]).sum((0, 1))
    if float(centroid.norm()) <= 1e-3 * float(energy.sum()):
        return torch.tensor([0.0, 1.0, 0.0], device=envmap.device)
    return (centroid / centroid.norm()).float().to(envmap.device)


def azimuth_elevation_deg(direction: Tensor) -> tuple[float, float]:
    """Direction towards the light -> (azimuth, elevation), degrees: azimuth 0 = from the camera (-Z), +90 = from the
    picture's right (-X), 180 = from behind the subject (+Z); elevation up."""
    x, y, z = direction.tolist()
    return math.degrees(math.atan2(-x, -z)), math.degrees(math.asin(max(-1.0, min(1.0, y))))


def towards(azimuth_deg: float, elevation_deg: float) -> Tensor:
    """(3,) unit vector towards a light, in the world: the inverse of :func:`azimuth_elevation_deg`; on the CPU."""
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    return torch.tensor([-math.sin(a) * math.cos(e), math.sin(e), -math.cos(a) * math.cos(e)], device="cpu")


def fit_gaussians(target: EnvMap, count: int = 32, steps: int = 200, learning_rate: float = 0.05) -> SphericalGaussians:
    """Spherical Gaussians for a map (H, W, 3): a quarter of the lobes starts on its brightest separate spots, the rest
    on a Fibonacci sphere; Adam on solid-angle weighted relative L1 in linear and in log radiance, and on the irradiance
    of 48 normals (L1 alone would leave out small bright windows). On the map's device."""
    (height, width), where = target.shape[:2], target.device
    direction = latlong.directions(height, width, device=where)
    weight = latlong.solid_angles(height, width, device=where)[..., None] / (4 * math.pi)
    share = weight.expand(height, width, 1).reshape(-1)
    cosine = (fibonacci_sphere(48, where) @ direction.reshape(-1, 3).T).clamp_min(0) * share
    # ---- start ----
    broad = fibonacci_sphere(count - count // 4, where)
    level = latlong.sample(target, broad)
    light = _initial_gaussians(target, direction, broad, level)
    values = {k: v.clone().requires_grad_() for k, v in light.parameters().items()}
    optimiser = torch.optim.Adam(values.values(), lr=learning_rate)
    mean = (target * weight).sum().clamp_min(1e-6)
    floor = 0.05 * mean / 3
    wanted = cosine @ target.reshape(-1, 3)
    # ---- descent ----
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        current = SphericalGaussians.from_parameters(values).envmap(height, width)
        linear = ((current - target).abs() * weight).sum() / mean
        logarithmic = (((current + floor) / (target + floor)).log().abs() * weight).sum() / 3
        received = (cosine @ current.reshape(-1, 3) - wanted).abs().mean() / wanted.mean().clamp_min(1e-9)
        optimiser.zero_grad()
        (linear + 0.5 * logarithmic + 3 * received).backward()
        optimiser.step()
    return SphericalGaussians.from_parameters(values).detach()


def _initial_gaussians(target: EnvMap, direction: Tensor, broad: Tensor, level: Tensor) -> SphericalGaussians:
    """Start of :func:`fit_gaussians`: narrow lobes on peaks (greedy, 20 degrees apart), a third as many as there are
    ``broad`` ones, (N, 3) directions with the map's radiance ``level`` (N, 3) there."""
    lum = target.mean(-1).flatten().clone()
    flat = direction.reshape(-1, 3)
    peaks = []
    for _ in range(len(broad) // 3):
        best = int(lum.argmax())
        peaks.append(best)
        lum = torch.where(flat @ flat[best] > math.cos(math.radians(20)), torch.zeros_like(lum), lum)
    mu = torch.cat([flat[peaks], broad])
    sigma = torch.cat([flat.new_full((len(peaks),), 0.12), flat.new_full((len(broad),), 1.6 / math.sqrt(len(broad)))])
    ambient = level.minimum(target.mean((0, 1)) * 2)
    amplitude = torch.cat([target.reshape(-1, 3)[peaks], ambient * 0.4])
    return SphericalGaussians.of(mu, amplitude.clamp_min(1e-4), sigma)
