"""What the networks of relighting are trained and judged on: scenes of the training split, and fixed photos of held-out
meshes, environments and seeds."""
from __future__ import annotations

import numpy as np

from dipir.event import Notify
from dipir.workshop.surfaces import data as surface_data
from dipir.workshop.surfaces import photos
from dipir.workshop.surfaces.backdrops import Backdrops
from dipir.workshop.surfaces.data import SurfaceSet, SurfaceSettings
from dipir.workshop.surfaces.ingredients import DataFolder, Supplier
from dipir.workshop.surfaces.photos import Photos, ShotConfig

VAL_SCENES, VAL_SEED = 160, 1000


def training_scenes(scenes: int, workers: int = 1, on_event: Notify = None, source: Supplier = DataFolder()
                    ) -> tuple[SurfaceSet, Backdrops]:
    """The training set with meshes and environments to train on; what the cache lacks is made of what ``source``
    holds."""
    return _made(scenes, 0, SurfaceSettings(), source, held_out=False, workers=workers, on_event=on_event)


def validation_scenes(workers: int = 1, on_event: Notify = None, source: Supplier = DataFolder()
                      ) -> tuple[SurfaceSet, Backdrops]:
    """The same of those to choose on, with other seeds and less noise."""
    return _made(VAL_SCENES, VAL_SEED, SurfaceSettings(spp=8, shard=20), source, held_out=True, workers=workers,
                 on_event=on_event)


def _made(count: int, seed: int, settings: SurfaceSettings, source: Supplier, *, held_out: bool, workers: int,
          on_event: Notify) -> tuple[SurfaceSet, Backdrops]:
    folder = surface_data.part_dir(held_out)
    found = source.ingredients(held_out, folder)
    surface_data.generate(count, folder, seed, workers, on_event, settings=settings, ingredients=found)
    data = surface_data.load(folder, -(-count // settings.shard))
    return data.part(slice(0, count)), found.behind()


def validation_photos(made: tuple[SurfaceSet, Backdrops], count: int) -> Photos:
    """The fixed photos that choose the weights."""
    return photos.draw(np.random.default_rng(VAL_SEED), *made, count, ShotConfig(augment=False, targets=1))
