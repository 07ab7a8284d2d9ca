"""What surfaces' tests send rays into: a ball, floors and walls as Mitsuba loads them, and nothing at all."""
from __future__ import annotations

import numpy as np
import torch

from dipir.render.mitsuba_scene import build
from dipir.scene.assets.asset import Material
from dipir.scene.proxy import PlacedAsset
from dipir.workshop.surfaces.stages import Met, ThingsStage
from dipir.workshop.things.objects import rectangle, simple_asset
from tests.support.scenes import scene_of

RADIUS, MIDDLE = 0.5, (0.0, 0.5, 3.0)


class NothingStage:
    """Rays meet nothing."""

    reach = 1.0

    def met(self, origins: torch.Tensor, directions: torch.Tensor) -> Met:
        """Zeros."""
        zeros = torch.zeros(len(origins))
        return Met(zeros > 0, *(torch.zeros(len(origins), 3) for _ in range(3)), zeros, zeros, zeros.long())

    def blocked(self, origins: torch.Tensor, directions: torch.Tensor, far: torch.Tensor) -> torch.Tensor:
        """Never."""
        return torch.zeros(len(origins), dtype=torch.bool)


def dull(albedo: float | tuple[float, float, float]) -> Material:
    colour = albedo if isinstance(albedo, tuple) else (albedo,) * 3
    return Material(base_color=colour, roughness=1.0, specular=0.01)


def _panel(name: str, corners: list[list[float]], normal: list[float], albedo: float) -> PlacedAsset:
    return PlacedAsset(rectangle(name, np.array(corners, np.float32), normal, (1, 1), dull(albedo)), np.eye(4), name)


def floor(albedo: float = 0.5, half: float = 25.0) -> PlacedAsset:
    """At y = 0."""
    return _panel("floor", [[-half, 0, -half], [-half, 0, half], [half, 0, half], [half, 0, -half]], [0, 1, 0], albedo)


def wall(albedo: float = 1.0, half: float = 25.0, depth: float = 4.0) -> PlacedAsset:
    """At z = ``depth``, facing the camera, which looks along +Z."""
    return _panel("wall", [[half, 0, depth], [-half, 0, depth], [-half, half, depth], [half, half, depth]], [0, 0, -1],
                  albedo)


def ball(albedo: tuple[float, float, float] = (0.7, 0.5, 0.3)) -> PlacedAsset:
    """Of 1 m, on the floor, 3 m in front of the camera."""
    pose = np.eye(4)
    pose[2, 3] = MIDDLE[2]
    return PlacedAsset(simple_asset("sphere", dull(albedo)), pose, "ball")


def things(*objects: PlacedAsset) -> ThingsStage:
    """Loaded by the renderer."""
    return ThingsStage(build(scene_of(*objects)))
