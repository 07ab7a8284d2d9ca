"""Training of the embedded relighting prior on pairs mixed while it trains; resumable, chosen on held-out scenes."""
from __future__ import annotations

from dataclasses import dataclass, replace
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
from dipir.workshop.data import TRAIN, training_meshes
from dipir.workshop.denoising import draw_noise, errors_at, noised, validation_noise, weighted_error
from dipir.workshop.relight import data as relit
from dipir.workshop.relight import pairs as relit_pairs
from dipir.workshop.relight.data import RelitSet, RelitSettings
from dipir.workshop.relight.pairs import PairConfig, Pairs
from dipir.workshop.runner import Outcome, Recipe, initial, outcome

VAL_SCENES, VAL_SEED = 48, 1000
SIZE = 64
"""Pixels of a side of the training set."""


@dataclass(frozen=True)
class RelightPriorConfig:
    """How the relighting prior is trained."""

    batch: int = 24  # pairs a step
    sigma_mean: float = 0.0  # sigma_mean, sigma_std: log-normal noise levels of the training
    sigma_std: float = 1.7
    scenes: int = 1200  # of the training set
    val_pairs: int = 144  # of the validation set, scenes with other seeds and ``val`` meshes
    seed: int = 0
    pairs: PairConfig = PairConfig(targets=4)
    net: ConditionalUNetConfig = RELIGHT.net
    train: training.TrainConfig = training.TrainConfig(steps=8000, rate=6e-4, ema=0.9985, validate_every=400)


def training_scenes(scenes: int, workers: int = 1, on_event: Notify = None) -> RelitSet:
    """The training set with meshes of ``TRAIN``, at the size that networks work at; what the cache lacks is made."""
    settings = RelitSettings(size=SIZE, spp=16, sky_spp=32)
    folder = relit.default_dir().with_name(f"train_v{relit.VERSION}_{SIZE}")
    made = relit.load(relit.generate(scenes, folder, 0, workers, on_event, settings=settings,
                                     meshes=training_meshes(*TRAIN)))
    return made.part(slice(0, scenes))


def validation_scenes(workers: int = 1, on_event: Notify = None) -> RelitSet:
    """Scenes with other seeds and ``val`` meshes alone (earlier weights were judged on them), less noisy than the
    training set."""
    settings = RelitSettings(spp=64, sky_spp=128, meshes=0.5)
    folder = relit.default_dir().with_name(f"val_v{relit.VERSION}")
    return relit.load(relit.generate(VAL_SCENES, folder, VAL_SEED, workers, on_event, settings=settings,
                                     meshes=training_meshes("val"))).at(SIZE)


def validation_pairs(data: RelitSet, config: PairConfig, count: int) -> Pairs:
    """The fixed pairs that choose the weights."""
    return relit_pairs.draw(np.random.default_rng(VAL_SEED), data, count, replace(config, targets=1, augment=False))


def train_relight_prior(config: RelightPriorConfig, data: RelitSet, held_out: Pairs, geometry: Geometry, *,
                        name: str = "relight", start: ConditionalUNet | None = None,
                        on_event: Notify = None) -> training.Trained:
    """Train on pairs of ``data``; keep the weights that are best on ``held_out``. A new run begins with the weights of
    ``start`` if given."""
    model = initial(lambda: ConditionalUNet(config.net), config.seed, start)
    where = device.current().torch
    geometry.nets.to(where)
    model, data, held_out = model.to(where), training.keep_on(data, where), device.moved(held_out, where)
    told = seen(held_out, geometry)

    def batch_loss(net, step):
        rng = np.random.default_rng(split_seed(config.seed, "batch", step))
        batch = device.sent(relit_pairs.draw(rng, data, config.batch, config.pairs), where)
        planes = seen(batch, geometry, config.pairs.targets)
        sigma, noise = device.sent(draw_noise(rng, batch.target.shape, config, PicturePrior), where)
        return denoising_error(net, batch, planes, sigma, noise).mean(), {}

    return training.train(model, batch_loss, config.train, validate=lambda net: validation(net, held_out, told),
                          on_event=on_event, name=name)


def seen(batch: Pairs, geometry: Geometry, each: int = 1) -> Tensor:
    """(B, 11, S, S) what ``geometry`` tells of pairs, ``each`` for one picture."""
    rows = torch.arange(len(batch)).split(48 * each)
    return torch.cat([geometry.planes(batch.image[r[::each]], batch.light[r]) for r in rows])


def denoising_error(net: ConditionalUNet, batch: Pairs, planes: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """(B,) `weighted_error`."""
    x0 = batch.target * 2 - 1
    return weighted_error(net(noised(x0, sigma, noise), sigma, planes, batch.light), x0, sigma, net.config.sigma_data)



@torch.no_grad()
def validation(net: ConditionalUNet, held_out: Pairs, planes: Tensor) -> dict[str, float]:
    """Weighted error at four noise levels; RMSE of the estimate from noise alone, of the first guess, of the input."""
    noise = validation_noise(held_out.target)
    rows = torch.arange(len(held_out)).split(48)
    out = errors_at((0.1, 0.5, 2.0, 10.0), lambda level: torch.cat([
        denoising_error(net, held_out[r], planes[r], noise.new_full((len(r),), level), noise[r]) for r in rows]))
    blind = torch.cat([net(40 * noise[r], noise.new_full((len(r),), 40.0), planes[r], held_out.light[r]).float()
                       for r in rows])
    figures = {"rmse": float(rmse((blind + 1) / 2, held_out.target).mean()),
               "guess_rmse": float(rmse((planes[:, :3] + 1) / 2, held_out.target).mean()),
               "input_rmse": float(rmse(held_out.image, held_out.target).mean())}
    return {**out, **figures, "score": sum(out.values()) / len(out)}


def _train(config: RelightPriorConfig, start: ConditionalUNet | None, name: str, workers: int, on_event) -> Outcome:
    held_out = validation_pairs(validation_scenes(workers, on_event), config.pairs, config.val_pairs)
    geometry = Geometry.load()
    data = training_scenes(config.scenes, workers, on_event)
    return outcome(train_relight_prior(config, data, held_out, geometry, name=name, start=start, on_event=on_event),
                   config.train)


def _judge(weights: Path, workers: int) -> dict[str, float]:
    held_out = validation_pairs(validation_scenes(workers), RECIPE.config.pairs, RECIPE.config.val_pairs)
    return validation(PicturePrior.load(RELIGHT, weights).net, held_out, seen(held_out, Geometry.load()))


RECIPE = Recipe(
    "relight", "scenes", RelightPriorConfig(), RELIGHT.path, train=_train, judge=_judge,
    build=lambda config: ConditionalUNet(config.net), read=lambda path: PicturePrior.load(RELIGHT, path).net,
    write=lambda net, path, notes: PicturePrior(RELIGHT, net).save(path, notes),
    options={"scenes": ("--scenes", {"help": "of the training set, made where missing"})})
run, main = RECIPE.run, RECIPE.main

if __name__ == "__main__":
    main()
