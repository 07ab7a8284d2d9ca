"""Image and direction errors, one value per batch item. Computed in float64, given back in the type of the input.

``mask`` is always (B or 1, 1, H, W) with weights in [0, 1]; without it every pixel counts. A mask without weight is a
ValueError. NaN in the input is NaN in the result. Differentiable where the error is not exactly 0.
"""
from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from dipir.arrays import Directions, Image, Mask


def rmse(a: Image, b: Image, mask: Mask | None = None, channel_sum: bool = False) -> Tensor:
    """Root mean square error, (B,), range [0, inf). The mean runs over pixels and channels; with ``channel_sum``
    squares are summed over the channels and divided by the pixels only (three-sphere protocol, methods 5.1)."""
    x, y, w = _prepared(a, b, mask)
    return _rms(x - y, w, channel_sum).to(a.dtype)


def si_rmse(a: Image, b: Image, mask: Mask | None = None, channel_sum: bool = False) -> Tensor:
    """RMSE after the best scale of ``a``, (B,), range [0, inf): scale = sum ab / sum aa over pixels and channels
    (methods 5.1). Not symmetric: ``b`` is the truth. A black ``a`` has scale 0. ``channel_sum`` as in :func:`rmse`."""
    x, y, w = _prepared(a, b, mask)
    power = (w * x * x).sum((1, 2, 3))
    scale = (w * x * y).sum((1, 2, 3)) / torch.where(power == 0, 1.0, power)
    return _rms(scale[:, None, None, None] * x - y, w, channel_sum).to(a.dtype)


def normalized_rmse(a: Image, b: Image, mask: Mask | None = None) -> Tensor:
    """RMSE (sum over channels) after mapping percentiles 0.01 and 99.9 of each image to 0 and 1 (methods 5.1), (B,)."""
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
    if min(x.shape[2:]) < 11:
        raise ValueError(f"ssim needs images of at least 11x11 pixels, got {x.shape[3]}x{x.shape[2]}")
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mx, my = _windowed(x), _windowed(y)
    vx, vy, cov = _windowed(x * x) - mx * mx, _windowed(y * y) - my * my, _windowed(x * y) - mx * my
    index = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return _mean(index.mean(1, keepdim=True), w[:, :, 5:-5, 5:-5]).to(a.dtype)


def angular_error_deg(a: Image, b: Image, mask: Mask | None = None) -> Tensor:
    """Mean angle between RGB vectors, degrees, (B,), range [0, 90] (methods 5.1): a colour angle, blind to brightness.
    Black pixels have angle 0 and opposed vectors 90, as in the protocol. Not differentiable at angle 0."""
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


def _windowed(x: Tensor) -> Tensor:
    """Gaussian mean over every whole 11x11 window: (B, C, H, W) -> (B, C, H - 10, W - 10)."""
    t = torch.arange(11, dtype=x.dtype, device=x.device) - 5
    g = torch.exp(-t * t / (2 * 1.5**2))
    g = (g / g.sum()).expand(x.shape[1], 1, 1, 11)
    return conv2d(conv2d(x, g, groups=x.shape[1]), g.transpose(2, 3), groups=x.shape[1])


def _angle(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Angle in radians by atan2, accurate for small angles where arccos loses digits; 0 for zero vectors."""
    return torch.atan2(torch.linalg.cross(a, b, dim=dim).norm(dim=dim), (a * b).sum(dim))
