"""Training of the network that corrects relighting by physics, on what the surfaces' network sees; resumable."""
from __future__ import annotations

from dataclasses import dataclass
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
    Relighting,
    RelightingConfig,
    RelightingNet,
    levelled,
    lit,
    planned,
)
from dipir.priors.relit.surfaces import SurfacePrior, Surfaces
from dipir.workshop import trainer as training
from dipir.workshop.runner import Outcome, Recipe, initial, outcome
from dipir.workshop.surfaces import photos
from dipir.workshop.surfaces.backdrops import Backdrops
from dipir.workshop.surfaces.data import INDOOR, SurfaceSet
from dipir.workshop.surfaces.photos import Photos, ShotConfig
from dipir.workshop.surfaces.train import training_scenes, validation_photos, validation_scenes


@dataclass(frozen=True)
class RelightingTraining:
    """How the network is trained."""

    batch: int = 12  # photos a step
    scenes: int = 10240  # of the training set
    val_photos: int = 160
    seed: int = 0
    photo: ShotConfig = ShotConfig(targets=2)
    net: RelightingConfig = RelightingConfig()
    train: training.TrainConfig = training.TrainConfig(steps=4000, rate=1e-3, warmup=50, ema=0.998, validate_every=200)


def train_relighting(config: RelightingTraining, data: SurfaceSet, behind: Backdrops, held_out: Photos,
                     eyes: SurfacePrior, *, name: str = "relighting", start: RelightingNet | None = None,
                     on_event: Notify = None) -> training.Trained:
    """Train on photos of ``data`` as ``eyes`` see them; keep the weights that are best on ``held_out``. A new run
    begins with the weights of ``start`` if given."""
    where = device.current().torch
    model = initial(lambda: RelightingNet(config.net), config.seed, start).to(where)
    eyes.net.to(where)
    held_out = device.moved(held_out, where)
    known = looked_at(eyes, held_out.image)

    def batch_loss(net, step):
        rng = np.random.default_rng(split_seed(config.seed, "relit", step))
        batch = device.moved(photos.draw(rng, data, behind, config.batch, config.photo), where)
        return relit_error(net, batch, looked_at(eyes, batch.image)), {}

    return training.train(model, batch_loss, config.train, on_event=on_event, name=name,
                          validate=lambda net: validation(net, held_out, known))


def far_lights(data: SurfaceSet) -> SurfaceSet:
    """The scenes whose lights are far away: lamps in rooms fall off, which no direction tells."""
    return data.part((data.kind != INDOOR).nonzero()[:, 0])


@torch.no_grad()
def looked_at(eyes: SurfacePrior, image: Image) -> Surfaces:
    """What the surfaces' network sees in many pictures."""
    parts = [eyes.see(x) for x in image.split(32)]
    return Surfaces(*(torch.cat(column) for column in zip(*(vars(p).values() for p in parts), strict=True)))


def relit(net: RelightingNet | None, image: Image, seen: Surfaces, light: Tensor) -> Image:
    """The relit picture, not cut off at white; None = by physics alone."""
    plan = planned(seen, light)
    gain = plan.gain if net is None else plan.gain + net(image, seen, plan, light)
    return lit(image, levelled(image, gain, seen.solid))


def each_light(batch: Photos, seen: Surfaces) -> tuple[Image, Surfaces, Tensor, Image, Tensor]:
    """Photos repeated for each of their K lights: pictures, surfaces, lights, targets, weights (B K, 1, S, S)."""
    rows = torch.arange(len(batch), device=batch.image.device).repeat_interleave(batch.target.shape[1])
    return batch.image[rows], seen[rows], batch.light.flatten(0, 1), batch.target.flatten(0, 1), batch.known[rows]


def relit_error(net: RelightingNet | None, batch: Photos, seen: Surfaces) -> Tensor:
    """Mean of the pictures' RMSE and half the mean difference, where it is known what stands there."""
    image, seen, light, target, known = each_light(batch, seen)
    made = relit(net, image, seen, light)
    made = torch.where(made > 1, 1 + 0.1 * (made - 1), made)
    error, count = (made - target) * known, known.sum((1, 2, 3)).clamp_min(1) * 3
    root = (error.square().sum((1, 2, 3)) / count + 1e-6).sqrt()
    return root.mean() + 0.5 * (error.abs().sum((1, 2, 3)) / count).mean()


@torch.no_grad()
def validation(net: RelightingNet, held_out: Photos, seen: Surfaces) -> dict[str, float]:
    """``score``; RMSE of the result, of physics alone, of the input; and the first as a share of the way to the
    luminosity bound."""
    rows = torch.arange(len(held_out), device=held_out.image.device).split(32)
    score = torch.stack([relit_error(net, held_out[r], seen[r]) for r in rows]).mean()
    errors: dict[str, list[Tensor]] = {"rmse": [], "physics_rmse": [], "input_rmse": [], "bound_rmse": []}
    for r in rows:
        image, surfaces, light, target, known = each_light(held_out[r], seen[r])
        bound = image * target.mean(1, keepdim=True) / image.mean(1, keepdim=True).clamp_min(1e-6)
        for name, made in (("rmse", relit(net, image, surfaces, light)), ("input_rmse", image), ("bound_rmse", bound),
                           ("physics_rmse", relit(None, image, surfaces, light))):
            errors[name].append(rmse(made.clamp(0, 1) * known, target * known))
    figures = {name: float(torch.cat(values).mean()) for name, values in errors.items()}
    way = (figures["input_rmse"] - figures["rmse"]) / (figures["input_rmse"] - figures["bound_rmse"])
    return {"score": float(score), **figures, "way": way}


def _train(config: RelightingTraining, start: RelightingNet | None, name: str, workers: int, on_event) -> Outcome:
    held_out = _held_out(config.val_photos, workers, on_event)
    data, behind = training_scenes(config.scenes, workers, on_event)
    return outcome(train_relighting(config, far_lights(data), behind, held_out, SurfacePrior.load(), name=name,
                                    start=start, on_event=on_event), config.train)


def _held_out(count: int, workers: int, on_event: Notify = None) -> Photos:
    scenes, behind = validation_scenes(workers, on_event)
    return validation_photos((far_lights(scenes), behind), count)


def _judge(weights: Path, workers: int) -> dict[str, float]:
    held_out = _held_out(RECIPE.config.val_photos, workers)
    return validation(Relighting.load(weights).net, held_out, looked_at(SurfacePrior.load(), held_out.image))


RECIPE = Recipe(
    "relighting", "scenes", RelightingTraining(), DEFAULT_PATH, train=_train, judge=_judge,
    build=lambda config: RelightingNet(config.net), read=lambda path: Relighting.load(path).net,
    write=lambda net, path, notes: Relighting(net).save(path, notes),
    options={"scenes": ("--scenes", {"help": "of the training set, made where missing"})})
run, main = RECIPE.run, RECIPE.main

if __name__ == "__main__":
    main()
