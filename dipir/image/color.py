"""Display-referred sRGB <-> linear light, and luminance. All differentiable, any shape unless said.

sRGB: IEC 61966-2-1, the exact piecewise curve (not a plain power of 2.2).
"""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dipir.arrays import Image, Mask

BT709 = (0.2126, 0.7152, 0.0722)
"""Shares of red, green and blue in luminance."""

_DISPLAY_KNEE = 0.04045
_LINEAR_KNEE = 0.0031308


def srgb_to_linear(x_disp: Tensor) -> Tensor:
    """Decode sRGB. Domain all reals, range all reals: odd (f(-x) = -f(x)) and continued by the same formula above 1."""
    # The clamp keeps the unused branch of `where` away from the base 0, whose infinite slope would turn into NaN.
    power = ((x_disp.abs().clamp_min(_DISPLAY_KNEE) + 0.055) / 1.055) ** 2.4
    return torch.where(x_disp.abs() <= _DISPLAY_KNEE, x_disp / 12.92, x_disp.sign() * power)


def srgb_to_linear_array(x_disp: np.ndarray) -> np.ndarray:
    """As `srgb_to_linear`, for numpy; in the type of a float array."""
    return srgb_to_linear(torch.asarray(np.ascontiguousarray(x_disp), device="cpu")).numpy()


def linear_to_srgb(x_lin: Tensor) -> Tensor:
    """Encode sRGB. Domain all reals, range all reals (no clipping): odd, slope 12.92 at 0, same formula above 1."""
    power = 1.055 * x_lin.abs().clamp_min(_LINEAR_KNEE) ** (1 / 2.4) - 0.055
    return torch.where(x_lin.abs() <= _LINEAR_KNEE, x_lin * 12.92, x_lin.sign() * power)


def luminance(x_lin: Image) -> Mask:
    """Relative luminance (BT.709 weights) of linear light (..., 3, H, W) -> (..., 1, H, W). All reals."""
    weights = torch.tensor(BT709, dtype=x_lin.dtype, device=x_lin.device)[:, None, None]
    return (x_lin * weights).sum(-3, keepdim=True)
