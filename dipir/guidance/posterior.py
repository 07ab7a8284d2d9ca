"""Posterior matching: sample the composites that the prior finds likely, and fit the image to them.

Distillation follows a noisy score; here the prior is asked once for whole images under its condition (the plate and the
renderer's own G-buffers), and light and tone are then fitted to those by a robust regression. With a small prior this
was measured to be the stronger use of it.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Generator, Tensor

from dipir.arrays import Image, split_seed
from dipir.diffusion.denoiser import AbstractDenoiser, Condition
from dipir.diffusion.sampler import Sampler, heun, sample
from dipir.diffusion.schedule import karras
from dipir.errors import ConfigError, FitError
from dipir.event import Event
from dipir.fit.checks import require
from dipir.guidance.distillation import check_latent
from dipir.guidance.guidance import Asked, Guidance

LOWEST_SIGMA = 0.05  # Of the ladder; finer noise is below what 8 bits show.


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
    seeds = [Generator().manual_seed(split_seed(seed, "posterior", i)) for i in range(n)]
    rows = [torch.randn(shape, generator=generator, device="cpu") for generator in seeds]
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


@final
class PosteriorMatching(Guidance):
    """Draws its images once, when it is made; every step pulls towards them. ``samples`` : (n, C, h, w) in the prior's
    space, where they are known already."""

    def __init__(self, asked: Asked, samples: Tensor | None = None) -> None:
        super().__init__(asked)
        self.samples = self._draw(asked) if samples is None else samples

    @staticmethod
    def _draw(asked: Asked) -> Tensor:
        prior, settings = asked.prior, asked.settings
        asked.on_event(Event("posterior", 0, 1))
        sigmas = karras(settings.sampler_steps, LOWEST_SIGMA, prior.sigma_max)
        samples = posterior_samples(prior, asked.condition, settings.samples, sigmas,
                                    split_seed(asked.seed, "posterior"), shape=asked.start.shape[1:]).clamp(-1, 1)
        previews = {"sample": prior.decode(samples.mean(0, keepdim=True)).cpu()}
        asked.on_event(Event("posterior", 1, 1, images=previews))
        return samples

    @classmethod
    def check(cls, prior: AbstractDenoiser) -> None:
        if prior.language == "text":
            raise ConfigError("guidance.kind: posterior matching needs a prior that is told the picture (the embedded "
                              "one); with a text model choose sds, or lds to insert (--preset paper, or --set "
                              "guidance.kind=sds).")

    def pull(self, image: Image, progress: float, step: int) -> tuple[Tensor, dict[str, float]]:
        latent = self.asked.prior.encode(image)
        return posterior_loss(latent, self.samples, self.asked.weights(latent)), {}


def _like_condition(noise: Tensor, condition: Condition) -> Tensor:
    """Noise is drawn on the CPU and goes where the condition is."""
    given = [v for v in (condition.planes, condition.text, condition.control) if v is not None]
    return noise.to(given[0].device) if given else noise
