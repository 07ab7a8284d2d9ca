"""Priors on light: consistency of the two maps and sparsity. Plain tensors in, scalars out.

DiPIR's objective is L = L_LDS + 0.03 L_cons + 0.01 L_reg (docs/method.md 1.10).
"""
from __future__ import annotations

import functools

import torch
from torch import Tensor

from dipir.arrays import EnvMap
from dipir.errors import FitError
from dipir.fit.checks import require
from dipir.image.color import BT709
from dipir.image.latlong import solid_angles


def luminance(envmap: EnvMap) -> Tensor:
    """(H, W, 3) linear radiance -> (H, W) BT.709 luminance."""
    return envmap @ _bt709(envmap.dtype, envmap.device)


def consistency_loss(foreground: EnvMap, shadow: EnvMap, floor: float = 1e-6) -> Tensor:
    """- sum_ij Lt_shadow log(Lt_fg) dOmega: cross entropy of the normalised luminances (docs/method.md 1.5).

    Lt is luminance divided by its integral over the sphere, so brightness and colour do not count, only where the light
    is. The gradient reaches both maps. Its minimum over ``foreground`` is at Lt_fg = Lt_shadow.
    floor : added to luminance relative to its mean, keeps log finite in black texels
    """
    if foreground.shape != shadow.shape or foreground.ndim != 3:
        raise FitError(f"consistency of maps of shapes {tuple(foreground.shape)} and {tuple(shadow.shape)}: "
                       "both must be (H, W, 3) of one size.")
    omega = solid_angles(*foreground.shape[:2], foreground.dtype, foreground.device)
    return -(_density(shadow, omega, floor) * _density(foreground, omega, floor).log() * omega).sum()


def cauchy_sparsity(envmap: EnvMap) -> Tensor:
    """Mean over texels of log(1 + 2 l^2), l = luminance: few bright lights, no even glow. For the shadow map."""
    return torch.log1p(2 * luminance(envmap).square()).mean()


def _density(envmap: EnvMap, omega: Tensor, floor: float) -> Tensor:
    """Luminance as a probability density over the sphere, 1/sr."""
    values = luminance(envmap)
    total = (values * omega).sum()
    least = values.min()
    require(torch.isfinite(total) & (total > 0) & (least >= 0), lambda: FitError(
        f"the light's luminance integrates to {float(total):.3g} with a minimum of {float(least):.3g}; it must be "
        "finite, non-negative and not all black."))
    sphere = omega.sum() * envmap.shape[1]
    values = values + floor * total / sphere
    return values / (values * omega).sum()


@functools.lru_cache(maxsize=8)
def _bt709(dtype: torch.dtype, where: torch.device) -> Tensor:
    """Kept, because making it anew would wait for the device every time."""
    return torch.tensor(BT709, dtype=dtype, device="cpu").to(where)
