"""What a stage's camera sees and what lights the stage: panoramas, turned at random, or stored views."""
from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import EnvMap
from dipir.image import latlong
from dipir.image.color import srgb_to_linear
from dipir.priors.light_input import PLATE, SPHERE, fill
from dipir.scene.camera import Camera
from dipir.workshop import crops
from dipir.workshop.insertion.stages import SIZE, Stage

_FINE = 1.6
"""Texels a pixel from which on several rays a pixel are averaged."""


@dataclass(frozen=True)
class Shot:
    """Scene-linear, not exposed yet."""

    wide: Tensor  # (3, H, W) the plate
    close: Tensor  # (3, 64, 64) the stage's window of it
    env: EnvMap  # (16, 32, 3) radiance in the same unit, camera azimuth at +Z


class Sight:
    """The pixels that a stage looks through: its whole plate and its window. Window pixels outside the plate repeat the
    plate's edge, as ``Window.cut`` does."""

    def __init__(self, stage: Stage) -> None:
        self.camera, self.window = stage.camera, stage.window

    @cached_property
    def directions(self) -> Tensor:
        """(H, W, 3) float32 of the plate's pixel centres."""
        return self._directions(self.camera.width, self.camera.height, 0, 0, 1.0)

    def points(self, rays: int) -> Tensor:
        """(N, 3) directions of rays x rays points in every pixel, first of the plate, then of the window."""
        c, w = self.camera, self.window
        parts = [self._directions(c.width * rays, c.height * rays, 0, 0, 1 / rays),
                 self._directions(SIZE * rays, SIZE * rays, w.x0, w.y0, w.side / (SIZE * rays))]
        return torch.cat([p.reshape(-1, 3) for p in parts])

    def images(self, points: Tensor, rays: int) -> tuple[Tensor, Tensor]:
        """Values (3, N) at :meth:`points` -> plate (3, H, W) and window (3, 64, 64), averaged over the rays."""
        c = self.camera
        split = c.width * c.height * rays * rays
        wide = points[:, :split].reshape(3, c.height * rays, c.width * rays)
        close = points[:, split:].reshape(3, SIZE * rays, SIZE * rays)
        return (wide, close) if rays == 1 else tuple(functional.avg_pool2d(x[None], rays)[0] for x in (wide, close))

    def mirrored_light(self, wide_disp: Tensor) -> Tensor:
        """(K, 16, 32, 3) radiance: plates (K, 3, H, W) display on the sphere, mirrored behind the camera and filled. It
        is ``light_input.features(...).base``; what depends on the camera alone is worked out once for all plates."""
        small = functional.interpolate(wide_disp, PLATE, mode="bilinear", antialias=True)
        index, visible = self._texels
        flat = functional.avg_pool2d(srgb_to_linear(small.clamp(0, 1)), 4).flatten(2)
        shape = (len(small), 3, *SPHERE)
        total = flat.new_zeros(len(small), 3, SPHERE[0] * SPHERE[1]).index_add_(2, index, flat)
        colour = total.reshape(shape) / visible.clamp_min(1)
        seen = (visible > 0).float()
        mirror = [torch.roll(x.flip(-1), SPHERE[1] // 2, -1) for x in (colour, seen)]
        weight = (seen + 0.25 * mirror[1] * (1 - seen)).expand(len(small), 1, -1, -1)
        filled = fill(colour * seen + mirror[0] * mirror[1] * (1 - seen), weight)
        return functional.avg_pool2d(filled, 2).permute(0, 2, 3, 1)

    @cached_property
    def _texels(self) -> tuple[Tensor, Tensor]:
        """(3072,) sphere texel of each pixel of the reduced plate, and (1, 1, 32, 64) how many fall into each."""
        rays = functional.interpolate(self.directions.permute(2, 0, 1)[None], PLATE, mode="bilinear", antialias=True)
        rays = rays * rays.square().sum(1, keepdim=True).clamp_min(1e-12).rsqrt()
        rays = functional.avg_pool2d(rays, 4)[0].permute(1, 2, 0).reshape(-1, 3)
        u, v = _uv(rays / rays.square().sum(1, keepdim=True).sqrt())
        column, row = (u * SPHERE[1]).long().clamp(0, SPHERE[1] - 1), (v * SPHERE[0]).long().clamp(0, SPHERE[0] - 1)
        index = row * SPHERE[1] + column
        return index, torch.bincount(index, minlength=SPHERE[0] * SPHERE[1]).float().reshape(1, 1, *SPHERE)

    def pitch_rad(self, rays: int = 1) -> float:
        """Angle between neighbouring points of the plate, in its middle."""
        return 1 / (self.camera.focal_px * rays)

    def _directions(self, columns: int, rows: int, x0: float, y0: float, step: float) -> Tensor:
        c = self.camera
        x = ((torch.arange(columns) + 0.5) * step + x0).clamp(0.5, c.width - 0.5)
        y = ((torch.arange(rows) + 0.5) * step + y0).clamp(0.5, c.height - 0.5)
        axes = torch.from_numpy(c.to_world[:3, :3].astype(np.float32))
        d = (((c.cx - x) / c.focal_px)[None, :, None] * axes[:, 0]
             + (((c.cy - y) / c.focal_px)[:, None, None] * axes[:, 1] + axes[:, 2]))
        return d / d.square().sum(-1, keepdim=True).sqrt()


class AbstractSurroundings(ABC):
    """Endless random surroundings. Subclasses are final."""

    @abstractmethod
    def shots(self, rng: np.random.Generator, sight: Sight, count: int) -> list[Shot]:
        """``count`` of them for one stage, or fewer where they do not fit its camera."""


def _uv(unit: Tensor) -> tuple[Tensor, Tensor]:
    """``latlong.uv`` of unit vectors (N, 3), without the norm, which costs more than all the rest."""
    u = torch.atan2(unit[:, 0], -unit[:, 2]) / (2 * math.pi)
    return u - u.floor(), torch.acos(unit[:, 1].clamp(-1, 1)) / math.pi


@final
class Panoramas(AbstractSurroundings):
    """Infinitely distant surroundings, turned about the vertical, mirrored half of the time."""

    def __init__(self, panoramas: Sequence[crops.Panorama]) -> None:
        self.panoramas = list(panoramas)

    def shots(self, rng: np.random.Generator, sight: Sight, count: int) -> list[Shot]:
        places: dict[int, tuple[Tensor, Tensor]] = {}
        made = []
        for _ in range(count):
            panorama = self.panoramas[rng.integers(len(self.panoramas))]
            turn, mirrored = int(rng.integers(128)), bool(rng.random() < 0.5)
            columns = panorama.padded.shape[2]
            rays = 2 if sight.pitch_rad() > _FINE * 2 * math.pi / (columns - 2) else 1
            if rays not in places:
                places[rays] = _uv(sight.points(rays))
            u, v = places[rays]
            u = ((1 - u if mirrored else u) - turn / 128) % 1.0
            grid = torch.stack([(u * (columns - 2) + 1) / columns * 2 - 1, v * 2 - 1], -1)[None, None]
            seen = functional.grid_sample(panorama.padded[None], grid, padding_mode="border", align_corners=False)
            env = torch.roll(panorama.env, turn, 1)
            env = latlong.resize(env.flip(1) if mirrored else env, 16, 32)
            made.append(Shot(*sight.images(seen[0, :, 0], rays), env))
        return made


@final
class Views(AbstractSurroundings):
    """Stored plates with the light at their insertion point (``views.load``). A plate serves a stage when the stage's
    camera sees nothing beyond it; both look from the same place, so that the picture is turned exactly.

    plate : (N, 3, h, w) linear;  camera : (N, 3) horizontal field of view, pitch, roll in degrees
    env : (N, 16, 32, 3) radiance, camera azimuth at +Z
    """

    _TRIED = 256

    def __init__(self, plate: Tensor, camera: Tensor, env: Tensor) -> None:
        self.plate, self.env = plate, env
        height, width = plate.shape[-2:]
        cameras = [Camera.looking(width, height, *lens[:1], 0.0, *lens[1:]) for lens in camera.tolist()]
        self.focal = np.array([c.focal_px for c in cameras])
        self.axes = np.stack([c.to_world[:3, :3] for c in cameras])

    def shots(self, rng: np.random.Generator, sight: Sight, count: int) -> list[Shot]:
        rays = sight.points(1)
        tried = rng.integers(len(self.plate), size=self._TRIED)
        corners = sight.directions[[0, 0, -1, -1], [0, -1, 0, -1]].double().numpy()
        # Drawn with replacement: the first of each that fits, in the order drawn.
        fits = list(dict.fromkeys(tried[self._contain(tried, corners)].tolist()))
        made = []
        for k in fits[:count]:
            local = rays @ torch.from_numpy(self.axes[k].astype(np.float32))
            height, width = self.plate.shape[-2:]
            scale = 2 * self.focal[k] / torch.tensor([-width, -height])
            grid = (local[:, :2] / local[:, 2:] * scale).float()[None, None]
            seen = functional.grid_sample(self.plate[k][None].float(), grid, padding_mode="border",
                                          align_corners=False)
            made.append(Shot(*sight.images(seen[0, :, 0], 1), self.env[k].float()))
        return made

    def _contain(self, chosen: np.ndarray, corners: np.ndarray) -> np.ndarray:
        """(N,) bool: which of the ``chosen`` plates see all directions (4, 3)."""
        local = corners @ self.axes[chosen]
        height, width = self.plate.shape[-2:]
        offset = np.abs(local[..., :2] / local[..., 2:]) * self.focal[chosen, None, None]
        return (local[..., 2] > 0).all(1) & (offset <= [width / 2, height / 2]).all((1, 2))
