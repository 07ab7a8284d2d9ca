"""Score distillation: SDS, LDS; weightings.

Written in variance exploding terms: x = z + sigma noise, eps_hat = (x - D(x, sigma)) / sigma. That eps_hat is the same
number as in the variance preserving form of the papers, whose z_t is x / sqrt(sigma^2 + 1); the constant factor
dz_t/dz = sqrt(alphabar) is absorbed in w, as it is in every published implementation.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Generator, Tensor

from dipir.arrays import Image, split_seed
from dipir.device import randn
from dipir.diffusion.batched import personalised_and_base
from dipir.diffusion.denoiser import AbstractDenoiser, Condition, per_image
from dipir.diffusion.schedule import annealed, scaled_linear_alphas, sigmas_from_alphas, uniform_t
from dipir.errors import FitError
from dipir.fit.checks import require
from dipir.guidance.guidance import Asked, Guidance, KindSettings

LATENT_STD_MAX = 10.0  # Latents of every prior here have a standard deviation near 1; 10 means a missing scale factor.


@dataclass(frozen=True)
class Score:
    """A direction in which the image would look more real (to be descended)."""

    gradient: Tensor
    """Like the latent."""
    sigma: Tensor
    """(B,) noise levels used."""
    denoised: Tensor
    """Like the latent: the prior's preview."""
    norms: Mapping[str, Tensor] = field(default_factory=dict)
    """Diagnostics by name, tensors of one element, so that nobody waits for them before they are logged."""


# ------------------------------------------------------------------------------------------------ weightings w(sigma)
Weight = Callable[[Tensor], Tensor]  # (B,) sigma -> (B,) weight


def constant(sigma: Tensor) -> Tensor:
    """w = 1."""
    return torch.ones_like(sigma)


def one_minus_alphabar(sigma: Tensor) -> Tensor:
    """w = 1 - alphabar_t = sigma^2 / (1 + sigma^2): the usual one of SDS; used for Lasagna's guidance."""
    return sigma**2 / (1 + sigma**2)


def sigma_weight(sigma: Tensor) -> Tensor:
    """w = sigma: the gradient becomes a difference of images, z - x0_hat, of equal size at every noise level."""
    return sigma.clone()


# ------------------------------------------------------------------------------------------------------------- scores
@torch.no_grad()
def sds(denoiser: AbstractDenoiser, latent: Tensor, condition: Condition, sigma: Tensor, noise: Tensor,
        weight: Weight = one_minus_alphabar) -> Score:
    """w (eps_hat(x, c) - eps) = w (z - D(x, c)) / sigma (Poole et al. 2023, Eq. 3).

    latent, noise : (B, C, h, w);  sigma : (B,) > 0. Pass a :class:`GuidedDenoiser` for guidance and a negative prompt.
    Raises FitError when the latent is off scale or the prior's answer is not finite.
    """
    x = _noised(latent, sigma, noise)
    denoised = _checked(denoiser(x, sigma, condition), "the prior")
    residual = (latent.detach() - denoised) / per_image(sigma, x)
    return _score(residual, sigma, denoised, weight, {})


@torch.no_grad()
def lds(denoisers: tuple[AbstractDenoiser, AbstractDenoiser], latent: Tensor, conditions: tuple[Condition, Condition],
        sigma: Tensor, noise: Tensor, weight: Weight = one_minus_alphabar) -> Score:
    """w (eps_personalised(x, c) - eps_base(x, empty)) (DiPIR; docs/method.md 1.8); the injected noise drops out.

    Equal in x0: w (D_base(x, empty) - D_personalised(x, c)) / sigma. Parameters as in :func:`sds`, in pairs: the
    personalised and the frozen model (``personalize.FrozenBase`` of the same weights), c and the empty condition.
    """
    x = _noised(latent, sigma, noise)
    wanted, usual = personalised_and_base(*denoisers, x, sigma, conditions)
    wanted, usual = _checked(wanted, "the personalised prior"), _checked(usual, "the base prior")
    norms = {"personalised": _rms(wanted - latent), "base": _rms(usual - latent)}
    return _score((usual - wanted) / per_image(sigma, x), sigma, wanted, weight, norms)


def apply_score(latent: Tensor, score: Score) -> Tensor:
    """Scalar 0.5 ||z - sg(z - g)||^2 whose gradient with respect to the latent is g. Not a loss: do not log it.

    Written as 0.5 ||(z - sg z) + g||^2, because z - (z - g) would lose a small g to rounding.
    """
    if score.gradient.shape != latent.shape:
        raise FitError(f"score of shape {tuple(score.gradient.shape)} for a latent of shape {tuple(latent.shape)}: "
                       "the score must have been taken at this very latent.")
    return 0.5 * ((latent - latent.detach()) + score.gradient.detach()).square().sum()


# --------------------------------------------------------------------------------------------------------- as guidance
WEIGHTS: dict[str, Weight] = {"constant": constant, "one_minus_alphabar": one_minus_alphabar, "sigma": sigma_weight}


