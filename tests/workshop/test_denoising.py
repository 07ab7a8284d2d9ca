"""The denoising loss against closed forms."""
from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dipir.workshop.denoising import draw_noise, errors_at, noised, validation_noise, weighted_error

CONFIG = SimpleNamespace(sigma_mean=0.3, sigma_std=1.2)
LIMITS = SimpleNamespace(sigma_min=0.002, sigma_max=80.0)


def test_levels_are_log_normal_within_their_limits() -> None:
    sigma, noise = draw_noise(np.random.default_rng(0), (20_000, 1), CONFIG, LIMITS)
    assert sigma.dtype == noise.dtype == torch.float32
    assert float(sigma.log().mean()) == pytest.approx(0.3, abs=0.03)
    assert float(sigma.log().std()) == pytest.approx(1.2, abs=0.03) and float(noise.std()) == pytest.approx(1, abs=0.02)
    narrow, _ = draw_noise(np.random.default_rng(0), (500, 1), CONFIG, SimpleNamespace(sigma_min=1.0, sigma_max=2.0))
    assert float(narrow.min()) == 1.0 and float(narrow.max()) == 2.0


@pytest.mark.parametrize("sigma", [0.01, 0.5, 30.0])
def test_the_best_constant_answer_has_an_error_near_one(sigma: float) -> None:
    """EDM's target has unit variance: for Gaussian data the best linear answer leaves a weighted error of 1."""
    d = 0.5
    x0 = d * torch.randn(64, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    levels = torch.full((64,), sigma)
    seen = noised(x0, levels, validation_noise(x0))
    wiener = seen * d**2 / (d**2 + sigma**2)
    assert float(weighted_error(wiener, x0, levels, d).mean()) == pytest.approx(1, abs=0.03)
    assert float(weighted_error(x0, x0, levels, d).abs().max()) == 0


def test_weights_are_a_mean() -> None:
    x0, sigma = torch.zeros(1, 3, 2, 2), torch.ones(1)
    estimate = torch.zeros(1, 3, 2, 2)
    estimate[..., 0, 0] = 1.0
    unit = float((1 + 0.25) / 0.25)
    weight = torch.tensor([[3.0, 0.0], [0.0, 1.0]])[None, None]
    assert float(weighted_error(estimate, x0, sigma, 0.5)) == pytest.approx(unit / 4)
    assert float(weighted_error(estimate, x0, sigma, 0.5, weight)) == pytest.approx(unit * 3 / 4)
    assert float(weighted_error(estimate, x0, sigma, 0.5, 7 * weight)) == pytest.approx(unit * 3 / 4)


def test_validation_is_named_by_its_levels_and_always_the_same() -> None:
    assert errors_at((0.1, 2.0), lambda level: torch.tensor([level, 3 * level])) == pytest.approx(
        {"sigma_0.1": 0.2, "sigma_2": 4.0})
    assert torch.equal(validation_noise(torch.zeros(2, 3)), validation_noise(torch.ones(2, 3)))
