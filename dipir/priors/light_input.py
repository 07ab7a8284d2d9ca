"""What the light prior's network reads of a plate: the photo, the plate on the sphere, the ground from above."""
from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import Directions, Image
from dipir.image import latlong
from dipir.image.color import srgb_to_linear

SPHERE, PLATE, GROUND, FLOOR = (32, 64), (192, 256), 128, 0.02
"""Rows and columns of the sphere features and of the plate, side of the ground's views, radiance added before every
logarithm."""
REACHES = 4.0, 15.0
"""Half sides of the ground's views, in heights of the camera above the ground."""
PLACE_SHARPNESS = 60.0
"""Of the spot that marks the place on plate and sphere, about 10 degrees wide."""


@dataclass(frozen=True)
class Features:
    """What the network reads."""

    sphere: Tensor
    """(B, 13, 32, 64)."""
    photo: Tensor
    """(B, 3, 192, 256) display [0, 1]."""
    coarse: Tensor
    """(B, 5, 12, 16) share of clipped pixels, directions, nearness to the place."""
    ground: Tensor
    """(B, 2, 4, 128, 128) the ground from above round the place, in two sizes: display - 0.5 and where it is seen."""
    base: Tensor
    """(B, 3, 16, 32) radiance of the extrapolated plate, plate white = 1 (the plate projected to the sphere, mirrored,
    the rest filled smoothly)."""


