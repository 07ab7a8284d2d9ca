"""Training of the embedded layout prior on captioned pictures that are drawn from rendered scenes while it trains;
resumable, chosen on held-out scenes."""
from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dipir import device
from dipir.arrays import Image, split_seed
from dipir.errors import ConfigError
from dipir.event import Notify
from dipir.priors import captions
from dipir.priors.captions import COLOURS, SHAPES
from dipir.priors.layout import DEFAULT_PATH, LAYOUT_NET, LayoutPrior
from dipir.priors.nets.text_unet import TextUNet, TextUNetConfig
from dipir.workshop import trainer as training
from dipir.workshop.denoising import noised, validation_noise, weighted_error
from dipir.workshop.layout import data as layouts
from dipir.workshop.layout.data import DrawConfig, LayoutPictures
from dipir.workshop.runner import Outcome, Recipe, initial, outcome

Draw = Callable[[np.random.Generator, int], LayoutPictures]
LEVELS = (0.2, 0.7, 2.0, 10.0)
"""Noise levels of the validation."""
HEARD = (2.0, 10.0)
"""Those at which it is asked whether the caption is heard."""
_OPEN = 3.0
_NAMED = (1 + len(SHAPES), len(COLOURS))


@dataclass(frozen=True)
class LayoutPriorConfig:
    """How the layout prior is trained."""

    batch: int = 32  # pictures a step
    sigma_mean: float = 0.0
    sigma_std: float = 1.5
    """sigma_mean, sigma_std: log-normal noise levels of the training. Higher than EDM's, since what a caption says is
    decided where a thing of 16 pixels drowns in noise, at sigma 1 to 15."""
    untold: float = 0.12  # share of captions that are left out (classifier-free guidance, Ho and Salimans 2022)
    emphasis: float = 4.0
    """Weight of the things' pixels, and of those up to three from them, above the 1 of all others. Where noise leaves
    open what is a thing this would make things too large: it counts up to sigma 3 only."""
    taught: float = 0.1
    """Weight of a second task at the start, falling to 0 over the first three quarters of the steps: to say of each
    cell which shape and which colour stands there, from the network's own features. Edges of shapes are few pixels, so
    that the denoising error alone hardly asks for the words of shapes."""
    scenes: int = 4000  # scenes, held_out: of the training set; pictures of the validation set, scenes of another seed
    held_out: int = 192
    seed: int = 0
    draw: DrawConfig = DrawConfig()
    net: TextUNetConfig = LAYOUT_NET
    train: training.TrainConfig = training.TrainConfig(steps=34_000, rate=1e-3, optimiser="muon", validate_every=1000)


# ---- data ------------------------------------------------------------------------------------------------------------

def training_pictures(config: LayoutPriorConfig, workers: int = 1, on_event: Notify = None) -> Draw:
    """Draws from the training set; what the cache lacks of it is made."""
    data = layouts.load(layouts.generate(config.scenes, None, config.seed, workers, on_event)).part(
        slice(0, config.scenes))
    # The few numbers that decide about colours and words stay on the CPU.
    large = {key: getattr(data, key) for key in ("cover", "diffuse", "gloss")}
    data = replace(data, **training.keep_on(large, device.current().torch))
    return lambda rng, count: layouts.draw(rng, data, count, config.draw)


def held_out_pictures(config: LayoutPriorConfig, workers: int = 1, on_event: Notify = None) -> LayoutPictures:
    """The fixed pictures that choose the weights: scenes of another seed, unchanged."""
    seed = layouts.VALIDATION_SEED
    folder = layouts.generate(config.held_out, layouts.validation_folder(), seed, workers, on_event)
    data = layouts.load(folder).part(slice(0, config.held_out))
    return layouts.draw(np.random.default_rng(seed), data, config.held_out, replace(config.draw, augment=False))


# ---- training --------------------------------------------------------------------------------------------------------

