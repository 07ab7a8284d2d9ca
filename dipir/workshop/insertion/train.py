"""Training of the embedded insertion prior on composites made while it trains; resumable, chosen on ``val`` and
``val_more``."""
from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import EnvMap, split_seed
from dipir.errors import ConfigError
from dipir.event import Notify
from dipir.priors.insertion import DEFAULT_PATH, InsertionPrior, insertion_planes
from dipir.priors.nets.composite_unet import CompositeUNet, CompositeUNetConfig
from dipir.workshop import crops
from dipir.workshop import trainer as training
from dipir.workshop.data import TRAIN, VAL, real_panoramas, training_meshes
from dipir.workshop.denoising import draw_noise, errors_at, noised, validation_noise, weighted_error
from dipir.workshop.insertion import composites
from dipir.workshop.insertion.composites import CompositeConfig, Composites, Sources
from dipir.workshop.insertion.photo import PhotoConfig
from dipir.workshop.insertion.stage_pool import PoolConfig, StagePool
from dipir.workshop.insertion.stages import StageSettings
from dipir.workshop.insertion.surroundings import AbstractSurroundings, Panoramas, Views
from dipir.workshop.runner import Outcome, Recipe, initial, outcome
from dipir.workshop.stored import join
from dipir.workshop.worlds import panoramas, views


@dataclass(frozen=True)
class InsertPriorConfig:
    """How the insertion prior is trained."""

    batch: int = 24  # composites a step
    sigma_mean: float = 0.0  # sigma_mean, sigma_std: log-normal noise levels of the training
    sigma_std: float = 1.8
    background: float = 0.15  # weight of pixels without object against 1 on the object
    real: float = 0.5  # share of composites under photographed panoramas, where there are procedural surroundings too
    val_stages: int = 24
    """Of the validation set, half of them with meshes of ``VAL``, each under ``composites.lights``
    environments of it."""
    seed: int = 0
    pool: PoolConfig = PoolConfig()  # pool, stages, composites: of the training composites
    stages: StageSettings = StageSettings()
    composites: CompositeConfig = CompositeConfig()
    net: CompositeUNetConfig = CompositeUNetConfig()
    train: training.TrainConfig = training.TrainConfig(steps=6000, rate=6e-4, ema=0.9985, validate_every=400)


def training_sources(config: InsertPriorConfig) -> Sources:
    """Environments of :data:`TRAIN`, and what the cache has of procedural views and panoramas, in equal shares."""
    made: list[AbstractSurroundings] = []
    for source in (_views, lambda: _prepared(panoramas.load()[0])):
        with suppress(ConfigError):
            made.append(source())
    real = _prepared(real_panoramas(*TRAIN))
    return [(config.real if made else 1.0, real), *(((1 - config.real) / len(made), source) for source in made)]


def _prepared(maps: Iterable[EnvMap]) -> Panoramas:
    return Panoramas([crops.prepare(m) for m in maps])


def _views() -> Views:
    stored = views.load()
    return Views(stored["plate"], stored["camera"], stored["env"])


def training_pool(config: InsertPriorConfig, workers: int = 1, on_event: Notify = None) -> StagePool:
    """Stages with procedural objects and meshes of :data:`TRAIN`."""
    return StagePool("train", training_meshes(*TRAIN), config.stages, config.pool, config.seed + 1, workers,
                     on_event=on_event)


