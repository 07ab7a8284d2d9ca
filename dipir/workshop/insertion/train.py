"""Training of the embedded insertion prior on composites made while it trains; resumable, chosen on ``val``."""
from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import split_seed
from dipir.errors import ConfigError
from dipir.fit.loop import Event
from dipir.priors.insertion import DEFAULT_PATH, EmbeddedPrior, insertion_planes
from dipir.priors.nets.composite_unet import CompositeUNet, CompositeUNetConfig
from dipir.workshop import crops
from dipir.workshop import trainer as training
from dipir.workshop.insertion import composites
from dipir.workshop.insertion.composites import CompositeConfig, Composites, Sources
from dipir.workshop.insertion.photo import PhotoConfig
from dipir.workshop.insertion.stage_pool import PoolConfig, StagePool
from dipir.workshop.insertion.stages import StageSettings
from dipir.workshop.insertion.surroundings import AbstractSurroundings, Panoramas, Views
from dipir.workshop.light.train import DATA, real_panoramas
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
    """Of the validation set, half of them with ``val`` meshes, each under ``composites.lights`` ``val``
    environments."""
    seed: int = 0
    pool: PoolConfig = PoolConfig()  # pool, stages, composites: of the training composites
    stages: StageSettings = StageSettings()
    composites: CompositeConfig = CompositeConfig()
    net: CompositeUNetConfig = CompositeUNetConfig()
    train: training.TrainConfig = training.TrainConfig(steps=6000, rate=6e-4, ema=0.9985, validate_every=400)


def training_meshes(split: str, data: Path = DATA) -> list[Path]:
    """Mesh files of one part of ``splits.json``, by name. ConfigError without the data folder."""
    splits = data / "splits.json"
    if not splits.is_file():
        raise ConfigError(f"{splits}: not found; set DIPIR_DATA to the folder with the shared data.")
    names = json.loads(splits.read_text())["meshes"][split]
    return [f for n in names for pattern in ("*.gltf", "*.glb", "*.obj")
            for f in sorted((data / "meshes" / n).glob(pattern))]


def training_sources(config: InsertPriorConfig) -> Sources:
    """``train`` environments, and what the cache has of procedural views and panoramas, in equal shares."""
    prepared = lambda maps: Panoramas([crops.prepare(m) for m in maps])
    made: list[AbstractSurroundings] = []
    for source in (_views, lambda: prepared(panoramas.load()[0])):
        with suppress(ConfigError):
            made.append(source())
    real = prepared(real_panoramas("train"))
    return [(config.real if made else 1.0, real), *(((1 - config.real) / len(made), source) for source in made)]


def _views() -> Views:
    stored = views.load()
    return Views(stored["plate"], stored["camera"], stored["env"])


def training_pool(config: InsertPriorConfig, workers: int = 1,
                  on_event: Callable[[Event], None] | None = None) -> StagePool:
    """Stages with procedural objects and ``train`` meshes."""
    return StagePool("train", training_meshes("train"), config.stages, config.pool, config.seed + 1, workers, on_event)


def validation_composites(config: InsertPriorConfig = InsertPriorConfig(), workers: int = 1,
                          on_event: Callable[[Event], None] | None = None) -> Composites:
    """The fixed composites that choose the weights: ``val`` environments, procedural objects and ``val`` meshes. Half
    of them are plain photos (sRGB, neither noise nor JPEG), as in the benchmarks."""
    pool = PoolConfig(first=4, size=4, steps=0, shard=config.val_stages // 4)
    sources = [(1.0, Panoramas([crops.prepare(p) for p in real_panoramas("val")]))]
    plain = replace(config.composites, photo=PhotoConfig(response=0, noise=0, jpeg=0, saturation=0))
    parts = []
    with StagePool("val", training_meshes("val"), replace(config.stages, meshes=0.5), pool, config.seed + 2, workers,
                   on_event) as held_out:
        for k, stage in enumerate(held_out.at(0)):
            rng = np.random.default_rng(split_seed(config.seed, "val", k))
            how = plain if k % 2 else config.composites
            parts.append(composites.of_stage(rng, stage, sources, how.lights, how))
    return Composites.join(parts)


def train_insert_prior(config: InsertPriorConfig, pool: StagePool, sources: Sources, held_out: Composites, *,
                       name: str = "insert", start: CompositeUNet | None = None,
                       on_event: Callable[[Event], None] | None = None) -> training.Trained:
    """Train on composites of ``pool`` under ``sources``; keep the weights that are best on ``held_out``. A new run
    begins with the weights of ``start`` if given. The log has the rate at which composites are made."""
    torch.manual_seed(split_seed(config.seed, "weights"))
    model = CompositeUNet(config.net)
    if start is not None:
        model.load_state_dict(start.state_dict())
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
    sigma = torch.from_numpy(np.exp(config.sigma_mean + config.sigma_std * rng.normal(size=len(x0))).astype(np.float32))
    sigma = sigma.clamp(EmbeddedPrior.sigma_min, EmbeddedPrior.sigma_max)
    noise = torch.from_numpy(rng.standard_normal(x0.shape, dtype=np.float32))
    sigma, noise = device.sent((sigma, noise), x0.device)
    error = _weighted_error(net, x0, planes, sigma, noise, config)
    return error.mean(), {}


def _weighted_error(net, x0, planes, sigma, noise, config: InsertPriorConfig) -> Tensor:
    """(B,) mean weighted square error, scaled to unit variance of the network's target."""
    s = sigma[:, None, None, None]
    d = config.net.sigma_data
    weight = config.background + (1 - config.background) * planes[:, 9:10]
    square = (net(x0 + s * noise, sigma, planes).float() - x0) ** 2 * ((s**2 + d**2) / (s * d) ** 2)
    return (square * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3))


