"""Posterior matching: sample the composites that the prior finds likely, and fit the image to them.

Distillation follows a noisy score; here the prior is asked once for whole images under its condition (the plate and the
renderer's own G-buffers), and light and tone are then fitted to those by a robust regression. With a small prior this
was measured to be the stronger use of it.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from dipir.arrays import split_seed
from dipir.diffusion.denoiser import AbstractDenoiser, Condition
from dipir.diffusion.sampler import Sampler, heun, sample
from dipir.errors import FitError
from dipir.fit.checks import require
from dipir.guidance.distillation import check_latent


def posterior_samples(denoiser: AbstractDenoiser, condition: Condition, n: int, sigmas: Tensor, seed: int,
                      start: Tensor | None = None, *, shape: Sequence[int] | None = None, sampler: Sampler = heun,
                      batch: int = 8) -> Tensor:
    """(n, C, h, w) samples of p(x0 | condition) in the prior's space, without gradient.

    sigmas : (steps + 1,) descending ladder that ends with 0
    start : (1, C, h, w) or (n, C, h, w) image in the prior's space to which noise of level sigmas[0] is added; None
        draws from the wide prior N(0, sigmas[0]^2), and then ``shape`` = (C, h, w) must be given
    Sample i depends on (seed, i) only: neither on n nor on ``batch``.
    """
    if n < 1:
        raise FitError(f"posterior_samples: n = {n}; accepted is 1 or more.")
    if start is None and shape is None:
        raise FitError("posterior_samples: neither `start` nor `shape` was given; give the latent shape (C, h, w).")
    if start is not None:
        check_latent(start)
        if len(start) not in (1, n):
            raise FitError(f"posterior_samples: `start` has {len(start)} rows; accepted is 1 or n = {n}.")
    shape = tuple(shape) if start is None else tuple(start.shape[1:])
    seeded = lambda i: Generator().manual_seed(split_seed(seed, "posterior", i))
    rows = [torch.randn(shape, generator=seeded(i), device="cpu") for i in range(n)]
    noise = torch.stack(rows) * float(sigmas[0])
    if start is None:
        return sample(denoiser, _like_condition(noise, condition), sigmas, condition, sampler, batch)
    return sample(denoiser, start.detach() + noise.to(start), sigmas, condition, sampler, batch)


def posterior_loss(image_latent: Tensor, samples: Tensor, weight_mask: Tensor | None = None,
                   delta: float = 1e-2) -> Tensor:
    """Scalar: weighted mean over pixels and samples of the Charbonnier distance sqrt(d^2 + delta^2) - delta.

    image_latent : (1, C, h, w) current image, with gradient;  samples : (n, C, h, w)
    weight_mask : (1 | n, 1 | C, h, w) >= 0, or None for 1 everywhere. Only relative size matters
    delta : where L2 turns into L1. L1 makes the fit go to the median, so that single odd samples do no harm.
    """
    if image_latent.ndim != 4 or len(image_latent) != 1 or image_latent.shape[1:] != samples.shape[1:]:
        raise FitError(f"posterior_loss: image {tuple(image_latent.shape)} against samples {tuple(samples.shape)}; "
                       "accepted is (1, C, h, w) against (n, C, h, w).")
    distance = ((image_latent - samples.detach()).square() + delta**2).sqrt() - delta
    if weight_mask is None:
        return distance.mean()
    weights = weight_mask.to(distance).expand_as(distance)
    total = weights.sum()
    least = weights.min()
    require(torch.isfinite(total) & (total > 0) & (least >= 0), lambda: FitError(
        f"posterior_loss: the weight mask sums to {float(total):.3g} with a minimum of {float(least):.3g}; needs "
        "weights >= 0, not all 0 (is the object in view?)."))
    return (distance * weights).sum() / total


def _like_condition(noise: Tensor, condition: Condition) -> Tensor:
    """Noise is drawn on the CPU and goes where the condition is."""
    given = [v for v in (condition.planes, condition.text, condition.control) if v is not None]
    return noise.to(given[0].device) if given else noise
