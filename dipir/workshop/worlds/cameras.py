"""Cameras in procedural scenes: where they fit, what they look at, and the rays through their pixels."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dipir.scene.camera import Camera

Rng = np.random.Generator


@dataclass(frozen=True)
class View:
    """One camera in a procedural scene."""

    camera: Camera  # plate's camera, azimuth at +Z
    eye: Tensor  # eye, place: (3,) camera and insertion point in the scene
    place: Tensor
    yaw_rad: float  # turn of the scene about +Y that brings the camera's azimuth to +Z


def _compass(count: int, height: float = 0.0) -> Tensor:
    angle = torch.arange(count) / count * 2 * math.pi
    ring = torch.stack([angle.cos(), torch.full_like(angle, height), angle.sin()], -1)
    return torch.nn.functional.normalize(ring, dim=-1)


def is_free(world: Any, point: Tensor, room: float = 0.5) -> bool:
    """Whether a camera fits at (3,): nothing nearer than ``room`` metres on any side, ground below."""
    around = torch.cat([_compass(12), _compass(6, 0.6), torch.tensor([[0.0, 1.0, 0.0]])])
    hits = world.first_hits(point.expand(len(around) + 1, 3), torch.cat([around, torch.tensor([[0.0, -1.0, 0.0]])]))
    return bool((hits.distance[:-1] > room).all()) and 0.3 < float(hits.distance[-1]) < 3.0


def random_view(rng: Rng, world: Any, anchor: tuple[float, float, float], spread: float, size: tuple[int, int],
                at_object: float) -> View:
    """A camera within ``spread`` metres of ``anchor``, where it fits, with plates of ``size`` (width, height); and the
    place that the light is wanted for: a point above the ground in the plate with probability ``at_object``, if there
    is one in reach, else the camera itself."""
    anchor_t = torch.tensor(anchor, dtype=torch.float32)
    for _ in range(12):
        shift, angle = spread * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi)
        eye = anchor_t + torch.tensor([shift * math.cos(angle), 0.0, shift * math.sin(angle)])
        eye[1] = rng.uniform(0.8, 1.9)
        if is_free(world, eye):
            break
    else:
        eye = anchor_t
    # ---- where it looks ----
    pitch = rng.uniform(0, 8) if rng.random() < 0.4 else rng.triangular(-4, 12, 32)
    width, height = size
    camera = Camera.looking(width, height, rng.triangular(42, 60, 78), pitch_deg=pitch, roll_deg=rng.normal())
    yaw = _outlook(rng, world, eye)
    # ---- what the light is wanted for ----
    place = eye
    if rng.random() < at_object:
        pixels = np.stack([rng.uniform(0.25, 0.75, 12) * width, rng.uniform(0.55, 0.95, 12) * height], -1)
        rays = into_scene(torch.from_numpy(camera.directions(pixels).astype(np.float32)), yaw)
        hits = world.first_hits(eye.expand(len(rays), 3), rays)
        good = (hits.distance > 0.6) & (hits.distance < 9) & (hits.normal[:, 1] > 0.8)
        if bool(good.any()):
            first = int(good.nonzero()[0])
            place = hits.point[first] + torch.tensor([0.0, float(rng.uniform(0.1, 0.5)), 0.0])
    return View(camera, eye, place, yaw)


def _outlook(rng: Rng, world: Any, eye: Tensor, tries: int = 3) -> float:
    """The yaw, of a few at random, at which things are furthest away: few photos are taken of a bare wall."""
    yaws = rng.uniform(0, 2 * math.pi, tries)
    fan = torch.tensor([[math.sin(a), -0.1, math.cos(a)] for a in np.linspace(-0.45, 0.45, 7)], dtype=torch.float32)
    rays = torch.stack([into_scene(fan, yaw) for yaw in yaws]).flatten(0, 1)
    distance = world.first_hits(eye.expand(len(rays), 3), rays).distance.clamp(0.1, 30).log()
    return float(yaws[int(distance.reshape(tries, -1).mean(1).argmax())])


def into_scene(directions: Tensor, yaw_rad: float) -> Tensor:
    """(..., 3) from the frame in which the camera looks to +Z into that of the scene."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    return directions @ torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def from_scene(direction: Any, yaw_rad: float) -> Tensor:
    """The inverse of :func:`into_scene`."""
    return into_scene(torch.as_tensor(np.asarray(direction), dtype=torch.float32), -yaw_rad)


def pixel_rays(rng: Rng, camera: Camera, spp: int) -> Tensor:
    """(H * W * spp, 3) directions through jittered points of the pixels."""
    rows = max(r for r in range(1, math.isqrt(spp) + 1) if spp % r == 0)
    k = np.arange(spp)
    jitter = rng.random((camera.height, camera.width, spp, 2), dtype=np.float32)
    x = np.arange(camera.width)[None, :, None] + (k % (spp // rows) + jitter[..., 0]) / (spp // rows)
    y = np.arange(camera.height)[:, None, None] + (k // (spp // rows) + jitter[..., 1]) / rows
    axes = camera.to_world[:3, :3].astype(np.float32)
    local = np.stack([(camera.cx - x) / camera.focal_px, (camera.cy - y) / camera.focal_px, np.ones_like(x)], -1)
    rays = torch.from_numpy((local.reshape(-1, 3) @ axes.T).astype(np.float32))
    return torch.nn.functional.normalize(rays, dim=-1)


def texel_rays(rng: Rng, height: int, spp: int) -> Tensor:
    """(height * 2 height * spp, 3) directions through jittered points of the texels of an environment map."""
    jitter = rng.random((2, height, 2 * height, spp), dtype=np.float32)
    v = (np.arange(height)[:, None, None] + (np.arange(spp) + jitter[0]) / spp) / height * np.pi
    u = (np.arange(2 * height)[None, :, None] + jitter[1]) / height * np.pi
    rays = np.stack([np.sin(u) * np.sin(v), np.cos(v), -np.cos(u) * np.sin(v)], -1)
    return torch.from_numpy(rays.astype(np.float32)).reshape(-1, 3)
