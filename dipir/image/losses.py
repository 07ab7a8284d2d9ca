"""Differentiable distances between images for training: structure and edges. In the type of the input, per batch.

``dipir.image.metrics`` has the measures that are reported; those compute in float64 and are too slow to train with.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import Image

_WINDOW = 11
_C1, _C2 = 0.01**2, 0.03**2


def ssim_loss(a: Image, b: Image) -> Tensor:
    """1 - SSIM (Wang et al. 2004; 11x11 Gaussian windows of sigma 1.5 inside the image, values in [0, 1]), mean over
    the batch: a scalar in [0, 2], 0 for equal images. ValueError for images below 11x11 or of different shapes."""
    if a.shape != b.shape or a.ndim != 4 or min(a.shape[2:]) < _WINDOW:
        raise ValueError(f"ssim_loss compares images (B, C, H, W) of one shape, at least {_WINDOW}x{_WINDOW}; got "
                         f"{tuple(a.shape)} and {tuple(b.shape)}")
    channels = a.shape[1]
    means = _windowed(torch.cat([a, b, a * a, b * b, a * b], 1))
    ma, mb, maa, mbb, mab = means.split(channels, 1)
    va, vb, cov = maa - ma * ma, mbb - mb * mb, mab - ma * mb
    index = (2 * ma * mb + _C1) * (2 * cov + _C2) / ((ma * ma + mb * mb + _C1) * (va + vb + _C2))
    return 1 - index.mean()


def edge_loss(a: Image, b: Image) -> Tensor:
    """Mean absolute difference of the Sobel gradients (change per pixel, in x and y, inside the image), a scalar >= 0;
    blind to a constant offset. ValueError for images below 3x3 or of different shapes."""
    if a.shape != b.shape or a.ndim != 4 or min(a.shape[2:]) < 3:
        raise ValueError(f"edge_loss compares images (B, C, H, W) of one shape, at least 3x3; got {tuple(a.shape)} and "
                         f"{tuple(b.shape)}")
    return sobel(a - b).abs().mean()


def sobel(image: Image) -> Tensor:
    """(B, C, H, W) -> (B, 2 C, H - 2, W - 2): change per pixel along x of every channel, then along y (Sobel 1968)."""
    smooth, slope = image.new_tensor([0.25, 0.5, 0.25]), image.new_tensor([-0.5, 0.0, 0.5])
    return torch.cat([_separable(image, slope, smooth), _separable(image, smooth, slope)], 1)


@dataclass(frozen=True)
class LossWeights:
    """Factors of mean absolute and squared error, 1 - SSIM and difference of Sobel gradients; IllumiNet names these
    four without weights."""

    l1: float = 0.5
    mse: float = 10.0
    ssim: float = 0.1
    edge: float = 0.25

    def __call__(self, image: Image, target: Image) -> Tensor:
        """Weighted sum, a scalar >= 0, 0 for equal images. In single precision whatever autocast says: SSIM's variances
        are differences of nearly equal numbers."""
        with torch.autocast(image.device.type, enabled=False):
            image, target = image.float(), target.float()
            return (self.l1 * (image - target).abs().mean() + self.mse * (image - target).square().mean()
                    + self.ssim * ssim_loss(image, target) + self.edge * edge_loss(image, target))


def _windowed(x: Tensor) -> Tensor:
    """Gaussian mean over every whole window."""
    t = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - _WINDOW // 2
    g = torch.exp(-t * t / (2 * 1.5**2))
    return _separable(x, g / g.sum(), g / g.sum())


def _separable(x: Tensor, along_x: Tensor, along_y: Tensor) -> Tensor:
    """Each channel filtered by a row and a column, without padding."""
    count = x.shape[1]
    rows = functional.conv2d(x, along_x.expand(count, 1, 1, -1), groups=count)
    return functional.conv2d(rows, along_y[:, None].expand(count, 1, -1, 1), groups=count)
