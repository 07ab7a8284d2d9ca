"""Dataset update: the image is edited by the prior now and then, and fitted to the last edit in between.

Instruct-NeRF2NeRF (Haque et al. 2023, section 3.2) replaces training images by edited ones while the scene is being
fitted; DiPIR compares its LDS with this form of guidance (``methods.md`` 1.11). The edit is SDEdit (Meng et al. 2022):
noise up to a level, then sample back down.
"""
from __future__ import annotations

import torch
from torch import Tensor

from dipir.diffusion.denoiser import AbstractDenoiser, Condition
from dipir.diffusion.sampler import Sampler, heun
from dipir.diffusion.schedule import karras
from dipir.errors import FitError
from dipir.guidance.distillation import check_latent

LOWEST_SIGMA = 0.05  # Of the ladder, as in posterior matching; finer noise is below what 8 bits show.


@torch.no_grad()
def edited(denoiser: AbstractDenoiser, latent: Tensor, condition: Condition, sigma: float, noise: Tensor, steps: int,
           sampler: Sampler = heun) -> Tensor:
    """The clean image that the prior makes of ``latent`` + ``sigma`` ``noise``: (B, C, h, w), clamped to [-1, 1] in a
    pixel space of three channels, without gradient.

    latent, noise : (B, C, h, w) in the prior's space;  sigma : > 0, how far the edit may go;  steps : of the sampler
    Raises FitError when they do not fit together.
    """
    check_latent(latent)
    if noise.shape != latent.shape or not 0 < sigma < float("inf") or steps < 1:
        raise FitError(f"edited: latent {tuple(latent.shape)}, noise {tuple(noise.shape)}, sigma {sigma:g}, {steps} "
                       "steps; accepted are equal shapes, a finite sigma above 0 and 1 step or more.")
    levels = karras(steps, min(LOWEST_SIGMA, 0.5 * sigma), sigma)
    image = sampler(denoiser, latent.detach() + sigma * noise, levels, condition)
    return image.clamp(-1, 1) if image.shape[1] == 3 else image
