"""Pairs of pictures of one scene in different light, mixed from stored pictures of single lights while a net trains."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir.errors import ConfigError
from dipir.image.color import linear_to_srgb
from dipir.synth.relit import RelitSet, decode

_BURNT = 1.2


@dataclass(frozen=True)
class PairConfig:
    """size : pixels of a side, the stored size or half of it
    ambient : range of the ambient light's radiance, a white wall that faces the key light has 1;  even, double : share
    of inputs in ambient light alone and under two lights, the others have one
    level : range of the brightness (linear) that 98 % of the input's pixels stay below
    augment : mirror, exchange colours, vary contrast; False for fixed sets"""

    size: int = 128
    ambient: tuple[float, float] = (0.08, 0.4)
    even: float = 0.25
    double: float = 0.15
    level: tuple[float, float] = (0.5, 1.0)
    augment: bool = True


@dataclass(frozen=True)
class Pairs:
    """B pairs of S x S pixels, display [0, 1].

    image, target : (B, 3, S, S) before and after;  light : (B, 4) the wanted light, ``LightDirection.numbers``
    subject : (B, 1, S, S) coverage by objects
    surface : (B, 4, S, S) of the input: normals, as stored, length up to 1; log2(shading / mean) / 2 in [-2, 1.5],
    shading = light over albedo, 0 where there is no surface
    """

    image: Tensor
    target: Tensor
    light: Tensor
    subject: Tensor
    surface: Tensor

    def __len__(self) -> int:
        return len(self.image)


@torch.no_grad()
def draw(rng: np.random.Generator, data: RelitSet, count: int, config: PairConfig = PairConfig()) -> Pairs:
    """``count`` pairs of random scenes. Everything follows from ``rng``; in single precision whatever autocast says.
    ConfigError for scenes of fewer than three lights, or a size that does not divide theirs."""
    lights, stored = data.lit.shape[1], data.lit.shape[-1]
    if lights < 3 or config.size < 1 or stored % config.size:
        raise ConfigError(f"pairs of {config.size} pixels of scenes with {lights} lights and {stored} pixels; accepted "
                          "are at least 3 lights and sizes that divide the stored one. Choose another size.")
    with torch.autocast("cpu", enabled=False):
        made = [_pair(rng, data, int(rng.integers(len(data))), config) for _ in range(count)]
        return Pairs(*(torch.stack([getattr(p, f.name) for p in made]) for f in fields(Pairs)))


def _pair(rng: np.random.Generator, data: RelitSet, scene: int, config: PairConfig) -> Pairs:
    """One pair, without the batch dimension."""
    lights = data.lit.shape[1]
    wanted, first, second = rng.choice(lights, 3, replace=False)
    ambient = float(np.exp(rng.uniform(*np.log(config.ambient))))
    shown = lambda k: _small(decode(data.lit[scene, int(k)]), config.size)
    sky = _small(decode(data.sky[scene]), config.size)
    kind = rng.random()
    if kind < config.even:
        before = sky * rng.uniform(0.4, 1.0)
    elif kind < config.even + config.double:
        share = rng.uniform(0.3, 0.7)
        before = share * shown(first) + (1 - share) * shown(second) + ambient * sky
    else:
        before = shown(first) + ambient * sky
    after = shown(wanted) + ambient * sky
    light, subject = data.light[scene, int(wanted)], _small(data.subject[scene] / 255, config.size)
    linear = before
    before, after = developed(rng, exposed(rng, before, [after], config), _small(data.alpha[scene] / 255, config.size),
                              config)
    normal = _small(data.normal[scene] / 127, config.size)
    surface = torch.cat([normal, _log_shading(linear, _small(data.albedo[scene] / 255, config.size))])
    if not config.augment:
        return Pairs(before, after, light, subject, surface)
    order = rng.permutation(3).tolist()
    before, after = before[order], after[order]
    if rng.random() < 0.5:
        before, after, subject, surface = (x.flip(-1) for x in (before, after, subject, surface))
        turned = torch.tensor([-1.0, 1.0, 1.0, 1.0])
        light, surface = light * turned, surface * turned[:, None, None]
    return Pairs(before, after, light, subject, surface)


def _log_shading(linear: Tensor, albedo: Tensor) -> Tensor:
    """(1, S, S): log2 of light over albedo (means of the channels), relative to its mean over surfaces, halved."""
    colour = albedo.mean(0, keepdim=True)
    shading = linear.mean(0, keepdim=True) / colour.clamp_min(0.02)
    inside = colour > 0.01
    mean = shading[inside].mean() if bool(inside.any()) else shading.new_tensor(1.0)
    return torch.where(inside, (shading / mean.clamp_min(1e-6)).clamp(2**-4, 2**3).log2() / 2, 0.0)


def exposed(rng: np.random.Generator, before: Tensor, targets: Sequence[Tensor],
            config: PairConfig) -> tuple[Tensor, ...]:
    """(input, *targets), linear (3, S, S), each exposed by its own camera: the input by its bright pixels, targets to
    the input's mean unless that would burn them out. What stands behind the objects without being lit has no part in
    it. Otherwise a network would have to guess how strong the new light is, which no direction tells."""
    bright = lambda x: float(torch.quantile(x.amax(0).flatten(), 0.98))
    before = before * (rng.uniform(*config.level) / max(bright(before), 1e-3))
    mean = float(before.mean())
    gain = lambda x: min(mean / max(float(x.mean()), 1e-4), _BURNT / max(bright(x), 1e-3))
    return (before, *(x * gain(x) for x in targets))


def developed(rng: np.random.Generator, pictures: Sequence[Tensor], alpha: Tensor,
              config: PairConfig) -> tuple[Tensor, ...]:
    """Exposed linear pictures (3, S, S) of one scene -> display, all on one background that no light reaches."""
    low, high = (torch.tensor(rng.uniform(0, 1) ** 2 * np.exp(rng.normal(size=3) * 0.2), dtype=torch.float32)
                 for _ in range(2))
    ramp = torch.linspace(0, 1, alpha.shape[-2])[:, None]
    background = (low[:, None, None] * ramp + high[:, None, None] * (1 - ramp)) * (1 - alpha)
    contrast = float(np.exp(rng.uniform(-0.15, 0.15))) if config.augment else 1.0
    return tuple(linear_to_srgb((x + background).clamp(0, 1)) ** contrast for x in pictures)


def _small(picture: Tensor, size: int) -> Tensor:
    """(C, H, W) at ``size``: the mean of linear light over blocks."""
    factor = picture.shape[-1] // size
    return picture if factor == 1 else functional.avg_pool2d(picture[None], factor)[0]
