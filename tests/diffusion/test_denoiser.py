"""Adapters and guidance, against the algebra of a Gaussian and against the supplier's scheduler."""
from __future__ import annotations

import pytest
import torch

from dipir.diffusion.denoiser import Condition, GuidedDenoiser, denoise_epsilon, denoise_v, select
from dipir.diffusion.schedule import scaled_linear_alphas, sigmas_from_alphas, t_to_sigma
from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import PriorError

TABLE = sigmas_from_alphas(scaled_linear_alphas())


def ideal(kind):
    """The network that a perfect training on N(0.5, 0.3^2) would give, in variance preserving terms."""
    def network(z, t):
        sigma = t_to_sigma(t, TABLE).reshape(-1, 1, 1, 1)
        x = z * (sigma**2 + 1).sqrt()
        x0 = 0.5 + 0.09 / (0.09 + sigma**2) * (x - 0.5)
        eps = (x - x0) / sigma
        alphabar = 1 / (sigma**2 + 1)
        return eps if kind == "epsilon" else alphabar.sqrt() * eps - (1 - alphabar).sqrt() * x0
    return network


@pytest.mark.parametrize("adapter,kind", [(denoise_epsilon, "epsilon"), (denoise_v, "v")])
def test_adapter_of_the_ideal_network_is_the_oracle(adapter, kind):
    x = torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.05, 0.8, 9.0], dtype=torch.float64)
    oracle = GaussianDenoiser(torch.full((1, 2, 2), 0.5, dtype=torch.float64), 0.3)
    assert torch.allclose(adapter(ideal(kind), x, sigma, TABLE), oracle(x, sigma, Condition()), atol=1e-10)


@pytest.mark.parametrize("adapter,kind", [(denoise_epsilon, "epsilon"), (denoise_v, "v_prediction")])
def test_adapter_agrees_with_the_suppliers_scheduler(adapter, kind):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                        prediction_type=kind, clip_sample=False)
    gen = torch.Generator().manual_seed(1)
    z, output, t = torch.randn(1, 4, 2, 2, generator=gen), torch.randn(1, 4, 2, 2, generator=gen), 400
    theirs = scheduler.step(output, t, z, generator=gen).pred_original_sample
    sigma = TABLE[t].float()[None]
    ours = adapter(lambda zt, tt: output, z * (sigma**2 + 1).sqrt(), sigma, TABLE)
    assert torch.allclose(ours, theirs, atol=2e-4)


def test_adapter_hands_over_scaled_image_and_time():
    seen = {}

    def network(z, t):
        seen.update(z=z, t=t)
        return torch.zeros_like(z)

    x = torch.full((1, 1, 1, 1), 2.0)
    denoise_epsilon(network, x, TABLE[[123]].float(), TABLE)
    assert float(seen["t"]) == pytest.approx(123, abs=1e-3)
    assert float(seen["z"]) == pytest.approx(2 / float(TABLE[123] ** 2 + 1) ** 0.5, rel=1e-5)


def test_guidance_extrapolates_from_the_negative():
    toy = GaussianDenoiser(torch.zeros(1, 1, 1), 1.0)
    x, sigma = torch.ones(2, 1, 1, 1), torch.tensor([1.0, 2.0])
    positive, negative = (Condition(planes=torch.full((1, 1, 1, 1), v)) for v in (0.6, -0.2))
    a, b = toy(x, sigma, positive), toy(x, sigma, negative)
    assert torch.allclose(GuidedDenoiser(toy, 7.5, negative)(x, sigma, positive), b + 7.5 * (a - b))
    assert torch.equal(GuidedDenoiser(toy, 1.0, negative)(x, sigma, positive), a)
    assert torch.allclose(GuidedDenoiser(toy, 0.0, negative)(x, sigma, positive), b)


def test_guidance_in_x0_equals_guidance_in_epsilon():
    toy = GaussianDenoiser(torch.zeros(1, 1, 1), 0.7)
    x, sigma = torch.full((1, 1, 1, 1), 0.9), torch.tensor([1.3])
    c, n = Condition(planes=torch.full((1, 1, 1, 1), 0.6)), Condition()
    def eps(cond):
        return (x - toy(x, sigma, cond)) / 1.3
    eps_guided = eps(n) + 4 * (eps(c) - eps(n))
    assert torch.allclose(GuidedDenoiser(toy, 4, n)(x, sigma, c), x - 1.3 * eps_guided, atol=1e-6)


def test_select_serves_one_row_to_all_and_picks_rows():
    condition = Condition(text=torch.arange(3.0).reshape(3, 1, 1), planes=torch.ones(1, 2, 2, 2))
    chosen = select(condition, [2, 0])
    assert chosen.text.flatten().tolist() == [2.0, 0.0] and chosen.planes.shape == (2, 2, 2, 2)
    assert chosen.size is None
    with pytest.raises(PriorError, match="one row"):
        select(condition, [3])
