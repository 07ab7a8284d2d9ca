"""Pairs of pictures of one scene in different light, mixed from stored pictures of single lights."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dipir.errors import ConfigError
from dipir.image.color import linear_to_srgb
from dipir.workshop.relight.data import RelitSet, decode
from dipir.workshop.stored import tall

_BURNT = 1.2


@dataclass(frozen=True)
class PairConfig:
    """How pairs are mixed of single lights."""

    ambient: tuple[float, float] = (0.08, 0.4)
    """Range of the ambient light's radiance in the input, a white wall that faces the key light has 1."""
    fill: float = 0.2
    """The same in the target: what "light from the left" means, a key five times as strong as the fill."""
    even: float = 0.25  # even, double: share of inputs in ambient light alone and under two lights, the others have one
    double: float = 0.15
    level: tuple[float, float] = (0.5, 1.0)
    """Range of the brightness (linear) that 98 % of the input's pixels stay below."""


@dataclass(frozen=True)
class Pairs:
    """B pairs of S x S pixels, display [0, 1]."""

    image: Tensor  # image, target: (B, 3, S, S) before and after
    target: Tensor
    light: Tensor  # (B, 4) the wanted light, ``LightDirection.numbers``


@torch.no_grad()
def draw(rng: np.random.Generator, data: RelitSet, count: int, config: PairConfig = PairConfig()) -> Pairs:
    """``count`` pairs of random scenes. Everything follows from ``rng``. ConfigError for scenes of fewer than three
    lights."""
    lights = data.lit.shape[1]
    if lights < 3:
        raise ConfigError(f"pairs of scenes with {lights} lights; accepted are at least 3, two for the input and one "
                          "that is wanted. Make scenes with more lights.")

    def number(x: np.ndarray) -> Tensor:
        return torch.as_tensor(x, dtype=torch.float32)

    def shown(k: Tensor) -> Tensor:
        return decode(data.lit[scene, k])

    # ---- light before and after ----
    scene = torch.from_numpy(rng.integers(len(data), size=count))
    order = torch.from_numpy(rng.permuted(np.tile(np.arange(lights), (count, 1)), axis=1))
    wanted, first, second = order[:, 0], order[:, -1], order[:, -2]
    ambient = number(np.exp(rng.uniform(*np.log(config.ambient), size=count)))
    kind, share = rng.random(count), number(rng.uniform(0.3, 0.7, count))
    even = number(kind < config.even)
    double = number(kind < config.even + config.double) - even
    one = double * share + (1 - even - double)
    sky = decode(data.sky[scene])
    before = (tall(one) * shown(first) + tall(double * (1 - share)) * shown(second)
              + tall(even + (1 - even) * ambient) * sky)
    after = shown(wanted) + config.fill * sky
    before, after = expose(before, after[:, None], number(rng.uniform(*config.level, count)))
    # ---- pictures ----
    pictures = develop(rng, torch.cat([before[:, None], after], 1), data.alpha[scene] / 255)
    return Pairs(pictures[:, 0], pictures[:, 1], data.light[scene, wanted])


def log_shading(linear: Tensor, albedo: Tensor) -> Tensor:
    """(B, 3, S, S) each -> (B, 1, S, S): log2 of light over albedo (means of the channels), relative to its mean over
    surfaces, halved."""
    colour = albedo.mean(1, keepdim=True)
    inside = colour > 0.01
    shading = linear.mean(1, keepdim=True) / colour.clamp_min(0.02)
    count = inside.sum((1, 2, 3), keepdim=True).clamp_min(1)
    mean = (shading * inside).sum((1, 2, 3), keepdim=True) / count
    return torch.where(inside, (shading / mean.clamp_min(1e-6)).clamp(2**-4, 2**3).log2() / 2, 0.0)


def expose(before: Tensor, targets: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Linear inputs (B, 3, S, S) and their targets (B, K, 3, S, S), each exposed by its own camera: the input by its
    bright pixels, 98 % below ``level`` (B,); targets to the input's mean unless that would burn them out. What stands
    behind the objects without being lit has no part in it. Otherwise a network would have to guess how strong the new
    light is, which no direction tells."""
    before = before * tall(level / _bright(before).clamp_min(1e-3))
    gain = before.mean((-3, -2, -1))[:, None] / targets.mean((-3, -2, -1)).clamp_min(1e-4)
    gain = torch.minimum(gain, _BURNT / _bright(targets).clamp_min(1e-3))
    return before, targets * gain[..., None, None, None]


def _bright(x: Tensor) -> Tensor:
    """(..., 3, H, W) -> (...) what 98 % of the pixels stay below."""
    return torch.quantile(x.amax(-3).flatten(-2), 0.98, dim=-1)


def develop(rng: np.random.Generator, pictures: Tensor, alpha: Tensor) -> Tensor:
    """Exposed linear pictures (B, K, 3, S, S), those of one scene in a row -> display, each row on one background that
    no light reaches. alpha : (B, 1, S, S)."""
    count, where = len(pictures), pictures.device
    low, high = (tall(torch.as_tensor(rng.uniform(0, 1, (count, 1)) ** 2 * np.exp(rng.normal(size=(count, 3)) * 0.2),
                                       dtype=torch.float32).to(where)) for _ in range(2))
    ramp = torch.linspace(0, 1, alpha.shape[-2], device=where)[:, None]
    background = (low * ramp + high * (1 - ramp)) * (1 - alpha)
    return linear_to_srgb((pictures + background[:, None]).clamp(0, 1))
