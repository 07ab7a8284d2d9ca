"""Cases of the relighting benchmark: rendered scenes that no network was trained on, each in eight known lights."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.relight.reader import ELEVATION_DEG, OPEN_KINDS, SIDES
from dipir import disk
from dipir.arrays import split_seed
from dipir.scene.assets.load import load_asset
from dipir.scene.direction import LightDirection
from dipir.workshop import shards
from dipir.workshop.data import training_meshes
from dipir.workshop.relight import data as relit
from dipir.workshop.relight.data import RelitSet, RelitSettings
from dipir.workshop.relight.pairs import develop, expose

SEED, SIZE = 5000, 128
AMBIENT, LEVEL = 0.2, 0.9
SETTINGS = RelitSettings(size=SIZE, lights=4, spp=64, sky_spp=128, meshes=0.5)


@dataclass(frozen=True)
class Case:
    """One scene under one light."""

    name: str  # scene and side
    scene: int  # index
    side: int  # asked
    open: bool  # no wall behind the object
    image: Tensor  # image, target: (1, 3, H, W) display, before and after, the exposure is the same
    target: Tensor
    direction: LightDirection  # asked
    normal: Tensor  # normal, albedo: (1, 3, H, W) of the scene; engines do not see them
    albedo: Tensor


def ring() -> list[LightDirection]:
    """The eight lights that are asked for."""
    return [LightDirection((360 * k / SIDES + 180) % 360 - 180, ELEVATION_DEG) for k in range(SIDES)]


def scenes(count: int, settings: RelitSettings = SETTINGS, folder: Path | None = None) -> RelitSet:
    """``count`` scenes of the kinds that training has, with ``val`` meshes and procedural objects of seeds that
    training does not use. Each is rendered once and kept in the cache folder."""
    folder = folder or disk.cache_dir() / "relit" / f"bench_v{relit.VERSION}_{settings.size}"
    folder.mkdir(parents=True, exist_ok=True)
    made, meshes = [], None
    for number in range(count):
        path = folder / f"scene_{number:04d}.safetensors"
        if not path.is_file():
            meshes = meshes or [a for a in map(load_asset, training_meshes("val")) if relit.solid(a)]
            one = relit.record(split_seed(SEED, "scene", number), meshes, settings, ring())
            shards.save(path, vars(one), {"format": "dipir relight bench"})
        made.append(RelitSet(**load_file(path)))
    return relit.join(made)


def cases(data: RelitSet, sides: Sequence[int] = range(SIDES)) -> list[Case]:
    """Every scene under each asked side; the input is lit by one light of its own and by ambient light."""
    made = []
    for scene in range(len(data)):
        rng = np.random.default_rng(split_seed(SEED, "case", scene))
        lit = relit.decode(data.lit[scene]) + relit.decode(data.sky[scene]) * AMBIENT
        before, after = expose(lit[:1], lit[None, -SIDES:], torch.tensor([LEVEL]))
        image, *shown = develop(rng, torch.cat([before[:, None], after], 1), data.alpha[scene][None] / 255)[0]
        for side in sides:
            made.append(Case(f"{scene:02d}_{side}", scene, side, int(data.kind[scene]) in OPEN_KINDS, image[None],
                             shown[side][None], ring()[side], data.normal[scene][None] / 127,
                             data.albedo[scene][None] / 255))
    return made


def clipped(image: Tensor) -> Tensor:
    """(1, 1, H, W) 1 where no channel is at its end, so that a colour angle means something."""
    return ((image.amax(1, keepdim=True) < 0.999) & (image.amax(1, keepdim=True) > 0.02)).float()


def ramp(image: Tensor, direction: LightDirection, strength: float) -> Tensor:
    """The picture brighter towards the light, as a gradient laid over it: no knowledge of shape."""
    x, y, _ = direction.vector.tolist()
    rows, columns = (torch.linspace(-1, 1, n) for n in image.shape[2:])
    slope = x * columns[None] - y * rows[:, None]
    return (image * torch.exp(strength * slope)).clamp(0, 1)
