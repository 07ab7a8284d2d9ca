"""Editing layers on a picture: values by hand, gradients, what a layer cannot change."""
from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipir.image.editing import (
    EPS,
    additive,
    factors_of,
    layer_cost,
    luminosity,
    luminosity_bound,
    masked,
    multiply_divide,
)


def _picture(low: float = 0.05, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return low + (1 - low) * torch.rand(2, 3, 4, 5, generator=g, dtype=dtype)


def _layers(channels: int = 1, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    def draw(c):
        return 0.1 + 0.9 * torch.rand(2, c, 4, 5, generator=g, dtype=dtype)
    return draw(channels), draw(1)


def _pixel(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, -1, 1, 1)


# ---- identity --------------------------------------------------------------------------------------------------------

def test_even_layers_change_nothing():
    x, ones = _picture(), torch.ones(2, 1, 4, 5)
    torch.testing.assert_close(multiply_divide(x, ones, ones), x, atol=2 * EPS, rtol=0)
    torch.testing.assert_close(luminosity(x, ones), x)
    assert torch.equal(additive(x, torch.zeros(2, 1, 4, 5)), x)
    assert float(layer_cost((ones, ones.expand(-1, 3, -1, -1)))) == 0


# ---- values by hand --------------------------------------------------------------------------------------------------

def test_layers_on_a_pixel_by_hand():
    x = _pixel(0.2, 0.4, 0.6)
    assert multiply_divide(x, _pixel(0.5), _pixel(0.25)).flatten().tolist() == pytest.approx([0.4, 0.8, 1.2], rel=1e-5)
    assert multiply_divide(x, _pixel(0.5, 1, 0.1), _pixel(1)).flatten().tolist() == pytest.approx([0.1, 0.4, 0.06],
                                                                                                  rel=1e-5)
    assert luminosity(x, _pixel(1.5)).flatten().tolist() == pytest.approx([0.3, 0.6, 0.9])
    assert additive(x, _pixel(-0.3)).flatten().tolist() == pytest.approx([-0.1, 0.1, 0.3])
    black = torch.zeros(1, 3, 1, 1)
    assert torch.equal(luminosity(black, _pixel(2)), black) and torch.equal(luminosity_bound(black, x), black)


def test_cost_by_hand():
    multiply, divide = torch.tensor([0.5, 1.0, 1.0, 0.1]).reshape(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.75)
    assert float(layer_cost((multiply, divide))) == pytest.approx((0.5 + 0.9) / 4 + 0.25)


def test_masked_by_hand():
    layer, mask = torch.full((1, 1, 1, 3), 0.4), torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 1, 3)
    assert masked(layer, mask).flatten().tolist() == pytest.approx([1.0, 0.7, 0.4]) and masked(layer, None) is layer


def test_bound_by_hand():
    x, target = _pixel(0.2, 0.4, 0.6), _pixel(0.4, 0.2, 0.0)  # Means of 0.4 and 0.2.
    assert luminosity_bound(x, target).flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert luminosity_bound(x, _pixel(1.0, 1.0, 1.0)).flatten().tolist() == pytest.approx([0.5, 1.0, 1.0])  # 1.5 is cut


# ---- behaviour -------------------------------------------------------------------------------------------------------

def test_single_channel_layers_keep_the_ratios_of_the_channels():
    x = _picture()
    for y in (multiply_divide(x, *_layers()), luminosity(x, _layers()[0])):
        torch.testing.assert_close(y[:, :2] / y[:, 2:], x[:, :2] / x[:, 2:], rtol=1e-6, atol=0)
    coloured = multiply_divide(x, *_layers(3))
    assert not torch.allclose(coloured[:, :2] / coloured[:, 2:], x[:, :2] / x[:, 2:], rtol=0.1)


@settings(deadline=None)
@given(st.floats(0.1, 10))
def test_quotient_of_the_factors_is_the_gain(gain):
    multiply, divide = factors_of(torch.tensor([gain], dtype=torch.float64))
    assert float(multiply / divide) == pytest.approx(gain, rel=1e-9)
    assert 0.1 <= float(multiply) <= 1 and 0.1 <= float(divide) <= 1 and max(float(multiply), float(divide)) == 1


@pytest.mark.parametrize("gain, quotient", [(0.0, 0.1), (0.05, 0.1), (40.0, 10.0), (1e9, 10.0)])
def test_factors_stay_within_ten_times(gain, quotient):
    multiply, divide = factors_of(torch.tensor(gain))
    assert float(multiply / divide) == pytest.approx(quotient)


def test_bound_reaches_what_differs_in_brightness_alone():
    x = _picture() * 0.5
    torch.testing.assert_close(luminosity_bound(x, x), x)
    target = x * (0.5 + torch.rand(2, 1, 4, 5))
    torch.testing.assert_close(luminosity_bound(x, target), target)
    made = luminosity_bound(x, _picture().flip(1) * 0.6)
    torch.testing.assert_close(made.mean(1), _picture().mean(1) * 0.6)  # Nothing was cut off: the brightness is exact.


# ---- gradients -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("compose", [multiply_divide, lambda x, m, d: luminosity(x, m), lambda x, m, d: additive(x, m),
                                     lambda x, m, d: layer_cost((m, d)),
                                     lambda x, m, d: multiply_divide(x, *factors_of(2 * m + d)),
                                     lambda x, m, d: luminosity_bound(0.3 * x, 0.3 * m.expand(-1, 3, -1, -1))])
def test_gradients(compose):
    given = [t[:1, :, :2, :2].detach().requires_grad_() for t in
             (_picture(dtype=torch.float64), *(0.05 + 0.9 * layer for layer in _layers(dtype=torch.float64)))]
    assert torch.autograd.gradcheck(compose, given, atol=1e-6)
