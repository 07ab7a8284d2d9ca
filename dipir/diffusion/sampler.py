"""Samplers as plain functions of a denoiser; all walk a descending ladder of noise levels.

The probability flow of a variance exploding process is dx/dsigma = (x - D(x, sigma)) / sigma (Karras et al. 2022, Eq. 1
with sigma as time). No sampler keeps a graph. Every result is the state at the last level reached: a clean image when
the ladder ends with 0.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Generator, Tensor

from dipir.device import randn
from dipir.diffusion.denoiser import AbstractDenoiser, Condition, select
from dipir.errors import ConfigError, PriorError
from dipir.fit.checks import require, together


@dataclass(frozen=True)
class SamplerStep:
    """One step as a callback sees it, before the next one is taken."""

    index: int
    steps: int
    """Steps done and planned."""
    sigma: float
    """Noise level of ``x``."""
    x: Tensor
    """(B, C, h, w) state; may be changed in place (layout guidance does)."""
    denoised: Tensor
    """The prior's estimate of x0 that this step used."""


Callback = Callable[[SamplerStep], bool | None]  # True stops the sampler there
Sampler = Callable[[AbstractDenoiser, Tensor, Tensor, Condition], Tensor]


@torch.no_grad()
@together()
def euler(denoiser: AbstractDenoiser, x: Tensor, sigmas: Tensor, condition: Condition,
          callback: Callback | None = None) -> Tensor:
    """First order. x : (B, C, h, w) at noise level sigmas[0];  sigmas : (n + 1,) descending, last may be 0."""
    levels, x = _levels(sigmas), _start(x)
    for i, (now, after) in enumerate(pairwise(levels)):
        denoised = _estimate(denoiser, x, now, condition)
        x = x + (after - now) * (x - denoised) / now
        if _stop(callback, i, levels, x, denoised):
            break
    return x


@torch.no_grad()
@together()
def heun(denoiser: AbstractDenoiser, x: Tensor, sigmas: Tensor, condition: Condition,
         callback: Callback | None = None) -> Tensor:
    """Second order: two estimates a step, one for the last step to 0 (Karras et al. 2022, Algorithm 1)."""
    levels, x = _levels(sigmas), _start(x)
    for i, (now, after) in enumerate(pairwise(levels)):
        denoised = _estimate(denoiser, x, now, condition)
        slope = (x - denoised) / now
        guess = x + (after - now) * slope
        if after > 0:
            denoised = _estimate(denoiser, guess, after, condition)
            guess = x + (after - now) * 0.5 * (slope + (guess - denoised) / after)
        x = guess
        if _stop(callback, i, levels, x, denoised):
            break
    return x


@torch.no_grad()
@together()
def ddim(denoiser: AbstractDenoiser, x: Tensor, sigmas: Tensor, condition: Condition, callback: Callback | None = None,
         *, eta: float = 0.0, generator: Generator | None = None) -> Tensor:
    """DDIM (Song et al. 2021, Eq. 12 and 16) in variance exploding form; with eta = 0 it is :func:`euler`.

    eta : 0 = deterministic, 1 = ancestral (DDPM);  generator : of the added noise, on the CPU
    """
    levels, x = _levels(sigmas), _start(x)
    if not 0 <= eta <= 1:
        raise ConfigError(f"ddim: eta = {eta}; accepted is 0 (deterministic) to 1 (ancestral).")
    for i, (now, after) in enumerate(pairwise(levels)):
        denoised = _estimate(denoiser, x, now, condition)
        up = eta * after * max(1 - (after / now) ** 2, 0.0) ** 0.5
        x = denoised + max(after**2 - up**2, 0.0) ** 0.5 * (x - denoised) / now
        if up > 0:
            x = x + up * randn(x.shape, generator, x.device).to(x)
        if _stop(callback, i, levels, x, denoised):
            break
    return x


@torch.no_grad()
@together()
def ddim_inversion(denoiser: AbstractDenoiser, x: Tensor, sigmas: Tensor, condition: Condition,
                   callback: Callback | None = None, *, iterations: int = 3) -> Tensor:
    """The noisy x at level sigmas[0] from which :func:`ddim` over the same ladder gives back the image ``x``.

    sigmas : (n + 1,) descending as for the samplers; walked backwards from the last to the first
    iterations : fixed-point iterations a step for x' = x + (sigma' - sigma) eps(x', sigma'), which is the exact inverse
        of the DDIM step; 1 is the usual first-order inversion.
    """
    levels, x = _levels(sigmas)[::-1], _start(x)
    if iterations < 1:
        raise ConfigError(f"ddim_inversion: iterations = {iterations}; accepted is 1 or more.")
    for i, (now, after) in enumerate(pairwise(levels)):
        guess = x
        for _ in range(iterations):
            denoised = _estimate(denoiser, guess, after, condition)
            guess = x + (after - now) * (guess - denoised) / after
        x = guess
        if _stop(callback, i, levels, x, denoised):
            break
    return x


def sample(denoiser: AbstractDenoiser, start: Tensor, sigmas: Tensor, condition: Condition, sampler: Sampler = heun,
           batch: int = 8) -> Tensor:
    """Run ``sampler`` over (n, C, h, w) starts at level sigmas[0], at most ``batch`` at a time.

    condition : one row for all, or one row for each start
    """
    if batch < 1:
        raise ConfigError(f"sample: batch = {batch}; accepted is 1 or more.")
    rows = torch.arange(len(start), device="cpu").split(batch)
    return torch.cat([sampler(denoiser, start[r[0]:r[-1] + 1], sigmas, select(condition, r)) for r in rows])


# ------------------------------------------------------------------------------------------------------------ details
def _levels(sigmas: Tensor) -> list[float]:
    levels = [float(s) for s in sigmas]
    if len(levels) < 2 or levels[-1] < 0 or any(not b < a < float("inf") for a, b in pairwise(levels)):
        raise ConfigError(f"noise levels {_short(levels)}: needs at least two finite numbers that fall strictly, the "
                          "last one 0 or more; make them with schedule.karras or schedule.ladder.")
    return levels


def _short(levels: Sequence[float]) -> str:
    text = ", ".join(f"{s:.4g}" for s in levels[:6])
    return f"[{text}{', ...' if len(levels) > 6 else ''}]"


def _start(x: Tensor) -> Tensor:
    if not bool(torch.isfinite(x).all()):  # One look before many steps.
        raise PriorError(f"the start image of shape {tuple(x.shape)} holds NaN or infinity; sampling was not begun.")
    return x.detach().clone()


def _estimate(denoiser: AbstractDenoiser, x: Tensor, sigma: float, condition: Condition) -> Tensor:
    denoised = denoiser(x, torch.full((len(x),), sigma, device=x.device, dtype=x.dtype), condition)
    require(torch.isfinite(denoised).all(), lambda: PriorError(
        f"the prior returned NaN or infinity at sigma = {sigma:.4g}. On a GPU use bfloat16 or float32 weights instead "
        "of float16; otherwise the weights are damaged: download them again."))
    return denoised


def _stop(callback: Callback | None, index: int, levels: Sequence[float], x: Tensor, denoised: Tensor) -> bool:
    if callback is None:
        return False
    return bool(callback(SamplerStep(index + 1, len(levels) - 1, levels[index + 1], x, denoised)))


