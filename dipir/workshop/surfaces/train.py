"""What the networks of relighting are trained and judged on: scenes of the training split, and fixed photos of held-out
meshes, environments and seeds."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from dipir.event import Notify
from dipir.workshop.data import TRAIN, VAL, panorama_files, real_panoramas, training_meshes
from dipir.workshop.surfaces import backdrops, photos
from dipir.workshop.surfaces import data as surface_data
from dipir.workshop.surfaces.backdrops import Backdrops
from dipir.workshop.surfaces.data import SurfaceSet, SurfaceSettings
from dipir.workshop.surfaces.photos import Photos, ShotConfig

VAL_SCENES, VAL_SEED = 160, 1000


def training_scenes(scenes: int, workers: int = 1, on_event: Notify = None) -> tuple[SurfaceSet, Backdrops]:
    """The training set with meshes and environments of ``TRAIN``; what the cache lacks is made."""
    return _made(surface_data.default_dir(), scenes, 0, TRAIN, SurfaceSettings(), workers=workers,
                 on_event=on_event)


def validation_scenes(workers: int = 1, on_event: Notify = None) -> tuple[SurfaceSet, Backdrops]:
    """The same of ``VAL``, with other seeds and less noise."""
    folder = surface_data.default_dir().with_name(f"val_v{surface_data.VERSION}")
    return _made(folder, VAL_SCENES, VAL_SEED, VAL, SurfaceSettings(spp=8, shard=20), workers=workers,
                 on_event=on_event)


def _made(folder: Path, count: int, seed: int, splits: tuple[str, ...], settings: SurfaceSettings, *, workers: int,
          on_event: Notify) -> tuple[SurfaceSet, Backdrops]:
    panoramas, names = real_panoramas(*splits), [file.name for file in panorama_files(*splits)]
    surface_data.generate(count, folder, seed, workers, on_event, settings=settings, meshes=training_meshes(*splits),
                          panoramas=panoramas)
    data = surface_data.load(folder, -(-count // settings.shard))
    behind = backdrops.stored(panoramas, names, settings.size, folder / "backdrops.safetensors")
    return data.part(slice(0, count)), behind


def validation_photos(made: tuple[SurfaceSet, Backdrops], count: int) -> Photos:
    """The fixed photos that choose the weights."""
    return photos.draw(np.random.default_rng(VAL_SEED), *made, count, ShotConfig(augment=False, targets=1))