@functools.lru_cache(maxsize=1)
def _table() -> Tensor:
    """Noise levels of Stable Diffusion's schedule, on the CPU, where they are drawn."""
    return sigmas_from_alphas(scaled_linear_alphas())


def annealed_level(settings: KindSettings, progress: float, generator: Generator | None) -> Tensor:
    """(1,) noise level of a step: uniform in time up to the annealed largest one; without ``generator`` that one."""
    largest = annealed(progress, settings.noise_start, settings.noise_end)
    return uniform_t(1, _table(), largest if generator is None else settings.noise_min, largest, generator)


def _distil(asked: Asked, prior: AbstractDenoiser, score: Callable[[Tensor, Tensor, Tensor, Weight], Score],
            image: Image, progress: float, step: int) -> tuple[Tensor, dict[str, float | Tensor]]:
    """The pull of one drawn noise level and noise: the mean over weighted pixels and channels."""
    latent = prior.encode(image)
    generator = Generator().manual_seed(split_seed(asked.seed, "noise", step))
    level = annealed_level(asked.settings, progress, generator).clamp(prior.sigma_min, prior.sigma_max)
    sigma, noise = level.to(latent), randn(latent.shape, generator, latent.device).to(latent)
    found, mask = score(latent, sigma, noise, WEIGHTS[asked.settings.weighting]), asked.weights(latent)
    size = float(latent[0].numel())
    if mask is not None:
        found = replace(found, gradient=found.gradient * mask)
        size = mask.sum().clamp_min(1.0) * latent.shape[1]
    # The level is read on the CPU, where it was drawn.
    return apply_score(latent, found) / size, {"sigma": float(level), **found.norms}


@final
class ScoreDistillation(Guidance):
    """SDS."""

    def pull(self, image: Image, progress: float, step: int) -> tuple[Tensor, dict[str, float | Tensor]]:
        prior = self.asked.guided

        def score(latent: Tensor, sigma: Tensor, noise: Tensor, weight: Weight) -> Score:
            return sds(prior, latent, self.asked.condition, sigma, noise, weight)

        return _distil(self.asked, prior, score, image, progress, step)


@final
class LoraDistillation(Guidance):
    """LDS."""

    def pull(self, image: Image, progress: float, step: int) -> tuple[Tensor, dict[str, float | Tensor]]:
        asked, prior = self.asked, self.asked.guided

        def score(latent: Tensor, sigma: Tensor, noise: Tensor, weight: Weight) -> Score:
            return lds((prior, asked.base or asked.prior), latent, (asked.condition, asked.empty), sigma, noise, weight)

        return _distil(asked, prior, score, image, progress, step)


# ------------------------------------------------------------------------------------------------------------ details
def check_latent(latent: Tensor) -> None:
    """FitError for a latent that is not finite or whose scale no prior was trained on."""
    if latent.ndim != 4 or latent.numel() == 0:
        raise FitError(f"latent of shape {tuple(latent.shape)}; accepted is (B, C, h, w).")
    require(torch.isfinite(latent).all(), lambda: FitError(
        "the image given to the prior holds NaN or infinity. The render or the tone curve went wrong in the step "
        "before; lower the learning rate or resume from the last checkpoint."))
    spread = latent.detach().float().std(unbiased=False)
    require(spread <= LATENT_STD_MAX, lambda: FitError(
        f"the latent has a standard deviation of {float(spread):.3g}; a prior is used to about 1 and more than "
        f"{LATENT_STD_MAX:g} is refused. Give display-referred images in [0, 1] to encode(), and use its output as it "
        "is (it is already scaled)."))


def _noised(latent: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    check_latent(latent)
    def problem():
        return FitError(f"sigma of shape {tuple(sigma.shape)} and values {sigma.flatten()[:4].tolist()}: needs "
                                   f"{len(latent)} finite numbers above 0, one an image.")
    if sigma.shape != (len(latent),):
        raise problem()
    require(((sigma > 0) & torch.isfinite(sigma)).all(), problem)
    if noise.shape != latent.shape:
        raise FitError(f"noise of shape {tuple(noise.shape)} for a latent of shape {tuple(latent.shape)}: "
                       "they must be equal.")
    return latent.detach() + per_image(sigma, latent) * noise


def _checked(denoised: Tensor, who: str) -> Tensor:
    require(torch.isfinite(denoised).all(), lambda: FitError(
        f"{who} returned NaN or infinity. With float16 weights use bfloat16 or float32 instead; if the weights were "
        "trained here, train again with a lower rate."))
    return denoised


def _score(residual: Tensor, sigma: Tensor, denoised: Tensor, weight: Weight, norms: dict[str, Tensor]) -> Score:
    gradient = per_image(weight(sigma), residual) * residual
    return Score(gradient, sigma, denoised, {**norms, "residual": _rms(residual), "gradient": _rms(gradient)})


def _rms(x: Tensor) -> Tensor:
    return x.float().square().mean().sqrt()