def features(plate_disp: Image, directions: Directions, place: Tensor | None = None) -> Features:
    """plate_disp : (B, 3, H, W) display [0, 1];  directions : (B, H, W, 3) world, camera azimuth at +Z;  place : (B, 3)
    direction in which the ground is that something shall stand on, None = :func:`usual_place`."""
    # ---- at the network's size ----
    place = usual_place(directions) if place is None else place
    clipped = (plate_disp.amax(1, keepdim=True) >= 0.98).to(plate_disp.dtype)
    planes = torch.cat([plate_disp, clipped, directions.permute(0, 3, 1, 2)], 1)
    if planes.shape[-2:] != PLATE:
        planes = functional.interpolate(planes, PLATE, mode="bilinear", antialias=True)
    rays = _unit(planes[:, 4:])
    photo = planes[:, :3].clamp(0, 1)
    # ---- on the sphere ----
    light = torch.cat([srgb_to_linear(photo), planes[:, 3:4]], 1)
    colour, visible = _project(functional.avg_pool2d(light, 4), _unit(functional.avg_pool2d(rays, 4)))
    # Azimuth a becomes 180 degrees - a: what is in front is also thought to be behind.
    mirror = [torch.roll(x.flip(-1), SPHERE[1] // 2, -1) for x in (colour, visible)]
    weight = visible + 0.25 * mirror[1] * (1 - visible)
    filled = fill((colour * visible + mirror[0] * mirror[1] * (1 - visible))[:, :3], weight)
    compass = _compass(plate_disp.device).expand(len(plate_disp), -1, -1, -1)
    shown = (colour[:, :3].clamp_min(0) ** (1 / 2.2) - 0.5) * visible
    sphere = torch.cat([shown, colour[:, 3:] * visible, visible, (filled + FLOOR).log() / 2, compass,
                        _near(compass_rays(plate_disp.device), place)], 1)
    # ---- on the plate ----
    coarse = functional.avg_pool2d(torch.cat([planes[:, 3:4], rays, _near(rays, place)], 1), 16)
    ground = torch.stack([from_above(photo, rays, place, reach) for reach in REACHES], 1)
    return Features(sphere, photo, coarse, ground, functional.avg_pool2d(filled, 2))


def usual_place(directions: Directions) -> Tensor:
    """(B, H, W, 3) -> (B, 3): middle of the width, three quarters of the height."""
    return directions[:, (3 * directions.shape[1]) // 4, directions.shape[2] // 2]


def _unit(rays: Tensor) -> Tensor:
    """(B, 3, ...) made of length 1."""
    return rays * rays.square().sum(1, keepdim=True).clamp_min(1e-12).rsqrt()


def _near(rays: Tensor, place: Tensor) -> Tensor:
    """(B or 1, 3, H, W), (B, 3) -> (B, 1, H, W) in [0, 1]."""
    cosine = (rays * place[:, :, None, None]).sum(1, keepdim=True)
    return (PLACE_SHARPNESS * (cosine - 1)).exp()


@functools.lru_cache(maxsize=8)
def compass_rays(where: torch.device) -> Tensor:
    """(1, 3, 32, 64) directions of the sphere's texels."""
    return latlong.directions(*SPHERE, device=where).permute(2, 0, 1)[None].contiguous()


@functools.lru_cache(maxsize=8)
def _compass(where: torch.device) -> Tensor:
    """(4, 32, 64) what the network is told about the texels themselves: height, its complement, azimuth."""
    x, y, z = latlong.directions(*SPHERE, device=where).unbind(-1)
    across = y.square().neg().add(1).clamp_min(1e-6).sqrt()
    return torch.stack([y, across, x / across, z / across])


def _project(values: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Means (B, C, 32, 64) over the pixels that fall into each texel, and 1 where there are any (B, 1, 32, 64)."""
    batch, channels = values.shape[:2]
    height, width = SPHERE
    u, v = latlong.uv(rays.permute(0, 2, 3, 1))
    column, row = (u * width).long().clamp(0, width - 1), (v * height).long().clamp(0, height - 1)
    index = (torch.arange(batch, device=values.device)[:, None, None] * height + row) * width + column
    flat = torch.cat([values, torch.ones_like(values[:, :1])], 1).permute(0, 2, 3, 1).reshape(-1, channels + 1)
    total = flat.new_zeros(batch * height * width, channels + 1).index_add_(0, index.flatten(), flat)
    total = total.reshape(batch, height, width, channels + 1).permute(0, 3, 1, 2)
    return total[:, :-1] / total[:, -1:].clamp_min(1), (total[:, -1:] > 0).to(values.dtype)


def fill(colour: Tensor, weight: Tensor) -> Tensor:
    """Colours (B, C, H, W) with weights (B, 1, H, W) in [0, 1] -> colours everywhere: push-pull, wrapping around."""
    if min(colour.shape[-2:]) == 1:
        total = weight.mean((2, 3), keepdim=True).clamp_min(1e-6)
        return ((colour * weight).mean((2, 3), keepdim=True) / total).expand_as(colour)
    coarse_weight = functional.avg_pool2d(weight, 2)
    coarse = functional.avg_pool2d(colour * weight, 2) / coarse_weight.clamp_min(1e-6)
    below = functional.interpolate(fill(coarse, (4 * coarse_weight).clamp(0, 1)), scale_factor=2.0)
    below = torch.cat([below[..., -1:], below, below[..., :1]], -1)
    below = functional.avg_pool2d(functional.pad(below, (0, 0, 1, 1), mode="replicate"), 3, 1)
    return colour * weight + below * (1 - weight)


def from_above(photo: Image, rays: Tensor, place: Tensor, reach: float) -> Tensor:
    """The ground from above: (B, 4, 128, 128), display - 0.5 and 1 where the plate shows it, 0 elsewhere.

    photo : (B, 3, H, W);  rays : (B, 3, H, W) unit, of a pinhole camera;  place : (B, 3);  reach : half the side in
    heights of the camera above the ground. Rows go from far to near, columns as in the picture (+X is its left).
    """
    # ---- the pinhole camera of the rays, from three corners: ray ~ A (x, y, 1) ----
    height, width = rays.shape[2:]
    ahead = _unit(rays[:, :, 0, 0] + rays[:, :, 0, -1] + rays[:, :, -1, 0] + rays[:, :, -1, -1])
    corners = [rays[:, :, r, c] for r, c in ((0, 0), (0, -1), (-1, 0))]
    first, right, below = (p / (p * ahead).sum(1, keepdim=True) for p in corners)
    camera = torch.stack([(right - first) / (width - 1), (below - first) / (height - 1), first], 2)
    # ---- where the ground's points fall on the plate ----
    spot = place / (-place[:, 1:2]).clamp_min(0.08)
    step = (torch.arange(GROUND, device=photo.device) + 0.5) / GROUND * 2 - 1
    far, left = torch.meshgrid(-step * reach, -step * reach, indexing="ij")
    points = torch.stack([spot[:, 0, None, None] + left, torch.full_like(left, -1.0).expand(len(spot), -1, -1),
                          spot[:, 2, None, None] + far], 1)
    x, y, depth = (_inverse(camera) @ points.flatten(2)).reshape(points.shape).unbind(1)
    scale = 1 / depth.clamp_min(1e-6)
    grid = torch.stack([(x * scale + 0.5) / width * 2 - 1, (y * scale + 0.5) / height * 2 - 1], -1)
    seen = ((depth > 1e-6) & (grid.abs().amax(-1) < 1))[:, None].to(photo.dtype)
    found = functional.grid_sample(photo, grid.clamp(-2, 2), align_corners=False)
    return torch.cat([(found - 0.5) * seen, seen], 1)


def _inverse(m: Tensor) -> Tensor:
    """Of (B, 3, 3), by cross products: no decomposition, so that it can be part of a captured step."""
    a, b, c = m.unbind(2)
    rows = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 1)
    return rows / (a * rows[:, 0]).sum(1)[:, None, None]


def facing(directions: Directions) -> tuple[float, Directions]:
    """The azimuth of the plate's middle in degrees (0 = +Z, towards +X), and the directions (H, W, 3) turned by it so
    that the middle faces +Z. A plate that looks straight up or down is left as it is."""
    # One read from a GPU; the three numbers are then worked out on the CPU.
    x, _, z = directions.reshape(-1, 3).mean(0).double().cpu()
    if float(torch.hypot(x, z)) < 1e-3:
        return 0.0, directions
    yaw = torch.atan2(x, z)
    return float(torch.rad2deg(yaw)), directions @ turn_to_front(float(torch.rad2deg(yaw)), directions)


def turn_to_front(yaw_deg: float, like: Tensor) -> Tensor:
    """(3, 3) matrix to multiply row vectors with: azimuth ``yaw_deg`` (0 = +Z, towards +X) goes to +Z."""
    c, s = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    return like.new_tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


DETAILED = 512
"""Pixels of the longer side from which on a plate shows more than one look at all of it can see."""
_WINDOWS = (*((x, y, 0.5) for x in (0.0, 0.25, 0.5) for y in (0.25, 0.5)), *((x, 0.3, 0.7) for x in (0.0, 0.15, 0.3)))
"""(left, top, side) as shares of the plate: where the ground is, and shadows lie on it."""


def windows(plate_disp: Image, directions: Directions) -> list[tuple[Image, Directions]]:
    """Parts of a plate (1, 3, H, W) with their directions (h, w, 3), brought to the network's resolution."""
    height, width = plate_disp.shape[2:]
    planes = torch.cat([plate_disp, directions.permute(2, 0, 1)[None]], 1)
    out = []
    for left, top, side in _WINDOWS:
        x, y, w, h = (round(v) for v in (left * width, top * height, side * width, side * height))
        factor = max(PLATE) / max(w, h)
        size = max(8, round(h * factor)), max(8, round(w * factor))
        piece = functional.interpolate(planes[:, :, y:y + h, x:x + w], size, mode="bilinear", antialias=True)
        out.append((piece[:, :3], _unit(piece[:, 3:])[0].permute(1, 2, 0)))
    return out
