"""Polynomial texture maps and hemispherical harmonics: the functions of the light that RTI programs fit to each pixel.

Both are linear: a pixel's value under a light is a sum of k coefficients times k functions of the light's direction,
found by least squares over the photos. Values are taken as the photos have them (display), as RTI programs do.

* ``ptm`` (Malzbender et al. 2001): lu^2, lv^2, lu lv, lu, lv, 1 of the projected direction (lu, lv) = (x, y).
* ``hsh9``, ``hsh16`` (Gautron et al. 2004): spherical harmonics of orders below 3 and 4 with cos theta = z stretched
  from [0, 1] to [-1, 1]; orthonormal over the hemisphere.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from scipy.special import lpmv
from torch import Tensor

from dipir.arrays import Directions, Image
from dipir.errors import ConfigError, nearest

Basis = Literal["ptm", "hsh9", "hsh16"]


@dataclass(frozen=True)
class Coefficients:
    """What is fitted to a capture."""

    basis: Basis  # one of Basis
    values: Tensor  # (k, 3, h, w) float32, a value for each function, channel and pixel


def design(directions: Directions, basis: Basis) -> Tensor:
    """The k functions of ``basis`` for unit directions (n, 3): (n, k) float64. Lights behind the picture's plane count
    as level with it in the harmonics, which end there. ConfigError for an unknown basis."""
    if basis not in get_args(Basis):
        raise ConfigError(f"basis '{basis}': accepted are {', '.join(get_args(Basis))}."
                          f"{nearest(basis, get_args(Basis))}")
    x, y, z = directions.double().unbind(-1)
    if basis == "ptm":
        return torch.stack([x * x, y * y, x * y, x, y, torch.ones_like(x)], -1)
    return _harmonics(x, y, z, 3 if basis == "hsh9" else 4)


def _harmonics(x: Tensor, y: Tensor, z: Tensor, orders: int) -> Tensor:
    """(n, orders^2): sqrt(2) K cos(m phi) P_l^m(2 z - 1) for m > 0, with sin for m < 0, K P_l^0 for m = 0 and
    K^2 = (2 l + 1) (l - |m|)! / (2 pi (l + |m|)!)  (Gautron et al. 2004, eq. 2 to 4)."""
    phi, stretched = torch.atan2(y, x), (2 * z.clamp(0, 1) - 1).numpy()
    columns = []
    for order in range(orders):
        for m in range(-order, order + 1):
            a = abs(m)
            scale = math.sqrt((2 * order + 1) * math.factorial(order - a) / (2 * math.pi * math.factorial(order + a)))
            turning = torch.ones_like(phi) if m == 0 else math.sqrt(2) * (
                (m * phi).cos() if m > 0 else (a * phi).sin())
            columns.append(scale * turning * torch.from_numpy(np.asarray(lpmv(a, order, stretched))).to(phi.device))
    return torch.stack(columns, -1)


def fit(directions: Directions, images: Image, basis: Basis = "ptm") -> Coefficients:
    """Least squares over photos (n, 3, h, w) under unit ``directions`` (n, 3). With fewer lights than functions, the
    smallest coefficients that reproduce the photos."""
    solve = torch.linalg.pinv(design(directions, basis)).float()
    return Coefficients(basis, torch.tensordot(solve, images, 1))


def relight(coefficients: Coefficients, directions: Directions) -> Image:
    """The photos under other lights: unit directions (m, 3) -> (m, 3, h, w) display, clipped to [0, 1]."""
    rows = design(directions, coefficients.basis).float()
    return torch.tensordot(rows, coefficients.values, 1).clamp(0, 1)
