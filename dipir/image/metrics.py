"""Image and direction errors: measures to report, and losses to train with.

Measures give one value per batch item, computed in float64, in the type of the input. ``mask`` is always (B or 1, 1, H,
W) with weights in [0, 1]; without it every pixel counts. A mask without weight is a ValueError. NaN in the input is NaN
in the result. Differentiable where the error is not exactly 0. Losses compute in the type of the input (float64 would
be too slow to train with) and give one number for the batch.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from dipir.arrays import Directions, Image, Mask

_WINDOW = 11  # Of SSIM.


def rmse(a: Image, b: Image, mask: Mask | None = None, channel_sum: bool = False) -> Tensor:
    """Root mean square error, (B,), range [0, inf). The mean runs over pixels and channels; with ``channel_sum``
    squares are summed over the channels and divided by the pixels only (three spheres, docs/bench-spheres.md)."""
    x, y, w = _prepared(a, b, mask)
    return _rms(x - y, w, channel_sum).to(a.dtype)


def si_rmse(a: Image, b: Image, mask: Mask | None = None, channel_sum: bool = False) -> Tensor:
    """RMSE after the best scale of ``a``, (B,), range [0, inf): scale = sum ab / sum aa over pixels and channels
    (docs/bench-spheres.md). Not symmetric: ``b`` is the truth. A black ``a`` has scale 0. ``channel_sum`` as in
    `rmse`."""
    x, y, w = _prepared(a, b, mask)
    power = (w * x * x).sum((1, 2, 3))
    scale = (w * x * y).sum((1, 2, 3)) / torch.where(power == 0, 1.0, power)
    return _rms(scale[:, None, None, None] * x - y, w, channel_sum).to(a.dtype)


def normalized_rmse(a: Image, b: Image, mask: Mask | None = None) -> Tensor:
    """RMSE (sum over channels) after mapping percentiles 0.01 and 99.9 of each image to 0 and 1, (B,); see
    docs/bench-spheres.md."""
    x, y, w = _prepared(a, b, mask)
    return _rms(_percentile_normalized(x) - _percentile_normalized(y), w, True).to(a.dtype)


def psnr(a: Image, b: Image, mask: Mask | None = None, peak: float = 1.0) -> Tensor:
    """Peak signal to noise ratio in dB, (B,); inf for equal images."""
    x, y, w = _prepared(a, b, mask)
    return (20 * math.log10(peak) - 20 * torch.log10(_rms(x - y, w, False))).to(a.dtype)


def ssim(a: Image, b: Image, mask: Mask | None = None, peak: float = 1.0) -> Tensor:
    """Structural similarity (Wang et al. 2004), (B,), range [-1, 1]: Gaussian window 11x11 with sigma 1.5, K1 = 0.01,
    K2 = 0.03, windows that lie wholly inside the image, mean over channels. ``mask`` weights the window centres; those
    within 5 pixels of the border do not count. Raises ValueError for images below 11x11."""
    x, y, w = _prepared(a, b, mask)
    if min(x.shape[2:]) < _WINDOW:
        raise ValueError(f"ssim needs images of at least 11x11 pixels, got {x.shape[3]}x{x.shape[2]}")
    index = _ssim_index(x, y, peak)
    return _mean(index.mean(1, keepdim=True), w[:, :, 5:-5, 5:-5]).to(a.dtype)


def angular_error_deg(a: Image, b: Image, mask: Mask | None = None) -> Tensor:
    """Mean angle between RGB vectors, degrees, (B,), range [0, 90] (docs/bench-spheres.md): a colour angle, blind to
    brightness. Black pixels have angle 0 and opposed vectors 90, as in the protocol. Not differentiable at angle 0."""
    x, y, w = _prepared(a, b, mask)
    return _mean(_angle(x, y, 1).clamp_max(math.pi / 2)[:, None].rad2deg(), w).to(a.dtype)


def direction_error_deg(a: Directions, b: Directions) -> Tensor:
    """Angle between directions (..., 3) of any length, degrees, (...,), range [0, 180]; NaN where one has no length."""
    x, y = torch.broadcast_tensors(a.double(), b.double())
    defined = (x.norm(dim=-1) > 0) & (y.norm(dim=-1) > 0)
    return torch.where(defined, _angle(x, y, -1).rad2deg(), math.nan).to(a.dtype)


def azimuth_error_deg(a: Directions, b: Directions) -> Tensor:
    """Angle between directions (..., 3) seen from above (about +Y), degrees, (...,), range [0, 180]; NaN where one is
    vertical or has no length: it has no azimuth."""
    ground = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64, device=a.device)
    return direction_error_deg(a.double() * ground, b.double() * ground).to(a.dtype)


# ---- losses ----------------------------------------------------------------------------------------------------------

def ssim_loss(a: Image, b: Image) -> Tensor:
    """1 - `ssim` of values in [0, 1], mean over the batch: a scalar in [0, 2], 0 for equal images. ValueError below
    11x11 or for different shapes."""
    if a.shape != b.shape or a.ndim != 4 or min(a.shape[2:]) < _WINDOW:
        raise ValueError(f"ssim_loss compares images (B, C, H, W) of one shape, at least {_WINDOW}x{_WINDOW}; got "
                         f"{tuple(a.shape)} and {tuple(b.shape)}")
    return 1 - _ssim_index(a, b).mean()


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


# ---- parts -----------------------------------------------------------------------------------------------------------

def _prepared(a: Image, b: Image, mask: Mask | None) -> tuple[Tensor, Tensor, Tensor]:
    """Both images in float64 and weights (B, 1, H, W); checks shapes."""
    if a.ndim != 4 or a.shape != b.shape:
        raise ValueError(f"metrics compare images (B, C, H, W) of one shape, not {tuple(a.shape)}, {tuple(b.shape)}")
    size = (a.shape[0], 1, *a.shape[2:])
    if mask is None:
        return a.double(), b.double(), torch.ones(size, dtype=torch.float64, device=a.device)
    if mask.ndim != 4 or mask.shape[1] != 1 or mask.shape[2:] != a.shape[2:]:
        raise ValueError(f"mask is {tuple(mask.shape)}, not {size}")
    return a.double(), b.double(), mask.to(a.device).double().expand(size)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of (B, 1, H, W) -> (B,)."""
    total = weights.sum((1, 2, 3))
    if bool((total == 0).any()):
        raise ValueError("the mask has no weight where the metric is defined")
    return (values * weights).sum((1, 2, 3)) / total


