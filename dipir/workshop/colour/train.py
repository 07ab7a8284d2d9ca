"""Training and judging the colour prior on drawings made while it trains; resumable, chosen on held-out recordings."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from dipir.event import Notify
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.image.palette import NAMED
from dipir.priors.colour import COLOUR, SIZE, tinted_planes
from dipir.priors.nets.conditional_unet import ConditionalUNet, ConditionalUNetConfig
from dipir.priors.picture import PicturePrior
from dipir.workshop import trainer as training
from dipir.workshop.colour import data as sketches
from dipir.workshop.colour import styles as sketch_styles
from dipir.workshop.colour.data import SketchSettings
from dipir.workshop.colour.styles import Drawings
from dipir.workshop.data import TRAIN, training_meshes
from dipir.workshop.denoising import draw_noise, errors_at, noised, validation_noise, weighted_error
from dipir.workshop.runner import Outcome, Recipe, initial, outcome

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

def training_recordings(config: ColourPriorConfig, workers: int = 1, on_event: Notify = None) -> dict[str, Tensor]:
    """Procedural objects and, with the data folder, meshes of ``TRAIN``; kept in the cache, made if missing."""
    folder = sketches.generate(config.recordings, None, config.seed, workers, on_event,
                               meshes=_meshes(*TRAIN))
    return sketches.load(folder)


def held_out_pairs(config: ColourPriorConfig = ColourPriorConfig(), workers: int = 1,
                   on_event: Notify = None) -> Drawings:
    """Two fixed drawings of each held-out recording (other seeds, ``val`` meshes alone, on which earlier weights
    were judged) in colours that have names."""
    default = sketches.default_dir()
    folder = sketches.generate(config.held_out, default.with_name(f"{default.name}_val"), config.seed + 9, workers,
                               on_event, meshes=_meshes("val"),
                               settings=SketchSettings(meshes=config.held_out_meshes))
    rng = np.random.default_rng(split_seed(config.seed, "held out"))
    return sketch_styles.draw(rng, sketches.load(folder), np.repeat(np.arange(config.held_out), 2), exact=True)


def _meshes(*splits: str) -> list[Path]:
    with suppress(ConfigError):
        return training_meshes(*splits)
    return []


# ---- training --------------------------------------------------------------------------------------------------------

def train_colour_prior(config: ColourPriorConfig, recorded: Mapping[str, Tensor], held_out: Drawings, *,
                       name: str = "colour", start: ConditionalUNet | None = None,
                       on_event: Notify = None) -> training.Trained:
    """Train on drawings of the recordings; keep the weights that are best on ``held_out``. A new run begins with the
    weights of ``start`` if given."""
    model = initial(lambda: ConditionalUNet(config.net), config.seed, start)
    where = device.current().torch
    model, recorded = model.to(where, memory_format=torch.channels_last), training.keep_on(dict(recorded), where)

    def batch_loss(net, step):
        rng = np.random.default_rng(split_seed(config.seed, "batch", step))
        with device.single_precision(recorded["cover"].device):
            pairs = sketch_styles.draw(rng, recorded, rng.integers(len(recorded["cover"]), size=config.batch))
            pairs = device.sent(pairs, where).shrunk(config.size)
        return denoising_loss(net, pairs, rng, config), {}

    judged = device.moved(held_out, where).shrunk(config.size)
    return training.train(model, batch_loss, config.train, validate=lambda net: validation(net, judged, config),
                          on_event=on_event, name=name)


def assemble(pairs: Drawings) -> tuple[Tensor, Tensor]:
    """(B, 3, 64, 64) targets and planes in [-1, 1], laid out channels last."""
    return tuple(x.contiguous(memory_format=torch.channels_last)
                 for x in (pairs.picture * 2 - 1, pairs.drawing.expand(-1, 3, -1, -1) * 2 - 1))


def denoising_loss(net, pairs: Drawings, rng: np.random.Generator, config: ColourPriorConfig) -> Tensor:
    """EDM's weighted denoising loss (Karras et al. 2022, eq. 8), heavier on the objects; some palettes are not told
    (classifier-free guidance, Ho and Salimans 2022)."""
    x0, planes = assemble(pairs)
    sigma, noise = draw_noise(rng, x0.shape, config, PicturePrior)
    told = torch.from_numpy(rng.random(len(x0)) >= config.untold)[:, None]
    sigma, noise, told = device.sent((sigma, noise, told), x0.device)
    return _weighted_error(net, (x0, noise, planes, pairs.vector * told, _weight(pairs, config)), sigma, config).mean()


def _weight(pairs: Drawings, config: ColourPriorConfig) -> Tensor:
    return config.background + (1 - config.background) * pairs.regions.sum(1, keepdim=True)


def _weighted_error(net, tensors: Sequence[Tensor], sigma: Tensor, config: ColourPriorConfig) -> Tensor:
    """(B,) `weighted_error` of the levels ``sigma`` for (pictures, noise, planes, vectors, weights)."""
    x0, noise, planes, vector, weight = tensors
    estimate = net(noised(x0, sigma, noise), sigma, tinted_planes(planes, vector), vector)
    return weighted_error(estimate, x0, sigma, config.net.sigma_data, weight)



@torch.no_grad()
def validation(net, held_out: Drawings, config: ColourPriorConfig) -> dict[str, float]:
    """Weighted error at four noise levels, palettes told; their mean is the score."""
    x0, planes = assemble(held_out)
    tensors = x0, validation_noise(x0), planes, held_out.vector, _weight(held_out, config)
    parts = list(zip(*(t.split(config.batch) for t in tensors), strict=True))
    out = errors_at((0.2, 1.0, 5.0, 40.0), lambda level: torch.cat([
        _weighted_error(net, part, part[0].new_full((len(part[0]),), level), config) for part in parts]))
    return {**out, "score": sum(out.values()) / len(out)}


# ---- judging ---------------------------------------------------------------------------------------------------------

def evaluation(prior: PicturePrior, held_out: Drawings, steps: int = 18) -> dict[str, float]:
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

    def rmse(x: Image) -> float:
        square = (((x - held_out.picture) ** 2) * alpha).sum((1, 2, 3))
        return float((square / (3 * alpha.sum((1, 2, 3)))).sqrt().mean())

    out = {f"rmse_{name}": rmse(picture) for name, picture in pictures.items() if name != "truth"}
    return {**out, **{f"met_{name}": colours_met(picture, held_out) for name, picture in pictures.items()},
            "met_chance": 1 / len(NAMED)}


def colours_met(picture: Image, pairs: Drawings) -> float:
    """Share of all regions, in pictures of exactly named colours, whose mean display colour is nearer to what it would
    be in the asked colour than in any other named one, in the true light: so that a red in shadow is no brown."""
    named = torch.tensor(list(NAMED.values()), device=picture.device)
    met = []
    for k in range(pairs.colours.shape[1]):
        weight = (pairs.regions[:, k:k + 1] > 0.5).float()
        rows = (weight.sum((1, 2, 3)) >= 8) & pairs.present[:, k]
        lit = [pairs.shade[:, k:k + 1] * srgb_to_linear(c)[:, None, None] + pairs.rest for c in named]
        would = [_mean(linear_to_srgb(x).clamp(0, 1) * pairs.lines, weight) for x in lit]
        nearest = (torch.stack(would, 1) - _mean(picture, weight)[:, None]).norm(dim=2).argmin(1)
        asked = (named[None] - pairs.colours[:, k:k + 1]).norm(dim=2).argmin(1)
        met.append((nearest == asked)[rows])
    return float(torch.cat(met).float().mean())


def _mean(x: Image, weight: Tensor) -> Tensor:
    """(B, 3) of the pixels with ``weight`` (B, 1, H, W)."""
    return (x * weight).sum((2, 3)) / weight.sum((2, 3)).clamp_min(1)


# ---- the command -----------------------------------------------------------------------------------------------------

def _train(config: ColourPriorConfig, start: ConditionalUNet | None, name: str, workers: int, on_event) -> Outcome:
    held_out = held_out_pairs(config, workers, on_event)
    recorded = training_recordings(config, workers, on_event)
    return outcome(train_colour_prior(config, recorded, held_out, name=name, start=start, on_event=on_event),
                   config.train)


def _judge(weights: Path, workers: int) -> dict[str, float]:
    prior, held_out = PicturePrior.load(COLOUR, weights), held_out_pairs(RECIPE.config, workers)
    return validation(prior.net, held_out, RECIPE.config) | evaluation(prior, held_out)


def _adjust(config: ColourPriorConfig, start: Path | None) -> ColourPriorConfig:
    wrong = {"minutes": config.train.minutes, "steps": config.train.steps, "batch": config.batch,
             "rate": config.train.rate, "validate-every": config.train.validate_every}
    wrong = [f"{key} {value:g}" for key, value in wrong.items() if not value > 0]
    if wrong or config.size not in SIZES:
        raise ConfigError(f"prior train colour: {', '.join(wrong) or f'size {config.size}'}; accepted are numbers "
                          f"above 0 and the sizes {', '.join(map(str, SIZES))}.")
    return config


RECIPE = Recipe(
    "colour", "recordings", ColourPriorConfig(), COLOUR.path, train=_train, judge=_judge, adjust=_adjust,
    build=lambda config: ConditionalUNet(config.net), read=lambda path: PicturePrior.load(COLOUR, path).net,
    write=lambda net, path, notes: PicturePrior(COLOUR, net).save(path, notes),
    options={"size": ("--size", {"choices": SIZES, "help": "pixels of the drawings; half of them are a cheap "
                                                           "beginning, --start goes on from it"}),
             "recordings": ("--recordings", {"help": "to train on"})})
run, main = RECIPE.run, RECIPE.main

if __name__ == "__main__":
    main()
