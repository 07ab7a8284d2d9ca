"""What rays meet in the scenes that surfaces are learned from: things before a backdrop, or a procedural world."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from dipir.render.backend import mitsuba
from dipir.render.bridge import flags, to_drjit
from dipir.render.gbuffer import hit_columns, materials_at
from dipir.render.mitsuba_scene import BuiltScene
from dipir.workshop.worlds.described import DescribedWorld


@dataclass(frozen=True)
class Met:
    """What N rays met first; zeros where they met nothing."""

    valid: Tensor  # (N,) bool
    point: Tensor  # (N, 3) metres
    normal: Tensor  # (N, 3) unit vectors towards the ray's origin
    albedo: Tensor  # (N, 3) linear; of metals the colour of the reflection
    roughness: Tensor  # (N,)
    metallic: Tensor  # (N,)
    owner: Tensor  # (N,) int64, 1 + index of the object, 0 = none

    def __getitem__(self, rows: Tensor) -> Met:
        return Met(*(value[rows] for value in vars(self).values()))


class RayStage(Protocol):
    """A scene that rays can be sent into; origins and directions are (N, 3), metres and unit vectors."""

    reach: float
    """Metres, its size: shadow rays start a ten-thousandth of it above a surface."""

    def met(self, origins: Tensor, directions: Tensor) -> Met:
        """What the rays meet first."""
        ...

    def blocked(self, origins: Tensor, directions: Tensor, far: Tensor) -> Tensor:
        """(N,) bool: they meet something nearer than ``far`` (N,)."""
        ...


def _ray(origins: Tensor, directions: Tensor):
    mi = mitsuba()
    return mi.Ray3f(mi.Point3f(to_drjit(origins.T)), mi.Vector3f(to_drjit(directions.T)))


def _blocked(scene, origins: Tensor, directions: Tensor, far: Tensor) -> Tensor:
    ray = _ray(origins, directions)
    ray.maxt = mitsuba().Float(to_drjit(far).array)
    return flags(scene.ray_test(ray)) > 0


class ThingsStage:
    """Assets as the renderer has loaded them."""

    def __init__(self, built: BuiltScene) -> None:
        self.built, self.reach = built, min(built.radius, 3.0)

    def met(self, origins: Tensor, directions: Tensor) -> Met:
        """See :class:`RayStage`."""
        ray = _ray(origins, directions)
        hit = hit_columns(self.built, ray, self.built.objects.ray_intersect(ray))
        values = materials_at(self.built, hit)
        return Met(hit["valid"] > 0, hit["point"], hit["normal"], values[:, :3], values[:, 3], values[:, 4],
                   hit["object"])

    def blocked(self, origins: Tensor, directions: Tensor, far: Tensor) -> Tensor:
        """See :class:`RayStage`."""
        return _blocked(self.built.objects, origins, directions, far)


class WorldStage:
    """A procedural landscape or room: dull surfaces, one object. What shines (a window, a lamp) is met as nothing."""

    def __init__(self, world: DescribedWorld) -> None:
        self.world, self.reach = world, 10.0

    def met(self, origins: Tensor, directions: Tensor) -> Met:
        """See :class:`RayStage`."""
        hits = self.world.first_hits(origins, directions)
        valid = ~hits.light
        keep = valid[:, None].float()
        normal = functional.normalize(hits.normal, dim=1)
        normal = torch.where((normal * directions).sum(1, keepdim=True) > 0, -normal, normal)
        return Met(valid, hits.point * keep, normal * keep, hits.albedo * keep, torch.ones_like(hits.distance),
                   torch.zeros_like(hits.distance), valid.long())

    def blocked(self, origins: Tensor, directions: Tensor, far: Tensor) -> Tensor:
        """See :class:`RayStage`."""
        return _blocked(self.world.world, origins, directions, far)
