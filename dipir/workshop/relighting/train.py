"""Training of the networks of a first guess, surfaces and correction together: what the picture shows is learnt for
its own sake and for the sake of the relit picture; resumable, chosen on held-out meshes, environments and seeds."""
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import Image, split_seed
from dipir.event import Notify
from dipir.image.metrics import rmse
from dipir.priors.relit.relighting import (
    DEFAULT_PATH,
    GuessConfig,
    GuessNet,
    RelightingNet,
    levelled,
    lit,
    load_guess,
    planned,
    save_guess,
)
from dipir.priors.relit.surfaces import Surfaces, surfaces_of
from dipir.workshop import trainer as training
from dipir.workshop.runner import Outcome, Recipe, initial, outcome
from dipir.workshop.surfaces import pack, photos
from dipir.workshop.surfaces.backdrops import Backdrops
from dipir.workshop.surfaces.data import SurfaceSet
from dipir.workshop.surfaces.ingredients import DataFolder, Supplier
from dipir.workshop.surfaces.loss import figures, surface_loss
from dipir.workshop.surfaces.photos import Photos, ShotConfig
from dipir.workshop.surfaces.sets import training_scenes, validation_photos, validation_scenes

CONTRASTS = tuple(1 + k / 20 for k in range(21))
GIVEN_AWAY = 0.1


@dataclass(frozen=True)
class RelightingTraining:
    """How the networks are trained."""

    batch: int = 16  # photos a step
    scenes: int = 10240  # of the training set
    val_photos: int = 160
    size: int = 128
    """Pixels of a side. Half of it is four times as fast: a good beginning, from which a run at full size starts."""
    seed: int = 0
    pretrained: bool = True  # the backbone begins with ImageNet's weights
    pack: Path | None = None  # a file of ``surfaces.pack`` that stands for the data folder
    weight: float = 4.0
    """Of the relit picture's error beside the surfaces' loss."""
    photo: ShotConfig = ShotConfig(targets=1)
    net: GuessConfig = GuessConfig()
    train: training.TrainConfig = training.TrainConfig(steps=6000, rate=1.2e-3, last=0.04, warmup=100, decay=0.02,
                                                       ema=0.998, validate_every=250,
                                                       slow=(("surfaces.backbone", 0.25),))


def train_relighting(config: RelightingTraining, data: SurfaceSet, behind: Backdrops, held_out: Photos, *,
                     name: str = "relighting", start: GuessNet | None = None,
                     on_event: Notify = None) -> training.Trained:
    """Train on photos of ``data``; keep the weights that are best on ``held_out``. A new run begins with the weights
    of ``start`` if given."""

    def fresh() -> GuessNet:
        net = GuessNet(config.net)
        if config.pretrained and start is None:
            net.surfaces.backbone.load_state_dict(supplier(config).backbone())
        return net

    where = device.current().torch
    model = initial(fresh, config.seed, start).to(where)
    held_out = device.moved(held_out, where)

    def batch_loss(net, step):
        rng = np.random.default_rng(split_seed(config.seed, "photos", step))
        batch = device.moved(photos.draw(rng, data, behind, config.batch, config.photo), where)
        return guess_loss(net, batch, config.weight)

    return training.train(model, batch_loss, config.train, on_event=on_event, name=name,
                          validate=lambda net: validation(net, held_out, config.weight))


def guess_loss(net: GuessNet, batch: Photos, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss, its terms): of the surfaces, and ``weight`` times the error of the relit pictures."""
    seen = surfaces_of(*net.surfaces(batch.image))
    loss, terms = surface_loss(seen, batch)
    error = relit_error(net.relighting, batch, seen)
    return loss + weight * error, {**terms, "relit": error.detach()}


def relit(net: RelightingNet | None, image: Image, seen: Surfaces, light: Tensor) -> Image:
    """The relit picture, not cut off at white; None = by physics alone."""
    plan = planned(seen, light)
    gain = plan.gain if net is None else plan.gain + net(image, seen, plan, light)
    return lit(image, levelled(image, gain, seen.solid))


def each_light(batch: Photos, seen: Surfaces) -> tuple[Image, Surfaces, Tensor, Image, Tensor]:
    """Photos repeated for each of their K lights: pictures, surfaces, lights, targets, weights (B K, 1, S, S), 0 where
    a target says nothing: before a photographed place, and all over a room with lamps."""
    rows = torch.arange(len(batch), device=batch.image.device).repeat_interleave(batch.target.shape[1])
    weight = (batch.known * batch.far[:, None, None, None])[rows]
    return batch.image[rows], seen[rows], batch.light.flatten(0, 1), batch.target.flatten(0, 1), weight


def relit_error(net: RelightingNet | None, batch: Photos, seen: Surfaces) -> Tensor:
    """Mean of the pictures' RMSE and half the mean difference, where the target says something."""
    image, seen, light, target, known = each_light(batch, seen)
    made = relit(net, image, seen, light)
    made = torch.where(made > 1, 1 + 0.1 * (made - 1), made)
    error, count = (made - target) * known, known.sum((1, 2, 3)).clamp_min(1) * 3
    root = (error.square().sum((1, 2, 3)) / count + 1e-6).sqrt() + 0.5 * error.abs().sum((1, 2, 3)) / count
    told = known.amax((1, 2, 3))
    return (root * told).sum() / told.sum().clamp_min(1)