def train_layout_prior(config: LayoutPriorConfig, draw: Draw, held_out: LayoutPictures, *, name: str = "layout",
                       start: TextUNet | None = None, on_event: Notify = None) -> training.Trained:
    """Train on pictures of ``draw``, which must depend on its generator alone; keep the weights that are best on
    ``held_out``. A new run begins with the weights of ``start`` if given."""
    model = initial(lambda: Pupil(TextUNet(config.net)), config.seed)
    if start is not None:
        model.net.load_state_dict(start.state_dict())
    where = device.current().torch
    model, held_out = model.to(where, memory_format=torch.channels_last), there(held_out, where)

    def batch_loss(model, step):
        rng = np.random.default_rng(split_seed(config.seed, "batch", step))
        with device.single_precision(torch.device("cpu")), device.single_precision(where):
            pictures = there(draw(rng, config.batch), where)
        told = [said if rng.random() >= config.untold else "" for said in pictures.captions]
        noise = torch.from_numpy(rng.standard_normal(pictures.image.shape, dtype=np.float32))
        sigma = noise_levels(rng, len(noise), config)
        noise, sigma, said = device.sent((noise, sigma, numbers(told)), where)
        clear = (sigma < _OPEN).float()[:, None, None, None]
        weight = 1 + config.emphasis * clear * functional.max_pool2d(pictures.masks.amax(1, keepdim=True), 7, 1, 3)
        error, seen = denoising_error(model.net, pictures.image, said, sigma, noise, weight)
        share = config.taught * max(0.0, 1 - step / (0.75 * config.train.steps))
        if share == 0:
            return error.mean(), {}
        named = naming_error(model.head(seen).float(), pictures)
        return error.mean() + share * (named / (1 + sigma / 4)).mean(), {"named": named.detach().mean()}

    trained = training.train(model, batch_loss, config.train, validate=lambda model: validation(model.net, held_out),
                             on_event=on_event, name=name)
    best = {key.removeprefix("net."): value for key, value in trained.best.items() if key.startswith("net.")}
    return replace(trained, best=best)


def there(pictures: LayoutPictures, where: torch.device) -> LayoutPictures:
    """Pictures with what a step computes with, image and masks, on ``where``."""
    image, masks = device.sent((pictures.image, pictures.masks), where)
    return replace(pictures, image=image, masks=masks)


def numbers(said: Sequence[str]) -> Tensor:
    """(B, LONGEST) numbers of the words of captions."""
    return torch.tensor([captions.tokens(text) for text in said])


def noise_levels(rng: np.random.Generator, count: int, config: LayoutPriorConfig) -> Tensor:
    """(count,) log-normal, one of each of ``count`` equally likely ranges: the mean loss of a batch varies less."""
    part = torch.from_numpy((rng.permutation(count) + rng.random(count)) / count)
    sigma = (config.sigma_mean + config.sigma_std * torch.special.ndtri(part)).exp().float()
    return sigma.clamp(LayoutPrior.sigma_min, LayoutPrior.sigma_max)


class Pupil(nn.Module):
    """The network, and a layer that only training needs: features -> planes of :func:`naming_error`."""

    def __init__(self, net: TextUNet) -> None:
        super().__init__()
        self.net, self.head = net, nn.Conv2d(net.features, sum(_NAMED), 1)


