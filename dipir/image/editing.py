"""Editing layers on a picture: how multiply, divide and other layers are put on it (docs/method.md 2.2), all in display
values, as an artist's layers are. Differentiable."""
from __future__ import annotations

import torch
from torch import Tensor

from dipir.arrays import Image, Mask

EPS = 1e-6
LEAST = 0.1
"""Smallest value of a multiply or divide layer: a picture becomes at most ten times brighter or darker."""


def multiply_divide(image: Image, multiply: Tensor, divide: Mask) -> Image:
    """y = x M / (D + 1e-6), not clipped. image : (B, 3, H, W);  multiply : (B, 1 or 3, H, W) in [0.1, 1];  divide : (B,
    1, H, W) in [0.1, 1]. With one channel each the ratios of R, G and B stay as they are."""
    return image * multiply / (divide + EPS)


def luminosity(image: Image, layer: Mask) -> Image:
    """y = (lum l) x / (lum + 1e-9), lum the mean of the channels: the layer scales brightness. layer : (B, 1, H, W)."""
    lum = image.mean(1, keepdim=True)
    return lum * layer * image / (lum + 1e-9)


def additive(image: Image, layer: Tensor) -> Image:
    """y = x + l. layer : (B, 1 or 3, H, W), any sign. Changes the ratios of the channels."""
    return image + layer


def factors_of(gain: Tensor) -> tuple[Tensor, Tensor]:
    """(multiply, divide), each in [0.1, 1], whose quotient is ``gain`` where that is within [0.1, 10]: darker is
    multiplied, brighter divided."""
    return gain.clamp(LEAST, 1), (1 / gain.clamp_min(1e-3)).clamp(LEAST, 1)


def masked(layer: Tensor, mask: Mask | None) -> Tensor:
    """The layer where ``mask`` is 1, no change (1) where it is 0, a mix between."""
    return layer if mask is None else 1 + mask * (layer - 1)


def luminosity_bound(image: Image, target: Image) -> Image:
    """The best that a change of brightness alone can do: x mean_c(target) / mean_c(x), clipped to [0, 1]
    (``compute_upper_bound_luminosity`` of the authors; docs/method.md 2.2)."""
    return (image * target.mean(1, keepdim=True) / image.mean(1, keepdim=True).clamp_min(EPS)).clamp(0, 1)


def layer_cost(layers: tuple[Tensor, ...]) -> Tensor:
    """Sum over the layers of the mean |l - 1| (docs/method.md 2.2): how much is changed at all."""
    return torch.stack([(layer - 1).abs().mean() for layer in layers]).sum()
