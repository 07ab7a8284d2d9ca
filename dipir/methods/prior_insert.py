"""Training of the embedded insertion prior on composites made by ``synth/``; resumable, chosen on ``val``."""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir.arrays import split_seed
from dipir.diffusion.embedded import DEFAULT_PATH, EmbeddedPrior, insertion_planes
from dipir.errors import ConfigError
from dipir.fit.loop import Event
from dipir.methods import training
from dipir.methods.prior_light import DATA, real_panoramas
from dipir.nets.composite_unet import CompositeUNet, CompositeUNetConfig
from dipir.synth import composites, panoramas


@dataclass(frozen=True)
class InsertPriorConfig:
    """batch : composites a step;  sigma_mean, sigma_std : log-normal noise levels of the training;  background : weight
    of pixels without object against 1 on the object;  stages : of the training set, val_stages : of the validation
    set"""

    batch: int = 24
    sigma_mean: float = 0.0
    sigma_std: float = 1.8
    background: float = 0.15
    stages: int = 800
    val_stages: int = 24
    seed: int = 0
    net: CompositeUNetConfig = CompositeUNetConfig()
    train: training.TrainConfig = training.TrainConfig(steps=6000, rate=6e-4, bf16=True, ema=0.9985, validate_every=400)


def training_meshes(split: str, data: Path = DATA) -> list[Path]:
    """Mesh files of one part of ``splits.json``, by name. ConfigError without the data folder."""
    splits = data / "splits.json"
    if not splits.is_file():
        raise ConfigError(f"{splits}: not found; set DIPIR_DATA to the folder with the shared data.")
    names = json.loads(splits.read_text())["meshes"][split]
    return [f for n in names for pattern in ("*.gltf", "*.glb", "*.obj")
            for f in sorted((data / "meshes" / n).glob(pattern))]


def make_data(config: InsertPriorConfig, workers: int = 1, on_event: Callable[[Event], None] | None = None) -> None:
    """Generate the training and validation composites that are still missing."""
    procedural = list(panoramas.load()[0])
    root = composites.cache_folder()
    composites.generate(config.stages, root / "train", real_panoramas("train"), procedural, training_meshes("train"),
                        seed=config.seed + 1, workers=workers, on_event=on_event)
    settings = composites.CompositeSettings(relights=8, real=1.0, meshes=0.5, stages_per_shard=6)
    composites.generate(config.val_stages, root / "val", real_panoramas("val"), [], training_meshes("val"), settings,
                        seed=config.seed + 2, workers=workers, on_event=on_event)


def train_insert_prior(config: InsertPriorConfig, data: Mapping[str, Tensor], held_out: Mapping[str, Tensor], *,
                       name: str = "insert", on_event: Callable[[Event], None] | None = None) -> training.Trained:
    """Train on ``data``, keep the weights that are best on ``held_out`` (both as from ``composites.load``)."""
    torch.manual_seed(split_seed(config.seed, "weights"))
    model = CompositeUNet(config.net)

    def batch_loss(net, step):
        rng = np.random.default_rng(split_seed(config.seed, "batch", step))
        return denoising_loss(net, draw(data, rng, config.batch), rng, config)

    return training.train(model, batch_loss, config.train, validate=lambda net: validation(net, held_out, config),
                          on_event=on_event, name=name)


