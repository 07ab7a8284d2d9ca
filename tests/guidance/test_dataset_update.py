"""Dataset update: the edit is SDEdit on a prior whose answer is known, and a fit to the edits arrives at the prior."""
from __future__ import annotations

import math

import pytest
import torch

from dipir.diffusion.denoiser import Condition
from dipir.diffusion.sampler import euler
from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import FitError
from dipir.guidance.dataset_update import LOWEST_SIGMA, edited
from dipir.guidance.posterior import posterior_loss


def edit_of(mean: float, std: float, value: float, sigma: float, steps: int = 60, size: int = 8) -> torch.Tensor:
    toy = GaussianDenoiser(torch.full((1, size, size), mean), std)
    latent = torch.full((1, 1, size, size), value)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(4))
    return edited(toy, latent, Condition(), sigma, noise, steps)


@pytest.mark.parametrize("std", [0.3, 1.0])
@pytest.mark.parametrize("sigma", [0.2, 1.5])
def test_the_edit_follows_the_flow_of_a_gaussian(std, sigma):
    """The probability flow of a Gaussian in closed form: x - mean shrinks as sqrt(std^2 + sigma^2) down to the lowest
    level, from which one estimate leads to the image."""
    noise = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    low = math.sqrt(std**2 + LOWEST_SIGMA**2)
    shrink = low / math.sqrt(std**2 + sigma**2) * std**2 / low**2
    expected = 0.1 + (0.8 + sigma * noise - 0.1) * shrink
    assert torch.allclose(edit_of(0.1, std, 0.8, sigma), expected, atol=1e-3)


def test_little_noise_keeps_the_image_and_much_noise_forgets_it():
    near, far = edit_of(0.0, 0.5, 1.0, 0.01), edit_of(0.0, 0.5, 1.0, 40.0)
    assert float((near - 1).abs().max()) < 0.05
    other = edit_of(0.0, 0.5, -1.0, 40.0)
    assert float((far - other).abs().max()) < 0.05 and float(far.std()) == pytest.approx(0.5, abs=0.1)


def test_images_are_clamped_and_latents_are_not():
    noise = torch.zeros(1, 3, 2, 2)
    bright = GaussianDenoiser(torch.full((3, 2, 2), 3.0), 1e-3)
    assert float(edited(bright, noise, Condition(), 5.0, noise, 4).max()) == 1.0
    latent, wide = torch.zeros(1, 4, 2, 2), GaussianDenoiser(torch.full((4, 2, 2), 3.0), 1e-3)
    assert float(edited(wide, latent, Condition(), 5.0, latent, 4).max()) == pytest.approx(3.0, abs=0.01)


def test_no_gradient_and_any_sampler():
    latent = torch.zeros(1, 1, 2, 2, requires_grad=True)
    toy = GaussianDenoiser(torch.zeros(1, 2, 2), 0.5)
    image = edited(toy, latent, Condition(), 1.0, torch.ones(1, 1, 2, 2), 20, sampler=euler)
    assert not image.requires_grad and float(image.mean()) == pytest.approx(0.5 / math.sqrt(1.25), abs=0.06)


def test_fitting_to_the_edits_arrives_at_the_prior():
    """Each edit is nearer to the prior's mean than the image before it; a fit to them ends there."""
    toy = GaussianDenoiser(torch.full((1, 4, 4), 0.6), 0.02)
    image = torch.zeros(1, 1, 4, 4, requires_grad=True)
    optimiser = torch.optim.Adam([image], lr=0.05)
    for step in range(60):
        if step % 10 == 0:
            noise = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(step))
            target = edited(toy, image, Condition(), 1.0, noise, 12)
        optimiser.zero_grad()
        posterior_loss(image, target).backward()
        optimiser.step()
    assert float((image.detach() - 0.6).abs().max()) < 0.06


@pytest.mark.parametrize("wrong", [{"sigma": 0.0}, {"sigma": math.inf}, {"steps": 0},
                                   {"noise": torch.zeros(1, 1, 3, 3)}, {"latent": torch.full((1, 1, 2, 2), math.nan)}])
def test_bad_input(wrong):
    given = {"latent": torch.zeros(1, 1, 2, 2), "condition": Condition(), "sigma": 1.0,
             "noise": torch.zeros(1, 1, 2, 2), "steps": 3, **wrong}
    with pytest.raises(FitError):
        edited(GaussianDenoiser(torch.zeros(1, 2, 2), 1.0), **given)
