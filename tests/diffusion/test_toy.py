"""The oracle prior itself: the posterior mean by an independent formula and by integration."""
from __future__ import annotations

import pytest
import torch

from dipir.diffusion.denoiser import Condition
from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import PriorError


def spd(n, seed=0):
    a = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return a @ a.T / n + 0.05 * torch.eye(n, dtype=torch.float64)


def test_posterior_mean_is_the_matrix_formula():
    mean, covariance = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(2, 2, 2), spd(8)
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64)
    sigma = torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    got = GaussianDenoiser(mean, covariance=covariance)(x, sigma, Condition())
    for i in range(3):
        gain = covariance @ torch.linalg.inv(covariance + sigma[i] ** 2 * torch.eye(8, dtype=torch.float64))
        assert torch.allclose(got[i].flatten(), mean.flatten() + gain @ (x[i] - mean).flatten(), atol=1e-10)


def test_posterior_mean_by_numerical_integration():
    grid = torch.linspace(-12, 12, 200001, dtype=torch.float64)
    density = torch.exp(-0.5 * ((grid - 0.4) / 0.7) ** 2 - 0.5 * ((1.9 - grid) / 1.1) ** 2)
    expected = float((grid * density).sum() / density.sum())
    toy = GaussianDenoiser(torch.full((1, 1, 1), 0.4, dtype=torch.float64), 0.7)
    x, sigma = torch.full((1, 1, 1, 1), 1.9, dtype=torch.float64), torch.tensor([1.1], dtype=torch.float64)
    assert float(toy(x, sigma, Condition())) == pytest.approx(expected, abs=1e-9)


def test_per_pixel_std_equals_diagonal_covariance():
    std = torch.tensor([0.1, 0.5, 1.0, 2.0], dtype=torch.float64).reshape(1, 2, 2)
    mean, x = torch.zeros(1, 2, 2, dtype=torch.float64), torch.randn(2, 1, 2, 2, dtype=torch.float64)
    sigma = torch.tensor([0.3, 0.6], dtype=torch.float64)
    a = GaussianDenoiser(mean, std)(x, sigma, Condition())
    b = GaussianDenoiser(mean, covariance=torch.diag(std.flatten() ** 2))(x, sigma, Condition())
    assert torch.allclose(a, b, atol=1e-12)


def test_draws_have_mean_and_covariance():
    covariance = spd(4, seed=1)
    toy = GaussianDenoiser(torch.full((1, 2, 2), 0.2, dtype=torch.float64), covariance=covariance)
    draws = toy.draw(20000, torch.Generator().manual_seed(0)).flatten(1)
    assert torch.allclose(draws.mean(0), torch.full((4,), 0.2, dtype=torch.float64), atol=0.04)
    assert torch.allclose(torch.cov(draws.T), covariance, atol=0.06)


def test_encode_and_decode_are_inverse_and_differentiable():
    toy = GaussianDenoiser(torch.zeros(3, 2, 2))
    image = torch.rand(1, 3, 2, 2, requires_grad=True)
    latent = toy.encode(image)
    assert torch.allclose(toy.decode(latent), image) and float(toy.decode(latent.detach() * 50).max()) <= 1
    latent.sum().backward()
    assert torch.equal(image.grad, torch.full_like(image, 2.0))


def test_bad_covariance_is_refused():
    mean = torch.zeros(1, 1, 2)
    for bad in (torch.eye(3), torch.tensor([[1.0, 0.5], [0.0, 1.0]]), torch.diag(torch.tensor([1.0, -0.5]))):
        with pytest.raises(PriorError, match="covariance"):
            GaussianDenoiser(mean, covariance=bad)