def draw(data: Mapping[str, Tensor], rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """(x0, planes) of random stages and lights; half of them mirrored left to right."""
    stage = torch.from_numpy(rng.integers(len(data["plate"]), size=count))
    light = torch.from_numpy(rng.integers(data["plate"].shape[1], size=count))
    x0, planes = assemble(data, stage, light)
    flip = torch.from_numpy(rng.random(count) < 0.5)
    mirrored = planes.flip(-1)
    mirrored[:, 11] *= -1  # The world x of the normal.
    return (torch.where(flip[:, None, None, None], x0.flip(-1), x0),
            torch.where(flip[:, None, None, None], mirrored, planes))


def assemble(data: Mapping[str, Tensor], stage: Tensor, light: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, 64, 64) target in [-1, 1] and (B, 21, 64, 64) planes of chosen samples."""
    plate, hint, wide, target = (data[k][stage, light].float() / 255 for k in ("plate", "hint", "wide", "target"))
    return target * 2 - 1, insertion_planes(plate, hint, wide, data["gbuffers"][stage].float())


def denoising_loss(net, batch: tuple[Tensor, Tensor], rng: np.random.Generator, config: InsertPriorConfig):
    """EDM's weighted denoising loss (Karras et al. 2022, eq. 8), heavier on the object."""
    x0, planes = batch
    sigma = torch.from_numpy(np.exp(config.sigma_mean + config.sigma_std * rng.normal(size=len(x0))).astype(np.float32))
    sigma = sigma.clamp(EmbeddedPrior.sigma_min, EmbeddedPrior.sigma_max)
    noise = torch.from_numpy(rng.standard_normal(x0.shape, dtype=np.float32))
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
def validation(net, held_out: Mapping[str, Tensor], config: InsertPriorConfig) -> dict[str, float]:
    """Weighted error at four noise levels, and the object's error when everything is noise, against the hint's own."""
    stages, lights = held_out["plate"].shape[:2]
    index = torch.arange(stages * lights)[:: max(1, stages * lights // 96)]
    x0, planes = assemble(held_out, index // lights, index % lights)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(5))
    error = lambda level: _weighted_error(net, x0, planes, torch.full((len(x0),), level), noise, config)
    out = {f"sigma_{level:g}": float(error(level).mean()) for level in (0.1, 0.5, 2.0, 10.0)}
    alpha = planes[:, 9:10]
    rmse = lambda x: float((((x - x0) ** 2 * alpha).sum((1, 2, 3)) / (3 * alpha.sum((1, 2, 3)))).sqrt().mean()) / 2
    blind = net(x0 * 0 + 40 * noise, torch.full((len(x0),), 40.0), planes).float()
    return {**out, "object_rmse": rmse(blind), "hint_rmse": rmse(planes[:, 3:6]), "score": sum(out.values()) / len(out)}


def run(minutes: float, config: InsertPriorConfig = InsertPriorConfig(), out: Path | None = None, name: str = "insert",
        on_event: Callable[[Event], None] | None = None) -> Path:
    """Data, training (resumed if begun) for at most ``minutes``, weights written to ``out``."""
    make_data(config, on_event=on_event)
    root = composites.cache_folder()
    config = replace(config, train=replace(config.train, minutes=minutes))
    trained = train_insert_prior(config, composites.load(root / "train"), composites.load(root / "val"), name=name,
                                 on_event=on_event)
    net = CompositeUNet(config.net)
    net.load_state_dict(trained.best)
    prior = EmbeddedPrior(net)
    path = out or DEFAULT_PATH
    prior.save(path, {"steps": str(trained.step), "score": f"{trained.best_score:.4f}",
                      "training": json.dumps(asdict(config.train))})
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """``dipir prior train insert``: data, training, weights; log lines on stdout."""
    parser = argparse.ArgumentParser(prog="dipir prior train insert", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="wall time of training (resumes next time)")
    parser.add_argument("--stages", type=int, default=InsertPriorConfig.stages, help="objects in the training set")
    parser.add_argument("--steps", type=int, default=InsertPriorConfig.train.steps)
    parser.add_argument("--batch", type=int, default=InsertPriorConfig.batch)
    parser.add_argument("--name", default="insert", help="checkpoint folder below $DIPIR_CACHE/training")
    parser.add_argument("--out", type=Path, default=None, help="weights file (default: the one that ships)")
    a = parser.parse_args(arguments)
    config = InsertPriorConfig(stages=a.stages, batch=a.batch, train=replace(InsertPriorConfig.train, steps=a.steps))
    report = lambda e: sys.stdout.write(
        f"{e.stage} {e.step}/{e.steps} " + " ".join(f"{k}={v:.4f}" for k, v in e.scalars.items()) + "\n")
    sys.stdout.write(f"{run(a.minutes, config, a.out, a.name, report)}\n")


if __name__ == "__main__":
    main()
