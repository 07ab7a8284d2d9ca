"""The only torch <-> Dr.Jit crossing: contiguous float32, dtype and device stated.

Where both halves are on the GPU nothing is copied (DLPack; Dr.Jit's stream keeps order with torch's default one) and
nothing passes through the host. Dr.Jit arrays that are handed out stay alive with the tensor, and Dr.Jit
writes to a copy of an array that somebody else holds, so torch never sees a value change. On the CPU LLVM's arrays are
copied: their memory is reused.
"""
from __future__ import annotations

import functools

import drjit as dr
import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.errors import RenderError
from dipir.render.backend import mitsuba, on_gpu


def to_drjit(tensor: Tensor):
    """torch -> mi.TensorXf, detached, contiguous float32. On the GPU it shares the tensor's memory, which must not be
    written to afterwards."""
    plain = tensor.detach().float().contiguous()
    return mitsuba().TensorXf(plain.cuda() if on_gpu() else plain.cpu().numpy())


def to_index(tensor: Tensor):
    """Indices (n,) -> mi.UInt32."""
    mi = mitsuba()
    plain = tensor.detach().int().contiguous()
    return mi.UInt32(mi.Int32(plain.cuda())) if on_gpu() else mi.UInt32(plain.cpu().numpy())


def to_array(values: np.ndarray):
    """Host numbers -> mi.Float, flat."""
    return mitsuba().Float(np.ascontiguousarray(values, np.float32).ravel())


def to_torch(array) -> Tensor:
    """Dr.Jit array or tensor -> torch on the run's device; vectors come out flat, component by component of each
    entry. It outlives the Dr.Jit memory."""
    flat = array if dr.is_tensor_v(array) or dr.depth_v(array) == 1 else dr.ravel(array)
    tensor, target = flat.torch(), device.current().torch
    if tensor.device.type == "cpu" and target.type == "cpu":
        return tensor.clone()
    return tensor.to(target)


def columns(vector, width: int) -> Tensor:
    """Dr.Jit vector of n entries -> (n, width)."""
    return to_torch(vector).reshape(-1, width)


def flags(mask) -> Tensor:
    """mi.Bool -> float tensor of 0 and 1."""
    return to_torch(mitsuba().Float(dr.select(mask, 1.0, 0.0)))


def padded_envmap(radiance: Tensor, min_height: int = 256) -> Tensor:
    """Piecewise constant map (H, W, 3) -> Mitsuba's ``data`` tensor; linear, so that torch carries the gradient.

    Mitsuba interpolates between texels; repeating each one until the map is ``min_height`` rows high keeps our meaning
    (a value is the mean over its texel) up to a blend at the borders. Measured in 3.9.1: columns lie at (c + 0.5) / W
    with a halo column on each side (left = last, right = first), rows at r / (H - 1), from pole to pole.
    """
    factor = max(1, -(-min_height // radiance.shape[0]))
    rows = _row_overlap(radiance.shape[0], radiance.shape[0] * factor, radiance.device).to(radiance.dtype)
    repeated = torch.einsum("rh,hwc->rwc", rows, radiance).repeat_interleave(factor, 1)
    return torch.cat([repeated[:, -1:], repeated, repeated[:, :1]], 1)


@functools.lru_cache(maxsize=8)
def _row_overlap(height: int, rows: int, where: torch.device) -> Tensor:
    """(rows, height): share of each of our rows in the band that a Mitsuba row stands for (half bands at the poles)."""
    centre = torch.arange(rows, dtype=torch.float64, device=where) / (rows - 1)
    half = 0.5 / (rows - 1)
    low, high = (centre - half).clamp_min(0)[:, None], (centre + half).clamp_max(1)[:, None]
    edges = torch.arange(height + 1, dtype=torch.float64, device=where) / height
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
