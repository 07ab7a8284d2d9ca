"""What stands behind scenes: crops of photographed panoramas, and of their skies."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from dipir.arrays import EnvMap, split_seed
from dipir.scene.camera import Camera
from dipir.workshop import crops, shards

EACH = 6
_NOTHING_ELSE = "puresky"
_OPEN = (_NOTHING_ELSE, "hilly_terrain_01", "farm_road", "fouriesburg", "goegap", "lilienstein", "plains_sunset",
         "spruit_sunrise", "rooitou_park", "pink_sunrise", "kloppenheim_05")
"""In the names of panoramas that show nothing but sky above 35 degrees."""


@dataclass(frozen=True)
class Backdrops:
    """Linear pictures, unit: 90 % of the pixels below 1."""

    places: Tensor  # (N, 3, S, S) float16, whatever the panorama shows
    skies: Tensor  # (M, 3, S, S) float16, nothing but sky

    def at(self, size: int) -> Backdrops:
        """At a smaller size that divides theirs, means over pixels."""
        by = self.places.shape[-1] // size
        return self if by == 1 else Backdrops(*(functional.avg_pool2d(x.float(), by).half()
                                                for x in (self.places, self.skies)))


def made(panoramas: Sequence[EnvMap], names: Sequence[str], size: int, seed: int = 0) -> Backdrops:
    """``EACH`` crops of each panorama, and three times as many of the skies of open ones."""
    places, skies = [], []
    for k, (panorama, name) in enumerate(zip(panoramas, names, strict=True)):
        rng = np.random.default_rng(split_seed(seed, "backdrop", k))
        for _ in range(EACH):
            turned = torch.roll(panorama, int(rng.integers(panorama.shape[1])), 1)
            if any(part in name for part in _OPEN):
                camera = Camera.looking(size, size, rng.uniform(35, 60), pitch_deg=rng.uniform(-75, -66))
                for one in (turned, turned.flip(1), turned):
                    skies.append(_exposed(crops.perspective_crop(one, camera)))
            if _NOTHING_ELSE not in name:
                camera = Camera.looking(size, size, rng.uniform(30, 75), pitch_deg=rng.normal() * 10)
                places.append(_exposed(crops.perspective_crop(turned, camera)))
    return Backdrops(torch.stack(places), torch.stack(skies))


def _exposed(crop: Tensor) -> Tensor:
    return (crop / crop.amax(0).flatten().quantile(0.9).clamp_min(1e-6)).clamp(0, 100).half()


def stored(panoramas: Sequence[EnvMap], names: Sequence[str], size: int, path: Path) -> Backdrops:
    """:func:`made` once, then from the file."""
    if not shards.stored(path, {}, "places"):
        path.parent.mkdir(parents=True, exist_ok=True)
        shards.save(path, vars(made(panoramas, names, size)), {})
    return Backdrops(**load_file(path))