@torch.no_grad()
def looked_at(net: GuessNet, image: Image) -> Surfaces:
    """What the surfaces' network sees in many pictures."""
    parts = zip(*(net.surfaces(x) for x in image.split(32)), strict=True)
    return surfaces_of(*map(torch.cat, parts))


@torch.no_grad()
def validation(net: GuessNet, held_out: Photos, weight: float) -> dict[str, float]:
    """``score`` (the loss); figures of the surfaces; RMSE of the result, of physics alone, of the input; and how much
    of the way to the luminosity bound the first two are."""
    seen = looked_at(net, held_out.image)
    rows = torch.arange(len(held_out), device=held_out.image.device)[held_out.far > 0].split(32)
    errors: dict[str, list[Tensor]] = {"rmse": [], "physics_rmse": [], "input_rmse": [], "bound_rmse": []}
    for r in rows:
        image, surfaces, light, target, known = each_light(held_out[r], seen[r])
        bound = image * target.mean(1, keepdim=True) / image.mean(1, keepdim=True).clamp_min(1e-6)
        for name, made in (("rmse", relit(net.relighting, image, surfaces, light)), ("input_rmse", image),
                           ("bound_rmse", bound), ("physics_rmse", relit(None, image, surfaces, light))):
            errors[name].append(rmse(made.clamp(0, 1) * known, target * known))
    means = {name: float(torch.cat(values).mean()) for name, values in errors.items()}
    apart = means["input_rmse"] - means["bound_rmse"]
    error = torch.stack([relit_error(net.relighting, held_out[r], seen[r]) * len(r) for r in rows]).sum()
    score = surface_loss(seen, held_out)[0] + weight * error / sum(map(len, rows))
    return {"score": float(score), **figures(seen, held_out), **means,
            "way": (means["input_rmse"] - means["rmse"]) / apart,
            "physics_way": (means["input_rmse"] - means["physics_rmse"]) / apart}


@torch.no_grad()
def calibrated(net: GuessNet, held_out: Photos) -> float:
    """A contrast from 1 to 2. Networks learn the mean of all that may be, which is flatter than what is: the largest
    contrast that gives away at most a tenth of how much nearer to the targets than the photos the results are."""
    photos_far = held_out[(held_out.far > 0).nonzero()[:, 0]]
    image, seen, light, target, known = each_light(photos_far, looked_at(net, photos_far.image))
    gains = []
    for r in torch.arange(len(image), device=image.device).split(32):
        plan = planned(seen[r], light[r])
        gains.append(plan.gain + net.relighting(image[r], seen[r], plan, light[r]))
    gain = torch.cat(gains)

    def gained(contrast: float) -> float:
        made = lit(image, levelled(image, gain * contrast, seen.solid)).clamp(0, 1)
        return float((rmse(image * known, target * known) - rmse(made * known, target * known)).mean())

    as_it_is = gained(1.0)
    return max((c for c in CONTRASTS if gained(c) >= (1 - GIVEN_AWAY) * as_it_is), default=1.0)


def supplier(config: RelightingTraining) -> Supplier:
    """Where the ingredients of scenes and the backbone's weights come from. ConfigError for a broken pack."""
    return DataFolder() if config.pack is None else pack.opened(config.pack)


def _adjusted(config: RelightingTraining, start: Path | None) -> RelightingTraining:
    """A pack is read before any work; elsewhere nobody knows how fast a machine is, so the minutes decide there."""
    if config.pack is None:
        return config
    supplier(config)
    return replace(config, train=replace(config.train, by_time=True, steps=10**9))


def _train(config: RelightingTraining, start: GuessNet | None, name: str, workers: int, on_event) -> Outcome:
    held_out = _held_out(config, workers, on_event)
    data, behind = training_scenes(config.scenes, workers, on_event, supplier(config))
    trained = train_relighting(config, data.at(config.size), behind.at(config.size), held_out, name=name, start=start,
                               on_event=on_event)
    net = GuessNet(config.net)
    net.load_state_dict(trained.best)
    contrast = torch.tensor(calibrated(net.eval().to(device.current().torch), device.moved(held_out)))
    weights, notes = outcome(trained, config.train)
    return {**weights, "contrast": contrast}, notes


def _held_out(config: RelightingTraining, workers: int, on_event: Notify = None) -> Photos:
    data, behind = validation_scenes(workers, on_event, supplier(config))
    return validation_photos((data.at(config.size), behind.at(config.size)), config.val_photos)


def _judge(weights: Path, workers: int) -> dict[str, float]:
    return validation(load_guess(weights)[0], _held_out(RECIPE.config, workers), RECIPE.config.weight)


RECIPE = Recipe(
    "relighting", "scenes", RelightingTraining(), DEFAULT_PATH, train=_train, judge=_judge, write=save_guess,
    build=lambda config: GuessNet(config.net), read=lambda path: load_guess(path)[0],
    options={"scenes": ("--scenes", {"help": "of the training set, made where missing"}),
             "size": ("--size", {"help": "pixels of a side, a part of the stored 128"}),
             "pack": ("--from-pack", {"type": Path, "metavar": "FILE",
                                      "help": "train from such a file; --minutes decide how long"})},
    collect=pack.write, adjust=_adjusted)
run, main = RECIPE.run, RECIPE.main

if __name__ == "__main__":
    main()
