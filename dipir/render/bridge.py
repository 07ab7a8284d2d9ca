"""The only torch <-> Dr.Jit crossing: contiguous float32, by copy, dtype and device stated."""
from __future__ import annotations

import torch
from torch import Tensor

from dipir.errors import RenderError
from dipir.render.backend import mitsuba


def to_drjit(tensor: Tensor):
    """torch -> mi.TensorXf, detached, contiguous float32."""
    return mitsuba().TensorXf(tensor.detach().float().contiguous().cpu().numpy()) if tensor.device.type == "cpu" \
        else mitsuba().TensorXf(tensor.detach().float().contiguous())


def to_torch(array) -> Tensor:
    """Dr.Jit array or tensor -> torch, a copy that outlives the Dr.Jit memory."""
    return array.torch().clone()


def padded_envmap(radiance: Tensor, min_height: int = 256) -> Tensor:
    """Piecewise constant map (H, W, 3) -> Mitsuba's ``data`` tensor; linear, so that torch carries the gradient.

    Mitsuba interpolates between texels; repeating each one until the map is ``min_height`` rows high keeps our meaning
    (a value is the mean over its texel) up to a blend at the borders. Measured in 3.9.1: columns lie at (c + 0.5) / W
    with a halo column on each side (left = last, right = first), rows at r / (H - 1), from pole to pole.
    """
    factor = max(1, -(-min_height // radiance.shape[0]))
    rows = _row_overlap(radiance.shape[0], radiance.shape[0] * factor).to(radiance)
    repeated = torch.einsum("rh,hwc->rwc", rows, radiance).repeat_interleave(factor, 1)
    return torch.cat([repeated[:, -1:], repeated, repeated[:, :1]], 1)


def _row_overlap(height: int, rows: int) -> Tensor:
    """(rows, height): share of each of our rows in the band that a Mitsuba row stands for (half bands at the poles)."""
    centre = torch.arange(rows, dtype=torch.float64) / (rows - 1)
    half = 0.5 / (rows - 1)
    low, high = (centre - half).clamp_min(0)[:, None], (centre + half).clamp_max(1)[:, None]
    edges = torch.arange(height + 1, dtype=torch.float64) / height
    overlap = (high.minimum(edges[1:]) - low.maximum(edges[:-1])).clamp_min(0)
    return overlap / overlap.sum(1, keepdim=True)


def check_finite(name: str, tensor: Tensor) -> Tensor:
    """``tensor`` itself. Raises RenderError with counts when it has NaN or infinite values; nothing is masked."""
    if not torch.isfinite(tensor).all():
        bad = int((~torch.isfinite(tensor)).sum())
        raise RenderError(f"{name}: {bad} of {tensor.numel()} values are NaN or infinite. Roughness near 0, a "
                          "degenerate normal map or an infinite texel of the light are the usual causes; check the "
                          "asset's textures.")
    return tensor