def naming_error(planes: Tensor, pictures: LayoutPictures) -> Tensor:
    """(B,) cross entropies: of nothing or one of the shapes in all cells, of the shape and of the colour in the cells
    of things. planes : (B, 1 + shapes + colours, h, w), h and w dividing those of the pictures."""
    cover = functional.avg_pool2d(pictures.masks, pictures.masks.shape[-1] // planes.shape[-1])
    owner = torch.cat([(1 - cover.sum(1, keepdim=True)).clamp_min(0), cover], 1).argmax(1)
    tables = np.zeros((2, len(cover), cover.shape[1] + 1), np.int64)
    for b, named in enumerate(pictures.things):
        for k, thing in enumerate(named):
            tables[:, b, k + 1] = SHAPES.index(thing.shape), list(COLOURS).index(thing.colour)
    tables = device.sent(torch.from_numpy(tables), cover.device)
    row = torch.arange(len(cover), device=cover.device)[:, None, None]
    shape, colour = (table[row, owner] for table in tables)
    thing = (owner > 0).float()
    what, hue = planes.split(_NAMED, 1)
    entropy = functools.partial(functional.cross_entropy, reduction="none")

    def of_things(value: Tensor) -> Tensor:
        return (value * thing).sum((1, 2)) / (thing.sum((1, 2)) + 1)

    every = entropy(what, torch.where(owner > 0, shape + 1, 0)) * (1 + 4 * thing)
    return every.mean((1, 2)) + of_things(entropy(what[:, 1:], shape)) + 0.3 * of_things(entropy(hue, colour))


def denoising_error(net: TextUNet, image: Image, said: Tensor, sigma: Tensor, noise: Tensor,
                    weight: Tensor) -> tuple[Tensor, Tensor]:
    """((B,) EDM's weighted square error (Karras et al. 2022, eq. 8), the network's features). image : display [0, 1]
    said : (B, LONGEST) numbers;  sigma : (B,);  noise : like image;  weight : (B, 1, H, W) of the pixels."""
    x0 = (image * 2 - 1).contiguous(memory_format=torch.channels_last)
    estimate, seen = net.look(noised(x0, sigma, noise), sigma, net.read(said))
    return weighted_error(estimate, x0, sigma, net.config.sigma_data, weight), seen


@torch.no_grad()
def validation(net: TextUNet, held_out: LayoutPictures) -> dict[str, float]:
    """Weighted error at four noise levels, whose geometric mean is the score (they are several times apart); what share
    of the error with another picture's caption the right caption takes away: 0 when text is not heard; and the same of
    captions with other shapes."""
    where = held_out.image.device
    noise = validation_noise(held_out.image)
    right = numbers(held_out.captions).to(where)

    def error(level: float, said: Tensor) -> float:
        parts = [denoising_error(net, held_out.image[r], said[r], noise.new_full((len(r),), level), noise[r],
                                 noise.new_ones(len(r), 1, 1, 1))[0] for r in torch.arange(len(noise)).split(48)]
        return float(torch.cat(parts).mean())

    out = {f"sigma_{level:g}": error(level, right) for level in LEVELS}

    def share(level: float, said: Tensor) -> float:
        return 1 - out[f"sigma_{level:g}"] / max(error(level, said), 1e-12)

    wrong = right[others(held_out.captions)]
    reshaped = numbers([other_shapes(text) for text in held_out.captions]).to(where)
    heard = {f"heard_{level:g}": share(level, wrong) for level in HEARD}
    heard |= {f"shapes_{level:g}": share(level, reshaped) for level in LEVELS[1:3]}
    return {**out, **heard, "score": math.prod(out.values()) ** (1 / len(out))}


def others(said: Sequence[str]) -> list[int]:
    """For each caption the row of the next that says something else; its own where there is none."""
    count = len(said)
    return [next((j % count for j in range(k + 1, k + count) if said[j % count] != said[k]), k) for k in range(count)]


def other_shapes(text: str) -> str:
    """The caption with the next of the shapes in the place of each."""
    following = dict(zip(SHAPES, (*SHAPES[1:], SHAPES[0]), strict=True))
    return " ".join(following.get(word.strip(","), word.strip(",")) + "," * word.endswith(",") for word in text.split())


# ---- the command -----------------------------------------------------------------------------------------------------

def _train(config: LayoutPriorConfig, start: TextUNet | None, name: str, workers: int, on_event) -> Outcome:
    held_out = held_out_pictures(config, workers, on_event)
    draw = training_pictures(config, workers, on_event)
    return outcome(train_layout_prior(config, draw, held_out, name=name, start=start, on_event=on_event), config.train)


def _judge(weights: Path, workers: int) -> dict[str, float]:
    return validation(LayoutPrior.load(weights).net, held_out_pictures(RECIPE.config, workers))


def _adjust(config: LayoutPriorConfig, start: Path | None) -> LayoutPriorConfig:
    given = {"minutes": config.train.minutes, "steps": config.train.steps, "batch": config.batch,
             "rate": config.train.rate, "scenes": config.scenes}
    if wrong := [f"{key} {value:g}" for key, value in given.items() if not value > 0]:
        raise ConfigError(f"prior train layout: {', '.join(wrong)}; accepted are numbers above 0. Correct them.")
    return config


RECIPE = Recipe(
    "layout", "scenes", LayoutPriorConfig(), DEFAULT_PATH, train=_train, judge=_judge, adjust=_adjust,
    build=lambda config: TextUNet(config.net), read=lambda path: LayoutPrior.load(path).net,
    write=lambda net, path, notes: LayoutPrior(net).save(path, notes),
    options={"scenes": ("--scenes", {"help": "of the training set, made where missing"})})
run, main = RECIPE.run, RECIPE.main

if __name__ == "__main__":
    main()
