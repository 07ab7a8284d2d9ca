"""Training of the embedded relighting prior on photos of known surfaces; resumable, chosen on held-out scenes."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import split_seed
from dipir.event import Notify
from dipir.image.metrics import rmse
from dipir.priors.geometry import Geometry
from dipir.priors.nets.conditional_unet import ConditionalUNet, ConditionalUNetConfig
from dipir.priors.picture import RELIGHT, PicturePrior
from dipir.workshop import trainer as training
from dipir.workshop.denoising import draw_noise, errors_at, noised, validation_noise, weighted_error
from dipir.workshop.relight.lessons import Lessons, held_out_photos, lessons, training_photos
from dipir.workshop.runner import Outcome, Recipe, initial, outcome
from dipir.workshop.surfaces import photos
from dipir.workshop.surfaces.backdrops import Backdrops
from dipir.workshop.surfaces.data import SurfaceSet
from dipir.workshop.surfaces.photos import Photos, ShotConfig


@dataclass(frozen=True)
class RelightPriorConfig:
    """How the relighting prior is trained."""

    batch: int = 12  # photos a step
    size: int = 64  # pixels of a side, as engine ``layers`` shows them to the prior
    sigma_mean: float = 0.0  # sigma_mean, sigma_std: log-normal noise levels of the training
    sigma_std: float = 1.7
    scenes: int = 10240  # of the training set
    val_photos: int = 160
    seed: int = 0
    photo: ShotConfig = ShotConfig(targets=2)
    net: ConditionalUNetConfig = RELIGHT.net
    train: training.TrainConfig = training.TrainConfig(steps=8000, rate=6e-4, ema=0.9985, validate_every=400)


def train_relight_prior(config: RelightPriorConfig, data: SurfaceSet, behind: Backdrops, held_out: Photos,
                        geometry: Geometry, *, name: str = "relight", start: ConditionalUNet | None = None,
                        on_event: Notify = None) -> training.Trained:
    """Train on photos of ``data`` as ``geometry`` guesses them; keep the weights that are best on ``held_out``. A new
    run begins with the weights of ``start`` if given."""
    where = device.current().torch
    model = initial(lambda: ConditionalUNet(config.net), config.seed, start).to(where)
    geometry.nets.to(where)
    judged = lessons(device.moved(held_out, where), geometry, config.size)

    def batch_loss(net, step):
        rng = np.random.default_rng(split_seed(config.seed, "batch", step))
        taken = device.sent(photos.draw(rng, data, behind, config.batch, config.photo), where)
        batch = lessons(taken, geometry, config.size)
        sigma, noise = device.sent(draw_noise(rng, batch.target.shape, config, PicturePrior), where)
        return denoising_error(net, batch, sigma, noise).mean(), {}

    return training.train(model, batch_loss, config.train, validate=lambda net: validation(net, judged),
                          on_event=on_event, name=name)


def denoising_error(net: ConditionalUNet, batch: Lessons, sigma: Tensor, noise: Tensor) -> Tensor:
    """(B,) `weighted_error`."""
    x0 = batch.target * 2 - 1
    made = net(noised(x0, sigma, noise), sigma, batch.told, batch.light)
    return weighted_error(made, x0, sigma, net.config.sigma_data, batch.weight)


@torch.no_grad()
def validation(net: ConditionalUNet, held_out: Lessons) -> dict[str, float]:
    """Weighted error at four noise levels; RMSE of the estimate from noise alone, of the first guess, of the input."""
    noise = validation_noise(held_out.target)
    rows = torch.arange(len(held_out)).split(48)
    out = errors_at((0.1, 0.5, 2.0, 10.0), lambda level: torch.cat([
        denoising_error(net, held_out[r], noise.new_full((len(r),), level), noise[r]) for r in rows]))
    blind = torch.cat([net(40 * noise[r], noise.new_full((len(r),), 40.0), held_out.told[r], held_out.light[r]).float()
                       for r in rows])
    shown = {"rmse": (blind + 1) / 2, "guess_rmse": (held_out.told[:, :3] + 1) / 2, "input_rmse": held_out.image}
    figures = {key: float(rmse(image, held_out.target, held_out.weight).mean()) for key, image in shown.items()}
    return {**out, **figures, "score": sum(out.values()) / len(out)}


def _train(config: RelightPriorConfig, start: ConditionalUNet | None, name: str, workers: int, on_event) -> Outcome:
    held_out, geometry = held_out_photos(config.val_photos, workers, on_event), Geometry.load()
    data, behind = training_photos(config.scenes, workers, on_event)
    return outcome(train_relight_prior(config, data, behind, held_out, geometry, name=name, start=start,
                                       on_event=on_event), config.train)


def _judge(weights: Path, workers: int) -> dict[str, float]:
    config = RECIPE.config
    held_out = lessons(held_out_photos(config.val_photos, workers), Geometry.load(), config.size)
    return validation(PicturePrior.load(RELIGHT, weights).net, held_out)


RECIPE = Recipe(
    "relight", "scenes", RelightPriorConfig(), RELIGHT.path, train=_train, judge=_judge,
    build=lambda config: ConditionalUNet(config.net), read=lambda path: PicturePrior.load(RELIGHT, path).net,
    write=lambda net, path, notes: PicturePrior(RELIGHT, net).save(path, notes),
    options={"scenes": ("--scenes", {"help": "of the training set, made where missing"})})
run, main = RECIPE.run, RECIPE.main

if __name__ == "__main__":
    main()
