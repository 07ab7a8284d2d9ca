"""Light priors: closed forms, invariances, gradients over many decades."""
from __future__ import annotations

import math

import pytest
import torch

from dipir.errors import FitError
from dipir.guidance.light_priors import cauchy_sparsity, consistency_loss, luminance
from dipir.image.latlong import directions, solid_angles

D = torch.float64


def lobe(axis, sharpness=4.0, height=16):
    turn = directions(height, 2 * height, D) @ torch.nn.functional.normalize(torch.tensor(axis, dtype=D), dim=0)
    return torch.exp(sharpness * (turn - 1))[..., None] * torch.tensor([1.0, 0.8, 0.6], dtype=D)


def test_even_maps_have_the_entropy_of_the_sphere():
    even = torch.full((8, 16, 3), 0.3, dtype=D)
    assert float(consistency_loss(even, even * 5)) == pytest.approx(math.log(4 * math.pi), abs=1e-9)


def test_cross_entropy_equals_the_written_sum():
    fg, sh = lobe([1, 1, 0], sharpness=9.0), lobe([0, 1, 1])
    omega = solid_angles(16, 32, D)
    p, q = ((luminance(m) / (luminance(m) * omega).sum()) for m in (sh, fg))
    assert float(consistency_loss(fg, sh, floor=0.0)) == pytest.approx(float(-(p * q.log() * omega).sum()), rel=1e-12)


def test_least_where_the_maps_agree_and_blind_to_scale():
    sh = lobe([1, 1, 0.0])
    values = [float(consistency_loss(lobe([math.cos(a), 1, math.sin(a)]), sh)) for a in (0.0, 0.4, 1.0, 2.0)]
    assert values == sorted(values) and values[1] > values[0] + 1e-3
    assert float(consistency_loss(7 * sh, 0.1 * sh)) == pytest.approx(values[0], rel=1e-6)


def test_rows_count_by_solid_angle_not_by_texels():
    polar = torch.full((16, 32, 3), 0.1, dtype=D)
    polar[0] = 1.0
    coarse = torch.full((32, 64, 3), 0.1, dtype=D)
    coarse[:2] = 1.0
    assert float(consistency_loss(polar, polar)) == pytest.approx(float(consistency_loss(coarse, coarse)), rel=1e-9)


def test_gradcheck():
    fg, sh = (lobe(a, height=4).requires_grad_() for a in ([1, 1, 0.0], [0, 1, 1.0]))
    assert torch.autograd.gradcheck(consistency_loss, (fg, sh))
    assert torch.autograd.gradcheck(cauchy_sparsity, (sh,))


@pytest.mark.parametrize("decade", range(-15, 16, 5))
def test_gradients_are_finite_over_thirty_decades(decade):
    env = (lobe([1, 1, 0.0], sharpness=50.0).float() * 10.0**decade).requires_grad_()
    # sqrt-free forms only: the value may saturate, the gradient may not become NaN.
    loss = consistency_loss(env, lobe([0, 1, 1.0]).float()) + cauchy_sparsity(env)
    loss.backward()
    assert bool(torch.isfinite(env.grad).all())


def test_sparsity_values_and_its_taste_for_few_lights():
    grey = torch.full((4, 8, 3), 2.0, dtype=D)
    assert float(cauchy_sparsity(grey)) == pytest.approx(math.log(9), rel=1e-12)
    one = torch.zeros(4, 8, 3, dtype=D)
    one[1, 1] = 64.0  # the same sum in one texel
    assert float(cauchy_sparsity(one)) < 0.2 * float(cauchy_sparsity(grey))


@pytest.mark.parametrize("bad", [torch.zeros(4, 8, 3), torch.full((4, 8, 3), float("nan")), -torch.ones(4, 8, 3)])
def test_impossible_light_is_refused(bad):
    with pytest.raises(FitError, match="light"):
        consistency_loss(bad, torch.ones(4, 8, 3))
    with pytest.raises(FitError, match="light"):
        consistency_loss(torch.ones(4, 8, 3), bad)


def test_sizes_must_agree():
    with pytest.raises(FitError, match="one size"):
        consistency_loss(torch.ones(4, 8, 3), torch.ones(8, 16, 3))
