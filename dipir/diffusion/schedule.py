"""Noise levels: sigma tables, sigma <-> time of a DDPM schedule, and distributions over noise levels.

A *table* is a ``(T,)`` ascending tensor: the sigma of every training time ``t = 0 .. T-1`` of a discrete DDPM,
``sigma_t = sqrt((1 - alphabar_t) / alphabar_t)``. A *ladder* is an ``(n + 1,)`` descending tensor that a sampler walks;
its last entry may be 0. All sigmas are variance exploding (``dipir/arrays.py``).
"""
from __future__ import annotations

import functools
import math

import torch
from torch import Generator, Tensor

from dipir.errors import ConfigError


# ------------------------------------------------------------------------------------------------- tables and ladders
def karras(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """(n + 1,) float32 ladder of n levels from ``sigma_max`` to ``sigma_min``, then 0 (Karras et al. 2022, Eq. 5)."""
    if n < 1 or not 0 < sigma_min <= sigma_max < math.inf or rho <= 0:
        raise ConfigError(f"karras(n={n}, sigma_min={sigma_min}, sigma_max={sigma_max}, rho={rho}): needs n >= 1, "
                          "0 < sigma_min <= sigma_max and rho > 0; correct the noise range.")
    ramp = torch.linspace(0, 1, n, dtype=torch.float64, device="cpu")
    root_max, root_min = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return torch.cat([(root_max + ramp * (root_min - root_max)) ** rho, ramp.new_zeros(1)]).float()


def scaled_linear_alphas(steps: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012) -> Tensor:
    """(T,) float64 alphabar of Stable Diffusion: the square root of beta is linear in time."""
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, steps, dtype=torch.float64, device="cpu") ** 2
    return torch.cumprod(1 - betas, 0)


def sigmas_from_alphas(alphas_cumprod: Tensor) -> Tensor:
    """(T,) alphabar, strictly falling in (0, 1) -> (T,) float64 ascending sigma table."""
    alphas = alphas_cumprod.double()
    if alphas.ndim != 1 or len(alphas) < 2 or not bool(((alphas > 0) & (alphas < 1)).all()) or bool(
            (alphas.diff() >= 0).any()):
        raise ConfigError(f"alphas_cumprod of shape {tuple(alphas.shape)}: needs at least two numbers that fall "
                          "strictly inside (0, 1); one that ends at exactly 0 has no finite sigma.")
    return ((1 - alphas) / alphas).sqrt()


@functools.lru_cache(maxsize=1)
def stable_diffusion_table() -> Tensor:
    """(1000,) float64 sigma table of Stable Diffusion's schedule, on the CPU; shared, not to be written to."""
    return sigmas_from_alphas(scaled_linear_alphas())


def ladder(table: Tensor, n: int, t_max: float | None = None) -> Tensor:
    """(n + 1,) float32 ladder even in the time of ``table`` from ``t_max`` (default: the last) to 0, then 0."""
    top = len(table) - 1 if t_max is None else t_max
    if n < 1 or not 0 <= top <= len(table) - 1:
        raise ConfigError(f"ladder of n={n} levels from t={top}: needs n >= 1 and 0 <= t <= {len(table) - 1}.")
    times = torch.linspace(top, 0, n, dtype=torch.float64, device=table.device)
    return torch.cat([t_to_sigma(times, table), table.new_zeros(1)]).float()


# ----------------------------------------------------------------------------------------------------- sigma <-> time
def t_to_sigma(t: Tensor, table: Tensor) -> Tensor:
    """Fractional times in [0, T-1] -> sigma; log sigma is linear between neighbours. Times outside are clamped."""
    log_table = table.to(t.device).log()
    t = t.to(log_table.dtype).clamp(0, len(table) - 1)
    low = t.floor().long().clamp_max(len(table) - 2)
    part = t - low
    return ((1 - part) * log_table[low] + part * log_table[low + 1]).exp()


def sigma_to_t(sigma: Tensor, table: Tensor) -> Tensor:
    """Inverse of :func:`t_to_sigma`, in the table's float type; sigmas outside the table are clamped to its ends."""
    log_table = table.to(sigma.device).log()
    log_sigma = sigma.to(log_table.dtype).log()
    low = (torch.searchsorted(log_table, log_sigma.detach().contiguous()) - 1).clamp(0, len(table) - 2)
    part = (log_sigma - log_table[low]) / (log_table[low + 1] - log_table[low])
    return low + part.clamp(0, 1)


# ------------------------------------------------------------------------------------------------ noise distributions
def annealed(progress: float, start: float = 0.6, end: float = 0.3) -> float:
    """tau, the largest noise level as a part of T: linear from ``start`` to ``end`` over the run (DiPIR: 0.6 -> 0.3).

    progress : done part of the run, clamped to [0, 1]
    """
    return start + (end - start) * min(max(progress, 0.0), 1.0)


def uniform_t(n: int, table: Tensor, t_min: float = 0.02, tau: float = 0.98,
              generator: Generator | None = None) -> Tensor:
    """(n,) float32 sigmas of t ~ U(t_min * T', tau * T') with T' = T - 1, the last time of ``table``.

    The published text fixes only the annealed end tau; t_min = 0.02 is customary.
    """
    if not 0 <= t_min <= tau <= 1:
        raise ConfigError(f"noise range t_min={t_min}, tau={tau}: needs 0 <= t_min <= tau <= 1 (parts of T).")
    # Drawn on the CPU so that one seed means the same noise levels on every device.
    part = torch.rand(n, generator=generator, dtype=torch.float64, device="cpu")
    return t_to_sigma((t_min + (tau - t_min) * part) * (len(table) - 1), table.cpu()).float()
