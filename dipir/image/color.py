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


def linear_to_srgb_array(x_lin: np.ndarray) -> np.ndarray:
    """As `linear_to_srgb`, for numpy; in the type of a float array."""
    return linear_to_srgb(torch.asarray(np.ascontiguousarray(x_lin), device="cpu")).numpy()


def linear_to_srgb(x_lin: Tensor) -> Tensor:
    """Encode sRGB. Domain all reals, range all reals (no clipping): odd, slope 12.92 at 0, same formula above 1."""
    power = 1.055 * x_lin.abs().clamp_min(_LINEAR_KNEE) ** (1 / 2.4) - 0.055
    return torch.where(x_lin.abs() <= _LINEAR_KNEE, x_lin * 12.92, x_lin.sign() * power)


def luminance(x_lin: Image) -> Mask:
    """Relative luminance (BT.709 weights) of linear light (..., 3, H, W) -> (..., 1, H, W). All reals."""
    weights = torch.tensor(BT709, dtype=x_lin.dtype, device=x_lin.device)[:, None, None]
    return (x_lin * weights).sum(-3, keepdim=True)


def blackbody(kelvin: float) -> Tensor:
    """(3,) linear BT.709 of a black body of ``kelvin`` in [1000, 25000], luminance 1, on the CPU; out of gamut values
    become 0. Chromaticities: Kim et al. 2002 (US patent 7024034), exact to 0.001 from 1667 kelvin."""
    t = 1e3 / min(max(kelvin, 1667.0), 25000.0)
    if kelvin < 4000:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    if kelvin < 2222:
        y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    elif kelvin < 4000:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    xyz = torch.tensor([x / y, 1.0, (1 - x - y) / y], dtype=torch.float64, device="cpu")
    to_rgb = torch.tensor([[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560],
                           [0.0556434, -0.2040259, 1.0572252]], dtype=torch.float64, device="cpu")
    rgb = (to_rgb @ xyz).clamp_min(0)
    return (rgb / (rgb @ rgb.new_tensor(BT709))).float()