def _rms(difference: Tensor, weights: Tensor, channel_sum: bool) -> Tensor:
    squares = (difference * difference).sum(1, keepdim=True) / (1 if channel_sum else difference.shape[1])
    return _mean(squares, weights).sqrt()


def _percentile_normalized(x: Tensor) -> Tensor:
    # Sorting instead of torch.quantile: the latter refuses more than 16 million values.
    ordered = x.flatten(1).sort(1).values
    low, high = (_percentile(ordered, q)[:, None, None, None] for q in (0.01, 99.9))
    return (x - low) / (high - low)


def _percentile(ordered: Tensor, q: float) -> Tensor:
    """Percentile ``q`` of sorted rows (B, N) by linear interpolation, as numpy's default."""
    place = q / 100 * (ordered.shape[1] - 1)
    below = int(place)
    above = min(below + 1, ordered.shape[1] - 1)
    return ordered[:, below] + (ordered[:, above] - ordered[:, below]) * (place - below)


def _ssim_index(a: Image, b: Image, peak: float = 1.0) -> Tensor:
    """SSIM of every whole 11x11 window, Gaussian of sigma 1.5: (B, C, H - 10, W - 10)."""
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    t = torch.arange(_WINDOW, dtype=a.dtype, device=a.device) - _WINDOW // 2
    g = torch.exp(-t * t / (2 * 1.5**2))
    means = _separable(torch.cat([a, b, a * a, b * b, a * b], 1), g / g.sum(), g / g.sum())
    ma, mb, maa, mbb, mab = means.split(a.shape[1], 1)
    va, vb, cov = maa - ma * ma, mbb - mb * mb, mab - ma * mb
    return (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))


def _separable(x: Tensor, along_x: Tensor, along_y: Tensor) -> Tensor:
    """Each channel filtered by a row and a column, without padding."""
    count = x.shape[1]
    rows = conv2d(x, along_x.expand(count, 1, 1, -1), groups=count)
    return conv2d(rows, along_y[:, None].expand(count, 1, -1, 1), groups=count)


def _angle(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Angle in radians by atan2, accurate for small angles where arccos loses digits; 0 for zero vectors."""
    return torch.atan2(torch.linalg.cross(a, b, dim=dim).norm(dim=dim), (a * b).sum(dim))
