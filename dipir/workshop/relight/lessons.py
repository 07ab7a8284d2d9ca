"""What relighting networks learn from: photos of the set ``surfaces`` in other lights, and first guesses of them."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dipir.arrays import Image
from dipir.event import Notify
from dipir.priors.geometry import Geometry
from dipir.relight.layers import shrink
from dipir.workshop.stored import part
from dipir.workshop.surfaces import sets as surfaces
from dipir.workshop.surfaces.backdrops import Backdrops
from dipir.workshop.surfaces.data import INDOOR, SurfaceSet
from dipir.workshop.surfaces.photos import Photos

_ROWS = 16
_LEAST = 1e-4


@dataclass(frozen=True)
class Lessons:
    """B pictures of S x S pixels, each in one other light; those of one photo follow each other."""

    image: Image  # image, target: (B, 3, S, S) display [0, 1], before and after
    target: Image
    light: Tensor  # (B, 4) the wanted light, ``LightDirection.numbers``
    weight: Tensor
    """(B, 1, S, S) above 0, at most 1: what a pixel counts. Next to nothing before a photographed place, which the
    target shows in the light that it had."""
    told: Tensor  # (B, 11, S, S) ``Geometry.planes``

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, rows: slice | Tensor) -> Lessons:
        return part(self, rows)


@torch.no_grad()
def lessons(batch: Photos, geometry: Geometry, size: int) -> Lessons:
    """Each photo in each of its K lights, at ``size`` pixels a side, as ``geometry`` sees it at that size."""
    each = batch.target.shape[1]
    image, target, known = (x if x.shape[-1] == size else shrink(x, (size, size)).clamp(0, 1)
                            for x in (batch.image, batch.target.flatten(0, 1), batch.known))
    light = batch.light.flatten(0, 1)
    told = torch.cat([geometry.planes(image[k:k + _ROWS], light[k * each:(k + _ROWS) * each])
                      for k in range(0, len(image), _ROWS)])
    image, known = (x.repeat_interleave(each, 0) for x in (image, known))
    return Lessons(image, target, light, known.clamp_min(_LEAST), told)


def far_lights(data: SurfaceSet) -> SurfaceSet:
    """The scenes whose lights are far away: lamps in rooms fall off, which no direction tells."""
    return data.part((data.kind != INDOOR).nonzero()[:, 0])


def training_photos(scenes: int, workers: int = 1, on_event: Notify = None) -> tuple[SurfaceSet, Backdrops]:
    """Scenes of the training set whose lights are far away, and what stands behind them; what the cache lacks is
    made."""
    data, behind = surfaces.training_scenes(scenes, workers, on_event)
    return far_lights(data), behind


def held_out_photos(count: int, workers: int = 1, on_event: Notify = None) -> Photos:
    """The fixed photos that choose the weights: of held-out meshes, environments and seeds."""
    data, behind = surfaces.validation_scenes(workers, on_event)
    return surfaces.validation_photos((far_lights(data), behind), count)
