"""Equirectangular maps: directions, solid angles, lookups (convention in ``dipir/arrays.py``).

Directions and weights of small maps are made once for a size, dtype and device and then handed out again: whoever gets
them must not write into them.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from dipir.arrays import Directions, EnvMap

_KEPT = 256 * 512
"""Texels of the largest map whose constants are kept."""
Maker = TypeVar("Maker", bound=Callable[..., Tensor])


def _kept(make: Maker) -> Maker:
    """Hands the result for a small map out again."""
    cached = functools.lru_cache(maxsize=32)(make)

    @functools.wraps(make)
    def get(height: int, width: int, *more, **named) -> Tensor:
        return (cached if height * width <= _KEPT else make)(height, width, *more, **named)
    return get  # type: ignore[return-value]


@_kept
def directions(height: int, width: int, dtype: torch.dtype = torch.float32,
               device: torch.device | None = None) -> Directions:
    """(H, W, 3) unit vectors through the texel centres."""
    v = (torch.arange(height, dtype=dtype, device=device) + 0.5) / height * math.pi
    u = (torch.arange(width, dtype=dtype, device=device) + 0.5) / width * 2 * math.pi
    v, u = torch.meshgrid(v, u, indexing="ij")
    return torch.stack([u.sin() * v.sin(), v.cos(), -u.cos() * v.sin()], -1)


@_kept
def solid_angles(height: int, width: int, dtype: torch.dtype = torch.float32,
                 device: torch.device | None = None) -> Tensor:
    """(H, 1) exact solid angle of a texel of each row, steradian; the map sums to 4 pi."""
    edges = torch.linspace(0, math.pi, height + 1, dtype=torch.float64, device=device).cos()
    return ((edges[:-1] - edges[1:]) * 2 * math.pi / width).to(dtype)[:, None]


@_kept
def plane_weights(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """(H, W) exact integral of cos / pi over each texel for a surface with normal +Y:
    d_phi (sin^2 theta_b - sin^2 theta_a) / (2 pi); zero below the horizon, the map sums to 1."""
    edges = torch.linspace(0, math.pi, height + 1, dtype=torch.float64, device=device)
    sin2 = torch.where(edges <= math.pi / 2 + 1e-9, edges.sin() ** 2, torch.ones_like(edges))
    return ((sin2[1:] - sin2[:-1]) / width).float()[:, None].expand(height, width)


def uv(direction: Directions) -> tuple[Tensor, Tensor]:
    """(u, v) in [0, 1) x [0, 1] of directions (..., 3)."""
    x, y, z = direction.unbind(-1)
    u = torch.atan2(x, -z) / (2 * math.pi)
    return u - u.floor(), torch.acos((y / direction.norm(dim=-1).clamp_min(1e-12)).clamp(-1, 1)) / math.pi


def sample(envmap: EnvMap, direction: Directions) -> Tensor:
    """Bilinear lookup of a map (H, W, C) in directions (..., 3) -> (..., C); wraps around in azimuth."""
    height, width, channels = envmap.shape
    u, v = uv(direction)
    padded = torch.cat([envmap[:, -1:], envmap, envmap[:, :1]], 1).permute(2, 0, 1)[None]
    x = (u * width + 1) / (width + 2) * 2 - 1
    grid = torch.stack([x, v * 2 - 1], -1).reshape(1, -1, 1, 2).to(envmap.dtype)
    out = torch.nn.functional.grid_sample(padded, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return out[0, :, :, 0].T.reshape(*direction.shape[:-1], channels)


def rotate_yaw(envmap: EnvMap, yaw_deg: float) -> EnvMap:
    """Turn the surroundings about +Y by ``yaw_deg`` (+Z moves towards +X), by linear interpolation along rows."""
    width = envmap.shape[1]
    shift = -yaw_deg / 360.0 * width
    whole = math.floor(shift)
    part = shift - whole
    return (1 - part) * torch.roll(envmap, whole, 1) + part * torch.roll(envmap, whole + 1, 1)


def resize(envmap: EnvMap, height: int, width: int) -> EnvMap:
    """Down-sample by an integer factor, keeping each channel's energy (solid-angle weighted mean)."""
    h, w, c = envmap.shape
    if h % height or w % width:
        raise ValueError(f"map of {h}x{w} is not a multiple of {height}x{width}")
    weighted = envmap * solid_angles(h, w, envmap.dtype, envmap.device)[..., None]
    pooled = weighted.reshape(height, h // height, width, w // width, c).sum((1, 3))
    return pooled / solid_angles(height, width, envmap.dtype, envmap.device)[..., None]
