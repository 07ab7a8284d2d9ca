"""Training of the network that guesses surfaces; resumable, chosen on held-out meshes, environments and seeds."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dipir import device
from dipir.arrays import split_seed
from dipir.event import Notify
from dipir.priors.nets.surface_net import SurfaceNet, SurfaceNetConfig
from dipir.priors.relit.surfaces import DEFAULT_PATH, SurfacePrior, Surfaces, surfaces_of
from dipir.workshop import backbone
from dipir.workshop import trainer as training
from dipir.workshop.runner import Outcome, Recipe, initial, outcome
from dipir.workshop.surfaces import data as surface_data
from dipir.workshop.surfaces import photos
from dipir.workshop.surfaces.backdrops import Backdrops
from dipir.workshop.surfaces.data import SurfaceSet, SurfaceSettings
from dipir.workshop.surfaces.ingredients import DataFolder, Supplier
from dipir.workshop.surfaces.loss import figures, surface_loss
from dipir.workshop.surfaces.photos import Photos, ShotConfig

VAL_SCENES, VAL_SEED = 160, 1000


@dataclass(frozen=True)
class SurfaceTraining:
    """How the network is trained."""

    batch: int = 24
    scenes: int = 10240  # of the training set
    val_photos: int = 160
    seed: int = 0
    pretrained: bool = True  # begins with ImageNet's weights
    photo: ShotConfig = ShotConfig()
    net: SurfaceNetConfig = SurfaceNetConfig()
    train: training.TrainConfig = training.TrainConfig(steps=6000, rate=1e-3, warmup=100, decay=0.02, ema=0.998,
                                                       validate_every=250, slow=(("backbone", 0.25),))


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


def train_surfaces(config: SurfaceTraining, data: SurfaceSet, behind: Backdrops, held_out: Photos, *,
                   name: str = "surfaces", start: SurfaceNet | None = None,
                   on_event: Notify = None) -> training.Trained:
    """Train on photos of ``data``; keep the weights that are best on ``held_out``. A new run begins with the weights
    of ``start`` if given."""

    def fresh() -> SurfaceNet:
        net = SurfaceNet(config.net)
        if config.pretrained and start is None:
            net.backbone.load_state_dict(backbone.pretrained())
        return net

    where = device.current().torch
    model = initial(fresh, config.seed, start).to(where)
    held_out = device.moved(held_out, where)

    def batch_loss(net, step):
        rng = np.random.default_rng(split_seed(config.seed, "photos", step))
        batch = device.moved(photos.draw(rng, data, behind, config.batch, config.photo), where)
        return surface_loss(surfaces_of(*net(batch.image)), batch)

    return training.train(model, batch_loss, config.train, on_event=on_event, name=name,
                          validate=lambda net: validation(net, held_out))


@torch.no_grad()
def validation(net: SurfaceNet, held_out: Photos) -> dict[str, float]:
    """``score`` (the loss) and figures of fixed photos."""
    parts = zip(*(net(x) for x in held_out.image.split(32)), strict=True)
    made: Surfaces = surfaces_of(*map(torch.cat, parts))
    return {"score": float(surface_loss(made, held_out)[0]), **figures(made, held_out)}


def _train(config: SurfaceTraining, start: SurfaceNet | None, name: str, workers: int, on_event) -> Outcome:
    held_out = validation_photos(validation_scenes(workers, on_event), config.val_photos)
    data, behind = training_scenes(config.scenes, workers, on_event)
    return outcome(train_surfaces(config, data, behind, held_out, name=name, start=start, on_event=on_event),
                   config.train)


def _judge(weights: Path, workers: int) -> dict[str, float]:
    held_out = validation_photos(validation_scenes(workers), RECIPE.config.val_photos)
    return validation(SurfacePrior.load(weights).net, held_out)


RECIPE = Recipe(
    "surfaces", "scenes", SurfaceTraining(), DEFAULT_PATH, train=_train, judge=_judge,
    build=lambda config: SurfaceNet(config.net), read=lambda path: SurfacePrior.load(path).net,
    write=lambda net, path, notes: SurfacePrior(net).save(path, notes),
    options={"scenes": ("--scenes", {"help": "of the training set, made where missing"})})
run, main = RECIPE.run, RECIPE.main

if __name__ == "__main__":
    main()
