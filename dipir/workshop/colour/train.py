"""Training and judging the colour prior on drawings made while it trains; resumable, chosen on held-out recordings."""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import Image, split_seed
from dipir.diffusion.denoiser import Condition
from dipir.diffusion.sampler import sample
from dipir.diffusion.schedule import karras
from dipir.errors import ConfigError
from dipir.fit.loop import Event
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.image.palette import NAMED
from dipir.priors.colour import COLOUR, SIZE, tinted_planes
from dipir.priors.nets.conditional_unet import ConditionalUNet, ConditionalUNetConfig
from dipir.priors.picture import PicturePrior
from dipir.workshop import trainer as training
from dipir.workshop.colour import data as sketches
from dipir.workshop.colour import styles as sketch_styles
from dipir.workshop.colour.data import SketchSettings
from dipir.workshop.colour.styles import Pairs
from dipir.workshop.insertion.train import training_meshes

SIZES = (SIZE, SIZE // 2, SIZE // 4)


@dataclass(frozen=True)
class ColourPriorConfig:
    """How the colour prior is trained."""

    batch: int = 16  # drawings a step
    size: int = SIZE  # of them: 64, or 32 or 16 for a cheap beginning of the training
    sigma_mean: float = 0.6  # sigma_mean, sigma_std: log-normal noise levels of the training
    sigma_std: float = 1.8
    background: float = 0.25  # weight of the paper against 1 on the objects
    untold: float = 0.12  # share of drawings whose palette is kept from the network
    recordings: int = 900  # recordings, held_out: in the two sets
    held_out: int = 50
    held_out_meshes: float = 0.5  # share of objects that are ``val`` meshes
    seed: int = 0
    net: ConditionalUNetConfig = COLOUR.net
    train: training.TrainConfig = training.TrainConfig(steps=6000, rate=8e-4, ema=0.998, validate_every=250)


# ---- data ------------------------------------------------------------------------------------------------------------

def training_recordings(config: ColourPriorConfig, workers: int = 1,
                        on_event: Callable[[Event], None] | None = None) -> dict[str, Tensor]:
    """Procedural objects and, with the data folder, ``train`` meshes; kept in the cache, made if missing."""
    folder = sketches.generate(config.recordings, None, config.seed, workers, on_event, _meshes("train"))
    return sketches.load(folder)


def held_out_pairs(config: ColourPriorConfig = ColourPriorConfig(), workers: int = 1,
                   on_event: Callable[[Event], None] | None = None) -> Pairs:
    """Two fixed drawings of each held-out recording (other seeds, ``val`` meshes) in colours that have names."""
    default = sketches.default_dir()
    folder = sketches.generate(config.held_out, default.with_name(f"{default.name}_val"), config.seed + 9, workers,
                               on_event, _meshes("val"), SketchSettings(meshes=config.held_out_meshes))
    rng = np.random.default_rng(split_seed(config.seed, "held out"))
    return sketch_styles.draw(rng, sketches.load(folder), np.repeat(np.arange(config.held_out), 2), exact=True)


def _meshes(split: str) -> list[Path]:
    with suppress(ConfigError):
        return training_meshes(split)
    return []


# ---- training --------------------------------------------------------------------------------------------------------

def train_colour_prior(config: ColourPriorConfig, recorded: Mapping[str, Tensor], held_out: Pairs, *,
                       name: str = "colour", start: ConditionalUNet | None = None,
                       on_event: Callable[[Event], None] | None = None) -> training.Trained:
    """Train on drawings of the recordings; keep the weights that are best on ``held_out``. A new run begins with the
    weights of ``start`` if given."""
    torch.manual_seed(split_seed(config.seed, "weights"))
    model = ConditionalUNet(config.net)
    if start is not None:
        model.load_state_dict(start.state_dict())
    where = device.current().torch
    model, recorded = model.to(where, memory_format=torch.channels_last), training.kept_there(dict(recorded), where)

    def batch_loss(net, step):
        rng = np.random.default_rng(split_seed(config.seed, "batch", step))
        with device.single_precision(recorded["cover"].device):
            pairs = sketch_styles.draw(rng, recorded, rng.integers(len(recorded["cover"]), size=config.batch))
            pairs = device.sent(pairs, where).shrunk(config.size)
        return denoising_loss(net, pairs, rng, config), {}

    judged = device.moved(held_out, where).shrunk(config.size)
    return training.train(model, batch_loss, config.train, validate=lambda net: validation(net, judged, config),
                          on_event=on_event, name=name)


def assemble(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """(B, 3, 64, 64) targets and planes in [-1, 1], laid out channels last."""
    return tuple(x.contiguous(memory_format=torch.channels_last)
                 for x in (pairs.picture * 2 - 1, pairs.drawing.expand(-1, 3, -1, -1) * 2 - 1))


def denoising_loss(net, pairs: Pairs, rng: np.random.Generator, config: ColourPriorConfig) -> Tensor:
    """EDM's weighted denoising loss (Karras et al. 2022, eq. 8), heavier on the objects; some palettes are not told
    (classifier-free guidance, Ho and Salimans 2022)."""
    x0, planes = assemble(pairs)
    sigma = torch.from_numpy(np.exp(config.sigma_mean + config.sigma_std * rng.normal(size=len(x0))).astype(np.float32))
    sigma = sigma.clamp(PicturePrior.sigma_min, PicturePrior.sigma_max)
    noise = torch.from_numpy(rng.standard_normal(x0.shape, dtype=np.float32))
    told = torch.from_numpy(rng.random(len(x0)) >= config.untold)[:, None]
    sigma, noise, told = device.sent((sigma, noise, told), x0.device)
    vector = pairs.vector * told
    return _weighted_error(net, x0, sigma, noise, planes, vector, _weight(pairs, config), config).mean()


def _weight(pairs: Pairs, config: ColourPriorConfig) -> Tensor:
    return config.background + (1 - config.background) * pairs.regions.sum(1, keepdim=True)


def _weighted_error(net, x0, sigma, noise, planes, vector, weight, config: ColourPriorConfig) -> Tensor:
    """(B,) mean weighted square error, scaled to unit variance of the network's target."""
    s, d = sigma[:, None, None, None], config.net.sigma_data
    estimate = net(x0 + s * noise, sigma, tinted_planes(planes, vector), vector).float()
    square = (estimate - x0) ** 2 * ((s**2 + d**2) / (s * d) ** 2)
    return (square * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3))


@torch.no_grad()
def validation(net, held_out: Pairs, config: ColourPriorConfig) -> dict[str, float]:
    """Weighted error at four noise levels, palettes told; their mean is the score."""
    x0, planes = assemble(held_out)
    noise = device.randn(x0.shape, torch.Generator().manual_seed(5), x0.device)
    tensors = x0, noise, planes, held_out.vector, _weight(held_out, config)
    errors = lambda level: torch.cat([_weighted_error(net, x, x.new_full((len(x),), level), *rest, config)
                                      for x, *rest in zip(*(t.split(config.batch) for t in tensors), strict=True)])
    out = {f"sigma_{level:g}": float(errors(level).mean()) for level in (0.2, 1.0, 5.0, 40.0)}
    return {**out, "score": sum(out.values()) / len(out)}


# ---- judging ---------------------------------------------------------------------------------------------------------

def evaluation(prior: PicturePrior, held_out: Pairs, steps: int = 18) -> dict[str, float]:
    """Samples of the prior, and its estimate from noise alone (the mean of all samples), against the true pictures,
    beside the grey drawing and the drawing tinted in the first colour: RMSE of display values on the objects, and how
    often a region has the colour that was asked for (:func:`colours_met`)."""
    start = device.randn(held_out.picture.shape, torch.Generator().manual_seed(6), held_out.picture.device)
    start = start * prior.sigma_max
    planes = tinted_planes(held_out.drawing.expand(-1, 3, -1, -1) * 2 - 1, held_out.vector)
    condition = Condition(planes=planes, vector=held_out.vector)
    drawn = prior.decode(sample(prior, start, karras(steps, prior.sigma_min, prior.sigma_max), condition))
    mean = prior.decode(prior(start, start.new_full((len(start),), prior.sigma_max), condition))
    grey = held_out.drawing.expand(-1, 3, -1, -1)
    pictures = {"sample": drawn, "mean": mean, "grey": grey, "tinted": grey * held_out.colours[:, 0, :, None, None],
                "truth": held_out.picture}
    alpha = held_out.regions.sum(1, keepdim=True)
    rmse = lambda x: float(((((x - held_out.picture) ** 2) * alpha).sum((1, 2, 3)) / (3 * alpha.sum((1, 2, 3)))).sqrt()
                           .mean())
    out = {f"rmse_{name}": rmse(picture) for name, picture in pictures.items() if name != "truth"}
    return {**out, **{f"met_{name}": colours_met(picture, held_out) for name, picture in pictures.items()},
            "met_chance": 1 / len(NAMED)}


def colours_met(picture: Image, pairs: Pairs) -> float:
    """Share of all regions, in pictures of exactly named colours, whose mean display colour is nearer to what it would
    be in the asked colour than in any other named one, in the true light: so that a red in shadow is no brown."""
    named = torch.tensor(list(NAMED.values()), device=picture.device)
    met = []
    for k in range(pairs.colours.shape[1]):
        weight = (pairs.regions[:, k:k + 1] > 0.5).float()
        rows = (weight.sum((1, 2, 3)) >= 8) & pairs.present[:, k]
        mean = lambda x, weight=weight: (x * weight).sum((2, 3)) / weight.sum((2, 3)).clamp_min(1)
        lit = [pairs.shade[:, k:k + 1] * srgb_to_linear(c)[:, None, None] + pairs.rest for c in named]
        would = [mean(linear_to_srgb(x).clamp(0, 1) * pairs.lines) for x in lit]
        nearest = (torch.stack(would, 1) - mean(picture)[:, None]).norm(dim=2).argmin(1)
        asked = (named[None] - pairs.colours[:, k:k + 1]).norm(dim=2).argmin(1)
        met.append((nearest == asked)[rows])
    return float(torch.cat(met).float().mean())


# ---- command line ----------------------------------------------------------------------------------------------------

def run(minutes: float, config: ColourPriorConfig = ColourPriorConfig(), out: Path | None = None, name: str = "colour",
        on_event: Callable[[Event], None] | None = None, start: Path | None = None, workers: int = 1) -> Path:
    """Recordings, training (resumed if begun) for at most ``minutes``, weights written to ``out``. ConfigError for
    numbers out of range, before any work."""
    wrong = {"minutes": minutes, "steps": config.train.steps, "batch": config.batch, "rate": config.train.rate,
             "validate-every": config.train.validate_every}
    wrong = [f"{key} {value:g}" for key, value in wrong.items() if not value > 0]
    if wrong or config.size not in SIZES:
        raise ConfigError(f"prior train colour: {', '.join(wrong) or f'size {config.size}'}; accepted are numbers "
                          f"above 0 and the sizes {', '.join(map(str, SIZES))}.")
    first = PicturePrior.load(COLOUR, start).net if start else None
    config = replace(config, train=replace(config.train, minutes=minutes), net=first.config if first else config.net)
    held_out = held_out_pairs(config, workers, on_event)
    recorded = training_recordings(config, workers, on_event)
    trained = train_colour_prior(config, recorded, held_out, name=name, start=first, on_event=on_event)
    net = ConditionalUNet(config.net)
    net.load_state_dict(trained.best)
    path = out or COLOUR.path
    PicturePrior(COLOUR, net).save(path, {"steps": str(trained.step), "score": f"{trained.best_score:.4f}",
                                 "training": json.dumps(asdict(config.train))})
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """``dipir prior train colour``: recordings, training, weights; log lines on stdout. --evaluate only judges."""
    parser = argparse.ArgumentParser(prog="dipir prior train colour", description=main.__doc__)
    default = ColourPriorConfig()
    training.add_options(parser, default.train, default.batch, "colour", COLOUR.path)
    parser.add_argument("--size", type=int, choices=SIZES, default=default.size,
                        help="pixels of the drawings; half of them are a cheap beginning, --start goes on from it")
    parser.add_argument("--recordings", type=int, default=default.recordings, help="to train on")
    a = parser.parse_args(arguments)
    training.choose_device(a)
    if a.evaluate:
        prior, held_out = PicturePrior.load(COLOUR, a.evaluate), held_out_pairs(default, a.workers)
        figures = validation(prior.net, held_out, default) | evaluation(prior, held_out)
        sys.stdout.write("".join(f"{k:12s} {v:.4f}\n" for k, v in figures.items()))
        return
    config = replace(default, batch=a.batch, size=a.size, recordings=a.recordings,
                     train=training.with_options(default.train, a))
    sys.stdout.write(f"{run(a.minutes, config, a.out, a.name, training.reporter(a.tensorboard), a.start, a.workers)}\n")


if __name__ == "__main__":
    main()
