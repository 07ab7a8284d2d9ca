"""Dataset update: the image is edited by the prior now and then, and fitted to the last edit in between.

Instruct-NeRF2NeRF (Haque et al. 2023, section 3.2) replaces training images by edited ones while the scene is being
fitted; DiPIR compares its LDS with this form of guidance (docs/method.md 1.11). The edit is SDEdit (Meng et al. 2022):
noise up to a level, then sample back down.
"""
from __future__ import annotations

from typing import final

import torch
from torch import Generator, Tensor

from dipir.arrays import Image, split_seed
from dipir.device import randn
from dipir.diffusion.denoiser import AbstractDenoiser, Condition
from dipir.diffusion.sampler import Sampler, heun
from dipir.diffusion.schedule import karras
from dipir.errors import FitError
from dipir.fit.parameters import Parameters
from dipir.guidance.distillation import annealed_level, check_latent
from dipir.guidance.guidance import Guidance
from dipir.guidance.posterior import LOWEST_SIGMA, posterior_loss

KEPT = "dataset.image"
"""Name of the last edit among the parameters: never fitted, but kept by checkpoints."""


@torch.no_grad()
def edited(denoiser: AbstractDenoiser, latent: Tensor, condition: Condition, sigma: float, noise: Tensor, steps: int,
           *, sampler: Sampler = heun) -> Tensor:
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


@final
class DatasetUpdate(Guidance):
    """Pulls towards the last edit, which is made anew every ``guidance.update_every`` steps."""

    def keep(self, parameters: Parameters) -> None:
        with torch.no_grad():
            parameters.add(KEPT, self.asked.guided.encode(self.asked.start), rate=0.0)
        self._parameters = parameters

    def pull(self, image: Image, progress: float, step: int) -> tuple[Tensor, dict[str, float]]:
        asked, last = self.asked, self._parameters.raw[KEPT]
        prior, settings = asked.guided, asked.settings
        latent = prior.encode(image)
        generator = Generator().manual_seed(split_seed(asked.seed, "noise", step))
        sigma = float(annealed_level(settings, progress, None))
        if step % settings.update_every == 0:
            noise = randn(latent.shape, generator, latent.device).to(latent)
            last.copy_(edited(prior, latent, asked.condition, sigma, noise, settings.sampler_steps))
        return posterior_loss(latent, last, asked.weights(latent)), {"sigma": sigma}
