"""Score distillation on Gaussians: expectations, equations, gradients, refusals."""
from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch

from dipir.diffusion.denoiser import AbstractDenoiser, Condition, GuidedDenoiser
from dipir.diffusion.schedule import scaled_linear_alphas, sigmas_from_alphas, uniform_t
from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import FitError
from dipir.guidance import distillation as guidance

D = torch.float64
TABLE = sigmas_from_alphas(scaled_linear_alphas())


def covariance(seed=0):
    a = torch.randn(4, 4, dtype=D, generator=torch.Generator().manual_seed(seed))
    return a @ a.T / 4 + 0.1 * torch.eye(4, dtype=D)


def sidak_z(cells: int, level: float = 1e-3) -> float:
    """Two-sided critical value for ``cells`` tests at a family-wise ``level``."""
    alone = 1 - (1 - level) ** (1 / cells)
    return NormalDist().inv_cdf(1 - alone / 2)


@pytest.mark.parametrize("weight", [guidance.constant, guidance.one_minus_alphabar, guidance.sigma_weight])
def test_mean_sds_gradient_is_the_analytic_expectation(weight):
    """E[g] = E_sigma[ w(sigma) sigma (C + sigma^2 I)^-1 ] (z - mean), with the noise averaged out analytically."""
    n, mean, c = 20000, torch.full((1, 2, 2), 0.2, dtype=D), covariance()
    z = torch.tensor([0.9, -0.4, 0.1, -1.2], dtype=D).reshape(1, 1, 2, 2)
    gen = torch.Generator().manual_seed(5)
    sigma = uniform_t(n, TABLE, 0.02, 0.6, gen).to(D)
    noise = torch.randn(n, 1, 2, 2, generator=gen, dtype=D)
    got = guidance.sds(GaussianDenoiser(mean, covariance=c), z.expand(n, 1, 2, 2), Condition(), sigma, noise, weight)
    draws = got.gradient.flatten(1)
    # Expectation over sigma by an independent quadrature over the same range of times.
    quad = torch.linspace(0.02 * 999, 0.6 * 999, 4001, dtype=D)
    from dipir.diffusion.schedule import t_to_sigma
    s = t_to_sigma(quad, TABLE)
    gains = torch.linalg.inv(c + s[:, None, None] ** 2 * torch.eye(4, dtype=D))
    w = {guidance.constant: torch.ones_like(s), guidance.one_minus_alphabar: s**2 / (1 + s**2),
         guidance.sigma_weight: s}[weight]
    expected = ((w * s)[:, None, None] * gains).mean(0) @ (z - mean).flatten()
    statistic = (draws.mean(0) - expected) / (draws.std(0) / math.sqrt(n))
    assert float(statistic.abs().max()) < sidak_z(4), statistic
    assert float(expected.abs().max()) > 20 * float((draws.std(0) / math.sqrt(n)).max())  # The test has power.


def test_sds_gradient_is_the_score_equation_for_one_draw():
    toy, z = GaussianDenoiser(torch.zeros(1, 2, 2, dtype=D), 0.5), torch.randn(2, 1, 2, 2, dtype=D)
    sigma, noise = torch.tensor([0.3, 2.0], dtype=D), torch.randn(2, 1, 2, 2, dtype=D)
    got = guidance.sds(toy, z, Condition(), sigma, noise, guidance.constant)
    s = sigma.reshape(-1, 1, 1, 1)
    eps_hat = s * (z + s * noise) / (0.25 + s**2)  # = -sigma * score of the noised Gaussian
    assert torch.allclose(got.gradient, eps_hat - noise, atol=1e-12)
    assert torch.allclose(got.denoised, (z + s * noise) * 0.25 / (0.25 + s**2))
    assert got.norms["gradient"] == pytest.approx(float(got.gradient.square().mean().sqrt()), rel=1e-6)


def test_lds_of_two_gaussians_has_a_closed_form_free_of_the_noise_when_spreads_agree():
    """Equal spreads: g = w sigma (mean_base - mean_personal) / (std^2 + sigma^2), whatever the noise and the image."""
    personal = GaussianDenoiser(torch.full((1, 2, 2), 0.8, dtype=D), 0.5)
    base = GaussianDenoiser(torch.full((1, 2, 2), -0.1, dtype=D), 0.5)
    sigma = torch.tensor([0.2, 1.5, 4.0], dtype=D)
    z, noise = torch.randn(3, 1, 2, 2, dtype=D), torch.randn(3, 1, 2, 2, dtype=D)
    got = guidance.lds((personal, base), z, (Condition(), Condition()), sigma, noise, guidance.one_minus_alphabar)
    s = sigma.reshape(-1, 1, 1, 1)
    expected = s**2 / (1 + s**2) * s * (-0.1 - 0.8) / (0.25 + s**2)
    assert torch.allclose(got.gradient, expected.expand_as(z), atol=1e-12)


def test_mean_lds_gradient_of_gaussians_of_different_spread():
    n, z = 20000, torch.full((1, 1, 1, 1), 0.6, dtype=D)
    personal, base = (GaussianDenoiser(torch.full((1, 1, 1), m, dtype=D), s) for m, s in ((0.3, 0.4), (-0.2, 0.9)))
    noise = torch.randn(n, 1, 1, 1, dtype=D, generator=torch.Generator().manual_seed(3))
    got = guidance.lds((personal, base), z.expand(n, 1, 1, 1), (Condition(), Condition()),
                       torch.full((n,), 0.7, dtype=D), noise, guidance.constant).gradient
    expected = 0.7 * ((0.6 - 0.3) / (0.16 + 0.49) - (0.6 + 0.2) / (0.81 + 0.49))
    assert abs(float(got.mean()) - expected) < sidak_z(1) * float(got.std()) / math.sqrt(n)


