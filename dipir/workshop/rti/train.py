"""Training of the general relighting network (engine ``net``) on what the relighting prior learns from; resumable."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import Image, split_seed
from dipir.event import Notify
from dipir.image.metrics import LossWeights, psnr, rmse
from dipir.priors.geometry import Geometry
from dipir.priors.nets.illuminet import IllumiNet, IllumiNetConfig
from dipir.relight.net import DEFAULT_PATH, NET, load_net, net_planes, save_net
from dipir.workshop import trainer as training
from dipir.workshop.relight.lessons import Lessons, held_out_photos, lessons, training_photos
from dipir.workshop.runner import Outcome, Recipe, initial, outcome
from dipir.workshop.surfaces import photos
from dipir.workshop.surfaces.backdrops import Backdrops
from dipir.workshop.surfaces.data import SurfaceSet
from dipir.workshop.surfaces.photos import Photos, ShotConfig


@dataclass(frozen=True)
class GeneralNetConfig:
    """How the general relighting network is trained."""

    batch: int = 8  # photos a step
    size: int = 128  # pixels of a side, those of ``RelightConfig.net_size``
    scenes: int = 10240  # of the training set
    val_photos: int = 160
    seed: int = 0
    loss: LossWeights = LossWeights()
    photo: ShotConfig = ShotConfig(targets=2)
    net: IllumiNetConfig = NET
    train: training.TrainConfig = training.TrainConfig(steps=8000, rate=1e-3, decay=0.01, ema=0.998, validate_every=300)


def train_general(config: GeneralNetConfig, data: SurfaceSet, behind: Backdrops, held_out: Photos, geometry: Geometry,
                  *, name: str = "illuminet", start: IllumiNet | None = None,
                  on_event: Notify = None) -> training.Trained:
    """Train on photos of ``data`` as ``geometry`` guesses them; keep the weights that are best on ``held_out``. A new
    run begins with the weights of ``start`` if given."""
    where = device.current().torch
    model = initial(lambda: IllumiNet(config.net), config.seed, start).to(where)
    geometry.nets.to(where)
    judged = lessons(device.moved(held_out, where), geometry, config.size)

    def batch_loss(net, step):
        rng = np.random.default_rng(split_seed(config.seed, "batch", step))
        taken = device.sent(photos.draw(rng, data, behind, config.batch, config.photo), where)
        batch = lessons(taken, geometry, config.size)
        return loss(net(net_planes(batch.told), batch.light), batch, config.loss), {}

    return training.train(model, batch_loss, config.train, validate=lambda net: validation(net, judged, config.loss),
                          on_event=on_event, name=name)


def loss(made: Image, batch: Lessons, weights: LossWeights) -> Tensor:
    """A scalar: of pictures whose difference from the target is taken to the part that a pixel counts."""
    return weights(torch.lerp(batch.target, made.float(), batch.weight), batch.target)


@torch.no_grad()
def validation(net: IllumiNet, held_out: Lessons, weights: LossWeights) -> dict[str, float]:
    """Loss, RMSE and PSNR on held-out photos, and the RMSE of the first guess and of the input itself."""
    planes = net_planes(held_out.told)
    rows = torch.arange(len(held_out)).split(16)
    made = torch.cat([net(planes[r], held_out.light[r]).float() for r in rows])
    shown = {"rmse": made, "guess_rmse": planes[:, :3], "input_rmse": held_out.image}
    figures = {key: float(rmse(image, held_out.target, held_out.weight).mean()) for key, image in shown.items()}
    return {"score": float(loss(made, held_out, weights)), **figures,
            "psnr": float(psnr(made, held_out.target, held_out.weight).mean())}


def _train(config: GeneralNetConfig, start: IllumiNet | None, name: str, workers: int, on_event) -> Outcome:
    held_out, geometry = held_out_photos(config.val_photos, workers, on_event), Geometry.load()
    data, behind = training_photos(config.scenes, workers, on_event)
    return outcome(train_general(config, data, behind, held_out, geometry, name=name, start=start, on_event=on_event),
                   config.train)


def _judge(weights: Path, workers: int) -> dict[str, float]:
    config = RECIPE.config
    held_out = lessons(held_out_photos(config.val_photos, workers), Geometry.load(), config.size)
    return validation(load_net(weights)[0], held_out, config.loss)


RECIPE = Recipe("illuminet", "scenes", GeneralNetConfig(), DEFAULT_PATH, train=_train, judge=_judge, write=save_net,
                build=lambda config: IllumiNet(config.net), read=lambda path: load_net(path)[0],
                options={"scenes": ("--scenes", {"help": "of the training set, made where missing"})})
run, main = RECIPE.run, RECIPE.main

if __name__ == "__main__":
    main()
