"""Dressed crops: photographs of panoramas with things on their ground, whose shadows are known, a whole batch at once.

The surroundings are infinitely distant; their ground is the plane y = 0. A pixel of it keeps its colour times what
still reaches it: the source where it is not hidden, and the rest as far as rays leave the scene. Things are diffuse
with some mirror reflection, lit by the source and by the rest's irradiance in nine spherical harmonics (Ramamoorthi and
Hanrahan 2001).
"""
from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dipir.image import latlong
from dipir.workshop.light.props import Props, blocked, first_hit, surface

RAYS, DISC = 12, 4
"""Rays a point for the light of the rest, and for that of the source's disc."""


@dataclass(frozen=True)
class Lit:
    """The light of B plates, in their frame (camera azimuth at +Z)."""

    rest: Tensor
    """(B, 64, 128, 3) radiance without the source."""
    direction: Tensor
    """(B, 3) towards the source."""
    irradiance: Tensor
    """(B, 3) of a surface that faces it."""
    sigma: Tensor
    """(B,) its width."""

    def ground(self) -> Tensor:
        """(B, 3) that level ground receives from the source."""
        return self.irradiance * self.direction[:, 1:2].clamp_min(0)


@functools.lru_cache(maxsize=4)
def _harmonics(where: torch.device) -> tuple[Tensor, Tensor]:
    """Matrices (512, 9) of the harmonics and (9, 512) from a map of 16 x 32 to those of its irradiance."""
    rays = latlong.directions(16, 32, device=where).reshape(-1, 3)
    solid = latlong.solid_angles(16, 32, device=where).expand(16, 32).reshape(-1)
    basis = _basis(rays)
    band = basis.new_tensor([math.pi, *[2 * math.pi / 3] * 3, *[math.pi / 4] * 5])
    return basis, band[:, None] * (basis * solid[:, None]).T


def _basis(n: Tensor) -> Tensor:
    """(..., 3) unit vectors -> (..., 9) real spherical harmonics."""
    x, y, z = n.unbind(-1)
    return torch.stack([0.282095 * torch.ones_like(x), 0.488603 * y, 0.488603 * z, 0.488603 * x, 1.092548 * x * y,
                        1.092548 * y * z, 0.315392 * (3 * z * z - 1), 1.092548 * x * z,
                        0.546274 * (x * x - y * y)], -1)


def irradiance(light: Lit, normal: Tensor) -> Tensor:
    """(B, N, 3) that surfaces with normals (B, N, 3) receive from the rest."""
    small = pooled(light.rest, 16, 32).flatten(1, 2)
    coefficients = _harmonics(normal.device)[1] @ small
    return (_basis(normal) @ coefficients).clamp_min(0) + 1e-6


