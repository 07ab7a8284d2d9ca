"""Noise levels: closed forms, inverses, distributions."""
from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipir.diffusion import schedule
from dipir.errors import ConfigError

TABLE = schedule.sigmas_from_alphas(schedule.scaled_linear_alphas())


def test_karras_matches_its_equation_and_ends_in_zero():
    levels = schedule.karras(5, 0.1, 10.0, rho=3.0)
    expected = [(10 ** (1 / 3) + i / 4 * (0.1 ** (1 / 3) - 10 ** (1 / 3))) ** 3 for i in range(5)] + [0.0]
    assert levels.tolist() == pytest.approx(expected, rel=1e-6)


def test_stable_diffusion_table_has_the_published_ends():
    # The k-diffusion wrapper's published range for Stable Diffusion.
    assert float(TABLE[0]) == pytest.approx(0.0292, abs=1e-4)
    assert float(TABLE[-1]) == pytest.approx(14.6146, abs=1e-3)


def test_table_agrees_with_the_supplier():
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod
    assert torch.allclose(schedule.scaled_linear_alphas().float(), theirs, rtol=1e-4)


def test_whole_times_hit_the_table():
    t = torch.arange(1000, dtype=torch.float64)
    assert torch.allclose(schedule.t_to_sigma(t, TABLE), TABLE, rtol=1e-12)
    assert torch.allclose(schedule.sigma_to_t(TABLE, TABLE), t, atol=1e-8)


def test_interpolation_is_in_the_logarithm():
    middle = schedule.t_to_sigma(torch.tensor([10.5], dtype=torch.float64), TABLE)
    assert float(middle) == pytest.approx(math.sqrt(float(TABLE[10] * TABLE[11])), rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 999))
def test_time_and_sigma_are_inverse(t):
    t = torch.tensor([t], dtype=torch.float64)
    assert torch.allclose(schedule.sigma_to_t(schedule.t_to_sigma(t, TABLE), TABLE), t, atol=1e-6)


def test_outside_the_table_is_clamped():
    t = schedule.sigma_to_t(torch.tensor([1e-9, 1e9], dtype=torch.float64), TABLE)
    assert t.tolist() == [0.0, 999.0]
    assert schedule.t_to_sigma(torch.tensor([-5.0, 5000.0]), TABLE).tolist() == pytest.approx(TABLE[[0, -1]].tolist())


def test_ladder_starts_at_t_max_and_ends_in_zero():
    levels = schedule.ladder(TABLE, 4, t_max=600)
    assert len(levels) == 5 and levels[-1] == 0 and bool((levels.diff() < 0).all())
    assert float(levels[0]) == pytest.approx(float(TABLE[600])) and float(levels[3]) == pytest.approx(float(TABLE[0]))


def test_annealing_is_the_papers():
    assert [schedule.annealed(p) for p in (0, 0.5, 1, 2, -1)] == pytest.approx([0.6, 0.45, 0.3, 0.3, 0.6])


def test_uniform_t_is_uniform_in_time_between_its_ends():
    n = 20000
    sigma = schedule.uniform_t(n, TABLE, 0.02, 0.6, torch.Generator().manual_seed(1))
    part = schedule.sigma_to_t(sigma, TABLE) / 999
    assert float(part.min()) >= 0.02 - 1e-5 and float(part.max()) <= 0.6 + 1e-5
    counts = torch.histc((part - 0.02) / 0.58, bins=20, min=0, max=1)
    chi2 = float(((counts - n / 20) ** 2 / (n / 20)).sum())
    assert chi2 < 43.8  # 0.999 quantile of chi-square with 19 degrees of freedom


def test_seeds_decide():
    def draw(s):
        return schedule.uniform_t(5, TABLE, generator=torch.Generator().manual_seed(s))
    assert torch.equal(draw(3), draw(3)) and not torch.equal(draw(3), draw(4))


@pytest.mark.parametrize("call", [
    lambda: schedule.karras(0, 0.1, 1.0), lambda: schedule.karras(5, 0.0, 1.0), lambda: schedule.karras(5, 2.0, 1.0),
    lambda: schedule.karras(5, 0.1, float("inf")), lambda: schedule.ladder(TABLE, 3, 1500),
    lambda: schedule.sigmas_from_alphas(torch.tensor([0.9, 0.95])),
    lambda: schedule.sigmas_from_alphas(torch.tensor([0.9, 0.0])),
    lambda: schedule.sigmas_from_alphas(torch.tensor([0.9, float("nan")])),
    lambda: schedule.uniform_t(3, TABLE, 0.7, 0.3), lambda: schedule.uniform_t(3, TABLE, 0.1, 1.3)])
def test_bad_settings_are_refused(call):
    with pytest.raises(ConfigError, match="needs"):
        call()