@torch.no_grad()
def validation(net, held_out: Composites, config: InsertPriorConfig) -> dict[str, float]:
    """Weighted error at four noise levels, and the object's error when everything is noise, against the hint's own."""
    x0, planes = assemble(held_out)
    noise = device.randn(x0.shape, torch.Generator().manual_seed(5), x0.device)
    parts = lambda *tensors: zip(*(t.split(config.batch) for t in tensors), strict=True)
    error = lambda level: torch.cat([_weighted_error(net, x, p, x.new_full((len(x),), level), n, config)
                                     for x, p, n in parts(x0, planes, noise)])
    out = {f"sigma_{level:g}": float(error(level).mean()) for level in (0.1, 0.5, 2.0, 10.0)}
    alpha = planes[:, 9:10]
    rmse = lambda x: float((((x - x0) ** 2 * alpha).sum((1, 2, 3)) / (3 * alpha.sum((1, 2, 3)))).sqrt().mean()) / 2
    blind = torch.cat([net(40 * n, n.new_full((len(n),), 40.0), p).float() for p, n in parts(planes, noise)])
    return {**out, "object_rmse": rmse(blind), "hint_rmse": rmse(planes[:, 3:6]), "score": sum(out.values()) / len(out)}


def run(minutes: float, config: InsertPriorConfig = InsertPriorConfig(), out: Path | None = None, name: str = "insert",
        on_event: Callable[[Event], None] | None = None, start: Path | None = None, workers: int = 1) -> Path:
    """Stages, training (resumed if begun) for at most ``minutes``, weights written to ``out``."""
    config = replace(config, train=replace(config.train, minutes=minutes))
    first = EmbeddedPrior.load(start).net if start else None
    if first is not None:
        config = replace(config, net=first.config)
    held_out = validation_composites(config, workers, on_event)
    with training_pool(config, workers, on_event) as pool:
        trained = train_insert_prior(config, pool, training_sources(config), held_out, name=name, start=first,
                                     on_event=on_event)
    net = CompositeUNet(config.net)
    net.load_state_dict(trained.best)
    prior = EmbeddedPrior(net)
    path = out or DEFAULT_PATH
    prior.save(path, {"steps": str(trained.step), "score": f"{trained.best_score:.4f}",
                      "training": json.dumps(asdict(config.train))})
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """``dipir prior train insert``: stages, training, weights; log lines on stdout. With --evaluate, only judges."""
    parser = argparse.ArgumentParser(prog="dipir prior train insert", description=main.__doc__)
    default = InsertPriorConfig()
    training.add_options(parser, default.train, default.batch, "insert", DEFAULT_PATH)
    parser.add_argument("--pool", type=int, default=default.pool.size, help="shards of 16 stages to draw from")
    parser.add_argument("--renew", type=int, default=default.pool.steps, help="steps after which a new shard joins")
    a = parser.parse_args(arguments)
    training.choose_device(a)
    if a.evaluate:
        figures = validation(EmbeddedPrior.load(a.evaluate).net, validation_composites(default, a.workers), default)
        sys.stdout.write("".join(f"{k:12s} {v:.4f}\n" for k, v in figures.items()))
        return
    pool = replace(default.pool, size=a.pool, first=min(default.pool.first, a.pool), steps=a.renew)
    config = replace(default, batch=a.batch, pool=pool, train=training.with_options(default.train, a))
    sys.stdout.write(f"{run(a.minutes, config, a.out, a.name, training.reporter(a.tensorboard), a.start, a.workers)}\n")


if __name__ == "__main__":
    main()