def validation_composites(config: InsertPriorConfig = InsertPriorConfig(), workers: int = 1,
                          on_event: Notify = None) -> Composites:
    """The fixed composites that choose the weights: environments and meshes of :data:`VAL`, procedural objects. Half
    of them are plain photos (sRGB, neither noise nor JPEG), as in the benchmarks."""
    pool = PoolConfig(first=4, size=4, steps=0, shard=config.val_stages // 4)
    sources = [(1.0, _prepared(real_panoramas(*VAL)))]
    plain = replace(config.composites, photo=PhotoConfig(response=0, noise=0, jpeg=0, saturation=0))
    parts = []
    with StagePool("val", training_meshes(*VAL), replace(config.stages, meshes=0.5), pool, config.seed + 2, workers,
                   on_event=on_event) as held_out:
        for k, stage in enumerate(held_out.at(0)):
            rng = np.random.default_rng(split_seed(config.seed, "val", k))
            how = plain if k % 2 else config.composites
            parts.append(composites.of_stage(rng, stage, sources, how.lights, how))
    return join(parts)


def train_insert_prior(config: InsertPriorConfig, pool: StagePool, sources: Sources, held_out: Composites, *,
                       name: str = "insert", start: CompositeUNet | None = None,
                       on_event: Notify = None) -> training.Trained:
    """Train on composites of ``pool`` under ``sources``; keep the weights that are best on ``held_out``. A new run
    begins with the weights of ``start`` if given. The log has the rate at which composites are made."""
    model = initial(lambda: CompositeUNet(config.net), config.seed, start)
    where = device.current().torch
    model, held_out = model.to(where, memory_format=torch.channels_last), device.moved(held_out, where)
    spent, made = 0.0, 0

    def batch_loss(net, step):
        nonlocal spent, made
        stages = pool.at(step)
        rng = np.random.default_rng(split_seed(config.seed, "batch", step))
        began = time.perf_counter()
        batch = composites.draw(rng, stages, sources, config.batch, config.composites)
        spent, made = spent + time.perf_counter() - began, made + len(batch)
        loss, scalars = denoising_loss(net, assemble(device.sent(batch, where)), rng, config)
        return loss, {**scalars, "composites_per_s": made / spent}

    return training.train(model, batch_loss, config.train, validate=lambda net: validation(net, held_out, config),
                          on_event=on_event, name=name)


def assemble(batch: Composites) -> tuple[Tensor, Tensor]:
    """(B, 3, 64, 64) targets in [-1, 1] and (B, 21, 64, 64) planes, laid out channels last."""
    planes = insertion_planes(batch.plate, batch.hint, batch.wide, batch.gbuffers)
    return tuple(x.contiguous(memory_format=torch.channels_last) for x in (batch.target * 2 - 1, planes))


def denoising_loss(net, batch: tuple[Tensor, Tensor], rng: np.random.Generator, config: InsertPriorConfig):
    """EDM's weighted denoising loss (Karras et al. 2022, eq. 8), heavier on the object."""
    x0, planes = batch
    sigma, noise = device.sent(draw_noise(rng, x0.shape, config, InsertionPrior), x0.device)
    error = _weighted_error(net, x0, planes, sigma, noise, config)
    return error.mean(), {}


def _weighted_error(net, x0, planes, sigma, noise, config: InsertPriorConfig) -> Tensor:
    """(B,) `weighted_error`, heavier on the object."""
    weight = config.background + (1 - config.background) * planes[:, 9:10]
    return weighted_error(net(noised(x0, sigma, noise), sigma, planes), x0, sigma, config.net.sigma_data, weight)



@torch.no_grad()
def validation(net, held_out: Composites, config: InsertPriorConfig) -> dict[str, float]:
    """Weighted error at four noise levels, and the object's error when everything is noise, against the hint's own."""
    x0, planes = assemble(held_out)
    noise = validation_noise(x0)
    parts = list(zip(*(t.split(config.batch) for t in (x0, planes, noise)), strict=True))
    out = errors_at((0.1, 0.5, 2.0, 10.0), lambda level: torch.cat([
        _weighted_error(net, x, p, x.new_full((len(x),), level), n, config) for x, p, n in parts]))
    alpha = planes[:, 9:10]

    def rmse(x: Tensor) -> float:
        return float((((x - x0) ** 2 * alpha).sum((1, 2, 3)) / (3 * alpha.sum((1, 2, 3)))).sqrt().mean()) / 2

    blind = torch.cat([net(40 * n, n.new_full((len(n),), 40.0), p).float() for _, p, n in parts])
    return {**out, "object_rmse": rmse(blind), "hint_rmse": rmse(planes[:, 3:6]), "score": sum(out.values()) / len(out)}


def _train(config: InsertPriorConfig, start: CompositeUNet | None, name: str, workers: int, on_event) -> Outcome:
    held_out = validation_composites(config, workers, on_event)
    with training_pool(config, workers, on_event) as pool:
        return outcome(train_insert_prior(config, pool, training_sources(config), held_out, name=name, start=start,
                                          on_event=on_event), config.train)


def _judge(weights: Path, workers: int) -> dict[str, float]:
    return validation(InsertionPrior.load(weights).net, validation_composites(RECIPE.config, workers), RECIPE.config)


def _adjust(config: InsertPriorConfig, start: Path | None) -> InsertPriorConfig:
    """A run begins with no more shards than its pool will have."""
    return replace(config, pool=replace(config.pool, first=min(config.pool.first, config.pool.size)))


RECIPE = Recipe(
    "insert", "stages", InsertPriorConfig(), DEFAULT_PATH, train=_train, judge=_judge, adjust=_adjust,
    build=lambda config: CompositeUNet(config.net), read=lambda path: InsertionPrior.load(path).net,
    write=lambda net, path, notes: InsertionPrior(net).save(path, notes),
    options={"pool.size": ("--pool", {"help": "shards of 16 stages to draw from"}),
             "pool.steps": ("--renew", {"help": "steps after which a new shard joins"})})
run, main = RECIPE.run, RECIPE.main

if __name__ == "__main__":
    main()