def pooled(env: Tensor, height: int, width: int) -> Tensor:
    """``latlong.resize`` of each of (B, H, W, 3)."""
    batch, h, w, c = env.shape
    weighted = env * latlong.solid_angles(h, w, env.dtype, env.device)[..., None]
    sums = weighted.reshape(batch, height, h // height, width, w // width, c).sum((2, 4))
    return sums / latlong.solid_angles(height, width, env.dtype, env.device)[..., None]


def looked_up(env: Tensor, ray: Tensor) -> Tensor:
    """Radiance (B, N, 3) of maps (B, H, W, 3) in directions (B, N, 3), that of the nearest texel."""
    batch, height, width, channels = env.shape
    u, v = latlong.uv(ray)
    index = (v * height).long().clamp(0, height - 1) * width + (u * width).long().clamp(0, width - 1)
    return env.reshape(batch, -1, channels).gather(1, index[..., None].expand(-1, -1, channels))


def _around(normal: Tensor, noise: Tensor) -> Tensor:
    """Cosine-distributed directions about normals (..., 3) from uniform numbers (..., 2): the normal plus a point of
    the unit sphere."""
    z, angle = 2 * noise[..., 0] - 1, 2 * math.pi * noise[..., 1]
    r = (1 - z * z).clamp_min(0).sqrt()
    return functional.normalize(normal + 0.999 * torch.stack([r * angle.cos(), z, r * angle.sin()], -1), dim=-1)


def open_share(props: Props, light: Lit, point: Tensor, normal: Tensor, generator: torch.Generator) -> Tensor:
    """(B, N, 3) share of the rest's light that reaches points (B, N, 3) past the things."""
    small = pooled(light.rest, 16, 32)
    total, kept = torch.zeros_like(point), torch.zeros_like(point)
    for _ in range(RAYS):
        ray = _around(normal, torch.rand(*point.shape[:2], 2, device=point.device, generator=generator))
        radiance = looked_up(small, ray) + 1e-5
        free = ~blocked(props, point, ray)
        total += radiance
        kept += radiance * free[..., None]
    return kept / total


def sun_share(props: Props, light: Lit, point: Tensor, generator: torch.Generator) -> Tensor:
    """(B, N) share of the source's disc that points (B, N, 3) see."""
    seen = torch.zeros(point.shape[:2], device=point.device)
    for _ in range(DISC):
        jitter = torch.randn(point.shape, device=point.device, generator=generator)
        ray = functional.normalize(light.direction[:, None] + light.sigma[:, None, None] * jitter, dim=-1)
        seen += (~blocked(props, point, ray)).float()
    return seen / DISC


@dataclass(frozen=True)
class Painted:
    """Ground in the place of the one in the photograph."""

    albedo: Tensor
    """(B, N, 3) of every pixel's ground."""
    used: Tensor
    """(B,) whether it is painted at all."""


def dressed(plate: Tensor, rays: Tensor, height: Tensor, props: Props, light: Lit, generator: torch.Generator, *,
            painted: Painted | None = None) -> tuple[Tensor, Tensor]:
    """(plate, mask): crops (B, 3, H, W), radiance, with things before them; mask (B, 1, H, W) of the things.

    rays : (B, H, W, 3) world directions;  height : (B,) of the camera above the ground, metres, at (0, height, 0).
    Light of the rest is followed at half the size.
    """
    # ---- what is seen ----
    batch, rows, columns = rays.shape[:3]
    ray = rays.reshape(batch, -1, 3)
    eye = torch.zeros(batch, 1, 3, device=ray.device)
    eye[:, 0, 1] = height
    hit, which = first_hit(props, eye, ray)
    down = torch.where(ray[..., 1] < -1e-3, -height[:, None] / ray[..., 1].clamp_max(-1e-3), torch.inf)
    thing = hit < down
    point = eye + torch.where(thing, hit, down).clamp_max(1e4)[..., None] * ray
    normal, albedo, gloss = surface(props, which, point)
    normal = torch.where(thing[..., None], normal, _up(normal))
    off = point + 2e-3 * normal
    # ---- what it receives ----
    half = [x.reshape(batch, rows, columns, 3)[:, ::2, ::2].reshape(batch, -1, 3) for x in (off, normal)]
    open_ = open_share(props, light, *half, generator).transpose(1, 2).reshape(batch, 3, rows // 2, columns // 2)
    open_ = functional.interpolate(functional.avg_pool2d(functional.pad(open_, (1, 1, 1, 1), mode="replicate"), 3, 1),
                                   (rows, columns), mode="bilinear").flatten(2).transpose(1, 2)
    facing = (normal * light.direction[:, None]).sum(-1).clamp_min(0)[..., None]
    direct, soft = light.irradiance[:, None] * facing, irradiance(light, normal)
    received = direct * sun_share(props, light, off, generator)[..., None] + soft * open_
    # ---- what it sends ----
    far = ((down > 60 * height[:, None]) & ~thing)[..., None]
    kept = torch.where(far, torch.ones_like(received), received / (direct + soft))
    ground = plate.flatten(2).transpose(1, 2)
    if painted is not None:
        ground = torch.where((painted.used[:, None] & torch.isfinite(down))[..., None],
                             painted.albedo / math.pi * (direct + soft), ground)
    mirror = ray - 2 * (ray * normal).sum(-1, keepdim=True) * normal
    sent = (1 - gloss[..., None]) * albedo / math.pi * received + gloss[..., None] * looked_up(light.rest, mirror)
    out = torch.where(thing[..., None], sent, ground * kept)
    return out.transpose(1, 2).reshape(batch, 3, rows, columns), thing.reshape(batch, 1, rows, columns)


def _up(like: Tensor) -> Tensor:
    up = torch.zeros_like(like)
    up[..., 1] = 1
    return up


def seen_from(props: Props, light: Lit, place: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What surrounds points (B, 3) just above the ground: the map without the source (B, 16, 32, 3), and the share (B,)
    of the source that reaches it. Things are seen without the shadows on them of what is far from them."""
    rays = latlong.directions(32, 64, device=place.device).reshape(1, -1, 3).expand(len(place), -1, -1)
    hit, which = first_hit(props, place[:, None], rays)
    near = torch.isfinite(hit)
    point = place[:, None] + torch.where(near, hit, torch.ones_like(hit))[..., None] * rays
    normal, albedo, _ = surface(props, which, point)
    facing = (normal * light.direction[:, None]).sum(-1).clamp_min(0)[..., None]
    lit = (~blocked(props, point + 2e-3 * normal, light.direction[:, None].expand_as(normal)))[..., None]
    sent = albedo / math.pi * (light.irradiance[:, None] * facing * lit + 0.8 * irradiance(light, normal))
    radiance = torch.where(near[..., None], sent, pooled(light.rest, 32, 64).flatten(1, 2))
    reached = torch.stack([sun_share(props, light, place[:, None], generator)[:, 0] for _ in range(4)]).mean(0)
    return pooled(radiance.reshape(len(place), 32, 64, 3), 16, 32), reached
