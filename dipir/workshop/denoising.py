"""The denoising loss of the diffusion priors (EDM; Karras et al. 2022, eq. 8)."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dipir import device


def draw_noise(rng: np.random.Generator, shape: Sequence[int], config: Any, limits: Any) -> tuple[Tensor, Tensor]:
    """((B,) log-normal noise levels by ``config.sigma_mean`` and ``sigma_std`` within ``limits.sigma_min`` and
    ``sigma_max``, (B, ...) noise of deviation 1), on the CPU."""
    sigma = np.exp(config.sigma_mean + config.sigma_std * rng.normal(size=shape[0])).astype(np.float32)
    sigma = torch.from_numpy(sigma).clamp(limits.sigma_min, limits.sigma_max)
    return sigma, torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))


def noised(x0: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """``x0`` (B, C, H, W) with ``noise`` of the levels ``sigma`` (B,)."""
    return x0 + sigma[:, None, None, None] * noise


def weighted_error(estimate: Tensor, x0: Tensor, sigma: Tensor, deviation: float,
                   weight: Tensor | None = None) -> Tensor:
    """(B,) mean square error, scaled to unit variance of the network's target; ``deviation`` : of the data
    ``weight`` : (B, 1, H, W) of the pixels."""
    s = sigma[:, None, None, None]
    square = (estimate.float() - x0) ** 2 * ((s**2 + deviation**2) / (s * deviation) ** 2)
    return square.mean((1, 2, 3)) if weight is None else (square * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3))


def validation_noise(x0: Tensor) -> Tensor:
    """The same noise at every validation."""
    return device.randn(x0.shape, torch.Generator().manual_seed(5), x0.device)


def errors_at(levels: Iterable[float], error: Callable[[float], Tensor]) -> dict[str, float]:
    """``sigma_LEVEL`` -> mean of ``error(level)`` (B,)."""
    return {f"sigma_{level:g}": float(error(level).mean()) for level in levels}
