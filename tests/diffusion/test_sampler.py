"""Samplers on the Gaussian prior, where the probability flow has a closed form."""
from __future__ import annotations

import math

import pytest
import torch

from dipir.diffusion import sampler
from dipir.diffusion.denoiser import AbstractDenoiser, Condition
from dipir.diffusion.schedule import karras
from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import ConfigError, PriorError

MEAN, STD, TOP = 0.3, 0.5, 8.0


def toy(shape=(1, 2, 2)):
    return GaussianDenoiser(torch.full(shape, MEAN, dtype=torch.float64), STD)


def flow(x, sigma_from, sigma_to):
    """Exact probability flow of N(MEAN, STD^2): x - mean scales with sqrt(STD^2 + sigma^2)."""
    return MEAN + (x - MEAN) * math.sqrt((STD**2 + sigma_to**2) / (STD**2 + sigma_from**2))


def ramp(n, low=0.5):
    """Levels that are even in sigma and stop above 0, so that the order is not spoilt by the singular end."""
    return torch.linspace(TOP, low, n + 1, dtype=torch.float64)


def start(n=3, shape=(1, 2, 2)):
    return torch.randn(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * TOP


@pytest.mark.parametrize("method,order", [(sampler.euler, 1), (sampler.heun, 2), (sampler.ddim, 1)])
def test_measured_order_of_convergence(method, order):
    x = start()
    exact = flow(x, TOP, 0.5)
    errors = [float((method(toy(), x, ramp(n), Condition()) - exact).abs().max()) for n in (80, 160, 320)]
    rates = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert rates == pytest.approx([order] * 2, abs=0.12)


@pytest.mark.parametrize("method", [sampler.euler, sampler.heun, sampler.ddim])
def test_last_step_to_zero_gives_the_flow_s_image(method):
    x = start()
    result = method(toy(), x, karras(200, 0.002, TOP).double(), Condition())
    assert torch.allclose(result, flow(x, TOP, 0.0), atol=0.05)


def test_deterministic_ddim_is_euler():
    x, levels = start(), karras(7, 0.01, TOP)
    assert torch.allclose(sampler.ddim(toy(), x, levels, Condition()), sampler.euler(toy(), x, levels, Condition()))


def test_ancestral_ddim_keeps_the_distribution():
    # With eta = 1 the chain must still end in N(MEAN, STD^2); noise forgotten or doubled would show in the variance.
    x = torch.randn(4000, 1, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * TOP
    out = sampler.ddim(toy((1, 1, 1)), x, karras(120, 0.01, TOP), Condition(), eta=1.0,
                       generator=torch.Generator().manual_seed(2))
    assert abs(float(out.mean()) - MEAN) < 4 * STD / math.sqrt(4000) + 0.02
    assert float(out.std()) == pytest.approx(STD, rel=0.05)
    calm = sampler.ddim(toy((1, 1, 1)), x, karras(120, 0.01, TOP), Condition())
    assert float((out - calm).abs().mean()) > 0.1


def test_inversion_reconstructs():
    image = toy().draw(4, torch.Generator().manual_seed(3))
    levels = karras(12, 0.02, TOP).double()
    latent = sampler.ddim_inversion(toy(), image, levels, Condition(), iterations=60)
    assert torch.allclose(sampler.ddim(toy(), latent, levels, Condition()), image, atol=1e-6)


def test_inversion_improves_with_iterations_and_finds_the_right_noise():
    image, levels = toy().draw(4, torch.Generator().manual_seed(3)), karras(40, 0.02, TOP).double()
    def error(iterations):
        latent = sampler.ddim_inversion(toy(), image, levels, Condition(), iterations=iterations)
        return float((sampler.ddim(toy(), latent, levels, Condition()) - image).abs().max())
    assert error(1) > 3 * error(3) > 9 * error(8)
    latent = sampler.ddim_inversion(toy(), image, karras(400, 0.002, TOP).double(), Condition(), iterations=4)
    assert torch.allclose(latent, flow(image, 0.0, TOP), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("method", [sampler.euler, sampler.heun, sampler.ddim, sampler.ddim_inversion])
def test_callback_sees_each_step_and_may_stop(method):
    seen = []
    method(toy(), start(), karras(5, 0.1, TOP), Condition(), lambda s: seen.append(s))
    assert [s.index for s in seen] == [1, 2, 3, 4, 5] and {s.steps for s in seen} == {5}
    count = []
    stopped = method(toy(), start(), karras(5, 0.1, TOP), Condition(), lambda s: count.append(s) or s.index == 2)
    assert len(count) == 2 and torch.equal(stopped, seen[1].x)


def test_callback_may_change_the_state():
    def shift(step):
        if step.index == 1:
            step.x.add_(1.0)
    plain = sampler.euler(toy(), start(), karras(5, 0.1, TOP), Condition())
    assert not torch.allclose(sampler.euler(toy(), start(), karras(5, 0.1, TOP), Condition(), shift), plain)


def test_start_is_left_alone():
    x = start()
    kept = x.clone()
    sampler.euler(toy(), x, karras(5, 0.1, TOP), Condition(), lambda s: s.x.zero_() is None)
    assert torch.equal(x, kept)


def test_batches_do_not_change_the_result():
    x = start(5)
    condition = Condition(planes=torch.randn(5, 1, 2, 2, dtype=torch.float64))
    levels = karras(6, 0.05, TOP)
    whole = sampler.heun(toy(), x, levels, condition)
    assert torch.allclose(sampler.sample(toy(), x, levels, condition, sampler.heun, batch=2), whole, atol=1e-12)


@pytest.mark.parametrize("levels", [[1.0], [1.0, 2.0], [2.0, 1.0, 1.0], [1.0, -0.1], [float("inf"), 1.0],
                                    [1.0, float("nan")]])
def test_bad_levels_are_refused(levels):
    with pytest.raises(ConfigError, match="fall strictly"):
        sampler.euler(toy(), start(), torch.tensor(levels), Condition())


class Broken(AbstractDenoiser):
    sigma_min, sigma_max = 0.01, 10.0

    def __call__(self, x, sigma, condition):
        return x * float("nan")

    encode = decode = lambda self, x: x


def test_nan_is_never_passed_on():
    with pytest.raises(PriorError, match="NaN"):
        sampler.heun(Broken(), start(), karras(3, 0.1, TOP), Condition())
    with pytest.raises(PriorError, match="start image"):
        sampler.heun(toy(), start() * float("nan"), karras(3, 0.1, TOP), Condition())
    with pytest.raises(ConfigError, match="eta"):
        sampler.ddim(toy(), start(), karras(3, 0.1, TOP), Condition(), eta=2)
