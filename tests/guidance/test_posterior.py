"""Posterior matching on the Gaussian prior: samples have its moments, the loss its median."""
from __future__ import annotations

import math

import pytest
import torch

from dipir.diffusion.denoiser import Condition
from dipir.diffusion.schedule import karras
from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import FitError
from dipir.guidance.posterior import posterior_loss, posterior_samples

LEVELS = karras(32, 0.005, 60.0)


def test_samples_have_the_priors_mean_and_covariance():
    covariance = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)
    toy = GaussianDenoiser(torch.tensor([0.3, -0.2], dtype=torch.float64).reshape(1, 1, 2), covariance=covariance)
    n = 1500
    got = posterior_samples(toy, Condition(), n, LEVELS, 7, shape=(1, 1, 2), batch=n).flatten(1).double()
    error = (got.mean(0) - torch.tensor([0.3, -0.2])).abs()
    assert float(error.max()) < 4 * math.sqrt(0.5 / n) + 0.01
    assert torch.allclose(torch.cov(got.T), covariance, atol=0.06)


def test_condition_moves_the_samples():
    toy = GaussianDenoiser(torch.zeros(1, 1, 1), 0.1)
    shifted = Condition(planes=torch.full((1, 1, 1, 1), 0.7))
    got = posterior_samples(toy, shifted, 64, LEVELS, 0, shape=(1, 1, 1))
    assert float(got.mean()) == pytest.approx(0.7, abs=0.05)


def test_start_is_kept_at_low_noise_and_forgotten_at_high():
    toy, start = GaussianDenoiser(torch.zeros(1, 1, 1), 1.0), torch.full((1, 1, 1, 1), 1.5)
    low = posterior_samples(toy, Condition(), 200, karras(8, 0.005, 0.05), 0, start)
    high = posterior_samples(toy, Condition(), 200, karras(24, 0.005, 50.0), 0, start)
    assert float(low.mean()) == pytest.approx(1.5, abs=0.03)
    assert abs(float(high.mean())) < 0.35 and float(high.std()) == pytest.approx(1.0, abs=0.2)


def test_sample_depends_on_seed_and_index_only():
    toy = GaussianDenoiser(torch.zeros(1, 2, 2), 0.5)
    a = posterior_samples(toy, Condition(), 5, LEVELS, 3, shape=(1, 2, 2), batch=2)
    b = posterior_samples(toy, Condition(), 3, LEVELS, 3, shape=(1, 2, 2), batch=8)
    assert torch.allclose(a[:3], b, atol=1e-6)
    assert not torch.allclose(a[0], a[1]) and not torch.allclose(
        a, posterior_samples(toy, Condition(), 5, LEVELS, 4, shape=(1, 2, 2)))


def test_loss_is_least_at_the_median():
    samples = torch.tensor([0.0, 0.1, 0.2, 5.0, 0.15]).reshape(5, 1, 1, 1)
    image = torch.full((1, 1, 1, 1), 1.0, requires_grad=True)
    optimizer = torch.optim.Adam([image], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        posterior_loss(image, samples, delta=1e-3).backward()
        optimizer.step()
    assert float(image.detach()) == pytest.approx(0.15, abs=0.03)  # The mean would be 1.09.


def test_loss_value_gradient_and_mask():
    samples, delta = torch.randn(3, 2, 2, 2, dtype=torch.float64), 0.1
    image = torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    expected = (((image - samples) ** 2 + delta**2).sqrt() - delta).mean()
    assert torch.allclose(posterior_loss(image, samples, delta=delta), expected)
    mask = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    mask[..., 0, 0] = 3.0
    only = (((image - samples) ** 2 + delta**2).sqrt() - delta)[..., 0, 0].mean()
    assert torch.allclose(posterior_loss(image, samples, mask, delta), only)
    assert torch.autograd.gradcheck(lambda z: posterior_loss(z, samples, mask, delta), (image,))
    assert float(posterior_loss(samples[:1], samples[:1])) == pytest.approx(0, abs=1e-12)


def test_bad_input():
    toy, one = GaussianDenoiser(torch.zeros(1, 2, 2)), torch.zeros(1, 1, 2, 2)
    for call in (lambda: posterior_samples(toy, Condition(), 0, LEVELS, 0, one),
                 lambda: posterior_samples(toy, Condition(), 2, LEVELS, 0),
                 lambda: posterior_samples(toy, Condition(), 3, LEVELS, 0, one.expand(2, 1, 2, 2)),
                 lambda: posterior_samples(toy, Condition(), 1, LEVELS, 0, one * float("nan")),
                 lambda: posterior_loss(one.expand(2, 1, 2, 2), one),
                 lambda: posterior_loss(one, torch.zeros(3, 1, 4, 4)),
                 lambda: posterior_loss(one, one, torch.zeros(1, 1, 2, 2)),
                 lambda: posterior_loss(one, one, torch.tensor([[[[1.0, 1.0], [1.0, -0.1]]]]))):
        with pytest.raises(FitError):
            call()
