import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dipir.image.color import blackbody, linear_to_srgb, luminance, srgb_to_linear, srgb_to_linear_array


def _oracle_decode(v: float) -> float:
    s = abs(v)
    return np.sign(v) * (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4)


def test_published_values():
    """8-bit 119 is mid-grey of about 18.4 %; 50 % grey of light is 0.7353569830524495 (IEC 61966-2-1)."""
    assert srgb_to_linear(torch.tensor(119 / 255, dtype=torch.float64)).item() == pytest.approx(0.18447499, abs=1e-8)
    assert linear_to_srgb(torch.tensor(0.5, dtype=torch.float64)).item() == pytest.approx(0.7353569830524495, abs=1e-12)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(srgb_to_linear(ends), ends, rtol=0, atol=1e-15)
    torch.testing.assert_close(linear_to_srgb(ends), ends, rtol=0, atol=1e-15)


@given(st.floats(-8, 8))
def test_oracle_and_symmetry(v):
    x = torch.tensor([v, -v], dtype=torch.float64)
    y = srgb_to_linear(x)
    assert y[0].item() == pytest.approx(_oracle_decode(v), rel=1e-12, abs=1e-300)
    assert y[0] == -y[1] and linear_to_srgb(x)[0] == -linear_to_srgb(x)[1]


@given(st.floats(-8, 8))
def test_round_trip(v):
    x = torch.tensor(v, dtype=torch.float64)
    # The published knees do not meet exactly; the jump is below 1e-7.
    assert linear_to_srgb(srgb_to_linear(x)).item() == pytest.approx(v, abs=5e-7)


def test_every_8_bit_value_survives():
    x = torch.arange(256) / 255
    assert torch.equal((linear_to_srgb(srgb_to_linear(x)) * 255).round(), torch.arange(256.0))


@pytest.mark.parametrize("function, slope", [(srgb_to_linear, 1 / 12.92), (linear_to_srgb, 12.92)])
def test_gradients(function, slope):
    x = torch.tensor([0.0, 1e-9, -1e-9, 1.0, -2.0, 5.0], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(function(x).sum(), x)
    assert torch.isfinite(grad).all() and (grad > 0).all()
    torch.testing.assert_close(grad[:3], torch.full((3,), slope, dtype=torch.float64))
    points = torch.tensor([-2.0, -0.5, -0.01, -0.001, 0.001, 0.01, 0.2, 1.0, 3.0]).double().requires_grad_()
    assert torch.autograd.gradcheck(function, points)


def test_nan_stays_nan():
    x = torch.tensor([float("nan")])
    assert srgb_to_linear(x).isnan() and linear_to_srgb(x).isnan()


def test_luminance():
    x = torch.tensor([[[[1.0]], [[0.5]], [[2.0]]]])
    assert luminance(x).shape == (1, 1, 1, 1)
    assert luminance(x).item() == pytest.approx(0.2126 + 0.3576 + 0.1444)
    assert luminance(torch.ones(2, 3, 4, 5)).sub(1).abs().max() < 1e-6


def test_arrays_have_the_same_curve():
    x = np.linspace(-0.2, 1.3, 301)
    got = srgb_to_linear_array(x[::-1])
    assert got.dtype == np.float64
    np.testing.assert_allclose(got[::-1], [_oracle_decode(v) for v in x], rtol=1e-14, atol=1e-16)
    assert srgb_to_linear_array(x.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("kelvin, x, y", [(2000, 0.5267, 0.4133), (2856, 0.4476, 0.4074), (5000, 0.3451, 0.3516),
                                          (6500, 0.3135, 0.3237), (10000, 0.2807, 0.2884)])
def test_blackbody_has_the_chromaticity_of_the_planckian_locus(kelvin, x, y):
    """Wyszecki and Stiles, Color Science (1982): table of the locus."""
    to_xyz = torch.tensor([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                           [0.0193339, 0.1191920, 0.9503041]])
    xyz = to_xyz @ blackbody(kelvin)
    assert float(xyz[1]) == pytest.approx(1, abs=1e-3)
    assert (float(xyz[0] / xyz.sum()), float(xyz[1] / xyz.sum())) == (pytest.approx(x, abs=0.002),
                                                                      pytest.approx(y, abs=0.002))


def test_blackbody_grows_bluer_and_stays_in_gamut():
    ratios = [float(c[2] / c[0]) for c in map(blackbody, (1000, 1500, 2222, 3000, 4000, 6500, 12000, 25000))]
    assert ratios == sorted(ratios) and all(bool((blackbody(k) >= 0).all()) for k in (1000, 1700, 25000))