def test_lds_uses_the_prompt_above_and_the_empty_prompt_below():
    toy = GaussianDenoiser(torch.zeros(1, 1, 1, dtype=D), 0.5)
    def plane(v):
        return Condition(planes=torch.full((1, 1, 1, 1), v, dtype=D))
    z, one = torch.zeros(1, 1, 1, 1, dtype=D), torch.ones(1, dtype=D)
    got = guidance.lds((toy, toy), z, (plane(0.5), plane(-0.3)), one, z, guidance.constant).gradient
    assert float(got) == pytest.approx((-0.3 - 0.5) / 1.25)  # Negative: descending moves towards the prompt.


def test_descending_sds_finds_the_mode():
    z, toy = torch.full((1, 1, 2, 2), 3.0, dtype=D), GaussianDenoiser(torch.full((1, 2, 2), 0.4, dtype=D), 0.1)
    gen = torch.Generator().manual_seed(0)
    for _ in range(300):
        sigma = uniform_t(1, TABLE, 0.02, 0.6, gen).to(D)
        noise = torch.randn(1, 1, 2, 2, generator=gen, dtype=D)
        z = z - 0.1 * guidance.sds(toy, z, Condition(), sigma, noise, guidance.sigma_weight).gradient
    assert torch.allclose(z, torch.full_like(z, 0.4), atol=0.15)


def test_negative_prompt_pushes_away():
    toy, z = GaussianDenoiser(torch.zeros(1, 1, 1, dtype=D), 1.0), torch.zeros(1, 1, 1, 1, dtype=D)
    def plane(v):
        return Condition(planes=torch.full((1, 1, 1, 1), v, dtype=D))
    draw = (torch.ones(1, dtype=D), torch.zeros_like(z), guidance.constant)
    plain = guidance.sds(toy, z, plane(0.5), *draw).gradient
    guided = guidance.sds(GuidedDenoiser(toy, 3.0, plane(-0.5)), z, plane(0.5), *draw).gradient
    assert float(guided) == pytest.approx(5 * float(plain))  # -0.5 + 3 * (0.5 + 0.5) = 2.5 = 5 * 0.5


def test_apply_score_carries_exactly_the_gradient():
    z = (torch.randn(2, 4, 3, 3) * 3).requires_grad_()
    score = guidance.Score(torch.randn(2, 4, 3, 3) * 1e-9, torch.ones(2), z.detach())
    value = guidance.apply_score(z, score)
    value.backward()
    assert torch.equal(z.grad, score.gradient)
    assert float(value) == pytest.approx(0.5 * float(score.gradient.square().sum()), rel=1e-5)


def test_gradient_reaches_the_image_behind_the_codec():
    toy = GaussianDenoiser(torch.zeros(3, 2, 2), 0.5)
    image = torch.rand(1, 3, 2, 2, requires_grad=True)
    z = toy.encode(image)
    score = guidance.sds(toy, z, Condition(), torch.ones(1), torch.zeros(1, 3, 2, 2))
    guidance.apply_score(z, score).backward()
    assert not score.gradient.requires_grad and torch.allclose(image.grad, 2 * score.gradient)


def test_weights():
    sigma = torch.tensor([0.5, 2.0])
    assert guidance.constant(sigma).tolist() == [1, 1]
    assert guidance.one_minus_alphabar(sigma).tolist() == pytest.approx([0.2, 0.8])
    assert torch.equal(guidance.sigma_weight(sigma), sigma)


class Broken(AbstractDenoiser):
    sigma_min, sigma_max = 0.01, 10.0

    def __call__(self, x, sigma, condition):
        return x / 0

    encode = decode = lambda self, x: x


@pytest.mark.parametrize("change,text", [
    ({"latent": torch.full((1, 1, 2, 2), float("nan"))}, "NaN"),
    ({"latent": torch.tensor([0.0, 255.0, 0.0, 255.0]).reshape(1, 1, 2, 2)}, "standard deviation"),
    ({"latent": torch.zeros(1, 2, 2)}, "accepted is"),
    ({"sigma": torch.zeros(1)}, "above 0"), ({"sigma": torch.ones(2)}, "sigma of shape"),
    ({"sigma": torch.full((1,), float("inf"))}, "finite"),
    ({"noise": torch.zeros(1, 1, 2, 1)}, "noise of shape"),
    ({"denoiser": Broken()}, "returned NaN")])
def test_refusals(change, text):
    given = {"denoiser": GaussianDenoiser(torch.zeros(1, 2, 2)), "latent": torch.zeros(1, 1, 2, 2),
             "condition": Condition(), "sigma": torch.ones(1), "noise": torch.zeros(1, 1, 2, 2)} | change
    with pytest.raises(FitError, match=text):
        guidance.sds(**given)
    del given["denoiser"]
    with pytest.raises(FitError, match=text):
        broken = change.get("denoiser", GaussianDenoiser(torch.zeros(1, 2, 2)))
        conditions = given.pop("condition"), Condition()
        guidance.lds((GaussianDenoiser(torch.zeros(1, 2, 2)), broken), conditions=conditions, **given)


def test_score_of_another_latent_is_refused():
    with pytest.raises(FitError, match="this very latent"):
        score = guidance.Score(torch.zeros(1, 1, 1, 1), torch.ones(1), torch.zeros(1))
        guidance.apply_score(torch.zeros(1, 1, 2, 2), score)
